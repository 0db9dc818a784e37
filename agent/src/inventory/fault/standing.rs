//! What is wrong with one GPU now: a fold of what it reported and of how it was found.

use shoal_types::{FaultAction, GpuFault, UnixMillis, clip_reason};

use super::{Alarm, FaultPolicy, Trouble, history::XidHistory};
use crate::{
    config::FaultVerdict,
    inventory::reading::{RecoveryAction, RemappedRows, Vitals},
};

/// Faults that stand, by where they come from.
///
/// The first three are levels: they are there as long as the driver says so. What was reported once stands until a level
/// goes, which takes a reset of the GPU, or until an operator clears it.
#[derive(Debug, Default)]
pub(in crate::inventory) struct Standing {
    /// The driver asks for a recovery.
    recovery: Option<GpuFault>,
    /// Rows of memory are broken.
    rows: Option<GpuFault>,
    /// It cannot be asked.
    access: Option<GpuFault>,
    /// The gravest that it reported.
    reported: Option<GpuFault>,
    history: XidHistory,
}

/// What an observation changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inventory) enum Shift {
    /// A fault that was not there.
    Raised(GpuFault),
    /// One that is gone.
    Gone(GpuFault),
}

impl Standing {
    /// What is to be done now, and why; `None` for a sound GPU.
    pub(in crate::inventory) fn fault(&self) -> Option<&GpuFault> {
        // The driver knows better than a table what its own errors mean.
        let told = self.recovery.as_ref().or(self.reported.as_ref());
        let faults = [told, self.rows.as_ref(), self.access.as_ref()];
        faults.into_iter().flatten().reduce(graver)
    }

    /// It has reported something: what follows, and why.
    pub(in crate::inventory) fn alarm(
        &mut self,
        alarm: Alarm,
        policy: &FaultPolicy,
        now: UnixMillis,
    ) -> (FaultVerdict, String) {
        let verdict = policy.judge(alarm.xid(), &mut self.history, now);
        let reason = clip_reason(&alarm.to_string());
        if let Some(action) = verdict.action()
            && self.reported.as_ref().is_none_or(|fault| fault.action < action)
        {
            self.reported = Some(GpuFault { action, reason: reason.clone(), since: now });
        }
        (verdict, reason)
    }

    /// It has answered, and this is how it is.
    pub(in crate::inventory) fn sampled(&mut self, vitals: &Vitals, now: UnixMillis) -> Vec<Shift> {
        let mut shifts: Vec<Shift> = set(&mut self.access, None, now).into_iter().collect();
        // What the driver did not say this time is as it was.
        if let Some(recovery) = vitals.recovery {
            shifts.extend(set(&mut self.recovery, asked(recovery), now));
        }
        if let Some(rows) = vitals.remapped {
            shifts.extend(set(&mut self.rows, broken(rows), now));
        }
        if shifts.iter().any(|shift| matches!(shift, Shift::Gone(_))) {
            self.history.forget();
            shifts.extend(self.reported.take().map(Shift::Gone));
        }
        shifts
    }

    /// It could not be asked.
    pub(in crate::inventory) fn troubled(
        &mut self,
        trouble: &Trouble,
        policy: &FaultPolicy,
        now: UnixMillis,
    ) -> Option<Shift> {
        let fault = match trouble {
            Trouble::Lost => policy.lost().map(|action| (action, "the GPU has fallen off the bus".to_owned())),
            Trouble::ResetRequired => Some((FaultAction::DrainGpu, "the GPU works only after a reset".to_owned())),
            Trouble::Other(_) => return None,
        };
        set(&mut self.access, fault, now)
    }

    /// Forgets what was reported, at an operator's word.
    ///
    /// # Errors
    /// With the fault that the GPU still shows: clearing that would only raise it again.
    pub(in crate::inventory) fn clear(&mut self) -> Result<Option<GpuFault>, GpuFault> {
        match self.recovery.as_ref().or(self.rows.as_ref()).or(self.access.as_ref()) {
            Some(shown) => Err(shown.clone()),
            None => {
                self.history.forget();
                Ok(self.reported.take())
            }
        }
    }
}

/// Makes `slot` hold the fault, if any; keeps since when it does. Another action is another fault.
fn set(slot: &mut Option<GpuFault>, fault: Option<(FaultAction, String)>, now: UnixMillis) -> Option<Shift> {
    match (slot.as_ref(), fault) {
        (None, None) => None,
        (Some(standing), Some((action, reason))) if standing.action == action && standing.reason == reason => None,
        (_, Some((action, reason))) => {
            let fault = GpuFault { action, reason: clip_reason(&reason), since: now };
            *slot = Some(fault.clone());
            Some(Shift::Raised(fault))
        }
        (Some(_), None) => slot.take().map(Shift::Gone),
    }
}

fn asked(recovery: RecoveryAction) -> Option<(FaultAction, String)> {
    Some((recovery.action()?, format!("the driver asks for {recovery}")))
}

fn broken(rows: RemappedRows) -> Option<(FaultAction, String)> {
    if rows.failed {
        return Some((FaultAction::DrainGpu, "a row of memory could not be remapped".to_owned()));
    }
    rows.pending.then(|| (FaultAction::Cordon, "a remapped row of memory waits for a reset of the GPU".to_owned()))
}

/// Of two that ask for the same the older one.
fn graver<'a>(one: &'a GpuFault, other: &'a GpuFault) -> &'a GpuFault {
    match one.action.cmp(&other.action) {
        std::cmp::Ordering::Less => other,
        std::cmp::Ordering::Greater => one,
        std::cmp::Ordering::Equal if other.since < one.since => other,
        std::cmp::Ordering::Equal => one,
    }
}

#[cfg(test)]
mod tests;
