//! How many replicas of which revision there should be, as every node reads it (DESIGN rule 5).

use shoal_types::{Claim, EndpointRecord, EndpointSpec, NodeView, ReplicaState, Revision, RolloutPhase};

use crate::{memory::Heard, scene::Scene, want::Class};

/// What an endpoint should have now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Replicas of each revision, the one that is rolled out first; within the spec's bounds together. Revisions whose
    /// spec is no longer known are left out.
    pub shares: Vec<(Revision, u32)>,
}

impl Desired {
    /// What `record` should have: the last word of a steward that was heard, within the bounds of the spec. With none
    /// ever heard, what is claimed now, within the same bounds.
    ///
    /// A spec that the steward has not spoken of yet changes the bounds at once, and nothing else: a new revision waits
    /// for its word, so that no two nodes begin a rollout in two ways.
    pub fn of(scene: &Scene<'_>, record: &EndpointRecord) -> Self {
        let claims: Vec<_> = scene.view.claims_of(&record.endpoint.metadata.name).collect();
        Self::given(scene, record, &claims)
    }

    /// The same, where the claims on it have been looked up.
    pub(crate) fn given(scene: &Scene<'_>, record: &EndpointRecord, claims: &[(&NodeView, &Claim)]) -> Self {
        let heard = scene.memory.mandate(&record.endpoint.metadata.name);
        let mut shares = match heard {
            Some(Heard { mandate, .. }) => {
                let known = mandate.shares.iter().filter(|share| record.spec_of(share.revision).is_some());
                known.map(|share| (share.revision, share.replicas)).collect()
            }
            None => vec![(record.revision, claimed(record, claims))],
        };
        if shares.is_empty() {
            shares.push((record.revision, 0));
        }
        clamp(&mut shares, &record.endpoint.spec, compares(heard));
        Self { shares }
    }

    /// All replicas together.
    pub fn total(&self) -> u32 {
        self.shares.iter().fold(0, |sum, (_, replicas)| sum.saturating_add(*replicas))
    }

    /// Whether `revision` should have any replicas.
    pub(crate) fn wants(&self, revision: Revision) -> bool {
        self.of_revision(revision) > 0
    }

    /// Replicas of `revision`.
    pub fn of_revision(&self, revision: Revision) -> u32 {
        self.shares.iter().find(|(of, _)| *of == revision).map_or(0, |(_, replicas)| *replicas)
    }
}

/// Replicas of the present revision that nodes which are there run now. A claim that has not started yet is no word
/// of anybody: where several nodes claim what is missing once, all but one withdraw. And overprovision and stand-ins on
/// firm capacity are not counted on top of what they are for, or each would call for more of itself.
fn claimed(record: &EndpointRecord, claims: &[(&NodeView, &Claim)]) -> u32 {
    let running = |class: Class| {
        let runs = |(node, claim): &&(&NodeView, &Claim)| {
            let started =
                claim.state.counts() && !matches!(claim.state, ReplicaState::Claimed | ReplicaState::Draining);
            let stays = node.is_alive() && claim.leaving.is_none();
            started && stays && claim.revision == record.revision && class.contains(node)
        };
        u32::try_from(claims.iter().filter(runs).count()).unwrap_or(u32::MAX)
    };
    record.endpoint.spec.placement.spot.as_ref().map_or_else(
        || running(Class::Any),
        |spot| {
            let hedged = running(Class::Spot).saturating_add(spot.on_demand_base);
            hedged.saturating_sub(spot.overprovision).max(running(Class::Firm))
        },
    )
}

/// Whether two revisions are compared: then neither may lose its last replica to the bounds.
const fn compares(heard: Option<&Heard>) -> bool {
    let Some(heard) = heard else { return false };
    matches!(heard.mandate.rollout, RolloutPhase::Progressing { .. } | RolloutPhase::Paused { .. })
}

