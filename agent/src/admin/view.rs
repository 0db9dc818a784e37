//! From the view to what the admin API answers: pure.

use std::{cell::OnceCell, collections::BTreeMap, time::Duration};

use shoal_placement::{Desired, MakesRoom, Scene, candidates, making_room};
use shoal_types::{
    Claim, DepartureReason, EndpointRecord, GpuSource, Liveness, NodeId, NodeView, ReplicaState, RolloutPhase,
    UnixMillis, View,
};

use super::model::{EndpointCondition, EndpointHealth, EndpointStatus, NodeStatus, ReplicaStatus};

/// All nodes. `rtt` gives the round trip to a peer.
pub(crate) fn nodes(view: &View, rtt: &BTreeMap<NodeId, Duration>, now: UnixMillis) -> Vec<NodeStatus> {
    let mut nodes: Vec<_> =
        view.nodes.values().map(|node| self::node(view, node, rtt.get(&node.id).copied(), now)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

fn node(view: &View, node: &NodeView, rtt: Option<Duration>, now: UnixMillis) -> NodeStatus {
    NodeStatus {
        id: node.id,
        name: node.facts.name.clone(),
        liveness: node.liveness,
        departure: node.departure.clone(),
        facts: node.facts.clone(),
        gpus: node.gpus.clone(),
        gpus_free: node.gpus.iter().filter(|gpu| gpu.is_free()).count(),
        replicas: node.claims.values().map(|claim| replica(view, node, claim, now)).collect(),
        age_ms: age(view, node, now),
        rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
    }
}

/// Milliseconds since `node` last said something new.
fn age(view: &View, node: &NodeView, now: UnixMillis) -> u64 {
    if node.id == view.me { 0 } else { millis(now.since(node.heard)) }
}

/// All replicas of all endpoints.
pub(crate) fn replicas(view: &View, now: UnixMillis) -> Vec<ReplicaStatus> {
    let mut replicas: Vec<_> = view.claims().map(|(node, claim)| replica(view, node, claim, now)).collect();
    replicas.sort_by(|a, b| a.name.cmp(&b.name));
    replicas
}

fn replica(view: &View, node: &NodeView, claim: &Claim, now: UnixMillis) -> ReplicaStatus {
    ReplicaStatus {
        name: claim.id.replica_name(&claim.endpoint),
        claim: claim.id,
        endpoint: claim.endpoint.clone(),
        revision: claim.revision,
        node: node.facts.name.clone(),
        liveness: node.liveness,
        age_ms: age(view, node, now),
        zone: node.facts.labels.zone.clone(),
        state: claim.state,
        since: claim.since,
        since_ms: millis(now.since(claim.since)),
        gpus: claim.gpus,
        reason: claim.reason.clone(),
        progress: claim.progress,
        leaving: claim.leaving.clone(),
        load: node.loads.get(&claim.id).copied(),
    }
}

/// All endpoints.
pub(crate) fn endpoints(scene: &Scene<'_>) -> Vec<EndpointStatus> {
    let making = OnceCell::new();
    scene.view.endpoints.values().map(|record| endpoint(scene, record, &making)).collect()
}

/// `making` is where room is being made, once that has been asked for.
fn endpoint(scene: &Scene<'_>, record: &EndpointRecord, making: &OnceCell<Vec<MakesRoom>>) -> EndpointStatus {
    let (view, name) = (scene.view, &record.endpoint.metadata.name);
    let desired = Desired::of(scene, record);
    let wanted = |node: &NodeView, claim: &Claim| node.is_alive() && desired.of_revision(claim.revision) > 0;
    let counted = |state: fn(ReplicaState) -> bool| {
        view.claims_of(name).filter(|(node, claim)| wanted(node, claim) && state(claim.state)).count()
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let ready = count(counted(ReplicaState::serves));
    let coming = count(counted(|state| state.counts() && state != ReplicaState::Draining));
    let candidates = candidates(view, record, scene.now);
    let mandate = scene.memory.mandate(name).map(|heard| &heard.mandate);
    let health = match mandate.filter(|mandate| mandate.version >= record.version).map(|mandate| mandate.rollout) {
        Some(RolloutPhase::RolledBack) => EndpointHealth::RolledBack,
        Some(RolloutPhase::Paused { .. }) => EndpointHealth::Paused,
        Some(RolloutPhase::Complete) if desired.total() == 0 => EndpointHealth::Idle,
        Some(RolloutPhase::Complete) if ready >= desired.total() => EndpointHealth::Ready,
        // The steward has not spoken yet, or what it wants is not there yet.
        Some(RolloutPhase::Complete | RolloutPhase::Progressing { .. }) | None => {
            let gets_room = || making.get_or_init(|| making_room(scene)).iter().any(|room| room.for_endpoint == *name);
            let unplaceable = coming < desired.total() && candidates.ranked.is_empty() && !gets_room();
            if unplaceable { EndpointHealth::Unplaceable } else { EndpointHealth::Progressing }
        }
    };
    let node_name = |id: &NodeId| view.nodes.get(id).map_or_else(|| id.short(), |node| node.facts.name.clone());
    let replicas: Vec<_> = view.claims_of(name).map(|(node, claim)| replica(view, node, claim, scene.now)).collect();
    EndpointStatus {
        endpoint: record.endpoint.clone(),
        status: EndpointCondition {
            health,
            desired: desired.total(),
            ready,
            revision: record.revision,
            version: record.version,
            age_ms: replicas.iter().map(|replica| replica.age_ms).max().unwrap_or(0),
            reason: mandate.map(|mandate| mandate.reason.clone()).filter(|reason| !reason.is_empty()),
            replicas,
            excluded: candidates.excluded.iter().map(|(id, why)| (node_name(id), why.to_string())).collect(),
        },
    }
}

/// What needs somebody's attention.
pub(crate) fn problems(
    nodes: &[NodeStatus],
    endpoints: &[EndpointStatus],
    refusals: &BTreeMap<NodeId, String>,
    now: UnixMillis,
) -> Vec<String> {
    let refused = refusals.iter().map(|(node, why)| format!("node {} refuses this node: {why}", node.short()));
    let quiet = nodes.iter().filter_map(|node| match node.liveness {
        Liveness::Suspect { since } => {
            Some(format!("node {} has been silent for {} s", node.name, now.since(since).as_secs()))
        }
        Liveness::Alive | Liveness::Left => None,
    });
    // Of a node that has left nothing is expected any more, whatever it said last.
    let there = || nodes.iter().filter(|node| node.liveness != Liveness::Left);
    let leaving = there().filter_map(|node| {
        let departure = node.departure.as_ref().filter(|departure| departure.reason != DepartureReason::Drain)?;
        let detail = departure.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let by = departure.deadline.map(|deadline| format!(" by {deadline}")).unwrap_or_default();
        Some(format!("node {} leaves{by}: {}{detail}", node.name, departure.reason))
    });
    let ill = there().flat_map(|node| {
        node.gpus.iter().filter_map(move |gpu| {
            let fault = gpu.fault.as_ref()?;
            let (node, id) = (&node.name, &gpu.id);
            Some(format!(
                "GPU {id} of node {node} is {}: {}; `shoal undrain {node} --gpu {id}` once it is well",
                fault.action, fault.reason
            ))
        })
    });
    let unknown = nodes.iter().filter(|node| node.facts.gpu_source == GpuSource::Nvml).flat_map(|node| {
        // The driver tells the memory of whatever it still knows.
        let silent = node.gpus.iter().filter(|gpu| gpu.mig.is_none() && gpu.memory_used.is_none());
        silent.map(|gpu| format!("GPU {} of node {}: its driver does not say how it is", gpu.id, node.name))
    });
    let lacking = endpoints.iter().filter_map(|endpoint| {
        let name = &endpoint.endpoint.metadata.name;
        let status = &endpoint.status;
        match status.health {
            EndpointHealth::Ready | EndpointHealth::Idle => None,
            // Somebody wanted it so.
            EndpointHealth::Paused if endpoint.endpoint.spec.rollout.paused => None,
            EndpointHealth::Paused | EndpointHealth::RolledBack => {
                let why = status.reason.as_deref().unwrap_or_default();
                Some(format!("endpoint {name}: its rollout is {}: {why}; see `shoal rollout status {name}`", status.health.text()))
            }
            // All serve, but not all of them what was applied last.
            EndpointHealth::Progressing if status.ready >= status.desired => Some(format!(
                "endpoint {name}: its rollout is not complete; see `shoal rollout status {name}` and `shoal why endpoint/{name}`"
            )),
            EndpointHealth::Progressing => {
                Some(format!("endpoint {name}: {} of {} replicas ready", status.ready, status.desired))
            }
            EndpointHealth::Unplaceable => Some(format!(
                "endpoint {name}: {} of {} replicas ready and no node can run another; see `shoal why endpoint/{name}`",
                status.ready, status.desired
            )),
        }
    });
    refused.chain(quiet).chain(leaving).chain(ill).chain(unknown).chain(lacking).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
