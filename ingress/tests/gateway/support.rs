//! What the tests are made of.

mod client;
mod engine;
mod mesh;
mod node;
mod pipe;
mod provider;

use std::{future::Future, time::Duration};

pub(crate) use client::{Answer, Client, raw};
pub(crate) use engine::{Call, Engine, Reply};
pub(crate) use mesh::{Mesh, Peer};
pub(crate) use node::{Node, claim, gateway, local, node_id, remote, route};
pub(crate) use pipe::tunnel_pair;
pub(crate) use provider::Provider;

/// A request for `llama`.
pub(crate) const REQUEST: &str = r#"{"model":"llama","stream":true,"messages":[]}"#;
/// Where it is sent.
pub(crate) const CHAT: &str = "/v1/chat/completions";
/// The content type of a stream.
pub(crate) const SSE: &str = "text/event-stream; charset=utf-8";

/// `future`, which must be over soon: a test that hangs must say where.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within 20 s"),
    }
}
