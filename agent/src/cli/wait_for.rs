//! `shoal wait`.

use std::time::Duration;

use shoal_types::{EndpointName, Liveness};

use super::{
    args::{Resource, WaitFor, WaitForArgs},
    client::Client,
    get::list,
    output::{note, out},
    target::Targets,
    wait,
};
use crate::admin::{AppliedStatus, ApplyOutcome, Code, EndpointStatus, NodeStatus, Problem};

pub(super) async fn run(client: &Client, args: WaitForArgs) -> Result<(), Problem> {
    let Targets { resource, names } = Targets::parse(&args.target)?;
    let kind = resource.words()[1];
    if names.is_empty() {
        return Err(Problem::new(Code::Invalid, format!("no {kind} is named")).hint(format!("{kind}/NAME")));
    }
    match (resource, args.until) {
        (Resource::Endpoints, WaitFor::Ready) => endpoints_ready(client, &names, args.timeout).await?,
        (Resource::Endpoints, WaitFor::Deleted) => endpoints_deleted(client, &names, args.timeout).await?,
        (Resource::Nodes, until) => nodes(client, &names, until, args.timeout).await?,
        (Resource::Replicas | Resource::Keys | Resource::Tokens, _) => {
            return Err(Problem::new(Code::Invalid, format!("nothing can be waited for of a {kind}"))
                .hint("shoal wait endpoint/NAME, or shoal wait node/NAME"));
        }
    }
    let word = match args.until {
        WaitFor::Ready => "is ready",
        WaitFor::Deleted => "is gone",
    };
    names.iter().try_for_each(|name| out(&format!("{kind} {name} {word}\n")))
}

/// As they are now or become later; one that is not there is a mistake rather than one to come.
async fn endpoints_ready(client: &Client, names: &[String], limit: Duration) -> Result<(), Problem> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let endpoints: Vec<EndpointStatus> = list(client, &names).await?;
    let now = |one: EndpointStatus| AppliedStatus {
        name: one.endpoint.metadata.name,
        outcome: ApplyOutcome::Unchanged,
        version: one.status.version,
    };
    let endpoints: Vec<AppliedStatus> = endpoints.into_iter().map(now).collect();
    wait::ready(client, &endpoints, limit, &mut |line| note(line)).await
}

async fn endpoints_deleted(client: &Client, names: &[String], limit: Duration) -> Result<(), Problem> {
    let parse = |name: &String| name.parse().map_err(|error| Problem::new(Code::Invalid, error));
    let names: Vec<EndpointName> = names.iter().map(parse).collect::<Result<_, _>>()?;
    wait::until(limit, "the endpoint is still there", "shoal delete endpoint NAME", async || {
        let all: Vec<EndpointStatus> = client.get("/v1/endpoints").await?;
        Ok(!all.iter().any(|one| names.contains(&one.endpoint.metadata.name)))
    })
    .await?;
    wait::gone(client, &names, limit, &mut |line| note(line)).await
}

/// One that is not there may join yet.
async fn nodes(client: &Client, names: &[String], until: WaitFor, limit: Duration) -> Result<(), Problem> {
    let is = |name: &str, node: &NodeStatus| node.name == name || node.id.to_string().starts_with(name);
    let so = |node: Option<&NodeStatus>| match (until, node) {
        (WaitFor::Ready, Some(node)) => node.liveness == Liveness::Alive && node.departure.is_none(),
        (WaitFor::Ready, None) => false,
        (WaitFor::Deleted, node) => node.is_none_or(|node| node.liveness == Liveness::Left),
    };
    let otherwise = match until {
        WaitFor::Ready => "the node is not there, or takes no replicas,",
        WaitFor::Deleted => "the node is still there",
    };
    wait::until(limit, otherwise, "shoal get nodes", async || {
        let all: Vec<NodeStatus> = client.get("/v1/nodes").await?;
        Ok(names.iter().all(|name| so(all.iter().find(|node| is(name, node)))))
    })
    .await
}
