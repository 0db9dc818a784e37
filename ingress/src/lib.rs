//! The gateway of a node: what a client's OpenAI SDK talks to.
//!
//! A request is admitted (bounded, its `model` read without copying the rest), a replica is chosen (a revision by weight,
//! then one that has the prompt in its cache, as long as it has not too much to do; where none is ready, the request is
//! held until one is), the bytes are forwarded to a local engine, to the service that a gateway stands for, or through a [`Tunnel`] to the node that has the replica, and
//! the answer is passed back untouched as it arrives. Until the first byte of an answer has been passed on, another
//! replica is tried; after it, another one goes on with a stream where it can, and else a break is told and never hidden.
//!
//! Not here: who runs what (the agent hands over a [`RoutingTable`]), and how to reach a node (it hands over a [`Dial`]).
//! The type to know first is [`Ingress`].

mod account;
mod admission;
mod api;
mod attempt;
mod bell;
mod caller;
mod choose;
mod circuits;
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
mod hush;
mod inflight;
mod ingress;
#[cfg(test)]
#[path = "../../tests/golden/kept.rs"]
mod kept;
mod keys;
mod map;
mod members;
mod metrics;
mod models;
mod observer;
mod opening;
mod pages;
mod pending;
mod records;
mod reply;
mod resume;
mod routes;
mod server;
mod sse;
mod tls;
mod tokens;
mod traces;
#[doc(hidden)]
pub mod trial;
mod tunnel;
mod upstream;
mod usage;
mod within;
mod workers;

pub use choose::Site;
pub use config::{Auth, IngressConfig, Limits, Timeouts};
pub use ingress::Ingress;
pub use keys::{KeyCounts, KeyUsage};
pub use metrics::Operation;
pub use observer::{Observer, Telling};
pub use records::{Considered, Decision, Failed, Outcome, RequestRecord, Tokens};
pub use routes::{Place, QueueBounds, Replica, Route, RouteRevision, RoutingTable, StreamPolicy};
pub use tls::{ServerTls, TlsError, TlsFiles};
pub use traces::{Hop, SpanId, TraceContext, TraceId};
pub use tunnel::{Dial, DialError, Tunnel, TunnelSend};
