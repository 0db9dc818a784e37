//! The admin API: what the command line talks to.

mod access;
mod doctor;
mod endpoints;
mod events;
mod gather;
mod history;
mod identity;
mod keys;
mod listen;
mod live;
mod logs;
mod model;
mod nodes;
mod placement;
mod problem;
mod requests;
mod root;
mod routes;
mod serve;
mod tokens;
mod view;

pub(crate) use doctor::{PathToPeer, Paths};
pub(crate) use events::EventList;
pub(crate) use history::MeshHistory;
pub(crate) use identity::{BACKUP_MAX, IssuerText};
pub(crate) use keys::{KeyCreated, KeyRequest, UsageReport};
pub(crate) use listen::AdminListeners;
pub(crate) use logs::{LogQuery, local as local_logs};
pub(crate) use model::{
    AppliedStatus, ApplyOutcome, DrainRequest, EndpointHealth, EndpointStatus, MeshStatus, NodeStatus, ReplicaStatus,
    TokenCreated, TokenRequest,
};
pub(crate) use placement::{PastRevisionStatus, RolloutAction};
pub(crate) use problem::{Code, Problem};
pub(crate) use requests::{LatestRequest, LatestRequests, RequestsFound, TakenRequest};
pub(crate) use root::RootRequest;
pub(crate) use routes::{Admin, OwnAddresses};
