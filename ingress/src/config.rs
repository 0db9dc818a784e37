//! Bounds and deadlines. Every default can be used as it is.

use std::{sync::Arc, time::Duration};

use tokio_rustls::rustls::ClientConfig;

use crate::{ServerTls, observer::Telling};

/// Configuration of an [`Ingress`](crate::Ingress).
#[derive(Debug, Clone, Default)]
pub struct IngressConfig {
    /// Threads that serve clients, each with a runtime of its own; with 0, clients are served by the runtime that
    /// [`Ingress::serve`](crate::Ingress::serve) runs on.
    pub workers: usize,
    /// How much of anything.
    pub limits: Limits,
    /// How long for anything.
    pub timeouts: Timeouts,
    /// How gateways with an `https` URL are asked: whose certificates count. Without it they cannot be reached.
    pub gateway_tls: Option<Arc<ClientConfig>>,
    /// Who hears of single requests.
    pub telling: Telling,
    /// Whether clients must show a key.
    pub auth: Auth,
    /// What clients are shown; without it they are spoken to in plain text.
    pub tls: Option<Arc<ServerTls>>,
}

/// Whether clients must show a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Nobody must; who shows one is bound by it.
    #[default]
    None,
    /// All must, except for `/livez` and `/readyz`.
    Keys,
}

/// Bounds. What is over one of them gets an error that says so.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one request body; beyond it 413.
    pub body: usize,
    /// Bytes of all request bodies held at once, at least `body`; beyond it 503.
    pub bodies: usize,
    /// Bytes of a request's head; beyond it 431.
    pub head: usize,
    /// Client connections at once; further ones wait in the listener's queue.
    pub connections: usize,
    /// Requests of other nodes served at once; further ones are told to go elsewhere.
    pub tunnels: usize,
    /// Requests that wait at once for a replica, of all endpoints; beyond it 429, or 503 where nothing serves. Their
    /// bodies count among `bodies`. How many may for one endpoint is its own setting.
    pub held: u32,
    /// Idle connections kept per engine, by each of the workers.
    pub idle_per_engine: usize,
    /// Requests at once on one HTTP/2 connection; further ones wait at the client.
    pub streams: u32,
    /// TLS handshakes at once; further ones wait.
    pub handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            bodies: 1 << 30,
            head: 64 << 10,
            connections: 8192,
            tunnels: 4096,
            // The queues of four busy endpoints.
            held: 2048,
            // More than one worker has at once, so that a burst's end closes nothing that the next one opens: with two workers and
            // 256 clients, 64 made one request in 27 connect.
            idle_per_engine: 256,
            // RFC 9113 recommends no fewer than 100.
            streams: 128,
            // A millisecond of work each, and for the rest a round trip's wait.
            handshakes: 512,
        }
    }
}

/// Deadlines. How long a whole request may take is the endpoint's own setting.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For the head of a client's next request, hence also the longest that a connection may be idle; over HTTP/2, at most
    /// twice that.
    pub head: Duration,
    /// For a whole request body.
    pub body: Duration,
    /// For a client to take any byte of what is ready for it; over HTTP/2 also 16 KiB of one answer, or all of it, and for it
    /// to answer a ping.
    pub stall: Duration,
    /// For a connection to a local engine or a gateway's service, or a stream to another node.
    pub connect: Duration,
    /// For another node to say that it takes a request, from when the stream was opened. It says so at the
    /// latest 20 ms after it has got it, so this is a round trip and that; a node that needs longer is avoided for a while.
    pub accept: Duration,
    /// For a replica to become ready where none is; the endpoint's own timeout, if that is shorter. Until then a request
    /// is held.
    pub hold: Duration,
    /// For running requests to finish once the ingress is told to stop; then they are cut off.
    pub stop: Duration,
    /// For a client's TLS handshake.
    pub handshake: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(75),
            body: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            connect: Duration::from_secs(3),
            // Three times the longest round trip between continents.
            accept: Duration::from_secs(1),
            // The weights of a large model from a local disk.
            hold: Duration::from_secs(300),
            stop: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
        }
    }
}
