//! From text to [`Endpoint`], strictly: a field that nobody reads is an error that names the nearest one that exists.
//!
//! Only here is shoal strict. Between nodes unknown fields are kept, so that a mesh of mixed versions loses nothing.

mod check;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::check::check_values;
use crate::Endpoint;

/// Most documents in one file, and most bytes of it.
const DOCUMENTS_MAX: usize = 1_000;
const TEXT_MAX: usize = 4 << 20;

/// Why a text is not a list of endpoints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Larger than any sensible set of specs.
    #[error("the document is too large: {0} bytes, at most 4 MiB and 1000 documents are read")]
    TooLarge(usize),
    /// Not YAML (JSON is YAML).
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// A field that does not exist.
    #[error("unknown field `{path}`{}", did_you_mean(.nearest, .known))]
    UnknownField {
        /// Where it stands, such as `spec.replicas.mim`.
        path: String,
        /// The nearest field that exists there, if one is near.
        nearest: Option<String>,
        /// All fields that exist there.
        known: Vec<String>,
    },
    /// A field whose value cannot be what it should.
    #[error("`{path}`: {message}")]
    Value {
        /// Where it stands.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// No document at all.
    #[error("there is no document to apply")]
    Empty,
}

fn did_you_mean(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!(": did you mean `{nearest}`?"),
        None => format!(": known here are {}", known.join(", ")),
    }
}

/// Reads one or more YAML documents (or JSON, which is YAML) as endpoints.
///
/// # Errors
/// The first thing that is wrong, with its path.
pub fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, SpecError> {
    let documents = documents(text)?.into_iter().map(|mut document| {
        // What `shoal get -o yaml` adds: so that its output can be applied.
        document.as_object_mut().map(|fields| fields.remove("status"));
        document
    });
    let endpoints: Vec<Endpoint> = typed(documents)?;
    endpoints.iter().try_for_each(check_values)?;
    if endpoints.is_empty() { Err(SpecError::Empty) } else { Ok(endpoints) }
}

/// Reads YAML documents as `T`, strictly; empty documents are left out.
///
/// # Errors
/// The first thing that is wrong, with its path.
pub fn parse_documents<T: DeserializeOwned + JsonSchema>(text: &str) -> Result<Vec<T>, SpecError> {
    typed(documents(text)?)
}

fn documents(text: &str) -> Result<Vec<Value>, SpecError> {
    if text.len() > TEXT_MAX {
        return Err(SpecError::TooLarge(text.len()));
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| SpecError::Syntax(error.to_string()))?;
    if documents.len() > DOCUMENTS_MAX {
        return Err(SpecError::TooLarge(text.len()));
    }
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn typed<T: DeserializeOwned + JsonSchema>(documents: impl IntoIterator<Item = Value>) -> Result<Vec<T>, SpecError> {
    let schema = schemars::schema_for!(T).to_value();
    documents.into_iter().map(|document| strictly(document, &schema)).collect()
}

fn strictly<T: DeserializeOwned>(document: Value, schema: &Value) -> Result<T, SpecError> {
    Walk { root: schema }.check(&document, schema, "")?;
    serde_path_to_error::deserialize(document)
        .map_err(|error| SpecError::Value { path: error.path().to_string(), message: error.inner().to_string() })
}

/// Compares a document with the JSON Schema that the types derive.
struct Walk<'a> {
    root: &'a Value,
}

