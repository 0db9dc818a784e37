//! The words that all of shoal shares.
//!
//! Ids, endpoint specs, node and replica statuses, the [`View`] made of them, and the codec of frames between nodes.
//! Nothing here does I/O or reads a clock: times are arguments ([`UnixMillis`]), bytes are slices. The types to know
//! first are [`Endpoint`] (what a user applies), [`Claim`] (what a node says it runs) and [`View`] (all that a node
//! knows at one moment).

mod claim;
mod demand;
mod gateway;
mod gpu;
mod hash;
mod hlc;
mod id;
mod key;
mod latency;
mod mandate;
mod node;
mod parse;
mod spec;
mod time;
mod units;
mod validity;
mod view;
pub mod wire;

pub use claim::{
    Claim, EngineAddress, Load, Progress, ProgressUnit, REASON_MAX, Refusal, RefusalCause, ReplicaState, clip_reason,
};
pub use demand::{Demand, OUTCOMES_MAX, Outcome};
pub use gateway::{Backend, GatewayTarget};
pub use gpu::{FaultAction, Gpu, GpuFault, GpuId, GpuSource, GpuUse};
pub use hash::{Rendezvous, rendezvous_weight, stable_hash};
pub use hlc::{Hlc, HlcClock, Revision};
pub use id::{ClaimId, EndpointName, MeshId, NodeId, ParseIdError};
pub use key::{
    KEY_PREFIX, KeyGrant, KeyHash, KeyId, KeyName, KeyRecord, KeyStatus, KeyUse, Priority, key_id, key_text,
};
pub use latency::Latencies;
pub use mandate::{Mandate, RolloutPhase, SHARES_MAX, Share};
pub use node::{CapacityType, Departure, DepartureReason, EngineOffer, Host, Labels, NodeFacts, PastDeparture};
pub use parse::{SpecError, parse_documents, parse_endpoints};
pub use spec::{
    ApiVersion, CommandEngine, Endpoint, EndpointSpec, EngineSpec, GatewayEngine, Kind, Metadata, OnFailure, Placement,
    ProcessEngine, Queue, Replicas, Resources, Rollout, Routing, RoutingPolicy, Scaling, ScoreWeights, SimEngine,
    Sleep, Spot, Spread, Strategy, Targets, VllmEngine,
};
pub use time::UnixMillis;
pub use units::{Decimal, HumanDuration, MemorySize, ParseUnitError, Percent};
pub use validity::{Validities, Validity};
pub use view::{EndpointRecord, Liveness, NodeView, PastRevision, View};
