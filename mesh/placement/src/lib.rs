//! Who should run what: pure decisions that every node takes for itself, and that agree because all compute the same.
//!
//! Nothing here reads a clock, draws a random number or does I/O. The time is an argument, ties break by hashing, so
//! the same code runs in the daemon, in a simulator and in property tests. It assigns nothing either: an [`Elector`]
//! speaks for its own node only, and what others do it learns from the next [`View`](shoal_types::View).
//!
//! * [`Elector::step`] takes a view and says what this node should do now, and when to ask again.
//! * [`Action`] is one such thing: claim, start, withdraw, drain.
//! * [`candidates()`] explains: which nodes could run a replica, best first, and why the others could not.
//! * [`spot`] is about renting: which spot capacity to have, and a simulator of policies for it.
//!
//! How long a decision waits is in [`Timing`].

mod candidates;
mod capacity;
mod census;
mod decision;
mod desired;
mod elector;
mod exclusion;
mod membership;
mod memory;
mod opening;
mod order;
mod presence;
mod rank;
mod scene;
pub mod spot;
mod tenure;
mod timing;
mod vacancy;
mod want;

#[cfg(test)]
mod tests;

pub use candidates::{Candidates, candidates};
pub use capacity::fits;
pub use decision::{Action, Decision, DrainReason, WithdrawReason};
pub use desired::Desired;
pub use elector::Elector;
pub use exclusion::Exclusion;
pub use memory::{Heard, Memory};
pub use scene::Scene;
pub use timing::Timing;