impl<'a> Walk<'a> {
    fn check(&self, value: &Value, schema: &'a Value, path: &str) -> Result<(), SpecError> {
        let mut layers = Vec::new();
        self.layers(schema, value, &mut layers);
        match value {
            Value::Object(fields) => {
                let known: Vec<_> = layers.iter().filter_map(|layer| layer.get("properties")?.as_object()).collect();
                let free_keys = layers.iter().any(|layer| layer.get("additionalProperties").is_some());
                if known.is_empty() || free_keys {
                    return Ok(());
                }
                for (name, field) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let Some(property) = known.iter().find_map(|properties| properties.get(name)) else {
                        return Err(unknown_field(path, name, known.iter().flat_map(|properties| properties.keys())));
                    };
                    self.check(field, property, &path)?;
                }
                Ok(())
            }
            Value::Array(items) => {
                let Some(item_schema) = layers.iter().find_map(|layer| layer.get("items")) else { return Ok(()) };
                let check = |(index, item)| self.check(item, item_schema, &format!("{path}[{index}]"));
                items.iter().enumerate().try_for_each(check)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    /// `schema` and all that also describes `value`: what `$ref` points to, and of alternatives the one whose `kind`
    /// is the value's, or the one that is not null.
    fn layers(&self, schema: &'a Value, value: &Value, into: &mut Vec<&'a Value>) {
        into.push(schema);
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        if let Some(target) = target.and_then(|pointer| self.root.pointer(pointer)) {
            self.layers(target, value, into);
        }
        let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
        let fits = |alternative: &&Value| match alternative.pointer("/properties/kind/const") {
            Some(kind) => Some(kind) == value.get("kind"),
            None => alternative.get("type").and_then(Value::as_str) != Some("null"),
        };
        if let Some(alternative) = alternatives.and_then(|alternatives| alternatives.iter().find(fits)) {
            self.layers(alternative, value, into);
        }
    }
}

fn unknown_field<'k>(path: String, name: &str, known: impl Iterator<Item = &'k String>) -> SpecError {
    let known: Vec<String> = known.cloned().collect();
    // 0.6 of Jaro-Winkler lets `replica` find `replicas` and `gpuModle` find `gpuModel`, but not unrelated words.
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone());
    SpecError::UnknownField { path, nearest, known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineSpec, MemorySize};

    const WHOLE: &str = r#"
apiVersion: shoal/v1
kind: Endpoint
metadata:
  name: llama-70b
spec:
  model: meta-llama/Llama-3.3-70B-Instruct
  aliases: [llama]
  engine:
    kind: vllm
    args: ["--max-model-len", "16384"]
    env: {HF_HUB_OFFLINE: "1"}
  resources: {gpus: 4, gpuModel: H100, gpuMemory: 80GiB}
  replicas: {min: 2}
  placement:
    home: onprem-a
    require: {cloud: [onprem, aws]}
    spread: zone
    replaceAfter: 10s
  routing: {timeout: 10m}
"#;

    fn error(text: &str) -> String {
        parse_endpoints(text).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_spec_is_read_and_written_back() {
        let endpoints = parse_endpoints(WHOLE).unwrap();
        let spec = &endpoints[0].spec;
        assert_eq!(spec.resources.gpu_memory, Some(MemorySize::from_gib(80)));
        assert!(matches!(&spec.engine, EngineSpec::Vllm(vllm) if vllm.args.len() == 2));
        let text = serde_saphyr::to_string(&endpoints[0]).unwrap();
        assert_eq!(parse_endpoints(&text).unwrap(), endpoints);
    }

    #[test]
    fn unknown_fields_name_the_nearest() {
        assert_eq!(
            error(&WHOLE.replace("replicas:", "replica:")),
            "unknown field `spec.replica`: did you mean `replicas`?"
        );
        assert_eq!(
            error(&WHOLE.replace("gpuModel", "gpumodle")),
            "unknown field `spec.resources.gpumodle`: did you mean `gpuModel`?"
        );
        assert_eq!(error(&WHOLE.replace("args:", "arg:")), "unknown field `spec.engine.arg`: did you mean `args`?");
        assert!(error(&WHOLE.replace("{min: 2}", "{qqq: 2}")).contains("known here are max, min"));
    }

    #[test]
    fn wrong_values_name_their_path() {
        assert!(error(&WHOLE.replace("80GiB", "80")).starts_with("`spec.resources.gpuMemory`: "));
        assert!(error(&WHOLE.replace("name: llama-70b", "name: Llama_70b")).starts_with("`metadata.name`: "));
        assert!(error(&WHOLE.replace("kind: vllm", "kind: vlm")).contains("vlm"));
        assert!(error(&WHOLE.replace("  model: meta-llama/Llama-3.3-70B-Instruct\n", "")).contains("model"));
        assert!(error("a: [").starts_with("not valid YAML"));
        assert_eq!(error(""), "there is no document to apply");
    }

    #[test]
    fn what_get_prints_can_be_applied() {
        let printed = format!("{WHOLE}\nstatus: {{ready: 2, desired: 2}}\n");
        assert_eq!(parse_endpoints(&printed), parse_endpoints(WHOLE));
    }

    #[test]
    fn several_documents_are_read() {
        let two = format!("{WHOLE}\n---\n{}", WHOLE.replace("name: llama-70b", "name: other"));
        assert_eq!(parse_endpoints(&two).unwrap().len(), 2);
    }
}
