//! Which claims count, when their nodes have gone quiet.

use std::time::Duration;

use shoal_types::{Claim, EndpointRecord, Liveness, NodeView, ReplicaState, UnixMillis};

use crate::desired::Desired;

/// How long quiet nodes are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) now: UnixMillis,
    /// Set while this node takes itself for the one cut off: until then nobody counts as gone.
    pub(crate) guard: Option<UnixMillis>,
}

/// One claim with its node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) node: &'a NodeView,
    pub(crate) claim: &'a Claim,
}

impl Holder<'_> {
    /// Whether it is meant to go on: neither it nor its node is leaving.
    pub(crate) const fn stays(&self) -> bool {
        self.node.departure.is_none()
            && self.claim.leaving.is_none()
            && !matches!(self.claim.state, ReplicaState::Draining)
    }

    /// Whether requests can be sent to it now.
    pub(crate) const fn serves(&self) -> bool {
        self.node.is_alive() && self.claim.state.serves()
    }
}

/// The claims on one endpoint that count, in no order.
#[derive(Debug)]
pub(crate) struct Present<'a> {
    pub(crate) holders: Vec<Holder<'a>>,
    /// Those that could be woken at once, in the order in which they are.
    pub(crate) sleepers: Vec<Holder<'a>>,
    /// When the first of those that are only waited for stops to count.
    pub(crate) until: Option<UnixMillis>,
}

/// The claims among `claims` that count: of nodes that are there, and of quiet ones for `replaceAfter`, because a model
/// load is dear. Nothing is waited for where nobody else serves: see [`forget_last`].
pub(crate) fn present<'a>(
    claims: &[(&'a NodeView, &'a Claim)],
    record: &EndpointRecord,
    desired: &Desired,
    patience: &Patience,
) -> Present<'a> {
    let hold = record.endpoint.spec.placement.replace_after.0;
    let (counting, others): (Vec<Holder<'a>>, Vec<Holder<'a>>) =
        claims.iter().map(|&(node, claim)| Holder { node, claim }).partition(|holder| holder.claim.state.counts());
    let mut holders: Vec<Holder<'a>> = counting
        .into_iter()
        .filter(|holder| waits_until(holder.node, hold, patience).is_none_or(|until| patience.now < until))
        .filter(|holder| !matches!(holder.node.liveness, Liveness::Left))
        .collect();
    // Also of the one that is not waited for: when its time is over, it may be another's turn.
    let until = holders.iter().filter_map(|holder| waits_until(holder.node, hold, patience)).min();
    forget_last(&mut holders, desired);
    Present { holders, sleepers: sleepers(others, desired), until }
}

/// Sleeping replicas on nodes that are there, of a wanted revision and not on their way out.
fn sleepers<'a>(mut others: Vec<Holder<'a>>, desired: &Desired) -> Vec<Holder<'a>> {
    others.retain(|holder| {
        let asleep = holder.claim.state == ReplicaState::Asleep && desired.wants(holder.claim.revision);
        asleep && holder.stays() && holder.node.is_alive()
    });
    others.sort_by_key(|holder| (holder.claim.claimed, holder.claim.id));
    others
}

/// When the claims of a quiet node stop to count; `None` if it is not quiet.
fn waits_until(node: &NodeView, hold: Duration, patience: &Patience) -> Option<UnixMillis> {
    match node.liveness {
        Liveness::Suspect { since } => {
            let patient = since.plus(hold);
            Some(patience.guard.map_or(patient, |guard| guard.max(patient)))
        }
        Liveness::Alive | Liveness::Left => None,
    }
}

/// If nobody reachable serves the endpoint, one replica that has gone quiet is not waited for. One, not all: that is
/// enough to serve again, and a blip, or being cut off, then costs one load at most. A replica that did not serve yet
/// is such a last hope only where no reachable one is on its way.
fn forget_last(holders: &mut Vec<Holder<'_>>, desired: &Desired) {
    if holders.iter().any(Holder::serves) {
        return;
    }
    let current = |holder: &Holder<'_>| holder.stays() && desired.wants(holder.claim.revision);
    let coming = holders.iter().any(|holder| current(holder) && holder.node.is_alive());
    let last = holders
        .iter()
        .filter(|holder| current(holder) && !holder.node.is_alive() && (holder.claim.state.serves() || !coming))
        .min_by_key(|holder| (!holder.claim.state.serves(), holder.claim.claimed, holder.claim.id))
        .map(|holder| holder.claim.id);
    holders.retain(|holder| Some(holder.claim.id) != last);
}

#[cfg(test)]
mod tests {
    use shoal_types::ReplicaState::{Ready, Starting};

    use super::*;
    use crate::{
        memory::Memory,
        scene::Scene,
        tests::fleet::{Fleet, at},
    };

    fn counted(fleet: &Fleet, now: u64, guard: Option<u64>) -> (usize, Option<UnixMillis>) {
        let record = fleet.record("a");
        let patience = Patience { now: at(now), guard: guard.map(at) };
        let scene = Scene { view: &fleet.view, memory: &Memory::default(), now: at(now) };
        let claims: Vec<_> = fleet.view.claims_of(&record.endpoint.metadata.name).collect();
        let present = present(&claims, record, &Desired::of(&scene, record), &patience);
        (present.holders.len(), present.until)
    }

    #[test]
    fn a_quiet_node_counts_for_replace_after() {
        let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 1, 2);
        fleet.claim(1, "a", Ready, 0);
        fleet.claim(2, "a", Ready, 0);
        let fleet = fleet.liveness(2, Liveness::Suspect { since: at(100) });
        assert_eq!(counted(&fleet, 109, None), (2, Some(at(110))));
        assert_eq!(counted(&fleet, 110, None), (1, None));
        assert_eq!(counted(&fleet, 110, Some(400)), (2, Some(at(400))));
        assert_eq!(counted(&fleet.liveness(2, Liveness::Left), 100, Some(400)), (1, None));
    }

    #[test]
    fn the_last_ready_replica_is_not_waited_for() {
        let quiet = Liveness::Suspect { since: at(100) };
        let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 1, 2);
        fleet.claim(1, "a", Ready, 0);
        fleet.claim(2, "a", Ready, 0);
        let mut fleet = fleet.liveness(1, quiet).liveness(2, quiet);
        assert_eq!(counted(&fleet, 100, None).0, 1, "one of two that are gone, not both");
        assert_eq!(counted(&fleet, 100, Some(400)).0, 1, "even when cut off");
        fleet.claim(3, "a", Starting, 0);
        assert_eq!(counted(&fleet, 100, None).0, 2, "the replacement counts, and still does not wait for it");
    }

    #[test]
    fn a_replica_that_never_served_is_waited_for_while_another_is_coming() {
        let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 1, 2);
        fleet.claim(1, "a", Starting, 0);
        let mut fleet = fleet.liveness(1, Liveness::Suspect { since: at(100) });
        assert_eq!(counted(&fleet, 100, None).0, 0);
        fleet.claim(2, "a", Starting, 0);
        assert_eq!(counted(&fleet, 100, None).0, 2);
    }
}
