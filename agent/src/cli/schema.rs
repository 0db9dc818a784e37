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
    let of = match kind {
        "endpoint" | "endpoints" | "ep" => SchemaOf::Endpoint,
        "config" | "node" => SchemaOf::Node,
        other => {
            return Err(Problem::new(Code::NotFound, format!("there is nothing to explain of `{other}`"))
                .hint("shoal explain endpoint[.FIELD], or shoal explain config[.FIELD] for the file of a node"));
        }
    };
    let schema = schema(of);
    out(&explain::explain(Field::whole(&schema), &args.path)?)
}

/// `docs/endpoint-reference.md`.
pub(super) fn endpoint_reference() -> String {
    reference::endpoint(&Field::whole(&schema(SchemaOf::Endpoint)))
}
