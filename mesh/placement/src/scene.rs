//! What a decision is made of.

use shoal_types::{UnixMillis, View};

use crate::memory::Memory;

/// What a decision is made of: what is known, what is remembered, and the time.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What is known.
    pub view: &'a View,
    /// What is remembered.
    pub memory: &'a Memory,
    /// When.
    pub now: UnixMillis,
}
