//! Who should run what: pure decisions that every node takes for itself, and that agree because all compute the same.
//!
//! Nothing here reads a clock, draws a random number or does I/O. The time is an argument, ties break by hashing, so
//! the same code runs in the daemon, in a simulator and in property tests. It assigns nothing either: an [`Elector`]
//! speaks for its own node only, and what others do it learns from the next [`View`](shoal_types::View).
//!
//! * [`Elector::step`] takes a view and says what this node should do now, and when to ask again.
//! * [`Action`] is one such thing: claim, start, withdraw, drain.
//! * [`explain()`] says why an endpoint's replicas are where they are, why others are missing, and what would change that;
//!   [`candidates()`] is the part of it that follows from the view alone.
//! * [`plan()`] says what would happen if endpoints were applied.
//!
//! How long a decision waits is in [`Timing`].

mod candidates;
mod capacity;
mod catalog;
mod census;
mod decision;
mod desired;
mod distance;
mod elector;
mod exclusion;
mod explain;
mod ground;
mod membership;
mod memory;
mod muster;
mod need;
mod opening;
mod order;
mod plan;
mod presence;
mod rank;
mod risk;
mod scene;
mod score;
mod tenancy;
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
pub use exclusion::{Capacity, Exclusion};
pub use explain::{
    Candidate, ExcludedNode, ExcludedNodes, Explanation, NodeNames, Remedy, ReplicaStanding, Term, TermName,
    WantExplanation, explain,
};
pub use memory::{Heard, Memory};
pub use muster::Standing;
pub use need::Filter;
pub use plan::{Change, EndpointPlan, Evicted, Outcome, Plan, Start, plan};
pub use scene::Scene;
pub use tenancy::{Tenant, Tenants};
pub use timing::Timing;
