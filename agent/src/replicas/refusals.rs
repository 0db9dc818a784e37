//! What this node will not run for now: pure.

use shoal_types::{EndpointName, Refusal, Revision, UnixMillis};

/// All that this node refuses, each revision of an endpoint once.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<Refusal>);

impl Refusals {
    /// Whether `revision` of `endpoint` is refused at `now`.
    pub(super) fn contains(&self, endpoint: &EndpointName, revision: Revision, now: UnixMillis) -> bool {
        let is_it = |refusal: &Refusal| refusal.endpoint == *endpoint && refusal.revision == revision;
        self.0.iter().any(|refusal| is_it(refusal) && refusal.until > now)
    }

    /// Adds `refusal`, unless the same is refused for longer, and drops what is over at `now` or no longer `known`: nobody
    /// would ask for it.
    pub(super) fn add(&mut self, refusal: Refusal, now: UnixMillis, known: impl Fn(&Refusal) -> bool) {
        self.0.retain(|old| old.until > now && known(old));
        let same = |old: &&mut Refusal| old.endpoint == refusal.endpoint && old.revision == refusal.revision;
        match self.0.iter_mut().find(same) {
            Some(old) if old.until > refusal.until => {}
            Some(old) => *old = refusal,
            None => self.0.push(refusal),
        }
    }

    /// All of them.
    pub(super) fn as_slice(&self) -> &[Refusal] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{Hlc, NodeId};

    use super::*;

    const fn at(seconds: u64) -> UnixMillis {
        UnixMillis::from_millis(seconds * 1_000)
    }

    fn revision(number: u64) -> Revision {
        Revision(Hlc { time: at(number), counter: 0, node: NodeId::from_bytes([1; 16]) })
    }

    fn refusal(number: u64, until: u64) -> Refusal {
        let endpoint = "llama".parse().unwrap();
        Refusal { endpoint, revision: revision(number), until: at(until), reason: until.to_string() }
    }

    fn refused(refusals: &Refusals, number: u64, now: u64) -> bool {
        refusals.contains(&"llama".parse().unwrap(), revision(number), at(now))
    }

    /// In a rollout a node may refuse the new revision for a day and the old one for a moment.
    #[test]
    fn each_revision_is_refused_for_itself() {
        let mut refusals = Refusals::default();
        refusals.add(refusal(2, 1_000), at(0), |_| true);
        refusals.add(refusal(1, 10), at(0), |_| true);
        assert!(refused(&refusals, 2, 5) && refused(&refusals, 1, 5));
        assert!(refused(&refusals, 2, 10) && !refused(&refusals, 1, 10));
    }

    #[test]
    fn the_longer_of_two_stands() {
        let mut refusals = Refusals::default();
        refusals.add(refusal(1, 1_000), at(0), |_| true);
        refusals.add(refusal(1, 10), at(0), |_| true);
        assert_eq!(refusals.as_slice(), [refusal(1, 1_000)]);
        refusals.add(refusal(1, 2_000), at(0), |_| true);
        assert_eq!(refusals.as_slice(), [refusal(1, 2_000)]);
    }

    /// Rule 9: a revision a minute, each of which cannot run here, fills no list.
    #[test]
    fn what_is_over_or_nobody_knows_is_dropped() {
        let mut refusals = Refusals::default();
        for number in 1..=3 {
            refusals.add(refusal(number, 10 * number), at(0), |_| true);
        }
        refusals.add(refusal(4, 40), at(10), |refusal| refusal.revision != revision(2));
        assert_eq!(refusals.as_slice(), [refusal(3, 30), refusal(4, 40)]);
    }
}
