//! How stores become equal: whole comparisons where digests differ, and pushes of what was just written.

mod dialogue;
mod driver;
mod frame;
#[cfg(test)]
mod golden;
mod plan;

pub(crate) use driver::{Sync, SyncParts};
