//! The steps of a rollout.

use shoal_types::{Percent, Rollout, Strategy};

const WHOLE: Percent = Percent::from_whole(100);

/// What share the new revision has at each step. The last step is always the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Steps(Vec<Percent>);

impl Steps {
    /// The steps that `rollout` asks for.
    pub(super) fn of(rollout: &Rollout) -> Self {
        match rollout.strategy {
            Strategy::Rolling => Self(vec![WHOLE]),
            Strategy::Canary => {
                let parts = rollout.steps.iter().copied().filter(|step| *step < WHOLE);
                Self(parts.take(usize::from(u8::MAX)).chain([WHOLE]).collect())
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }

    /// The step at which the new revision has everything.
    pub(super) fn last(&self) -> u8 {
        self.count() - 1
    }

    /// Replicas of the new and of the old revision at `step`, of `wanted`. Before the last step each has at least one, or
    /// there would be nothing to compare; it is then one more than `wanted` where that is 1.
    pub(super) fn split(&self, step: u8, wanted: u32) -> (u32, u32) {
        if step >= self.last() {
            return (wanted, 0);
        }
        apart(self.share(step).of(wanted), wanted)
    }

    /// Percent of the requests that the new revision gets at `step`; `None` at the last one, where they follow the
    /// replicas.
    pub(super) fn weight(&self, step: u8) -> Option<u8> {
        let percent = || u8::try_from(self.share(step).of(100)).unwrap_or(100);
        (step < self.last()).then(percent)
    }

    fn share(&self, step: u8) -> Percent {
        self.0.get(usize::from(step)).copied().unwrap_or(WHOLE)
    }
}

/// `new` replicas of the new revision and the rest of `wanted` of the old one, but at least one of each if any.
pub(super) fn apart(new: u32, wanted: u32) -> (u32, u32) {
    if wanted == 0 {
        return (0, 0);
    }
    let new = new.min(wanted.saturating_sub(1)).max(1);
    (new, wanted.saturating_sub(new).max(1))
}
