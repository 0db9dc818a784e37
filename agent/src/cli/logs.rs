//! `shoal logs`.

use shoal_types::{ClaimId, Liveness};

use super::{
    args::LogsArgs,
    client::Client,
    output::{note, out_bytes},
};
use crate::admin::{Code, LogQuery, Problem, ReplicaStatus};

pub(super) async fn run(client: &Client, args: LogsArgs) -> Result<(), Problem> {
    let claim = match args.name.parse::<ClaimId>() {
        Ok(claim) => claim,
        Err(_) => find(client, &args.name).await?.claim,
    };
    let query = LogQuery { tail: args.tail, follow: args.follow, previous: args.previous };
    let LogQuery { tail, follow, previous } = query;
    let path = format!("/v1/replicas/{claim}/logs?tail={tail}&follow={follow}&previous={previous}");
    let mut lines = client.stream(&path).await?;
    while let Some(piece) = lines.next().await? {
        if !out_bytes(&piece)? {
            break;
        }
    }
    Ok(())
}

/// The replica called `name`, or the newest of the endpoint called so.
async fn find(client: &Client, name: &str) -> Result<ReplicaStatus, Problem> {
    let replicas: Vec<ReplicaStatus> = client.get("/v1/replicas").await?;
    let of_endpoint = |replica: &&ReplicaStatus| replica.endpoint.as_str() == name;
    if replicas.iter().filter(of_endpoint).count() > 1 {
        note("the endpoint has several replicas; showing the newest (shoal get replicas lists all)");
    }
    let exact = replicas.iter().find(|replica| replica.name == name);
    exact
        .or_else(|| {
            replicas
                .iter()
                .filter(of_endpoint)
                .min_by_key(|replica| (replica.liveness != Liveness::Alive, replica.since_ms))
        })
        .cloned()
        .ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no replica or endpoint `{name}`")).hint("shoal get replicas")
        })
}
