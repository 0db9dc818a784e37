//! Who should run what: pure decisions that every node takes for itself, and that agree because all compute the same.
//!
//! Nothing here reads a clock, draws a random number or does I/O. The time is an argument, ties break by hashing, so
//! the same code runs in the daemon, in a simulator and in property tests. It assigns nothing either: an [`Elector`]
//! speaks for its own node only, and what others do it learns from the next [`View`](shoal_types::View).
//!
//! * [`Elector::step`] takes a view and says what this node should do now, and when to ask again.
//! * [`Action`] is one such thing: claim, start, withdraw, drain, move.
//! * [`Steward::step`] says how many replicas of which revision there should be, for the endpoints that this node is the
//!   steward of; [`Desired::of`] is how every node reads it.
//! * [`making_room`] says where replicas go so that others find a place.
//! * [`explain()`] says why an endpoint's replicas are where they are, why others are missing, and what would change that;
//!   [`candidates()`] is the part of it that follows from the view alone.
//! * [`plan()`] says what would happen if endpoints were applied.
//! * [`spot`] is about renting: which spot capacity to have, and a simulator of policies for it.
//!
//! How long a decision waits is in [`Timing`].

mod agenda;
mod candidates;
mod capacity;
mod catalog;
mod census;
mod clearing;
mod decision;
mod desired;
mod distance;
mod elector;
mod exclusion;
mod explain;
mod ground;
mod group;
mod membership;
mod memory;
mod moves;
mod muster;
mod need;
mod opening;
mod order;
mod plan;
mod preempt;
mod presence;
mod rank;
mod register;
mod risk;
mod scene;
mod score;
pub mod spot;
mod steward;
mod tenancy;
mod tenure;
mod timing;
mod vacancy;
mod want;

#[cfg(test)]
mod tests;

pub use agenda::making_room;
pub use candidates::{Candidates, candidates};
pub use capacity::fits;
pub use clearing::MakesRoom;
pub use decision::{Action, Decision, DrainReason, MoveReason, WithdrawReason};
pub use desired::Desired;
pub use elector::Elector;
pub use exclusion::{Capacity, Exclusion};
pub use explain::{
    Candidate, ExcludedNode, ExcludedNodes, Explanation, NodeNames, Remedy, ReplicaStanding, RoomBeingMade, Term,
    TermName, WantExplanation, explain,
};
pub use memory::{Heard, Memory};
pub use muster::Standing;
pub use need::Filter;
pub use plan::{Change, EndpointPlan, Evicted, Plan, PlanOutcome, Start, plan};
pub use scene::Scene;
pub use steward::{RevisionStatus, RolloutStatus, Steward, Word, rollout_status, steward_of};
pub use tenancy::{Tenant, Tenants};
pub use timing::Timing;
