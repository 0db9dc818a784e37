//! The door of this module.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quinn::Endpoint;
use shoal_types::{MeshId, NodeId, UnixMillis};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    Admission, Inbound, OpenError, PeerStatus, RenewError, Stream, StreamKind, TransportConfig, TransportError, accept,
    config::{EndpointKeys, bind},
    error::CloseCode,
    gathering::Gathering,
    inbound::inbound,
    link::Use,
    pool::Pool,
    renewal,
    stream::Opening,
    tls::TlsSetup,
};
use crate::identity::Identity;

/// How long a connected peer may take to allow one more stream.
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// How long closing may take; what is still running then is left behind and logged.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// The node's end of all its connections. Clones share one endpoint, which runs until [`Self::shutdown`].
#[derive(Clone)]
pub struct Transport {
    pool: Arc<Pool>,
    address: SocketAddr,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("address", &self.address).field("pool", &self.pool).finish()
    }
}

impl Transport {
    /// Opens the mesh port. All connections are driven in the runtime that this is called in, also those that are asked for
    /// from another one.
    ///
    /// # Errors
    /// If the port cannot be had, or the identity makes no TLS configuration.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn bind(
        config: TransportConfig,
        identity: Arc<Identity>,
        admission: Arc<dyn Admission>,
    ) -> Result<(Self, Inbound), TransportError> {
        let setup = TlsSetup { keys: EndpointKeys::of(&identity)?, transport: config.quinn()? };
        let (server, client) = setup.configs(&identity)?;
        let endpoint_config = setup.keys.endpoint_config()?;
        let listening = bind(config.listen).and_then(|socket| {
            let endpoint = Endpoint::new(endpoint_config, Some(server), socket, Arc::new(Gathering))?;
            Ok((endpoint.local_addr()?, endpoint))
        });
        let (address, endpoint) = listening.map_err(|source| TransportError::Bind { listen: config.listen, source })?;
        let (sender, receiver) = inbound();
        let pool = Arc::new(Pool::new(identity, admission, endpoint, (setup, client), sender, config.certificate_life));
        pool.spawn(accept::run(pool.clone()));
        let attentive = pool.clone();
        pool.spawn(async move {
            attentive.stop.run_until_cancelled(attentive.attention.pay()).await;
        });
        pool.spawn(renewal::run(pool.clone()));
        Ok((Self { pool, address }, receiver))
    }

    #[cfg(test)]
    pub(super) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Where it listens, with the port that port 0 became.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Trusts from now on what the identity does, and hangs up on peers that have proved themselves by another root. Those
    /// that have a certificate of the new one are back at once.
    ///
    /// # Errors
    /// If the roots make no TLS configuration; nothing changes then.
    pub fn take_roots(&self) -> Result<(), TransportError> {
        self.pool.take_roots()
    }

    /// Says which peers are issuers, and of which root, by their own word; replaces what was known.
    pub fn learn_issuers(&self, issuers: BTreeMap<NodeId, Option<MeshId>>) {
        self.pool.learn_issuers(issuers);
    }

    /// Says where a peer can be dialled, best first; replaces what was known.
    pub fn learn(&self, node: NodeId, addresses: &[SocketAddr]) {
        self.pool.learn(node, addresses);
    }

    /// Opens a stream to a peer, dialling it if need be; callers at the same time share one dial. Takes at most 6 s.
    /// Cancel-safe. The peer sees it at once, but one for a request only with what is written to it first.
    ///
    /// # Errors
    /// Why there is no stream; nothing has been sent. For a short while after a failed dial, its error, at once.
    pub async fn open(&self, node: NodeId, kind: StreamKind) -> Result<Stream, OpenError> {
        let (link, link_use) = self.pool.link(node, Use::Stream).await?;
        let opened = timeout(OPEN_DEADLINE, link.open(Opening::Stream(kind), link_use)).await;
        opened.unwrap_or(Err(OpenError::Busy { node }))
    }

    /// Posts a gossip message to a peer; never waits. `false` if it was dropped: the peer is unknown, 16 messages wait
    /// for it already, or the message is larger than [`super::GOSSIP_MAX`].
    pub fn send_gossip(&self, node: NodeId, message: Bytes) -> bool {
        self.pool.post(node, message)
    }

    /// All peers that are known, by id.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.pool.statuses()
    }

    /// The peers that are connected, as it changes.
    pub fn connected(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.pool.connected()
    }

    /// The connected peers from which no packet has come for `time`, as far as asking this often tells: a packet counts
    /// as of the first question after it.
    pub fn silent_for(&self, time: Duration) -> BTreeSet<NodeId> {
        self.pool.silent_for(time, Instant::now())
    }

    /// How long what drives connections has had no time for them: what nothing has come from may have sent something.
    pub fn lapse(&self) -> Duration {
        self.pool.attention.lapse(Instant::now())
    }

    /// Hangs up on a peer that is revoked, breaking what is in flight, and forgets it. Whether it may come back is for
    /// [`Admission`] to say.
    pub fn disconnect(&self, node: NodeId) {
        self.pool.disconnect(node);
    }

    /// Hangs up on peers that [`Admission`] keeps out by now, whatever is in flight.
    pub fn expel(&self) {
        self.pool.expel();
    }

    /// The peer that was the first to say that this node is revoked, once one has since it started.
    pub fn revoked_by(&self) -> watch::Receiver<Option<NodeId>> {
        self.pool.revoked_by()
    }

    /// Renews this node's certificate now; by itself that happens at half of its life. Returns the new expiry.
    ///
    /// # Errors
    /// If no issuer is known, or none of eight could be reached and renewed it.
    pub async fn renew(&self) -> Result<UnixMillis, RenewError> {
        renewal::renew(&self.pool).await
    }

    /// Closes all connections and ends all tasks; 5 s at most. Streams that are still in use break.
    pub async fn shutdown(&self) {
        self.pool.stop.cancel();
        self.pool.endpoint.close(CloseCode::Shutdown.code(), b"shutting down");
        self.pool.tasks.close();
        let ended = async {
            self.pool.tasks.wait().await;
            self.pool.endpoint.wait_idle().await;
        };
        if timeout(SHUTDOWN_DEADLINE, ended).await.is_err() {
            tracing::warn!(tasks = self.pool.tasks.len(), "the transport did not end in time");
        }
    }
}
