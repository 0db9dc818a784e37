//! `shoal config schema`.

use schemars::schema_for;
use shoal_types::Endpoint;

use super::{
    args::{ConfigVerb, SchemaOf},
    output::out,
};
use crate::{
    admin::{Code, Problem},
    config::Config,
};

pub(super) fn run(verb: ConfigVerb) -> Result<(), Problem> {
    let ConfigVerb::Schema { of } = verb;
    let schema = match of {
        SchemaOf::Endpoint => schema_for!(Endpoint),
        SchemaOf::Node => schema_for!(Config),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Problem::new(Code::Failed, error))?;
    out(&(text + "\n"))
}
