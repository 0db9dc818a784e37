//! Where to rent spot capacity, how much of it, and when to fall back on what stays.
//!
//! Three things live here. [`Portfolio`] is shoal's policy: from what happened to its own launches and instances it
//! learns how risky each zone is, and holds the cheapest set of instances that is unlikely to fall short.
//! [`simulate`](mod@simulate) runs it, and others to compare it with, against a trace of capacity.
//! [`capacity_requests`] says what endpoints want and the mesh does not have, and where [`Portfolio`] would rent it.
//!
//! Nodes never need to agree on what is computed here, so it may use floating point; it is deterministic all the same.

mod even_spread;
mod history;
mod market;
mod policy;
mod portfolio;
mod requests;
mod round_robin;
pub mod simulate;
mod spothedge;
mod survival;
mod tuning;

#[cfg(test)]
mod tests;

pub use even_spread::EvenSpread;
pub use market::{Market, Offer, OfferId};
pub use policy::{Held, Incident, Launch, News, Plan, Policy, Situation};
pub use portfolio::Portfolio;
pub use requests::{Asked, CapacityClass, CapacityRequest, Place, capacity_requests};
pub use round_robin::RoundRobin;
pub use spothedge::SpotHedge;
pub use tuning::Tuning;
