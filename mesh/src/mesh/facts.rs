//! What is said of this node, made to fit.

use std::{cmp::Reverse, net::SocketAddr};

use shoal_types::{NodeFacts, Refusal};

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
    use shoal_types::{Hlc, NodeId, Revision, UnixMillis};

    use super::*;

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
