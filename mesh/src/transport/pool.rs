//! All peers: one link each, found or dialled on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use quinn::{ClientConfig, Connection, Endpoint};
use shoal_types::{MeshId, NodeId, UnixMillis};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    OpenError, TransportError,
    attention::Attention,
    dial::dial,
    error::CloseCode,
    gossip::GOSSIP_MAX,
    inbound::InboundSender,
    link::{Link, LinkUse, Use},
    peer::{PeerState, Route},
    receive,
    tls::{self, TlsSetup},
};
use crate::{
    clock,
    identity::{Identity, NodeCertificate, TokenLedger, dns_name},
};

/// Peers that are kept; a mesh that outgrows it forgets the ones that are not connected.
const PEERS_MAX: usize = 2048;
const ROOT_REPLACED: &str = "the root of the mesh was replaced: connect anew";
/// Gossip messages that wait for one peer. Newer ones are dropped: gossip repeats itself.
pub(super) const MAILBOX: usize = 16;

/// Who may connect, and what is known of join tokens. The store implements it.
pub trait Admission: Send + Sync + 'static {
    /// Whether the node has been thrown out of the mesh.
    fn is_revoked(&self, node: NodeId) -> bool;
    /// Why the node that has proved to be the one of `certificate` is kept out at `now`, if it is.
    fn excludes(&self, certificate: &NodeCertificate, now: UnixMillis) -> Option<Exclusion>;
    /// The tokens' ledger; asked on issuers only, from a thread that may block.
    fn tokens(&self) -> &dyn TokenLedger;
}

/// Why a node with a valid certificate is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// It was thrown out.
    #[error("this node is revoked")]
    Revoked,
    /// Whoever signed its certificate was thrown out, and nothing else speaks for it.
    #[error(
        "its certificate was signed by node {issuer}, which is revoked: join again, with a token of another issuer"
    )]
    Issuer {
        /// Who signed it.
        issuer: NodeId,
    },
}

impl Exclusion {
    const fn code(self) -> CloseCode {
        match self {
            Self::Revoked => CloseCode::Revoked,
            Self::Issuer { .. } => CloseCode::Unauthenticated,
        }
    }
}

/// How one peer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Whether there is a connection at this moment.
    pub connected: bool,
    /// Round-trip time of that connection, as QUIC estimates it.
    pub rtt: Option<Duration>,
    /// Largest packet that its path carries, in bytes, as far as QUIC has found out; it begins at 1,200.
    pub mtu: Option<u16>,
    /// Where it is connected, or else would be dialled first.
    pub address: Option<SocketAddr>,
    /// Why it would not have this node when it was last asked, such as that this node is revoked.
    pub refusal: Option<String>,
}

/// One peer: its state, a bell that rings when it changes, and the way to its mailbox.
#[derive(Debug)]
struct Peer {
    state: Mutex<PeerState<Arc<Link>>>,
    changed: watch::Sender<()>,
    mailbox: mpsc::Sender<Bytes>,
}

impl Peer {
    fn state(&self) -> MutexGuard<'_, PeerState<Arc<Link>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All peers of this node, and what it takes to reach them.
pub(super) struct Pool {
    pub(super) identity: Arc<Identity>,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) endpoint: Endpoint,
    pub(super) inbound: InboundSender,
    pub(super) tasks: TaskTracker,
    /// Where connections are driven, whoever asked for them.
    runtime: Handle,
    pub(super) attention: Attention,
    pub(super) stop: CancellationToken,
    setup: TlsSetup,
    pub(super) client: ArcSwap<ClientConfig>,
    pub(super) certificate_life: Duration,
    me: NodeId,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    /// Live peers that say that they are issuers, and of which root.
    issuers: Mutex<BTreeMap<NodeId, Option<MeshId>>>,
    connected: watch::Sender<BTreeSet<NodeId>>,
    /// Set once a peer has refused this node, so that the log says it once.
    refused: AtomicBool,
    /// Who was the first to say that this node is revoked. That is for good.
    revoked_by: watch::Sender<Option<NodeId>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("me", &self.me)
            .field("connected", &*self.connected.borrow())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// What is driven is so in the runtime that this is called in.
    pub(super) fn new(
        identity: Arc<Identity>,
        admission: Arc<dyn Admission>,
        endpoint: Endpoint,
        (setup, client): (TlsSetup, ClientConfig),
        inbound: InboundSender,
        certificate_life: Duration,
    ) -> Self {
        Self {
            me: identity.node_id(),
            identity,
            admission,
            endpoint,
            inbound,
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            attention: Attention::new(Instant::now()),
            stop: CancellationToken::new(),
            setup,
            client: ArcSwap::from_pointee(client),
            certificate_life,
            peers: Mutex::default(),
            issuers: Mutex::default(),
            connected: watch::Sender::new(BTreeSet::new()),
            refused: AtomicBool::new(false),
            revoked_by: watch::Sender::new(None),
        }
    }

