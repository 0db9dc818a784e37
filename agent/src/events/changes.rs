//! From two views, one after the other, to what happened between them: pure.

use std::collections::BTreeMap;

use shoal_types::{
    Claim, ClaimId, Departure, EndpointName, Gpu, Liveness, Mandate, NodeView, ReplicaState, RolloutPhase, View,
};

use super::event::{Draft, Reason, Subject};

/// Whether a peer that is there was not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peers {
    /// The daemon has just started and hears of one after the other.
    BeingFound,
    /// They have all been heard of: another one is new.
    Known,
}

/// What became of the own node, of what is on it, of what it decided, and of its peers.
pub(super) fn changes(before: &View, after: &View, known: Peers) -> Vec<Draft> {
    let mut told = peers(before, after, known);
    if let Some(me) = after.nodes.get(&after.me) {
        let was = before.nodes.get(&before.me);
        let name = &me.facts.name;
        told.extend(departure(name, was.and_then(|was| was.departure.as_ref()), me.departure.as_ref()));
        told.extend(gpus(was.map_or(&[], |was| was.gpus.as_slice()), &me.gpus));
        let none = BTreeMap::new();
        told.extend(claims(was.map_or(&none, |was| &was.claims), &me.claims));
        let none = BTreeMap::new();
        told.extend(mandates(name, was.map_or(&none, |was| &was.mandates), &me.mandates));
    }
    told
}

fn peers(before: &View, after: &View, known: Peers) -> Vec<Draft> {
    let others = |view: &View, node: &NodeView| node.id != view.me;
    let forgotten = before.nodes.values().filter(|node| others(before, node) && !after.nodes.contains_key(&node.id));
    let forgotten = forgotten.filter(|node| node.liveness != Liveness::Left).map(|node| {
        Draft::new(
            Reason::NodeLeft,
            Subject::node(&node.facts.name),
            "it was not heard of for long, or is shut out: it is forgotten",
        )
    });
    let turned = after.nodes.values().filter(|node| others(after, node)).filter_map(|node| {
        let (reason, message) = turn(before.nodes.get(&node.id).map(|node| node.liveness), node.liveness)?;
        let is_news = reason != Reason::NodeJoined || known == Peers::Known;
        is_news.then(|| Draft::new(reason, Subject::node(&node.facts.name), message))
    });
    forgotten.chain(turned).collect()
}

const fn turn(before: Option<Liveness>, now: Liveness) -> Option<(Reason, &'static str)> {
    match (before, now) {
        (Some(Liveness::Alive), Liveness::Alive)
        | (Some(Liveness::Suspect { .. }), Liveness::Suspect { .. })
        | (Some(Liveness::Left), Liveness::Left) => None,
        (None, Liveness::Alive) => Some((Reason::NodeJoined, "it is there")),
        (Some(_), Liveness::Alive) => Some((Reason::NodeBack, "it is back")),
        (_, Liveness::Suspect { .. }) => Some((Reason::NodeSilent, "it is silent: requests go elsewhere")),
        (_, Liveness::Left) => Some((Reason::NodeLeft, "it said goodbye")),
    }
}

fn departure(name: &str, before: Option<&Departure>, now: Option<&Departure>) -> Option<Draft> {
    let about = Subject::node(name);
    match (before, now) {
        (Some(before), Some(now)) if (before.reason, before.deadline) == (now.reason, now.deadline) => None,
        (_, Some(now)) => {
            let by = now.deadline.map(|deadline| format!(" by {deadline}")).unwrap_or_default();
            let detail = now.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(Draft::new(Reason::NodeLeaving, about, format!("it leaves{by}: {}{detail}", now.reason)))
        }
        (Some(_), None) => Some(Draft::new(Reason::NodeStays, about, "it is of use again")),
        (None, None) => None,
    }
}

fn gpus<'a>(before: &'a [Gpu], now: &'a [Gpu]) -> impl Iterator<Item = Draft> + 'a {
    now.iter().filter_map(|gpu| {
        let was = before.iter().find(|was| was.id == gpu.id).and_then(|was| was.fault.as_ref());
        let about = Subject::gpu(&gpu.id);
        match (was, &gpu.fault) {
            (Some(was), Some(fault)) if (was.action, &was.reason) == (fault.action, &fault.reason) => None,
            (_, Some(fault)) => {
                Some(Draft::new(Reason::GpuFault, about, format!("it is {}: {}", fault.action, fault.reason)))
            }
            (Some(_), None) => Some(Draft::new(Reason::GpuWell, about, "it may be used again")),
            (None, None) => None,
        }
    })
}

