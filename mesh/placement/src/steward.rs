//! How many replicas of which revision: what the steward of an endpoint says (DESIGN rule 5).
//!
//! Every node is a [`Steward`] for some endpoints and reads the mandates of the others. It keeps nothing that must not
//! be lost: how far a rollout has come is in the mandate itself, and the windows of scaling are watched anew.

mod draft;
mod facts;
mod heal;
mod office;
mod reminder;
mod rollout;
mod scaling;
mod seat;
mod word;

#[cfg(test)]
mod tests;

pub use self::{
    rollout::{RevisionStatus, RolloutStatus, rollout_status},
    seat::steward_of,
    word::{Steward, Word},
};
