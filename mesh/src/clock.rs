//! The one place that reads the wall clock. Everything else is told the time.

use std::{fmt, time::Duration};

use shoal_types::{HumanDuration, UnixMillis};

/// Now, by this host's clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> UnixMillis {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// By how much this host's clock differs from those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Whether this host's is the later one.
    pub ahead: bool,
    /// How far they are apart.
    pub by: Duration,
}

impl Skew {
    pub(crate) fn between(here: UnixMillis, there: UnixMillis) -> Self {
        Self { ahead: here > there, by: here.since(there).max(there.since(here)) }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = HumanDuration::from_secs(self.by.as_secs());
        write!(f, "{by} {}", if self.ahead { "ahead of" } else { "behind" })
    }
}
