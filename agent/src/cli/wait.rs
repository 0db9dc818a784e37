//! Waiting with visible progress: a line on standard error for every change.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use shoal_types::EndpointName;
use tokio::time::{Instant, sleep};

use super::{args::WaitArgs, client::Client, listed::replica_state, output::note, table::or_dash};
use crate::admin::{AppliedStatus, Code, EndpointHealth, EndpointStatus, NodeStatus, Problem, ReplicaStatus};

/// Time between two looks.
const POLL: Duration = Duration::from_millis(100);
/// How long "no node can run it" must last before a wait gives up: nodes may just be joining.
const UNPLACEABLE_GRACE: Duration = Duration::from_secs(10);

/// Nodes that are named of those with the same reason.
const NAMED: usize = 4;

/// Takes lines of progress.
pub(crate) type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Waits for what was applied, where that is asked for.
pub(super) async fn if_wanted(client: &Client, applied: &[AppliedStatus], wait: &WaitArgs) -> Result<(), Problem> {
    if wait.wait { ready(client, applied, wait.timeout, &mut |line| note(line)).await } else { Ok(()) }
}

/// Waits until all replicas of what was applied serve, at that version or a later one.
pub(crate) async fn ready(
    client: &Client,
    applied: &[AppliedStatus],
    limit: Duration,
    progress: Progress<'_>,
) -> Result<(), Problem> {
    let start = Instant::now();
    let mut shown = BTreeMap::new();
    let mut placeable = start;
    loop {
        let endpoints = chosen(client, applied).await?;
        for replica in endpoints.iter().flat_map(|endpoint| &endpoint.status.replicas) {
            show(replica, start.elapsed(), &mut shown, progress);
        }
        let unplaceable = endpoints.iter().find(|endpoint| endpoint.status.health == EndpointHealth::Unplaceable);
        if endpoints.len() == applied.len() && endpoints.iter().all(is_done) {
            return Ok(());
        }
        let stuck = |endpoint: &&EndpointStatus| {
            matches!(endpoint.status.health, EndpointHealth::Paused | EndpointHealth::RolledBack)
        };
        if let Some(endpoint) = endpoints.iter().find(stuck) {
            return Err(is_stuck(endpoint));
        }
        match unplaceable {
            Some(endpoint) if placeable.elapsed() > UNPLACEABLE_GRACE => return Err(cannot_be_placed(endpoint)),
            Some(_) => {}
            None => placeable = Instant::now(),
        }
        if start.elapsed() > limit {
            return Err(not_in_time(&endpoints, applied, limit));
        }
        sleep(POLL).await;
    }
}

/// Waits until no replica of `names` is left but such as have failed.
pub(super) async fn gone(
    client: &Client,
    names: &[EndpointName],
    limit: Duration,
    progress: Progress<'_>,
) -> Result<(), Problem> {
    let start = Instant::now();
    let mut shown = BTreeMap::new();
    loop {
        let mut replicas: Vec<ReplicaStatus> = client.get("/v1/replicas").await?;
        replicas.retain(|replica| names.contains(&replica.endpoint) && !replica.is_over());
        if replicas.is_empty() {
            return Ok(());
        }
        replicas.iter().for_each(|replica| show(replica, start.elapsed(), &mut shown, progress));
        if start.elapsed() > limit {
            let problem = format!("{} replica(s) are left after {limit:?}", replicas.len());
            return Err(Problem::new(Code::Timeout, problem).hint("shoal get replicas"));
        }
        sleep(POLL).await;
    }
}

/// Waits until node `name` has no replica but such as have failed.
pub(super) async fn empty(client: &Client, name: &str, limit: Duration) -> Result<(), Problem> {
    until(limit, "the node still has replicas", "shoal get replicas", async || {
        let nodes: Vec<NodeStatus> = super::get::list(client, &[name]).await?;
        Ok(nodes.iter().flat_map(|node| &node.replicas).all(ReplicaStatus::is_over))
    })
    .await
}

pub(super) async fn until(
    limit: Duration,
    otherwise: &str,
    hint: &str,
    done: impl AsyncFn() -> Result<bool, Problem>,
) -> Result<(), Problem> {
    let start = Instant::now();
    while !done().await? {
        if start.elapsed() > limit {
            return Err(Problem::new(Code::Timeout, format!("{otherwise} after {limit:?}")).hint(hint));
        }
        sleep(POLL).await;
    }
    Ok(())
}

async fn chosen(client: &Client, applied: &[AppliedStatus]) -> Result<Vec<EndpointStatus>, Problem> {
    let mut endpoints: Vec<EndpointStatus> = client.get("/v1/endpoints").await?;
    let is = |endpoint: &EndpointStatus, applied: &AppliedStatus| {
        endpoint.endpoint.metadata.name == applied.name && endpoint.status.version >= applied.version
    };
    endpoints.retain(|endpoint| applied.iter().any(|applied| is(endpoint, applied)));
    Ok(endpoints)
}

