//! What the tests are made of.

mod client;
mod engine;
mod faults;
mod mesh;
mod node;
mod pipe;
mod provider;
mod sim;

use std::{future::Future, time::Duration};

pub(crate) use client::{Answer, Client, Http2Client, raw};
pub(crate) use engine::{Call, Engine, Reply};
pub(crate) use faults::{Faults, Flaky};
pub(crate) use mesh::{Mesh, Peer};
pub(crate) use node::{
    Node, claim, gateway, local, node_id, remote, revision, route, route_revision, waking, without_resume,
};
pub(crate) use pipe::tunnel_pair;
pub(crate) use provider::Provider;
pub(crate) use sim::Sim;

/// A request for `llama`.
pub(crate) const REQUEST: &str = r#"{"model":"llama","stream":true,"messages":[]}"#;
/// The same without a stream.
pub(crate) const PLAIN: &str = r#"{"model":"llama","messages":[]}"#;
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

/// Lets so much time pass at once. What waits for less of it is woken; what is in flight stays where it is.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The error that an event says.
pub(crate) fn error_of(event: &str) -> serde_json::Value {
    let data = event.trim_start().strip_prefix("data: ").unwrap();
    assert!(data.ends_with("\n\n"), "{data:?}");
    serde_json::from_str::<serde_json::Value>(data).unwrap()["error"].take()
}
