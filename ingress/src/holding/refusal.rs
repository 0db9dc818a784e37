//! Why a request waits no longer, or not at all.

use super::room::Full;
use crate::{error::RequestError, metrics::HeldEnd, pending::Pending};

/// Why a request is not served although it would have waited.
#[derive(Debug)]
pub(super) struct Unserved {
    pub(super) end: HeldEnd,
    pub(super) error: RequestError,
}

impl Unserved {
    /// This node stops.
    pub(super) fn stopped(pending: &Pending) -> Self {
        Self { end: HeldEnd::Stopped, error: RequestError::Stopping { wanted: pending.wanted.clone() } }
    }
}

/// `pending` cannot wait, as what it would wait in is `full`. Where replicas serve, its caller asks too much and is to
/// come again in `retry_after` seconds; where none does, that is no fault of its own.
pub(super) fn refused(pending: &Pending, full: Full, is_cold: bool, retry_after: u16) -> Unserved {
    let wanted = pending.wanted.clone();
    let end = if full == Full::Share { HeldEnd::Displaced } else { HeldEnd::Refused };
    let error = if is_cold {
        RequestError::TooManyWaiting { wanted, full }
    } else {
        RequestError::Saturated { wanted, full, retry_after }
    };
    Unserved { end, error }
}