    /// Runs `task` where connections are driven, as one of those that the transport waits for at its end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers().get(&node).cloned()
    }

    /// The peer `node`, with a mailbox and a task that empties it.
    fn peer(self: &Arc<Self>, node: NodeId) -> Arc<Peer> {
        let mut peers = self.peers();
        if let Some(peer) = peers.get(&node) {
            return peer.clone();
        }
        if peers.len() >= PEERS_MAX {
            let idle = peers.iter().find(|(_, peer)| peer.state().is_idle()).map(|(&node, _)| node);
            idle.and_then(|node| peers.remove(&node));
        }
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let state = Mutex::new(PeerState::new(node));
        let peer = Arc::new(Peer { state, changed: watch::Sender::new(()), mailbox });
        peers.insert(node, peer.clone());
        self.spawn(receive::drain_mailbox(self.clone(), node, messages));
        peer
    }

    pub(super) fn learn(self: &Arc<Self>, node: NodeId, addresses: &[SocketAddr]) {
        if node != self.me {
            self.peer(node).state().learn(addresses);
        }
    }

    pub(super) fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        self.known(node).map(|peer| peer.state().addresses().to_vec()).unwrap_or_default()
    }

    pub(super) fn post(&self, node: NodeId, message: Bytes) -> bool {
        message.len() <= GOSSIP_MAX && self.known(node).is_some_and(|peer| peer.mailbox.try_send(message).is_ok())
    }

    pub(super) fn connected(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.connected.subscribe()
    }

    /// The peers whose connection has been silent for `time` at `now`.
    pub(super) fn silent_for(&self, time: Duration, now: Instant) -> BTreeSet<NodeId> {
        let silent = |peer: &Peer| peer.state().current().is_some_and(|link| link.silence(now) >= time);
        self.peers().iter().filter(|(_, peer)| silent(peer)).map(|(&node, _)| node).collect()
    }

    pub(super) fn statuses(&self) -> Vec<PeerStatus> {
        let status = |(&node, peer): (&NodeId, &Arc<Peer>)| {
            let state = peer.state();
            let connection = state.current().map(|link| &link.connection);
            PeerStatus {
                node,
                connected: connection.is_some(),
                rtt: connection.map(Connection::rtt),
                mtu: connection.map(|connection| connection.stats().path.current_mtu),
                address: connection.map(Connection::remote_address).or_else(|| state.addresses().first().copied()),
                refusal: state.refusal().cloned(),
            }
        };
        self.peers().iter().map(status).collect()
    }

    /// Where each peer is, for a node that has just joined.
    pub(super) fn directory(&self, at_most: usize) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let listing = |(&node, peer): (&NodeId, &Arc<Peer>)| (node, peer.state().addresses().to_vec());
        self.peers().iter().map(listing).filter(|(_, addresses)| !addresses.is_empty()).take(at_most).collect()
    }

    pub(super) fn learn_issuers(&self, issuers: BTreeMap<NodeId, Option<MeshId>>) {
        *self.said_issuers() = issuers;
    }

    fn said_issuers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Option<MeshId>>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The root that the issuer `node` says it signs for.
    pub(super) fn issuer_root(&self, node: NodeId) -> Option<MeshId> {
        self.said_issuers().get(&node).copied().flatten()
    }

    pub(super) fn take_roots(&self) -> Result<(), TransportError> {
        let (server, client) = self.setup.configs(&self.identity)?;
        self.endpoint.set_server_config(Some(server));
        self.client.store(Arc::new(client));
        for link in self.links() {
            // Connections go on when the certificate ends that they began with.
            if !self.is_proved(&link, link.peer.validity().from) {
                link.close(CloseCode::Replaced, ROOT_REPLACED);
            }
        }
        Ok(())
    }

    /// Hangs up on peers that are kept out by now, such as those whose certificate is by an issuer that was revoked.
    pub(super) fn expel(&self) {
        for link in self.links() {
            if let Some(exclusion) = self.admission.excludes(&link.peer, clock::now()) {
                link.close(exclusion.code(), &exclusion.to_string());
            }
        }
    }

    /// All connections of this moment.
    fn links(&self) -> Vec<Arc<Link>> {
        let peers: Vec<Arc<Peer>> = self.peers().values().cloned().collect();
        peers.iter().flat_map(|peer| peer.state().links().cloned().collect::<Vec<_>>()).collect()
    }

    /// Whether the peer's certificate, as of `at`, comes from a root that is trusted now.
    fn is_proved(&self, link: &Link, at: UnixMillis) -> bool {
        let roots = self.identity.roots();
        tls::chain(&link.connection).is_ok_and(|chain| roots.verify(&chain, at).is_ok())
    }

    /// The peers that can renew certificates: those whose certificate says so and that are connected, then those that
    /// say so.
    pub(super) fn issuers(&self) -> Vec<NodeId> {
        let is_issuer = |peer: &Arc<Peer>| peer.state().current().is_some_and(|link| link.peer.roles.issuer);
        let mut issuers: Vec<NodeId> =
            self.peers().iter().filter(|(_, peer)| is_issuer(peer)).map(|(&node, _)| node).collect();
        let said: Vec<NodeId> = self.said_issuers().keys().copied().filter(|node| *node != self.me).collect();
        let others: Vec<NodeId> = said.into_iter().filter(|node| !issuers.contains(node)).collect();
        issuers.extend(others);
        // Whoever signed the present one knows best which root it should come from.
        let signer = self.identity.certificate().issuer;
        issuers.sort_by_key(|node| Some(*node) != signer);
        issuers
    }

    /// The link to `node` for `what`, dialled if need be; callers at the same time share one dial. Takes as long as a dial at
    /// most. Cancel-safe: a dial goes on without whoever asked for it.
    pub(super) async fn link(self: &Arc<Self>, node: NodeId, what: Use) -> Result<(Arc<Link>, LinkUse), OpenError> {
        if self.admission.is_revoked(node) {
            return Err(OpenError::Revoked { node });
        }
        loop {
            if self.stop.is_cancelled() {
                return Err(OpenError::Closed);
            }
            let peer = self.known(node).ok_or(OpenError::UnknownAddress { node })?;
            // As below, and nearly always so.
            if let Some(link) = peer.state().current() {
                return Ok((Arc::clone(link), link.begin_use(what)));
            }
            let mut changed = peer.changed.subscribe();
            {
                let mut state = peer.state();
                match state.route(Instant::now()) {
                    // In use before the lock is released, so that it is not retired and closed in between.
                    Route::Link(link) => return Ok((link.clone(), link.begin_use(what))),
                    Route::Failed(error) => return Err(error),
                    Route::Dial(addresses) => {
                        self.spawn(self.clone().dial(node, peer.clone(), addresses));
                    }
                    Route::Wait => {}
                }
            }
            tokio::select! {
                rung = changed.changed() => rung.map_err(|_| OpenError::Closed)?,
                () = self.stop.cancelled() => return Err(OpenError::Closed),
            }
        }
    }

    async fn dial(self: Arc<Self>, node: NodeId, peer: Arc<Peer>, addresses: Vec<SocketAddr>) {
        let name = dns_name(node, self.identity.mesh_id());
        let client = self.client.load_full();
        let dialled = tokio::select! {
            dialled = dial(&self.endpoint, &client, &name, &addresses) => dialled,
            () = self.stop.cancelled() => return,
        };
        let outcome = dialled
            .map_err(|attempts| OpenError::Unreachable { node, attempts })
            .and_then(|connection| self.dialled(node, connection));
        if let Err(error) = outcome {
            tracing::debug!(peer = %node, %error, "dialling failed");
            peer.state().failed(error, Instant::now(), rand::random());
            peer.changed.send_replace(());
        }
    }

    /// WebPKI has checked the name; this checks that the name is that of the key.
    fn dialled(self: &Arc<Self>, node: NodeId, connection: Connection) -> Result<(), OpenError> {
        match tls::peer(&connection, &self.identity) {
            Ok(certificate) if certificate.node == node => self.attach(connection, certificate, self.me),
            Ok(certificate) => Err(OpenError::Lost { node, reason: format!("node {} answered", certificate.node) }),
            Err(error) => Err(OpenError::Lost { node, reason: error.to_string() }),
        }
    }

    /// The peer that was the first to say that this node is revoked, once one does.
    pub(super) fn revoked_by(&self) -> watch::Receiver<Option<NodeId>> {
        self.revoked_by.subscribe()
    }

    /// Takes in a connection whose peer is proved, unless it is kept out.
    pub(super) fn attach(
        self: &Arc<Self>,
        connection: Connection,
        certificate: NodeCertificate,
        dialer: NodeId,
    ) -> Result<(), OpenError> {
        let node = certificate.node;
        let link = Arc::new(Link::new(connection, certificate, dialer));
        if let Some(exclusion) = self.admission.excludes(&link.peer, clock::now()) {
            link.close(exclusion.code(), &exclusion.to_string());
            return Err(OpenError::Excluded { node, exclusion });
        }
        if node == self.me || self.stop.is_cancelled() {
            link.close(CloseCode::Shutdown, "shutting down");
            return Err(OpenError::Closed);
        }
        let peer = self.peer(node);
        let retired = peer.state().attach(dialer, link.clone());
        self.publish(node, &peer);
        // Revoked meanwhile: whoever closed its connections then did not see this one.
        if self.admission.is_revoked(node) {
            self.disconnect(node);
            return Err(OpenError::Revoked { node });
        }
        // Nor did whoever hung up on peers of a root that was replaced during the handshake.
        let proved = self.is_proved(&link, clock::now());
        if proved {
            self.spawn(receive::run(self.clone(), link));
        } else {
            link.close(CloseCode::Replaced, ROOT_REPLACED);
            self.detach(&link, &quinn::ConnectionError::LocallyClosed);
        }
        if let Some(duplicate) = retired.filter(|duplicate| duplicate.dialer == self.me) {
            self.spawn(async move {
                tokio::select! {
                    _ = duplicate.close_when_unused() => {}
                    _ = duplicate.connection.closed() => {}
                }
            });
        }
        if proved { Ok(()) } else { Err(OpenError::Lost { node, reason: ROOT_REPLACED.to_owned() }) }
    }

    /// The peer wants to close a duplicate.
    pub(super) fn retire(&self, link: &Link) {
        if let Some(peer) = self.known(link.peer.node) {
            peer.state().retire(|other| other.is_same(link));
            self.publish(link.peer.node, &peer);
        }
    }

    /// A link has ended with `error`.
    pub(super) fn detach(&self, link: &Link, error: &quinn::ConnectionError) {
        let node = link.peer.node;
        tracing::debug!(peer = %node, %error, "connection ended");
        let Some(peer) = self.known(node) else { return };
        {
            let mut state = peer.state();
            state.detach(|other| other.is_same(link));
            if let Some((code @ (CloseCode::Revoked | CloseCode::Unauthenticated), reason)) = CloseCode::of(error) {
                self.note_refusal(node, code, &reason);
                state.failed(OpenError::Refused { node, reason }, Instant::now(), rand::random());
            }
        }
        self.publish(node, &peer);
    }

    /// A peer will not have this node; said once, as every peer will say it again and again.
    fn note_refusal(&self, peer: NodeId, code: CloseCode, reason: &str) {
        let known = self.refused.swap(true, Ordering::Relaxed);
        if code == CloseCode::Revoked {
            let is_news = self.revoked_by.send_if_modified(|by| {
                let is_news = by.is_none();
                by.get_or_insert(peer);
                is_news
            });
            if is_news {
                tracing::error!(
                    %peer,
                    "this node was revoked: all peers hang up on it, and it takes part in nothing any more; stop it, \
                     or remove its identity directory and join as a new node"
                );
            }
        } else if !known {
            tracing::error!(%peer, reason, "a peer will not have this node: it is cut off from it");
        }
    }

    /// Forgets a peer that is revoked and closes its connections at once, whatever is in flight.
    pub(super) fn disconnect(&self, node: NodeId) {
        let Some(peer) = self.peers().remove(&node) else { return };
        for link in peer.state().links() {
            link.close(CloseCode::Revoked, &Exclusion::Revoked.to_string());
        }
        self.connected.send_if_modified(|connected| connected.remove(&node));
        peer.changed.send_replace(());
    }

    fn publish(&self, node: NodeId, peer: &Peer) {
        self.connected.send_if_modified(|connected| {
            // Read under the lock of `connected`, so that of two changes the later is the one that is published.
            let is_connected = peer.state().current().is_some();
            if is_connected { connected.insert(node) } else { connected.remove(&node) }
        });
        peer.changed.send_replace(());
    }
}