fn claims(before: &BTreeMap<ClaimId, Claim>, now: &BTreeMap<ClaimId, Claim>) -> Vec<Draft> {
    let replica = |reason: Reason, claim: &Claim, message: String| {
        let name = claim.id.replica_name(&claim.endpoint);
        Draft::new(reason, Subject::replica(&name), message).concerning(&claim.endpoint)
    };
    let because = |claim: &Claim| claim.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let turned = now.values().filter(|claim| before.get(&claim.id).map(|was| was.state) != Some(claim.state));
    let turned = turned.map(|claim| {
        let became = match claim.state {
            ReplicaState::Failed => "it has failed".to_owned(),
            ReplicaState::Backoff => "it has crashed, and is started again".to_owned(),
            state => format!("it is {state}"),
        };
        replica(Reason::of_state(claim.state), claim, became + &because(claim))
    });
    // One that failed has been told of; it was only shown since.
    let gone = before.values().filter(|claim| !now.contains_key(&claim.id) && claim.state != ReplicaState::Failed);
    let gone = gone.map(|claim| {
        replica(Reason::ReplicaGone, claim, format!("it is gone; it was {}{}", claim.state, because(claim)))
    });
    turned.chain(gone).collect()
}

fn mandates(name: &str, before: &BTreeMap<EndpointName, Mandate>, now: &BTreeMap<EndpointName, Mandate>) -> Vec<Draft> {
    let mut told = Vec::new();
    for (endpoint, mandate) in now {
        let was = before.get(endpoint);
        let mut tell = |reason: Reason, message: String| {
            told.push(Draft::of_endpoint(reason, endpoint, message).by(format!("steward {name}")));
        };
        let because = if mandate.reason.is_empty() { String::new() } else { format!(": {}", mandate.reason) };
        let (total, had) = (mandate.total(), was.map(Mandate::total));
        if had != Some(total) {
            let were = had.map(|had| format!(", after {had}")).unwrap_or_default();
            let are = if total == 1 { "replica is" } else { "replicas are" };
            tell(Reason::Scaled, format!("{total} {are} wanted{were}{because}"));
        }
        if let Some((reason, message)) = rollout(was.map(|was| was.rollout), mandate.rollout) {
            tell(reason, format!("{message}{because}"));
        }
    }
    told
}