/// Brings the sum of `shares` within the bounds: what is missing goes to the largest share, what is too much is taken
/// from the last ones, which are on their way out. Of shares that are `compared` one replica each is left, so that an
/// endpoint of one replica has two.
fn clamp(shares: &mut [(Revision, u32)], spec: &EndpointSpec, compared: bool) {
    let total = shares.iter().fold(0_u32, |sum, (_, replicas)| sum.saturating_add(*replicas));
    let bounded = spec.replicas.clamp(total);
    if let Some(missing) = bounded.checked_sub(total) {
        let largest = (0..shares.len()).rev().max_by_key(|&index| shares[index].1);
        if let Some((_, replicas)) = largest.map(|index| &mut shares[index]) {
            *replicas += missing;
        }
        return;
    }
    let mut surplus = total - bounded;
    let left = u32::from(compared && bounded > 0);
    for (_, replicas) in shares.iter_mut().rev() {
        let taken = surplus.min(replicas.saturating_sub(left));
        *replicas -= taken;
        surplus -= taken;
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{CapacityType, Hlc, Mandate, PastRevision, ReplicaState, RolloutPhase, Share, Spot};

    use super::*;
    use crate::{
        Memory,
        tests::fleet::{Fleet, at, id, name},
    };

    /// What endpoint `a` of `fleet` should have, after node 1 has said `shares` (by age of the revision, 0 the newest).
    fn desired(fleet: Fleet, shares: &[(usize, u32)]) -> Vec<u32> {
        desired_in(RolloutPhase::Complete, fleet, shares)
    }

    fn desired_in(rollout: RolloutPhase, mut fleet: Fleet, shares: &[(usize, u32)]) -> Vec<u32> {
        let record = fleet.record("a").clone();
        let revision = |age: usize| match age {
            0 => record.revision,
            age => record.previous[age - 1].revision,
        };
        if !shares.is_empty() {
            let share = |&(age, replicas): &(usize, u32)| Share { revision: revision(age), replicas, weight: 100 };
            let mandate = Mandate {
                endpoint: name("a"),
                epoch: 3,
                version: record.version,
                shares: shares.iter().map(share).collect(),
                rollout,
                reason: String::new(),
                since: at(0),
            };
            fleet.node_mut(1).mandates.insert(name("a"), mandate);
        }
        let mut memory = Memory::default();
        memory.observe(&fleet.view, at(1));
        let scene = Scene { view: &fleet.view, memory: &memory, now: at(1) };
        Desired::of(&scene, &record).shares.into_iter().map(|(_, replicas)| replicas).collect()
    }

    fn fleet(min: u32, max: u32) -> Fleet {
        let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 1, min);
        let old = Revision(Hlc { time: at(0), counter: 0, node: id(9) });
        let spec = fleet.record("a").endpoint.spec.clone();
        fleet = fleet.spec("a", |spec| spec.replicas.max = Some(max)).revise("a");
        fleet.past("a", PastRevision { revision: old, spec })
    }

    #[test]
    fn rule_5_the_word_of_the_steward_stands_within_the_bounds() {
        assert_eq!(desired(fleet(1, 9), &[(0, 4)]), [4]);
        assert_eq!(desired(fleet(1, 3), &[(0, 4)]), [3]);
        assert_eq!(desired(fleet(5, 9), &[(0, 1), (1, 2)]), [1, 4], "what is missing goes to the larger share");
        assert_eq!(desired(fleet(1, 2), &[(0, 2), (1, 2)]), [2, 0], "what goes anyhow goes first");
    }

    #[test]
    fn rule_5_the_bounds_do_not_end_a_comparison() {
        let canary = RolloutPhase::Progressing { step: 0, ready: None };
        assert_eq!(desired_in(canary, fleet(1, 1), &[(0, 1), (1, 1)]), [1, 1]);
        assert_eq!(desired_in(canary, fleet(1, 3), &[(0, 3), (1, 2)]), [2, 1]);
        assert_eq!(desired_in(canary, fleet(0, 0), &[(0, 1), (1, 1)]), [0, 0]);
    }

    #[test]
    fn rule_5_without_a_word_what_is_claimed_stands() {
        assert_eq!(desired(fleet(1, 9), &[]), [1]);
        let mut claimed = fleet(1, 9);
        for node in [1, 2] {
            claimed.claim(node, "a", ReplicaState::Loading, 0);
        }
        assert_eq!(desired(claimed.clone(), &[]), [2], "a restart of everything never shrinks a service");
        claimed.claim(1, "a", ReplicaState::Claimed, 0);
        assert_eq!(desired(claimed, &[]), [2], "several may have claimed the same");
    }

    #[test]
    fn rule_5_without_a_word_a_hedge_does_not_call_for_more_of_itself() {
        let mut hedged = fleet(1, 9).capacity(1, CapacityType::Spot);
        hedged = hedged.spec("a", |spec| spec.placement.spot = Some(Spot { overprovision: 1, ..Spot::default() }));
        for _ in 0..4 {
            hedged.claim(1, "a", ReplicaState::Ready, 0);
        }
        assert_eq!(desired(hedged.clone(), &[]), [3]);
        hedged.claim(2, "a", ReplicaState::Ready, 0);
        assert_eq!(desired(hedged, &[]), [3], "a stand-in is for one of the three");
    }
}
