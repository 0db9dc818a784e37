//! What must hold at every moment, judged by one who sees everything.

use std::time::Duration;

use shoal_types::{Claim, ClaimId, NodeId, ReplicaState};

use super::mesh::Mesh;
use crate::{DrainReason, Timing};

/// How long after the last disturbance everybody knows the same, a late decision and its settle time included.
const KNOWN: Duration = Duration::from_secs(30);

impl Mesh {
    pub(super) fn break_rule(&mut self, what: String) {
        self.note(0, || format!("BROKEN {what}"));
        self.broken.push(format!("at {:.2} s: {what}", self.now.since(crate::tests::fleet::at(0)).as_secs_f64()));
    }

    /// Rule 3: an engine starts once its claim has settled, and where nothing disturbs, only one that is wanted.
    pub(super) fn watch_start(&mut self, node: usize, claim: ClaimId) {
        let Claim { claimed, endpoint, revision, .. } = self.nodes[node].claims()[&claim].clone();
        if self.now.since(claimed) < Timing::default().settle {
            self.break_rule(format!("rule 3: {} starts before it has settled", self.named(claim)));
        }
        if self.calm_since.is_none_or(|since| self.now.since(since) <= KNOWN) {
            return;
        }
        let Some(record) = self.nodes[node].view.endpoints.get(&endpoint) else { return };
        let desired = self.nodes[node].desired(record, self.now);
        let placement = &record.endpoint.spec.placement;
        let hedge = placement.spot.as_ref().map_or(0, |spot| spot.overprovision + desired.total());
        let wanted = desired.of_revision(revision) + hedge;
        let most = desired.total() + hedge + record.endpoint.spec.rollout.surge(desired.total());
        let others = self.nodes.iter().filter(|node| node.up && !node.is_leaving());
        let staying = others.flat_map(|node| node.claims().values()).filter(|other| {
            let runs = other.state.counts() && !matches!(other.state, ReplicaState::Claimed | ReplicaState::Draining);
            other.endpoint == endpoint && runs && other.leaving.is_none()
        });
        let (same, all) =
            staying.fold((0, 0), |(same, all), other| (same + u32::from(other.revision == revision), all + 1));
        if same >= wanted || all >= most {
            self.break_rule(format!(
                "rule 3: {} starts beside {same} and {all}, and {wanted} are wanted, or {most} while it surges",
                self.named(claim)
            ));
        }
    }

    /// Rule 4: nobody plans to drain without others that stand in, but for a deadline, or because fewer are wanted.
    pub(super) fn watch_drain(
        &mut self,
        node: usize,
        claim: ClaimId,
        reason: &DrainReason,
        confirm: &[(NodeId, ClaimId)],
    ) {
        let subject = &self.nodes[node];
        let record = subject.view.endpoints.get(&subject.claims()[&claim].endpoint);
        let desired = record.map_or(0, |record| subject.desired(record, self.now).total());
        let (min, unavailable) = record.map_or((0, 0), |record| {
            let spec = &record.endpoint.spec;
            (spec.replicas.min, spec.rollout.max_unavailable)
        });
        let due = subject.truth().departure.as_ref().and_then(|departure| departure.deadline);
        let least = match reason {
            DrainReason::Deadline if due.is_some_and(|due| self.now >= due) => 0,
            DrainReason::Unwanted | DrainReason::Idle if desired == 0 => 0,
            DrainReason::Preempted { .. } => min,
            DrainReason::Surplus | DrainReason::Superseded => desired.saturating_sub(unavailable),
            DrainReason::Departing
            | DrainReason::Leaving
            | DrainReason::Deadline
            | DrainReason::Unwanted
            | DrainReason::Idle => desired.max(1),
        };
        if confirm.len() < least as usize || confirm.iter().any(|&(_, kept)| kept == claim) {
            self.break_rule(format!(
                "rule 4: {} drains ({reason}) with {} in its place, not {least}",
                self.named(claim),
                confirm.len()
            ));
        }
    }

    /// Rule 4, in truth: so many others that it can reach serve at the moment in which it drains.
    pub(super) fn watch_drained(&mut self, node: usize, claim: ClaimId, covers: usize) {
        let endpoint = &self.nodes[node].claims()[&claim].endpoint;
        let reachable = (0..self.nodes.len()).filter(|&other| other == node || self.hears(node, other));
        let claims = reachable.flat_map(|other| self.nodes[other].claims().values());
        let serving = claims.filter(|c| c.endpoint == *endpoint && c.id != claim && c.state.serves()).count();
        if serving < covers {
            self.break_rule(format!("rule 4: {} drains beside {serving} that serve, not {covers}", self.named(claim)));
        }
    }
}
