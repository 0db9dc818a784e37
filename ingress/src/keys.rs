//! Who may ask, for what, how much; and what was used.
//!
//! A [`KeyRing`] is a snapshot of the mesh's keys, swapped as a whole like the routing table. Each key has one [`Meter`],
//! which outlives the snapshots. A request enters the meter when it is admitted and leaves it, with its tokens, when its
//! account is closed. Limits hold over all nodes together, as far as others have said what they let through: a count here
//! is exact, one from elsewhere as old as gossip is slow.

mod credential;
mod limit;
mod meter;
mod ring;
mod shown;
mod usage;
mod visit;

pub use self::usage::{KeyCounts, KeyUsage};
#[cfg(test)]
mod tests;

pub(crate) use self::{
    credential::credential,
    limit::Excess,
    ring::{Denied, Key, KeyRing},
    shown::KeyMetrics,
    visit::KeyVisit,
};
