//! `shoal export`: documents that `shoal apply` takes.

use super::{
    args::ExportArgs,
    client::Client,
    get::list,
    output::{note, out},
    target::Targets,
};
use crate::admin::{Code, EndpointStatus, Problem};

pub(super) async fn run(client: &Client, args: ExportArgs) -> Result<(), Problem> {
    let names = if args.all { Vec::new() } else { Targets::endpoints(&args.target, "export")? };
    if names.is_empty() && !args.all {
        return Err(Problem::new(Code::Invalid, "no endpoint is named").hint("--all, or endpoint NAME..."));
    }
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let endpoints: Vec<EndpointStatus> = list(client, &names).await?;
    if endpoints.is_empty() {
        note("there is no endpoint");
    }
    let document = |one: &EndpointStatus| {
        serde_saphyr::to_string(&one.endpoint).map_err(|error| {
            Problem::new(Code::Failed, format!("cannot print endpoint {}: {error}", one.endpoint.metadata.name))
        })
    };
    let documents: Vec<String> = endpoints.iter().map(document).collect::<Result<_, _>>()?;
    out(&documents.join("---\n"))
}
