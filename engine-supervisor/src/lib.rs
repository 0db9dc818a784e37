//! Local engines: from a launch plan to a process that answers, and back to nothing.
//!
//! A [`Supervisor`] starts what it is told to ([`LaunchPlan`]), watches it, restarts it with backoff, and ends it
//! without leaving a process behind; where each replica stands is in its [`EngineStatus`]. It decides nothing about
//! placement: what fails three times in a row is [`EnginePhase::Failed`], and the caller takes it elsewhere. The kinds
//! of engines are adapters; the simulated one ([`sim_engine`]) is here too, for `shoal sim-engine` to run.
//!
//! Each engine runs under a small process of its own ([`engine_shim`], for `shoal engine-shim` to run), so that it
//! outlives the daemon: the next one's [`Supervisor`] takes it over.

mod adapter;
mod config;
mod directories;
mod error;
mod fit;
mod gateway;
mod gpus;
mod http;
mod json_file;
mod launcher;
mod lifecycle;
mod line;
mod liveness;
mod load;
mod log;
mod log_file;
mod models;
mod probe;
mod process;
mod reason;
mod record;
mod replica;
mod replica_record;
mod session;
mod shim;
mod sim;
mod stat;
mod status;
mod supervisor;
mod weights;

pub use config::{CommandConfig, ProgramConfig, SupervisorConfig, Timings};
pub use error::{RefusalReason, SupervisorError};
pub use fit::{Attention, EngineArgs, Estimate, KvCache, Length, Misfit, ModelShape, Number, check_fit, refuse_fit};
pub use gateway::{GatewayConfig, GatewayRefusal, GatewayTimings, GatewayUrl, KeyError, UrlError};
pub use gpus::{GpuWatch, NoGpuWatch};
pub use log::{Launch, LogLine, LogReader, LogSource};
pub use log_file::LogFile;
pub use shim::{ExecOptions, ShimError, ShimOptions, engine_exec, engine_shim};
pub use sim::{SimError, SimOptions, sim_engine};
pub use stat::process_group;
pub use status::{EnginePhase, EngineStatus, FailureClass, LaunchPlan};
pub use supervisor::Supervisor;
pub use weights::{
    BadModel, HubConfig, HubError, NoChoice, NoRoom, StoredModel, WeightStore, WeightsConfig, WeightsError,
};
