//! What it costs to send a request somewhere, as time until its first token. Pure.
//!
//! The constants are those of a model of 32 B parameters on two H100 (llm-d's calibration of August 2026). Of a larger
//! model all of them are larger by much the same factor, so that what is compared stays in proportion; only against
//! distances, which are what they are, a large model is taken for somewhat faster than it is.

use std::{
    ops::{Add, Mul},
    time::Duration,
};

use super::{Burden, Candidate, Requests};

/// Time until the first token, in nanoseconds. One number where a `Duration` is two: a choice adds and compares dozens of them.
/// What is too large for it is the largest one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost(u64);

impl Cost {
    pub(crate) const ZERO: Self = Self(0);

    pub(super) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(super) const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    pub(super) const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    pub(super) const fn as_nanos(self) -> u64 {
        self.0
    }

    pub(super) const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }
}

impl From<Duration> for Cost {
    fn from(time: Duration) -> Self {
        Self(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Mul<u32> for Cost {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Self(self.0.saturating_mul(times.into()))
    }
}

/// Computing one byte of a prompt: 20,480 tokens per second at four bytes each.
const PREFILL_PER_BYTE: Cost = Cost::from_nanos(12_207);
/// A request that waits in an engine is one that does not fit, and what fits goes on for seconds; when it is begun with,
/// its prompt, of 2,000 tokens as they usually are, comes before ours.
const PER_WAITING: Cost = Cost::from_millis(100);
/// A request that runs makes each step of its engine longer for all: by some 25 us, in about 200 steps.
const PER_RUNNING: Cost = Cost::from_millis(5);

/// The way to another node of the cluster: a stream over QUIC and back.
pub(crate) const TO_NODE: Cost = Cost::from_micros(500);
/// What leaving the cluster costs beside the round trip, which is told in steps of 10 ms: half of one, so that of two
/// clusters that are "0 ms" away the own one is the nearer.
pub(crate) const TO_CLUSTER: Cost = Cost::from_millis(5);
/// The round trip to a cluster that nobody has measured: to another continent.
pub(crate) const UNMEASURED: Cost = Cost::from_millis(100);
/// The way to a service that is no engine of this mesh, from the gateway that stands for it; nobody measures it.
pub(crate) const TO_SERVICE: Cost = Cost::from_millis(50);
/// Replicas that are less than this farther than the nearest one are as near: the step in which round trips are told.
pub(super) const NEAR: Cost = Cost::from_millis(10);
/// One dollar more per GPU-hour, in milliseconds. What is rented costs the same whether it works or not, so this decides little: it fills
/// the cheap places first, and lets the dear ones run empty and end.
const PER_DOLLAR: f64 = 5.0;
/// No price is worth more than this, in milliseconds.
const PRICE_MAX: f64 = 50.0;

/// A word of gossip counts less and less beside what is known on average, down to the half at this age.
const STALE_HALF: Duration = Duration::from_secs(5);

/// Computing so many bytes of a prompt.
pub(crate) fn prefill(bytes: usize) -> Cost {
    PREFILL_PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What a place costs where others are had for `cheapest`, in USD per GPU-hour.
pub(crate) fn price(price: f64, cheapest: f64) -> Cost {
    let dollars = (price - cheapest).clamp(0.0, PRICE_MAX / PER_DOLLAR);
    let millis = PER_DOLLAR * if dollars.is_nan() { 0.0 } else { dollars };
    Duration::from_secs_f64(millis / 1_000.0).into()
}

/// Makes burdens comparable where some are not known, or not well: an unknown one is taken for the mean of the known,
/// since as nothing it would draw all requests and as infinite none; one that was heard some time ago for something in
/// between.
#[derive(Debug)]
pub(super) struct Scale {
    mean: Cost,
}

impl Scale {
    pub(super) fn of<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Self {
        let known = candidates.filter_map(|candidate| match candidate.burden {
            Burden::Fresh(requests) | Burden::Stale(requests, _) => Some(work(requests)),
            Burden::Unknown(_) => None,
        });
        let (count, sum) = known.fold((0_u64, Cost::ZERO), |(count, sum), work| (count + 1, sum + work));
        Self { mean: Cost(sum.0.checked_div(count).unwrap_or(0)) }
    }

    /// How long a request waits at `candidate` before its prompt is computed.
    pub(super) fn wait(&self, candidate: &Candidate) -> Cost {
        candidate.backlog
            + match candidate.burden {
                Burden::Fresh(requests) => work(requests),
                Burden::Stale(requests, age) => self.blend(work(requests), age),
                Burden::Unknown(own) => self.mean + PER_RUNNING * own,
            }
    }

    fn blend(&self, said: Cost, age: Duration) -> Cost {
        /// Shares are in parts of so many.
        const WHOLE: u128 = 1_024;
        let share = WHOLE / 2 * age.min(STALE_HALF).as_millis() / STALE_HALF.as_millis();
        let sum = u128::from(said.0) * (WHOLE - share) + u128::from(self.mean.0) * share;
        Cost(u64::try_from(sum / WHOLE).unwrap_or(u64::MAX))
    }
}

/// What so many requests are as time, for one that comes after them.
fn work(requests: Requests) -> Cost {
    PER_RUNNING * requests.all.saturating_sub(requests.waiting) + PER_WAITING * requests.waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(all: u32) -> Requests {
        Requests { all, waiting: 0 }
    }

    fn wait(burden: Burden, others: &[u32]) -> Cost {
        let of = |burden| Candidate { burden, ..Candidate::default() };
        let others: Vec<Candidate> = others.iter().map(|&all| of(Burden::Fresh(requests(all)))).collect();
        Scale::of(others.iter()).wait(&of(burden))
    }

    #[test]
    fn a_prompt_of_100_000_tokens_takes_some_seconds() {
        assert_eq!(prefill(400_000).as_micros() / 1_000, 4_882);
        assert_eq!(prefill(0), Cost::ZERO);
    }

    #[test]
    fn what_is_too_large_is_the_largest() {
        let most = Cost(u64::MAX);
        assert_eq!([most + most, most * 2, Cost::from(Duration::MAX)], [most; 3]);
        let all = Requests { all: u32::MAX, waiting: u32::MAX };
        assert!(wait(Burden::Stale(all, Duration::MAX), &[u32::MAX; 100]) > prefill(usize::MAX));
    }

    #[test]
    fn waiting_requests_weigh_more_than_running_ones() {
        let waiting = Burden::Fresh(Requests { all: 3, waiting: 1 });
        assert_eq!(wait(waiting, &[]), PER_RUNNING * 2 + PER_WAITING);
    }

    /// Rule 1: unknown is never zero.
    #[test]
    fn rule_1_the_longer_ago_it_was_heard_the_nearer_to_the_mean_it_is() {
        let stale = |seconds| wait(Burden::Stale(requests(0), Duration::from_secs(seconds)), &[10, 20]);
        assert_eq!(stale(0), Cost::ZERO);
        assert!(stale(1) > stale(0) && stale(5) > stale(1));
        assert_eq!([stale(5), stale(500)], [Cost(PER_RUNNING.0 * 15 / 2); 2]);
        assert_eq!(wait(Burden::Unknown(2), &[10, 20]), PER_RUNNING * 17);
        assert_eq!(wait(Burden::Unknown(2), &[]), PER_RUNNING * 2);
    }

    #[test]
    fn prices_are_told_from_the_cheapest_and_decide_little() {
        assert_eq!(price(3.0, 2.0), Cost::from_millis(5));
        assert_eq!([price(2.0, 2.0), price(1.0, 2.0), price(f64::NAN, 2.0)], [Cost::ZERO; 3]);
        assert_eq!(price(1e9, 2.0), Cost::from_millis(50));
    }
}
