//! What is wrong with a GPU, and what follows: pure. Signs come in with the time, verdicts go out.
//!
//! What the driver itself asks for (its recovery action) goes before the table of Xids; remapped rows and a GPU that
//! does not answer are signs of their own.

mod history;
mod policy;
mod standing;
mod table;

pub(super) use policy::FaultPolicy;
pub(super) use standing::{Shift, Standing};
pub(super) use table::is_known;

use std::fmt;

use shoal_types::{FaultAction, GpuId, UnixMillis};

use crate::config::FaultVerdict;

/// A GPU has reported something, or something was found wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuEvent {
    pub(crate) gpu: GpuId,
    /// The driver's number for it, if it came as one.
    pub(crate) xid: Option<u32>,
    /// What is to be done. [`FaultVerdict::RestartEngine`] is for whoever has the GPU now; graver ones also stand as the
    /// fault of its readings.
    pub(crate) verdict: FaultVerdict,
    /// Such as `Xid 48: double-bit ECC error`.
    pub(crate) reason: String,
    pub(crate) at: UnixMillis,
}

/// What a driver tells when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// A numbered error: <https://docs.nvidia.com/deploy/xid-errors/>.
    Xid(u32),
    /// Two bits of a word of memory were wrong. Comes with Xid 48, and on some drivers alone.
    DoubleBitEcc,
}

impl Alarm {
    /// The Xid whose rule it follows.
    pub(super) const fn xid(self) -> u32 {
        match self {
            Self::Xid(xid) => xid,
            Self::DoubleBitEcc => 48,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xid(xid) => write!(f, "Xid {xid}: {}", table::words(*xid)),
            Self::DoubleBitEcc => f.write_str("double-bit ECC error"),
        }
    }
}

/// Why a GPU cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It has fallen off the bus.
    Lost,
    /// It works only after a reset.
    ResetRequired,
    /// Anything else, which says nothing about the GPU.
    Other(String),
}

impl FaultVerdict {
    /// What stands until it is mended; `None` for what is over at once.
    pub(crate) const fn action(self) -> Option<FaultAction> {
        match self {
            Self::Ignore | Self::RestartEngine => None,
            Self::Cordon => Some(FaultAction::Cordon),
            Self::DrainGroup => Some(FaultAction::DrainGroup),
            Self::DrainGpu => Some(FaultAction::DrainGpu),
            Self::DrainNode => Some(FaultAction::DrainNode),
        }
    }
}

impl From<FaultAction> for FaultVerdict {
    fn from(action: FaultAction) -> Self {
        match action {
            FaultAction::Cordon => Self::Cordon,
            FaultAction::DrainGroup => Self::DrainGroup,
            FaultAction::DrainGpu => Self::DrainGpu,
            FaultAction::DrainNode => Self::DrainNode,
        }
    }
}
