//! The total order over the claims on one kind of replica, the same on every node that knows the same claims (DESIGN rule 3).

use std::collections::BTreeMap;

use shoal_types::{EndpointRecord, NodeView, ReplicaState, Spread};

use crate::presence::Holder;

/// What decides before age does; the lesser is the better. Fields compare from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// Before every preference about *where*: a running replica is not moved for a better place (rule 7).
    stage: Stage,
    /// Outside the home cluster.
    overflow: bool,
}

/// How far a claim has come. Crashed ones stand with the starting ones: if a crash lowered a claim, it and the one
/// that overtakes it could each withdraw before the other, for one round of gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Ready,
    Started,
    Claimed,
    Draining,
}

impl From<ReplicaState> for Stage {
    fn from(state: ReplicaState) -> Self {
        match state {
            ReplicaState::Ready => Self::Ready,
            ReplicaState::Preparing
            | ReplicaState::Starting
            | ReplicaState::Loading
            | ReplicaState::Warming
            | ReplicaState::Backoff => Self::Started,
            ReplicaState::Claimed => Self::Claimed,
            // The last two hold no place in the order.
            ReplicaState::Draining | ReplicaState::Asleep | ReplicaState::Failed => Self::Draining,
        }
    }
}

/// Sorts `holders`, which are of one kind, best first: stage, home cluster, spread tier, age, claim id (which starts
/// with the node id).
///
/// The spread tier of a claim is the number of better ones in its zone, so that zones take turns. Taking away a claim
/// promotes only its followers in the zone, and none of them past its place: a surplus claim that goes changes nothing
/// for those before it.
pub(crate) fn sort(holders: &mut Vec<Holder<'_>>, record: &EndpointRecord) {
    let mut keyed: Vec<(Standing, usize, Holder<'_>)> =
        holders.drain(..).map(|holder| (standing(&holder, record), 0, holder)).collect();
    keyed.sort_by_key(|(standing, _, holder)| (*standing, holder.claim.claimed, holder.claim.id));
    let mut seen = BTreeMap::new();
    for (_, tier, holder) in &mut keyed {
        if let Some(zone) = spread_domain(holder.node, record) {
            let better = seen.entry(zone).or_insert(0);
            *tier = *better;
            *better += 1;
        }
    }
    keyed.sort_by_key(|(standing, tier, holder)| (*standing, *tier, holder.claim.claimed, holder.claim.id));
    holders.extend(keyed.into_iter().map(|(_, _, holder)| holder));
}

fn standing(holder: &Holder<'_>, record: &EndpointRecord) -> Standing {
    Standing { stage: holder.claim.state.into(), overflow: is_overflow(holder.node, record) }
}

/// Whether `node` stands outside the endpoint's home cluster; never, if it has none.
pub(crate) fn is_overflow(node: &NodeView, record: &EndpointRecord) -> bool {
    record.endpoint.spec.placement.home.as_ref().is_some_and(|home| *home != node.facts.labels.cluster)
}

/// The domain over which replicas of the endpoint are spread; all nodes without a zone are one, as nothing says that
/// they do not fail together. `None` if the endpoint is not spread.
pub(crate) fn spread_domain<'a>(node: &'a NodeView, record: &EndpointRecord) -> Option<&'a str> {
    record.endpoint.spec.placement.spread.map(|Spread::Zone| node.facts.labels.zone.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use shoal_types::ClaimId;

    use super::*;
    use crate::tests::fleet::Fleet;

    fn order(fleet: &Fleet) -> Vec<ClaimId> {
        let record = fleet.record("a");
        let claims = fleet.view.claims_of(&record.endpoint.metadata.name);
        let mut holders: Vec<Holder<'_>> = claims.map(|(node, claim)| Holder { node, claim }).collect();
        sort(&mut holders, record);
        holders.iter().map(|holder| holder.claim.id).collect()
    }

    #[test]
    fn stage_comes_before_home_and_home_before_age() {
        let mut fleet = Fleet::new().node(1, 8).node(2, 8).cluster(2, "home").endpoint("a", 1, 1);
        fleet = fleet.spec("a", |spec| spec.placement.home = Some("home".to_owned()));
        let away = fleet.claim(1, "a", ReplicaState::Starting, 0);
        let at_home = fleet.claim(2, "a", ReplicaState::Starting, 9);
        let ready_away = fleet.claim(1, "a", ReplicaState::Ready, 9);
        let draining = fleet.claim(2, "a", ReplicaState::Draining, 0);
        assert_eq!(order(&fleet), [ready_away, at_home, away, draining]);
    }

    #[test]
    fn zones_take_turns_if_the_endpoint_is_spread() {
        let mut fleet = Fleet::new().node(1, 8).node(2, 8).zone(1, "x").zone(2, "y").endpoint("a", 1, 1);
        let x: Vec<ClaimId> = (0..3).map(|age| fleet.claim(1, "a", ReplicaState::Ready, age)).collect();
        let y: Vec<ClaimId> = (3..5).map(|age| fleet.claim(2, "a", ReplicaState::Ready, age)).collect();
        assert_eq!(order(&fleet), [x[0], x[1], x[2], y[0], y[1]]);
        let fleet = fleet.spec("a", |spec| spec.placement.spread = Some(Spread::Zone));
        assert_eq!(order(&fleet), [x[0], y[0], x[1], y[1], x[2]]);
    }
}
