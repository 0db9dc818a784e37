//! `shoal scale`: another number of replicas, and nothing else.

use shoal_types::{Endpoint, Replicas};

use super::{apply::told, args::ScaleArgs, client::Client, get::list, target::Targets, wait};
use crate::admin::{AppliedStatus, Code, EndpointStatus, Problem};

pub(super) async fn run(client: &Client, args: ScaleArgs) -> Result<(), Problem> {
    let names = Targets::endpoints(&args.target, "scale")?;
    if names.is_empty() {
        return Err(Problem::new(Code::Invalid, "no endpoint is named").hint("shoal scale endpoint NAME --replicas N"));
    }
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let mut applied = Vec::with_capacity(names.len());
    for EndpointStatus { endpoint, status } in list(client, &names).await? {
        let version = status.version;
        let scaled = scaled(endpoint, &args);
        let document = serde_json::to_string(&scaled).map_err(|error| Problem::new(Code::Failed, error))?;
        // Whoever changed it since would have that undone.
        let one: Vec<AppliedStatus> = client.post_text(&format!("/v1/endpoints?expect={version}"), document).await?;
        applied.extend(one);
    }
    told(&applied, &args.output.output)?;
    wait::if_wanted(client, &applied, &args.wait).await
}

fn scaled(endpoint: Endpoint, args: &ScaleArgs) -> Endpoint {
    let mut endpoint = endpoint;
    let before = &endpoint.spec.replicas;
    endpoint.spec.replicas = match args.replicas {
        Some(exactly) => Replicas { min: exactly, max: None },
        None => Replicas { min: args.min.unwrap_or(before.min), max: args.max.or(before.max) },
    };
    endpoint
}