fn show(replica: &ReplicaStatus, elapsed: Duration, shown: &mut BTreeMap<String, String>, progress: Progress<'_>) {
    let state = replica_state(replica);
    if shown.insert(replica.name.clone(), state.clone()) != Some(state.clone()) {
        let reason = replica.reason.as_ref().map(|reason| format!("  {reason}")).unwrap_or_default();
        let zone = or_dash(replica.zone.as_ref());
        progress(&format!(
            "{:>6.1}s  {}  on {} ({zone})  {state}{reason}",
            elapsed.as_secs_f64(),
            replica.name,
            replica.node
        ));
    }
}

/// Whether all that is wanted of it now is there.
const fn is_done(endpoint: &EndpointStatus) -> bool {
    matches!(endpoint.status.health, EndpointHealth::Ready | EndpointHealth::Idle)
}

fn is_stuck(endpoint: &EndpointStatus) -> Problem {
    let (name, status) = (&endpoint.endpoint.metadata.name, &endpoint.status);
    let why = status.reason.as_deref().unwrap_or("it does not say why");
    Problem::new(Code::NotReady, format!("endpoint {name}: its rollout is {}: {why}", status.health.text()))
        .hint(format!("shoal rollout status {name}"))
}

fn cannot_be_placed(endpoint: &EndpointStatus) -> Problem {
    let (name, status) = (&endpoint.endpoint.metadata.name, &endpoint.status);
    let message =
        format!("endpoint {name}: {} of {} replicas ready, and no node can run another", status.ready, status.desired);
    Problem::new(Code::NotReady, message)
        .needs(needs(endpoint))
        .tried(tried(&status.excluded))
        .hint(format!("shoal why endpoint/{name}"))
}

/// What one replica needs, such as `per replica: 2 GPUs (H100, each at least 80GiB), engine vllm`.
fn needs(endpoint: &EndpointStatus) -> String {
    let spec = &endpoint.endpoint.spec;
    let resources = &spec.resources;
    let memory = resources.gpu_memory.map(|memory| format!("each at least {memory}"));
    let kind: Vec<String> =
        [resources.gpu_model.clone(), resources.mig.clone(), memory].into_iter().flatten().collect();
    let kind = if kind.is_empty() { String::new() } else { format!(" ({})", kind.join(", ")) };
    let gpus = match resources.gpus {
        0 => "no GPU".to_owned(),
        1 => format!("1 GPU{kind}"),
        gpus => format!("{gpus} GPUs{kind}"),
    };
    format!("per replica: {gpus}, engine {}", spec.engine.kind())
}

/// Why nodes do not run another replica: those with the same reason together, most first.
fn tried(excluded: &BTreeMap<String, String>) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, why) in excluded {
        by_reason.entry(why).or_default().push(node);
    }
    let mut reasons: Vec<_> = by_reason.into_iter().collect();
    reasons.sort_by_key(|(_, nodes)| Reverse(nodes.len()));
    let line = |(why, nodes): (&str, Vec<&str>)| {
        let more = nodes.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = nodes.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        format!("{} node{} ({names}{more}): {why}", nodes.len(), if nodes.len() == 1 { "" } else { "s" })
    };
    reasons.into_iter().map(line).collect()
}

fn not_in_time(endpoints: &[EndpointStatus], applied: &[AppliedStatus], limit: Duration) -> Problem {
    let mut message = format!("not ready after {limit:?}");
    let late: Vec<&EndpointStatus> = endpoints.iter().filter(|endpoint| !is_done(endpoint)).collect();
    for endpoint in &late {
        let (name, status) = (&endpoint.endpoint.metadata.name, &endpoint.status);
        let rest =
            if status.ready < status.desired { "" } else { ", but not all of them are of what was applied last" };
        message += &format!("\nendpoint {name}: {} of {} replicas ready{rest}", status.ready, status.desired);
    }
    let first = applied.first().map_or("NAME", |applied| applied.name.as_str());
    let reasons = late.iter().flat_map(|endpoint| tried(&endpoint.status.excluded)).collect();
    Problem::new(Code::Timeout, message).tried(reasons).hint(format!("shoal why endpoint/{first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_with_the_same_reason_are_told_together() {
        let excluded = [("a", "full"), ("b", "draining"), ("c", "full"), ("d", "full"), ("e", "full"), ("f", "full")];
        let excluded = excluded.map(|(node, why)| (node.to_owned(), why.to_owned())).into();
        assert_eq!(tried(&excluded), ["5 nodes (a, c, d, e and 1 more): full", "1 node (b): draining"]);
    }
}
