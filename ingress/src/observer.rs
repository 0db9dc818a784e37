//! Who hears of what happened, and what time it is for them.

use std::{fmt, sync::Arc};

use shoal_types::UnixMillis;

use crate::{Hop, RequestRecord};

/// Hears of requests that have ended. It is called where requests run: it must not wait, and what it does is paid by each
/// of them.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A client's request has ended.
    fn request(&self, record: &Arc<RequestRecord>);

    /// Another node's request has ended, which is recorded as a trace.
    fn hop(&self, hop: Hop);
}

/// How single requests are told of. By default to nobody but whoever asks for one.
#[derive(Debug, Clone)]
pub struct Telling {
    /// The wall clock.
    pub clock: fn() -> UnixMillis,
    /// Whether requests are traced: those whose client wants it, and a share of the others.
    pub traces: bool,
    /// That share, from 0 to 1.
    pub sample: f64,
    /// Who hears of each.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Telling {
    fn default() -> Self {
        Self { clock: || UnixMillis::from_millis(0), traces: false, sample: 0.0, observer: None }
    }
}
