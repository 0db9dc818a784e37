//! Who asks.

use shoal_types::{KeyId, Priority};

/// The client that a request comes from, as far as it matters to how the request is treated. Small, so that it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// By which key; `None` where none was asked for.
    pub(crate) key: Option<KeyId>,
    /// How urgent its requests are.
    pub(crate) priority: Priority,
    /// Its share of what a queue gives out among callers of the same priority, at least 1.
    pub(crate) weight: u16,
}

impl Caller {
    /// Whoever shows no key, where none is asked for. All of them are one caller.
    pub(crate) const ANONYMOUS: Self = Self { key: None, priority: Priority::Normal, weight: 1 };
}
