//! Policies against a trace of capacity.
//!
//! A [`Trace`] says how many instances each zone could hold in each round. [`run`] lets a [`Policy`](super::Policy) live
//! through it, in steps of a [`Scenario`], and returns an [`Outcome`]; [`optimum`] bounds what any policy could have
//! reached. [`Synthetic`] makes traces from a seed.

mod cloud;
mod dice;
mod flow;
mod optimum;
mod outcome;
mod run;
mod scenario;
mod synthetic;
mod trace;

pub use dice::Dice;
pub use optimum::optimum;
pub use outcome::Outcome;
pub use run::run;
pub use scenario::Scenario;
pub use synthetic::Synthetic;
pub use trace::{Trace, TraceError};
