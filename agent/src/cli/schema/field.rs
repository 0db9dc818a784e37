//! One field of a JSON Schema as people think of it: its type, default, bounds, and the fields below it. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A field, or the whole document.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    root: &'a Value,
    /// The schema where it stands, and what that refers to.
    layers: Vec<&'a Value>,
    pub(super) required: bool,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub(super) fn whole(root: &'a Value) -> Self {
        Self::new(root, root, true)
    }

    fn new(root: &'a Value, schema: &'a Value, required: bool) -> Self {
        let mut field = Self { root, layers: Vec::new(), required };
        field.follow(schema);
        field
    }

    /// `schema`, what it refers to, and the one alternative that is not `null`.
    fn follow(&mut self, schema: &'a Value) {
        self.layers.push(schema);
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        if let Some(target) = target.and_then(|pointer| self.root.pointer(pointer)) {
            self.follow(target);
        }
        let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        let mut real = alternatives.filter(|alternative| alternative.get("type") != Some(&Value::from("null")));
        if let (Some(only), None) = (real.next(), real.next()) {
            self.follow(only);
        }
    }

    fn find(&self, key: &str) -> Option<&'a Value> {
        self.layers.iter().find_map(|layer| layer.get(key))
    }

    /// What is said where it stands, else what its type says of itself.
    pub(super) fn description(&self) -> String {
        let text = self.find("description").and_then(Value::as_str).unwrap_or_default();
        // Lines of the source are no paragraphs.
        text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
    }

    /// Its value where it is not given; `None` where there is none, or none worth saying.
    pub(super) fn default(&self) -> Option<&'a Value> {
        let default = self.layers.first()?.get("default")?;
        // Of an object the fields say theirs.
        (!default.is_null() && !default.is_object()).then_some(default)
    }

    /// Such as `string`, `list of string`, `map of string`.
    pub(super) fn type_name(&self) -> String {
        if let Some(items) = self.items() {
            return format!("list of {}", items.type_name());
        }
        if let Some(values) = self.values() {
            return format!("map of {}", values.type_name());
        }
        if !self.choices().is_empty() {
            return "string".to_owned();
        }
        let named = |value: &'a Value| match value {
            Value::String(name) => Some(name.as_str()),
            Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            _ => None,
        };
        let name = self.layers.iter().find_map(|layer| named(layer.get("type")?));
        name.or_else(|| self.kinds().first().map(|_| "object")).unwrap_or("any").to_owned()
    }

    /// Such as `1 to 64`, `at most 10000`.
    pub(super) fn bounds(&self) -> Option<String> {
        let is_default_of_type = |bound: &&Value| bound.as_f64() == Some(0.0);
        let least = self.find("minimum").filter(|bound| !is_default_of_type(bound));
        let most = self.find("maximum").filter(|bound| bound.as_f64().is_none_or(|bound| bound < f64::from(u16::MAX)));
        match (least, most) {
            (Some(least), Some(most)) => Some(format!("{least} to {most}")),
            (Some(least), None) => Some(format!("at least {least}")),
            (None, Some(most)) => Some(format!("at most {most}")),
            (None, None) => None,
        }
    }

    /// The words that it can be, and what each means.
    pub(super) fn choices(&self) -> Vec<(String, String)> {
        let mut choices = Vec::new();
        for layer in &self.layers {
            let words = layer.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            choices.extend(words.map(|word| (word.to_owned(), String::new())));
            choices.extend(layer.get("const").and_then(Value::as_str).map(|word| (word.to_owned(), String::new())));
            for alternative in layer.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
                let field = Self::new(self.root, alternative, false);
                let described = field.choices().into_iter().map(|(word, _)| (word, field.description()));
                choices.extend(described);
            }
        }
        choices
    }

    /// What it can be where its field `kind` says which, by that word.
    pub(super) fn kinds(&self) -> Vec<(&'a str, Self)> {
        let alternatives = self.layers.iter().filter_map(|layer| layer.get("oneOf")?.as_array()).flatten();
        let kind = |alternative: &'a Value| {
            let kind = alternative.pointer("/properties/kind/const")?.as_str()?;
            Some((kind, Self::new(self.root, alternative, false)))
        };
        alternatives.filter_map(kind).collect()
    }

    fn items(&self) -> Option<Self> {
        Some(Self::new(self.root, self.find("items")?, false))
    }

    fn values(&self) -> Option<Self> {
        let values = self.find("additionalProperties").filter(|values| values.is_object())?;
        Some(Self::new(self.root, values, false))
    }

    /// Those below it, by name: of a list those of its items, of a map those of its values, of several kinds all.
    pub(super) fn fields(&self) -> BTreeMap<&'a str, Self> {
        let mut fields = BTreeMap::new();
        for (_, kind) in self.kinds() {
            fields.extend(kind.fields());
        }
        for layer in &self.layers {
            let required = |name: &str| {
                let names = layer.get("required").and_then(Value::as_array);
                names.is_some_and(|names| names.iter().any(|one| one == name))
            };
            let properties = layer.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter);
            for (name, schema) in properties {
                fields.insert(name.as_str(), Self::new(self.root, schema, required(name)));
            }
        }
        if fields.is_empty() {
            fields = self.items().or_else(|| self.values()).map(|inner| inner.fields()).unwrap_or_default();
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;
    use shoal_types::Endpoint;

    use super::*;

    #[test]
    fn a_field_is_told_as_people_think_of_it() {
        let schema = schema_for!(Endpoint).to_value();
        let at = |path: &str| {
            let mut field = Field::whole(&schema);
            for name in path.split('.') {
                field = field.fields().remove(name).unwrap_or_else(|| panic!("{name} of {path}"));
            }
            field
        };
        let gpus = at("spec.resources.gpus");
        assert_eq!((gpus.type_name().as_str(), gpus.bounds().as_deref()), ("integer", Some("at most 64")));
        assert_eq!(gpus.default(), Some(&Value::from(0)));
        assert!(gpus.description().contains("Whole GPUs"), "{}", gpus.description());
        assert!(at("spec.model").required && !at("spec.aliases").required);
        assert_eq!(at("spec.aliases").type_name(), "list of string");
        assert_eq!(at("spec.adapters").type_name(), "map of string");
        assert_eq!(at("spec.resources.gpuModel").type_name(), "string");
        let policy = at("spec.routing.policy");
        assert_eq!(policy.choices()[0].0, "prefix");
        assert!(policy.choices()[0].1.contains("cache"), "{:?}", policy.choices());
        let kinds: Vec<&str> = at("spec.engine").kinds().iter().map(|(kind, _)| *kind).collect();
        assert!(kinds.contains(&"vllm") && kinds.contains(&"sim"), "{kinds:?}");
        assert_eq!(at("spec.engine.args").type_name(), "list of string");
        assert_eq!(at("spec.routing.queue").type_name(), "object");
    }
}
