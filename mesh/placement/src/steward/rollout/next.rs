//! What a rollout does next.

use shoal_types::{EndpointRecord, OnFailure, Revision, Rollout, RolloutPhase, Share, Strategy, UnixMillis};

use crate::steward::{
    draft::Draft,
    facts::Facts,
    rollout::{
        course::{Course, Pair},
        judge::{Known, Trial, judge},
        shares::shares,
        steps::Steps,
    },
};

/// What a rollout is decided by.
#[derive(Debug, Clone, Copy)]
pub(in crate::steward) struct Ground<'a> {
    pub(in crate::steward) record: &'a EndpointRecord,
    pub(in crate::steward) facts: &'a Facts,
    /// Replicas of all revisions together.
    pub(in crate::steward) wanted: u32,
    /// Whether the spec was written again since the mandate was made.
    pub(in crate::steward) newer: bool,
    pub(in crate::steward) now: UnixMillis,
}

/// What is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) struct Next {
    pub(in crate::steward) shares: Vec<Share>,
    pub(in crate::steward) rollout: RolloutPhase,
    /// Why, if that is not as before.
    pub(in crate::steward) reason: Option<String>,
    /// When to look again, should nothing change.
    pub(in crate::steward) wake: Option<UnixMillis>,
}

/// A course, and why it was taken if it is new.
type Turn = (Course, Option<String>);

/// Where the rollout that `standing` speaks of stands now, one transition at a time.
pub(in crate::steward) fn advance(standing: &Draft, ground: &Ground<'_>, trial: &mut Option<Trial>) -> Next {
    let present = ground.record.revision;
    let course = Course::of(&standing.shares, standing.rollout).unwrap_or(Course::Settled { only: present });
    if let Some(trial) = trial {
        trial.forget(ground.facts.strength(present).crashes);
    }
    let (course, reason) = turn(course, ground, trial);
    Next {
        shares: shares(course, ground.wanted, &ground.steps(course), ground.facts),
        rollout: course.phase(),
        reason,
        wake: ground.wake(course, *trial),
    }
}

fn turn(course: Course, ground: &Ground<'_>, trial: &mut Option<Trial>) -> Turn {
    let present = ground.record.revision;
    match course {
        Course::Settled { only } if only == present => (course, None),
        Course::Settled { only } => ground.begin(only, trial),
        Course::Underway { pair, .. } | Course::Halted { pair, .. } if pair.new != present => {
            ground.turn_to_another(pair, trial)
        }
        Course::Underway { pair, step, ready } => ground.proceed(pair, step, ready, *trial),
        Course::Halted { pair, step, .. } => ground.stand(course, pair, step, trial),
        Course::Withdrawn { good, .. } if good == present => {
            (Course::Settled { only: present }, Some(format!("revision {present} stays")))
        }
        Course::Withdrawn { good, rejected } if rejected == present => {
            if ground.newer && !ground.rollout().paused {
                let (course, reason) = ground.begin(good, trial);
                return (course, reason.map(|reason| format!("once more: {reason}")));
            }
            (course, None)
        }
        Course::Withdrawn { good, .. } => ground.begin(good, trial),
    }
}

