//! What the agent tells the ingress: which names mean which endpoint, and where its replicas are.

mod route;
mod table;

pub(crate) use route::{LocalReplica, ReplicaRef, Wanted};
pub use route::{Place, QueueBounds, Replica, Route, RouteRevision, StreamPolicy};
pub use table::RoutingTable;
