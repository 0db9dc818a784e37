//! How a new revision takes the place of the one before: step by step, judged by what clients see of both.

mod course;
mod judge;
mod next;
mod shares;
mod status;
mod steps;

pub use self::status::{RevisionStatus, RolloutStatus, rollout_status};
pub(super) use self::{
    judge::Trial,
    next::{Ground, advance},
};
