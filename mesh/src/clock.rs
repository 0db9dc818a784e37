//! The one place that reads the wall clock. Everything else is told the time.

use shoal_types::UnixMillis;

/// Now, by this host's clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> UnixMillis {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
