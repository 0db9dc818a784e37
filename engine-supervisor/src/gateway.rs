//! Replicas that are no process: services which shoal routes to and does not run, asked from time to time how they are.
//!
//! A spec names a URL, and a file with its key; the node's configuration says which URLs may be named and where those
//! files are ([`GatewayConfig`]). What is left after that check is a [`Service`], which a [`GatewayReplica`] watches.

mod check;
mod client;
mod config;
mod course;
mod key;
mod load;
mod refusal;
mod replica;
mod service;
mod url;

pub use config::{GatewayConfig, GatewayTimings};
pub use key::KeyError;
pub use refusal::GatewayRefusal;
pub(crate) use replica::GatewayReplica;
pub(crate) use service::Service;
pub use url::{GatewayUrl, UrlError};