impl Ground<'_> {
    const fn rollout(&self) -> &Rollout {
        &self.record.endpoint.spec.rollout
    }

    /// Without a known spec the old revision can have nothing: then there is only the last step.
    fn steps(&self, course: Course) -> Steps {
        let old = match course {
            Course::Underway { pair, .. } | Course::Halted { pair, .. } => Some(pair.old),
            Course::Settled { .. } | Course::Withdrawn { .. } => None,
        };
        let rollout = self.rollout().clone();
        let lost = old.is_some_and(|old| !self.can_return(old));
        Steps::of(&if lost { Rollout { strategy: Strategy::Rolling, ..rollout } } else { rollout })
    }

    /// Whether what a replica of `revision` runs is known.
    fn can_return(&self, revision: Revision) -> bool {
        self.record.spec_of(revision).is_some()
    }

    /// The present revision begins to take the place of `old`.
    fn begin(&self, old: Revision, trial: &mut Option<Trial>) -> Turn {
        let new = self.record.revision;
        *trial = Some(Trial::new(&self.known(new), self.now));
        let pair = Pair { new, old };
        let reason = format!("revision {new} takes the place of {old}");
        if self.rollout().paused && self.can_return(old) {
            let course = Course::Halted { pair, step: 0, new: 0, old: self.wanted };
            return (course, Some(format!("{reason} once rollout.paused is false")));
        }
        if self.wanted == 0 {
            return (Course::Settled { only: new }, Some(reason));
        }
        (Course::Underway { pair, step: 0, ready: None }, Some(reason))
    }

    /// The revision that was coming is not wanted any more: the old one comes back, or a third one comes instead.
    fn turn_to_another(&self, pair: Pair, trial: &mut Option<Trial>) -> Turn {
        let present = self.record.revision;
        if pair.old != present {
            let serves = |revision: Revision| self.facts.strength(revision).ready > 0;
            // Where nothing is left of the old one, the unfinished one is what clients have.
            let base = if !serves(pair.old) && serves(pair.new) { pair.new } else { pair.old };
            return self.begin(base, trial);
        }
        let pair = Pair { new: present, old: pair.new };
        let course = Course::Underway { pair, step: Steps::of(self.rollout()).last(), ready: None };
        (course, Some(format!("undone: revision {present} takes its place back from {}", pair.old)))
    }

    fn proceed(&self, pair: Pair, step: u8, ready: Option<UnixMillis>, trial: Option<Trial>) -> Turn {
        let course = Course::Underway { pair, step, ready };
        let steps = self.steps(course);
        let step = step.min(steps.last());
        if let Some(fault) = self.fault(pair, trial) {
            return self.fail(pair, step, &fault, &steps);
        }
        let strength = self.facts.strength(pair.new);
        if self.rollout().paused {
            return (self.halt(pair, step, strength.present(), &steps), Some("rollout.paused is true".to_owned()));
        }
        if self.wanted == 0 {
            return (Course::Settled { only: pair.new }, Some(format!("revision {} has no replicas", pair.new)));
        }
        let whole = strength.ready >= steps.split(step, self.wanted).0;
        if step == steps.last() && whole && self.facts.strength(pair.old).present() == 0 {
            return (Course::Settled { only: pair.new }, Some(format!("revision {} has everything", pair.new)));
        }
        let ready = ready.filter(|_| strength.ready > 0).or_else(|| whole.then_some(self.now));
        let over = ready.is_some_and(|ready| self.now >= self.pause_over(ready, trial));
        if step < steps.last() && whole && over {
            let (step, count) = (step + 1, steps.count());
            let course = Course::Underway { pair, step, ready: None };
            let reason = format!("step {} of {count} to revision {} goes well: step {}", step, pair.new, step + 1);
            return (course, Some(reason));
        }
        (Course::Underway { pair, step, ready }, None)
    }

    /// It stands still until the spec is written again without `paused`; what goes badly is rolled back all the same.
    fn stand(&self, course: Course, pair: Pair, step: u8, trial: &mut Option<Trial>) -> Turn {
        if let Some(fault) = self.fault(pair, *trial)
            && self.rolls_back(pair)
            && !self.newer
        {
            return self.fail(pair, step, &fault, &self.steps(course));
        }
        if !self.newer || self.rollout().paused {
            return (course, None);
        }
        *trial = Some(Trial::new(&self.known(pair.new), self.now));
        let whole = self.facts.strength(pair.new).ready >= self.steps(course).split(step, self.wanted).0;
        let course = Course::Underway { pair, step, ready: whole.then_some(self.now) };
        (course, Some(format!("resumed at step {}", step + 1)))
    }

    /// What speaks against the new revision. Going back to an earlier one is the user's word and not judged: it must not
    /// end at the one that was left.
    fn fault(&self, pair: Pair, trial: Option<Trial>) -> Option<String> {
        if pair.new < pair.old {
            return None;
        }
        judge(&self.known(pair.new), &self.facts.outcome(pair.old), self.rollout(), trial, self.now)
    }

    fn rolls_back(&self, pair: Pair) -> bool {
        matches!(self.rollout().on_failure, OnFailure::Rollback) && self.can_return(pair.old)
    }

    fn fail(&self, pair: Pair, step: u8, fault: &str, steps: &Steps) -> Turn {
        let Pair { new, old } = pair;
        if self.rolls_back(pair) {
            return (Course::Withdrawn { good: old, rejected: new }, Some(format!("rolled back from {new}: {fault}")));
        }
        (self.halt(pair, step, self.facts.strength(new).ready, steps), Some(format!("paused at {new}: {fault}")))
    }

    /// Stops at `step`. In the last one the new revision has everything already: it stops at the replicas that are
    /// `there`.
    fn halt(&self, pair: Pair, step: u8, there: u32, steps: &Steps) -> Course {
        let (mut new, mut old) = steps.split(step, self.wanted);
        if step == steps.last() && self.can_return(pair.old) {
            new = new.min(there);
            old = self.wanted - new;
        }
        Course::Halted { pair, step, new, old }
    }

    fn known(&self, revision: Revision) -> Known {
        Known { outcome: self.facts.outcome(revision), crashes: self.facts.strength(revision).crashes }
    }

    /// When a step that serves since `ready` has gone well for long enough.
    fn pause_over(&self, ready: UnixMillis, trial: Option<Trial>) -> UnixMillis {
        let over = ready.plus(self.rollout().pause.0);
        trial.map_or(over, |trial| over.max(trial.fresh))
    }

    fn wake(&self, course: Course, trial: Option<Trial>) -> Option<UnixMillis> {
        let Course::Underway { ready: Some(ready), .. } = course else { return None };
        Some(self.pause_over(ready, trial)).filter(|over| *over > self.now)
    }
}
