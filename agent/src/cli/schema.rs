//! `shoal config schema` and `shoal explain`.

mod explain;
mod field;
mod reference;

use schemars::schema_for;
use serde_json::Value;
use shoal_types::Endpoint;

use self::field::Field;
use super::{
    args::{ConfigVerb, ExplainArgs, SchemaOf},
    output::out,
};
use crate::{
    admin::{Code, Problem},
    config::Config,
};

pub(super) fn run(verb: ConfigVerb) -> Result<(), Problem> {
    let ConfigVerb::Schema { of } = verb;
    let text = serde_json::to_string_pretty(&schema(of)).map_err(|error| Problem::new(Code::Failed, error))?;
    out(&(text + "\n"))
}

fn schema(of: SchemaOf) -> Value {
    match of {
        SchemaOf::Endpoint => schema_for!(Endpoint).to_value(),
        SchemaOf::Node => schema_for!(Config).to_value(),
    }
}

pub(super) fn explain(args: &ExplainArgs) -> Result<(), Problem> {
    let kind = args.path.split('.').next().unwrap_or_default();
    let of = document(kind).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is nothing to explain of `{kind}`"))
            .hint("shoal explain endpoint[.FIELD], or shoal explain config[.FIELD] for the file of a node")
    })?;
    out(&explain::explain(Field::whole(&schema(of)), &args.path)?)
}

fn document(kind: &str) -> Option<SchemaOf> {
    match kind {
        "endpoint" | "endpoints" | "ep" => Some(SchemaOf::Endpoint),
        "config" | "node" => Some(SchemaOf::Node),
        _ => None,
    }
}

/// The paths one step below `path`, such as `endpoint.spec.model` below `endpoint.spec`; the documents below nothing.
pub(super) fn fields_below(path: &str) -> Vec<String> {
    let mut names = path.split('.');
    let Some(of) = names.next().and_then(document) else { return vec!["endpoint".to_owned(), "config".to_owned()] };
    let schema = schema(of);
    let below = names.try_fold(Field::whole(&schema), |field, name| field.fields().remove(name));
    let fields = below.map(|field| field.fields()).unwrap_or_default();
    fields.into_keys().map(|name| format!("{path}.{name}")).collect()
}

/// `docs/endpoint-reference.md`.
pub(super) fn endpoint_reference() -> String {
    reference::endpoint(&Field::whole(&schema(SchemaOf::Endpoint)))
}
