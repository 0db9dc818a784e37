//! What is said of this node, made to fit.

use std::{cmp::Reverse, net::SocketAddr};

use shoal_types::{Claim, NodeFacts, Refusal, clip_reason};
use tracing::warn;

/// Where others reach this node's mesh port.
#[derive(Debug)]
pub(super) struct Addresses {
    configured: Vec<SocketAddr>,
    local: SocketAddr,
}

impl Addresses {
    pub(super) const fn new(configured: Vec<SocketAddr>, local: SocketAddr) -> Self {
        Self { configured, local }
    }

    /// `facts` with addresses that can be dialled.
    pub(super) fn complete(&self, mut facts: NodeFacts) -> NodeFacts {
        if !self.configured.is_empty() {
            facts.addresses.clone_from(&self.configured);
        } else if facts.addresses.is_empty() && !self.local.ip().is_unspecified() {
            facts.addresses.push(self.local);
        }
        for address in facts.addresses.iter_mut().filter(|address| address.port() == 0) {
            address.set_port(self.local.port());
        }
        facts
    }
}

/// `claim` with its reason on one line, and without one if the JSON were longer than `bytes` otherwise: its state must
/// be heard, whatever an engine said when it crashed.
pub(super) fn sayable(claim: &Claim, bytes: usize) -> Claim {
    let mut said = Claim { reason: claim.reason.as_deref().map(clip_reason), ..claim.clone() };
    if serde_json::to_string(&said).is_ok_and(|text| text.len() > bytes) {
        warn!(claim = %claim.id, "the reason of a claim is too long to be gossiped; the claim goes without it");
        said.reason = None;
    }
    said
}

/// Those of `refusals` whose JSON fits `bytes`, the ones that last longest first.
pub(super) fn fitting(refusals: &[Refusal], bytes: usize) -> Vec<&Refusal> {
    let mut longest_first: Vec<&Refusal> = refusals.iter().collect();
    longest_first.sort_by_key(|refusal| Reverse(refusal.until));
    let length = |refusal: &Refusal| serde_json::to_string(refusal).map_or(usize::MAX, |text| text.len() + 1);
    let mut room = bytes.saturating_sub(2);
    longest_first.retain(|refusal| match room.checked_sub(length(refusal)) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    });
    longest_first
}

#[cfg(test)]
mod tests {
    use shoal_types::{ClaimId, Hlc, NodeId, Progress, ProgressUnit, REASON_MAX, ReplicaState, Revision, UnixMillis};

    use super::*;
    use crate::gossip::Key;

    fn failed(reason: &str) -> Claim {
        let version = Hlc { time: UnixMillis::default(), counter: 0, node: NodeId::from_bytes([1; 16]) };
        Claim {
            id: ClaimId { node: version.node, generation: version.time, counter: u32::MAX },
            endpoint: "e".repeat(63).parse().unwrap(),
            revision: Revision(version),
            gpus: 8,
            claimed: version.time,
            state: ReplicaState::Backoff,
            since: version.time,
            reason: Some(reason.to_owned()),
            progress: None,
            crashes: 0,
            leaving: None,
        }
    }

    #[test]
    fn rule_1_a_claim_is_said_whatever_its_reason() {
        let sayable = |reason: &str| sayable(&failed(reason), 1024);
        let length = |claim: &Claim| serde_json::to_string(claim).unwrap().len();
        assert_eq!(sayable("exit 1\n\u{1b}[31mred").reason.as_deref(), Some("exit 1  [31mred"));
        let garbage = sayable(&"\u{1}".repeat(300));
        assert!(garbage.reason.is_some() && length(&garbage) <= 1024);
        let long = super::sayable(&failed(&"\"".repeat(300)), 700);
        assert_eq!((long.reason.as_deref(), long.state), (None, ReplicaState::Backoff));
        assert!(length(&long) <= 700, "all but the reason fits");
    }

    /// Neither can a fault of a GPU be left out: it is why others replace the claim.
    #[test]
    fn rule_1_a_claim_that_must_go_is_said_with_its_fault() {
        let progress = Progress { done: u64::MAX, total: u64::MAX, unit: ProgressUnit::Percent };
        let leaving = Some("\"".repeat(REASON_MAX));
        let longest = Claim { leaving: leaving.clone(), progress: Some(progress), ..failed(&"\"".repeat(REASON_MAX)) };
        let said = sayable(&longest, Key::Claim(u32::MAX).value_max());
        assert_eq!((&said.leaving, said.reason.as_ref()), (&leaving, None));
        assert!(serde_json::to_string(&said).unwrap().len() <= 1024, "{}", serde_json::to_string(&said).unwrap().len());
    }

    #[test]
    fn refusals_that_last_longest_are_said() {
        let version = Hlc { time: UnixMillis::default(), counter: 0, node: NodeId::from_bytes([1; 16]) };
        let refusal = |until| Refusal {
            endpoint: "e".parse().unwrap(),
            revision: Revision(version),
            until: UnixMillis::from_millis(until),
            reason: "r".repeat(300),
        };
        let refusals: Vec<_> = (0..30).map(refusal).collect();
        let fitting = fitting(&refusals, 4096);
        assert!(serde_json::to_string(&fitting).unwrap().len() <= 4096);
        assert!((5..30).contains(&fitting.len()));
        assert_eq!(fitting[0].until.as_millis(), 29);
    }
}