fn rollout(before: Option<RolloutPhase>, now: RolloutPhase) -> Option<(Reason, String)> {
    use RolloutPhase::{Complete, Paused, Progressing, RolledBack};
    match (before, now) {
        (None | Some(Complete), Complete) | (Some(Paused { .. }), Paused { .. }) | (Some(RolledBack), RolledBack) => {
            None
        }
        (Some(Progressing { step: was, .. }), Progressing { step, .. }) if was == step => None,
        (Some(Progressing { .. } | Paused { .. }), Progressing { step, .. }) => {
            Some((Reason::RolloutStep, format!("its rollout goes on with step {}", step + 1)))
        }
        (_, Progressing { .. }) => Some((Reason::RolloutBegun, "its rollout begins".to_owned())),
        (_, Paused { step }) => Some((Reason::RolloutPaused, format!("its rollout stands still at step {}", step + 1))),
        (_, RolledBack) => Some((Reason::RolledBack, "its old revision has everything back".to_owned())),
        (Some(_), Complete) => Some((Reason::RolloutComplete, "its rollout is complete".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use shoal_types::{Hlc, MeshId, NodeId, Revision, UnixMillis};

    use super::*;

    fn id(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn node(byte: u8, name: &str, with: &Value) -> NodeView {
        let facts = json!({
            "name": name, "labels": {}, "addresses": [], "version": "0.1.0", "protocol": 1,
            "host": {"cpus": 1, "memory": "1GiB", "os": "test"}, "gpuSource": "none", "issuer": false,
            "engines": ["sim"], "started": 0
        });
        let mut node = json!({
            "id": id(byte), "facts": facts, "gpus": [], "claims": {}, "loads": {}, "refusals": [], "departure": null,
            "liveness": "alive", "demands": {}, "mandates": {}, "departures": [], "distances": {}, "models": [],
            "specs": "", "heard": 0
        });
        node.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        serde_json::from_value(node).unwrap()
    }

    fn view(nodes: impl IntoIterator<Item = NodeView>) -> View {
        View {
            me: id(1),
            mesh: MeshId::from_bytes([0; 16]),
            nodes: nodes.into_iter().map(|node| (node.id, Arc::new(node))).collect(),
            endpoints: BTreeMap::new(),
        }
    }

    fn first() -> Revision {
        Revision(Hlc { time: UnixMillis::default(), counter: 0, node: id(1) })
    }

    fn told(before: &View, after: &View) -> Vec<(String, String, String)> {
        let event = |draft: Draft| draft.told(1, UnixMillis::default(), "a");
        changes(before, after, Peers::Known)
            .into_iter()
            .map(event)
            .map(|e| (e.reason, e.about.to_string(), e.message))
            .collect()
    }

    fn reasons(before: &View, after: &View) -> Vec<String> {
        told(before, after).into_iter().map(|(reason, ..)| reason).collect()
    }

    #[test]
    fn peers_that_come_and_go_are_told_once() {
        let with = |liveness: Value| view([node(1, "a", &json!({})), node(2, "b", &json!({"liveness": liveness}))]);
        let (alone, alive) = (view([node(1, "a", &json!({}))]), with(json!("alive")));
        let silent = |since: u64| with(json!({"suspect": {"since": since}}));
        assert_eq!(reasons(&alone, &alive), ["NodeJoined"]);
        assert_eq!(changes(&alone, &alive, Peers::BeingFound), []);
        assert_eq!(reasons(&alive, &silent(1)), ["NodeSilent"]);
        assert_eq!(reasons(&silent(1), &silent(2)), [""; 0]);
        assert_eq!(reasons(&silent(1), &alive), ["NodeBack"]);
        assert_eq!(reasons(&alive, &with(json!("left"))), ["NodeLeft"]);
        assert_eq!(reasons(&with(json!("left")), &alone), [""; 0], "that it left has been told");
        assert_eq!(reasons(&silent(1), &alone), ["NodeLeft"]);
    }

    #[test]
    fn a_replica_tells_each_state_and_why() {
        let with = |state: &str, reason: Option<&str>| {
            let claim = json!({
                "id": ClaimId { node: id(1), generation: UnixMillis::from_millis(1), counter: 1 }, "endpoint": "llama",
                "revision": first(), "claimed": 0, "state": state, "since": 0, "gpus": 1,
                "reason": reason, "progress": null, "leaving": null,
            });
            let claim: Claim = serde_json::from_value(claim).unwrap();
            let mut node = node(1, "a", &json!({}));
            node.claims.insert(claim.id, claim);
            view([node])
        };
        let none = view([node(1, "a", &json!({}))]);
        let begun = told(&none, &with("claimed", None));
        assert_eq!((begun[0].0.as_str(), begun[0].2.as_str()), ("ReplicaClaimed", "it is claimed"));
        assert!(begun[0].1.starts_with("replica/llama-"), "{begun:?}");
        assert_eq!(told(&with("ready", None), &with("ready", Some("busy"))), []);
        let failed = told(&with("ready", None), &with("failed", Some("exit 1")));
        assert_eq!((failed[0].0.as_str(), failed[0].2.as_str()), ("ReplicaFailed", "it has failed: exit 1"));
        assert_eq!(told(&with("failed", None), &none), []);
        assert_eq!(reasons(&with("draining", None), &none), ["ReplicaGone"]);
    }

    #[test]
    fn a_departure_is_told_when_it_begins_changes_and_ends() {
        let with = |departure: Value| view([node(1, "a", &json!({"departure": departure}))]);
        let (stays, drains) = (with(Value::Null), with(json!({"reason": "drain", "since": 1})));
        assert_eq!(reasons(&stays, &drains), ["NodeLeaving"]);
        assert_eq!(reasons(&drains, &with(json!({"reason": "drain", "since": 2}))), [""; 0]);
        let reclaimed = with(json!({"reason": "reclaim", "since": 1, "deadline": 60_000, "detail": "spot"}));
        let line = told(&drains, &reclaimed).remove(0).2;
        assert!(line.starts_with("it leaves by 1970-01-01T00:01:00") && line.ends_with("(spot)"), "{line}");
        assert_eq!(reasons(&reclaimed, &stays), ["NodeStays"]);
    }

    #[test]
    fn a_steward_tells_how_many_it_wants_and_how_rollouts_go() {
        let phase = |phase: RolloutPhase| Some(phase);
        let step = |step| RolloutPhase::Progressing { step, ready: None };
        let word = |before, now| rollout(before, now).map(|(reason, _)| reason);
        assert_eq!(word(None, RolloutPhase::Complete), None);
        assert_eq!(word(phase(RolloutPhase::Complete), step(0)), Some(Reason::RolloutBegun));
        assert_eq!(
            word(phase(step(0)), RolloutPhase::Progressing { step: 0, ready: Some(UnixMillis::default()) }),
            None
        );
        assert_eq!(word(phase(step(0)), step(1)), Some(Reason::RolloutStep));
        assert_eq!(word(phase(step(1)), RolloutPhase::Paused { step: 1 }), Some(Reason::RolloutPaused));
        assert_eq!(word(phase(RolloutPhase::Paused { step: 1 }), step(1)), Some(Reason::RolloutStep));
        assert_eq!(word(phase(step(1)), RolloutPhase::RolledBack), Some(Reason::RolledBack));
        assert_eq!(word(phase(step(1)), RolloutPhase::Complete), Some(Reason::RolloutComplete));
        let with = |replicas: u32| {
            let share = json!({"revision": first(), "replicas": replicas, "weight": 100});
            let mandate = json!({
                "endpoint": "llama", "epoch": 1, "version": first().0, "shares": [share],
                "rollout": {"phase": "complete"}, "reason": "inflight 64 of 32", "since": 0,
            });
            view([node(1, "a", &json!({"mandates": {"llama": mandate}}))])
        };
        let scaled = told(&with(2), &with(4));
        assert_eq!(scaled[0].2, "4 replicas are wanted, after 2: inflight 64 of 32");
        assert_eq!(told(&with(2), &with(2)), []);
    }
}
