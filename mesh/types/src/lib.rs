//! The words that all of shoal shares.
//!
//! Ids, endpoint specs, node and replica statuses, the [`View`] made of them, and the codec of frames between nodes.
//! Nothing here does I/O or reads a clock: times are arguments ([`UnixMillis`]), bytes are slices. The types to know
//! first are [`Endpoint`] (what a user applies), [`Claim`] (what a node says it runs) and [`View`] (all that a node
//! knows at one moment).

mod claim;
mod gateway;
mod gpu;
mod hash;
mod hlc;
mod id;
mod node;
mod parse;
mod spec;
mod time;
mod units;
mod view;
pub mod wire;

pub use claim::{Claim, EngineAddress, Load, Progress, ProgressUnit, REASON_MAX, Refusal, ReplicaState, clip_reason};
pub use gateway::{Backend, GatewayTarget};
pub use gpu::{FaultAction, Gpu, GpuFault, GpuId, GpuSource, GpuUse};
pub use hash::{rendezvous_weight, stable_hash};
pub use hlc::{Hlc, HlcClock, Revision};
pub use id::{ClaimId, EndpointName, MeshId, NodeId, ParseIdError};
pub use node::{CapacityType, Departure, DepartureReason, EngineOffer, Host, Labels, NodeFacts};
pub use parse::{SpecError, parse_documents, parse_endpoints};
pub use spec::{
    ApiVersion, CommandEngine, Endpoint, EndpointSpec, EngineSpec, GatewayEngine, Kind, Metadata, Placement,
    ProcessEngine, Replicas, Resources, Routing, SimEngine, Sleep, Spread, VllmEngine,
};
pub use time::UnixMillis;
pub use units::{HumanDuration, MemorySize, ParseUnitError};
pub use view::{EndpointRecord, Liveness, NodeView, View};
