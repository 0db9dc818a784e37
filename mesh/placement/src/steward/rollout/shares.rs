//! What each revision should have, by where the rollout stands.

use shoal_types::{Revision, Share};

use crate::steward::{
    facts::{Facts, Strength},
    rollout::{
        course::{Course, Pair},
        steps::{Steps, apart},
    },
};

/// What each revision should have of `wanted` replicas, and of the requests.
pub(super) fn shares(course: Course, wanted: u32, steps: &Steps, facts: &Facts) -> Vec<Share> {
    match course {
        Course::Settled { only } => vec![share(only, wanted, 100)],
        Course::Underway { pair, step, ready } => {
            let share = if ready.is_some() { Some(step) } else { step.checked_sub(1) };
            let weight = if step >= steps.last() { None } else { share.map_or(Some(0), |step| steps.weight(step)) };
            both(pair, steps.split(step, wanted), weight, facts)
        }
        Course::Halted { pair, step, new, old } => {
            let counts = stand_still(new, old, wanted);
            let whole = facts.strength(pair.new).ready >= counts.0;
            let share = if whole { Some(step) } else { step.checked_sub(1) };
            let weight = if step >= steps.last() { None } else { share.map_or(Some(0), |step| steps.weight(step)) };
            both(pair, counts, weight, facts)
        }
        Course::Withdrawn { good, rejected } => {
            let pair = Pair { new: good, old: rejected };
            both(pair, (wanted, 0), Some(100), facts)
        }
    }
}

/// Replicas of the new and of the old revision, where the rollout stands still at `new` and `old`: what scaling adds or
/// takes is the old one's, which is known to be good.
fn stand_still(new: u32, old: u32, wanted: u32) -> (u32, u32) {
    match (new, old) {
        (0, _) => (0, wanted),
        (_, 0) => (wanted, 0),
        (new, _) => apart(new, wanted),
    }
}

fn both(pair: Pair, (new, old): (u32, u32), weight: Option<u8>, facts: &Facts) -> Vec<Share> {
    let weight = reachable(weight, facts.strength(pair.new), facts.strength(pair.old));
    vec![share(pair.new, new, weight), share(pair.old, old, 100 - weight)]
}

/// `weight` percent for the new revision, or by the replicas that serve if there is none. A revision of which nothing
/// serves gets no requests, as long as the other one can take them.
fn reachable(weight: Option<u8>, new: Strength, old: Strength) -> u8 {
    match (new.ready, old.ready) {
        (0, 0) => weight.unwrap_or(0),
        (0, _) => 0,
        (_, 0) => 100,
        (new, old) => weight.unwrap_or_else(|| {
            let percent = u64::from(new) * 100 / (u64::from(new) + u64::from(old));
            u8::try_from(percent).unwrap_or(100).max(1)
        }),
    }
}

const fn share(revision: Revision, replicas: u32, weight: u8) -> Share {
    Share { revision, replicas, weight }
}
