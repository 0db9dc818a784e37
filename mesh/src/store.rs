//! What must outlive the node that it was said to: endpoint specs, join tokens, keys of clients, revocations.
//!
//! A last-writer-wins map on every node (DESIGN rule 2). Each entry is versioned by a hybrid logical clock, signed by
//! the node that took the write, verified wherever it is merged, and on disk before anybody is told. [`Store`] is the
//! door; [`merge`] and [`digest`] are the pure rules; [`sync`] carries entries between nodes.

mod backup;
mod clocks;
mod core;
mod digest;
mod disk;
mod entry;
mod error;
mod handle;
mod history;
mod keys;
mod merge;
mod restore;
mod roots;
mod seal;
mod snapshot;
pub(crate) mod sync;
mod tokens;

#[cfg(test)]
pub(crate) mod tests;

pub use backup::{Backup, BackupError, Origin};
pub use error::StoreError;
pub use handle::{Applied, Store};
pub use restore::{RestoreOptions, RestoreOutcome, Restored};
pub use snapshot::Keys;
pub(crate) use snapshot::Snapshot;
pub use tokens::{TokenGrant, TokenStatus};
