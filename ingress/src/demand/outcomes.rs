//! How attempts went, by revision: what a rollout is judged by.

use std::{array, cmp::Reverse, time::Duration};

use shoal_types::{Latencies, Load, OUTCOMES_MAX, Outcome, Revision};

use super::ring::span_at;

/// Ten spans of half a minute: five minutes, as [`Outcome`] says.
const SPAN: Duration = Duration::from_secs(30);
const SPANS: usize = 10;

/// How long nothing happened to a revision that makes room for any other: longer than a revision that serves is without a
/// request while another one is compared with it.
const SILENT: Duration = SPAN;

/// Outcomes of the last five minutes, of as many revisions as are told.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Vec<OfRevision>);

#[derive(Debug)]
struct OfRevision {
    revision: Revision,
    /// When something last happened to it, after the beginning.
    last: Duration,
    spans: [Span; SPANS],
}

/// What happened in one span.
#[derive(Debug, Clone, Default)]
pub(super) struct Span {
    number: u32,
    pub(super) requests: u32,
    pub(super) failed: u32,
    pub(super) ttft: Latencies,
}

impl Outcomes {
    /// Enters what `change` does for `revision`, `age` after the beginning. One that is newer than all takes the place of the
    /// one that was asked longest ago, which need not be the oldest: after a rollback it is the one that failed. An older one
    /// gets only the place of one that is silent, or the last answers of what is gone would take those that serve out.
    pub(super) fn record(&mut self, revision: Revision, age: Duration, change: impl FnOnce(&mut Span)) {
        if let Some(of) = self.entry(revision, age) {
            of.last = age;
            of.record(span_at(age, SPAN), change);
        }
    }

    fn entry(&mut self, revision: Revision, age: Duration) -> Option<&mut OfRevision> {
        if !self.0.iter().any(|of| of.revision == revision) {
            if self.0.len() >= OUTCOMES_MAX {
                self.make_room(revision, age)?;
            }
            self.0.push(OfRevision { revision, last: age, spans: array::from_fn(|_| Span::default()) });
            self.0.sort_by_key(|of| Reverse(of.revision));
        }
        self.0.iter_mut().find(|of| of.revision == revision)
    }

    /// `None` where `revision` has to do without a place.
    fn make_room(&mut self, revision: Revision, age: Duration) -> Option<()> {
        let newest = self.0.iter().all(|of| of.revision < revision);
        let (index, quietest) = self.0.iter().enumerate().min_by_key(|(_, of)| (of.last, of.revision))?;
        let silent = age.saturating_sub(quietest.last) >= SILENT;
        (newest || silent).then(|| drop(self.0.remove(index)))
    }

    /// Times to the first token of all revisions, `age` after the beginning.
    pub(super) fn ttft(&self, age: Duration) -> Latencies {
        let now = span_at(age, SPAN);
        let mut all = Latencies::default();
        self.0.iter().flat_map(|of| of.recent(now)).for_each(|span| all.merge(&span.ttft));
        all
    }

    /// What there is to tell `age` after the beginning, the newest revision first.
    pub(super) fn told(&self, age: Duration) -> Vec<Outcome> {
        let now = span_at(age, SPAN);
        self.0.iter().filter_map(|of| of.told(now)).collect()
    }
}

impl OfRevision {
    fn record(&mut self, number: u32, change: impl FnOnce(&mut Span)) {
        let Some(span) = self.spans.get_mut(number as usize % SPANS) else { return };
        if span.number != number {
            *span = Span { number, ..Span::default() };
        }
        change(span);
    }

    fn recent(&self, now: u32) -> impl Iterator<Item = &Span> {
        let is_recent = move |span: &&Span| span.number <= now && ((now - span.number) as usize) < SPANS;
        self.spans.iter().filter(is_recent).filter(|span| span.requests > 0 || span.failed > 0)
    }

    fn told(&self, now: u32) -> Option<Outcome> {
        let mut sum = Span::default();
        for span in self.recent(now) {
            sum.requests = sum.requests.saturating_add(span.requests);
            sum.failed = sum.failed.saturating_add(span.failed);
            sum.ttft.merge(&span.ttft);
        }
        // A stream that breaks may have begun before all this.
        let requests = sum.requests.max(sum.failed);
        (requests > 0).then(|| Outcome {
            revision: self.revision,
            requests: Load::round_count(requests),
            failed: Load::round_count(sum.failed),
            ttft: sum.ttft.map(Load::round_count),
        })
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{Hlc, NodeId, UnixMillis};

    use super::*;

    fn revision(number: u64) -> Revision {
        Revision(Hlc { time: UnixMillis::from_millis(number), counter: 0, node: NodeId::from_bytes([1; 16]) })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Of which revisions there is something to tell, and how many requests.
    fn told(outcomes: &Outcomes, age: Duration) -> Vec<(u64, u32)> {
        outcomes.told(age).iter().map(|told| (told.revision.0.time.as_millis(), told.requests)).collect()
    }

    #[test]
    fn the_newest_two_revisions_are_told_for_five_minutes() {
        let mut outcomes = Outcomes::default();
        for (number, seconds) in [(2, 0), (1, 100), (2, 190), (3, 200), (1, 200)] {
            outcomes.record(revision(number), at(seconds), |span| span.requests += 1);
        }
        assert_eq!(told(&outcomes, at(200)), [(3, 1), (2, 2)]);
        assert_eq!(told(&outcomes, at(300)), [(3, 1), (2, 1)]);
        assert_eq!(told(&outcomes, at(479)), [(3, 1), (2, 1)]);
        assert_eq!(told(&outcomes, at(480)), []);
        outcomes.record(revision(1), at(510), |span| span.requests += 1);
        assert_eq!(told(&outcomes, at(510)), [(1, 1)], "what is silent makes room for the one that is gone back to");
    }

    #[test]
    fn the_one_that_serves_is_still_told_beside_what_replaces_a_failed_one() {
        let mut outcomes = Outcomes::default();
        for (number, seconds) in [(1, 0), (2, 5), (1, 10), (3, 12), (1, 13)] {
            outcomes.record(revision(number), at(seconds), |span| span.requests += 1);
        }
        assert_eq!(told(&outcomes, at(13)), [(3, 1), (1, 3)]);
    }

    #[test]
    fn a_late_answer_of_an_old_revision_takes_no_place() {
        let mut outcomes = Outcomes::default();
        for (number, seconds) in [(2, 0), (3, 1), (1, 29), (2, 30), (3, 31)] {
            outcomes.record(revision(number), at(seconds), |span| span.requests += 1);
        }
        assert_eq!(told(&outcomes, at(31)), [(3, 2), (2, 2)]);
    }

    #[test]
    fn a_stream_that_breaks_long_after_it_began_is_a_failed_request() {
        let mut outcomes = Outcomes::default();
        outcomes.record(revision(1), at(0), |span| span.requests += 1);
        outcomes.record(revision(1), at(1_000), |span| span.failed += 1);
        let told = outcomes.told(at(1_000));
        assert_eq!((told[0].requests, told[0].failed), (1, 1));
    }

    #[test]
    fn counts_are_rounded_so_that_gossip_is_quiet() {
        let mut outcomes = Outcomes::default();
        for _ in 0..101 {
            outcomes.record(revision(1), at(0), |span| {
                span.requests += 1;
                span.ttft.record(at(1));
            });
        }
        let told = outcomes.told(at(0));
        assert_eq!((told[0].requests, told[0].ttft.count()), (96, 96));
    }
}
