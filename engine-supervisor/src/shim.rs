//! The shim: a small process beside each engine, which outlives the daemon with it.
//!
//! A shim leads a session of its own and is the reaper of whatever its engine forks. It owns the engine's output, log
//! files and exit status, and tells them to the daemon that is attached to its socket (see `protocol`); a daemon that is
//! killed or upgraded is missed by neither of them, and the next one attaches in its place.
//!
//! Who ends the engine, whatever dies in whatever order:
//!
//! | what dies | who kills what is left |
//! |---|---|
//! | the engine, or a part of it | the shim, when the daemon has heard of it and says so |
//! | the daemon | nobody: the next one takes the engine over; after the orphan grace, the shim |
//! | the shim | the kernel the engine's leader, the daemon the rest: it sees the closed socket |
//! | both | the kernel the leader, the next daemon the rest, by the record in the replica's directory |

mod daemon;
mod engine;
mod error;
mod exec;
mod log;
mod options;
mod protocol;
mod serve;

pub use error::ShimError;
pub use exec::engine_exec;
pub use options::{ExecOptions, ShimOptions};
pub use serve::engine_shim;

pub(crate) use protocol::{Frames, LaunchOrder, Report, Request, VERSION, VERSIONS, encode};
