//! The gateway of a node: what a client's OpenAI SDK talks to.
//!
//! A request is admitted (bounded, its `model` read without copying the rest), a replica is chosen (a revision by weight,
//! then two random choices by load; where none is ready, the request is held until one is), the bytes are forwarded to a
//! local engine, to the service that a gateway stands for, or through a [`Tunnel`] to the node that has the replica, and
//! the answer is passed back untouched as it arrives. Until the first byte of an answer has been passed on, another
//! replica is tried; after it, a break is told to the client and never hidden.
//!
//! Not here: who runs what (the agent hands over a [`RoutingTable`]), and how to reach a node (it hands over a [`Dial`]).
//! The type to know first is [`Ingress`].

mod account;
mod admission;
mod attempt;
mod bell;
mod caller;
mod choose;
mod client_stream;
mod config;
mod demand;
mod error;
mod failure;
mod handler;
mod head;
mod headers;
mod headroom;
mod holding;
mod inflight;
mod ingress;
mod loads;
mod metrics;
mod models;
mod opening;
mod pending;
mod reply;
mod routes;
mod server;
mod sse;
mod suspicion;
mod tokens;
mod tunnel;
mod upstream;

pub use config::{IngressConfig, Limits, Timeouts};
pub use ingress::Ingress;
pub use routes::{Place, QueueBounds, Replica, Route, RouteRevision, RoutingTable};
pub use tunnel::{Dial, DialError, Tunnel, TunnelSend};
