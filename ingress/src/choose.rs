//! Which replica gets a request.
//!
//! [`choose`] decides, by what is known of the replicas ([`Candidate`]) and what the request would find there
//! ([`Affinity`]); it is pure, time and randomness come from outside. [`Knowledge`] is what this ingress knows of replicas
//! by its own requests: loads that came back with answers, prompts that were sent. No ingress tells another.

mod affinity;
mod belief;
mod blocks;
mod candidate;
mod choice;
mod cost;
mod eligible;
mod evidence;
mod hash;
mod heard;
mod holders;
mod knowledge;
mod known;
mod policy;
mod prefix;
mod replica;
mod room;
mod sample;
mod site;

pub(crate) use affinity::Affinity;
pub(crate) use candidate::{Burden, Candidate, Requests};
pub(crate) use choice::{Choice, Compared, Reason};
pub(crate) use knowledge::{Knowledge, KnownRoute};
pub(crate) use known::{Computing, Known};
pub(crate) use policy::{Dice, choose};
pub(crate) use replica::{Chooser, Chosen, NotChosen, Quest};
pub use site::Site;
