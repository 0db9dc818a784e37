//! The mesh as the rest of the program sees it: transport, store and gossip, started and stopped together.

mod admission;
mod distances;
mod error;
mod facts;
mod issuing;
mod keys;
mod link;
mod publish;
mod router;
mod standing;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use shoal_types::{NodeFacts, NodeId, UnixMillis, View};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{info, warn};

use self::{
    admission::StoreAdmission,
    facts::Addresses,
    link::TransportLink,
    router::Router,
    standing::{Standing, stated},
};
pub use self::{error::MeshError, keys::NewKey};
use crate::{
    clock,
    gossip::{Gossip, GossipConfig, GossipParts, next_generation},
    identity::{Identity, JoinToken, TokenId, TokenLimits},
    store::{
        Backup, Origin, RestoreOptions, Restored, Store, TokenStatus,
        sync::{Sync, SyncParts},
    },
    transport::{InboundStream, OpenError, PeerStatus, Stream, StreamKind, Transport, TransportConfig},
};

const STORE_FILE: &str = "store.redb";
/// Longest wait for tasks to end, and for a goodbye beyond the rounds that it may take.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How this node takes part in its mesh.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Where the store, the known peers and the generation are kept. It must exist.
    pub state_dir: PathBuf,
    /// UDP address of the mesh port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where others reach that port, best first; port 0 stands for the one listened on. If empty, the addresses in the
    /// node's facts, or else the listening address, as far as it is a definite one.
    pub advertise: Vec<SocketAddr>,
    /// Time between two rounds of gossip: 500 ms is right for up to 150 nodes, 1 s above.
    pub gossip_interval: Duration,
    /// On an issuer, how long the certificates live that it gives to nodes: [`NODE_LIFE`](crate::identity::NODE_LIFE) is
    /// right; at most seven days.
    pub certificate_life: Duration,
    /// Where connections to other nodes are driven, and streams of theirs are handed out. What answers or opens many of them is
    /// best run there, too: a word from one thread to another costs as much as a packet.
    pub connections: Handle,
}

/// This node's membership. Call [`Self::shutdown`] to leave; a `Mesh` that is dropped stops gossiping without a
/// goodbye.
#[derive(Debug)]
pub struct Mesh {
    identity: Arc<Identity>,
    generation: UnixMillis,
    addresses: Addresses,
    facts: watch::Sender<NodeFacts>,
    certificate_life: Duration,
    store: Store,
    transport: Transport,
    gossip: Gossip,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl Mesh {
    /// Opens the store, binds the port, starts to gossip. The receiver gets the streams that peers open for the rest of
    /// the program (forwarded requests, admin calls, probes); what is not taken from it in time is reset.
    ///
    /// # Errors
    /// Whatever keeps this node from taking part; nothing is left running then.
    pub async fn start(
        config: MeshConfig,
        identity: Arc<Identity>,
        facts: NodeFacts,
    ) -> Result<(Self, mpsc::Receiver<InboundStream>), MeshError> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        let me = identity.node_id();
        let generation = generation(&config, &tasks).await?;
        let path = config.state_dir.join(STORE_FILE);
        let (store, fresh) = Store::open(path, identity.clone(), clock::now(), tasks.clone()).await?;
        if store.snapshot().revoked_nodes.contains_key(&me) {
            return Err(MeshError::Revoked { node: me });
        }
        let admission = Arc::new(StoreAdmission::new(store.clone()));
        let transport_config =
            TransportConfig { certificate_life: config.certificate_life, ..TransportConfig::new(config.listen) };
        let (transport, inbound) = {
            let _entered = config.connections.enter();
            Transport::bind(transport_config, identity.clone(), admission)?
        };
        let addresses = Addresses::new(config.advertise, transport.local_addr());
        let parts = GossipParts {
            link: Arc::new(TransportLink(transport.clone())),
            inbound: inbound.gossip,
            connected: transport.connected(),
            specs: store.watch(),
        };
        let gossip = GossipConfig {
            me,
            mesh: identity.mesh_id(),
            generation,
            interval: config.gossip_interval,
            state_dir: config.state_dir,
        };
        let facts = addresses.complete(facts);
        if facts.addresses.is_empty() {
            warn!("no address of this node is known, so no peer can dial it: configure one to advertise");
        }
        let said = stated(facts.clone(), &identity);
        let gossip = match Gossip::start(gossip, &said, parts, tasks.clone(), stop.clone()).await {
            Ok(gossip) => gossip,
            Err(error) => {
                transport.shutdown().await;
                return Err(error.into());
            }
        };
        let (router, sync_streams, agent_streams) = Router::new(inbound.streams);
        tasks.spawn_on(router.run(stop.clone()), &config.connections);
        let sync = SyncParts {
            store: store.clone(),
            transport: transport.clone(),
            view: gossip.view(),
            fresh,
            inbound: sync_streams,
        };
        tasks.spawn(Sync::new(sync).run(stop.clone()));
        let facts = watch::Sender::new(facts);
        let standing = Standing {
            identity: identity.clone(),
            facts: facts.subscribe(),
            gossip: gossip.clone(),
            transport: transport.clone(),
            store: store.clone(),
        };
        tasks.spawn(standing.keep(stop.clone()));
        info!(node = %me, address = %transport.local_addr(), generation = generation.as_millis(), "in the mesh");
        let mesh = Self {
            identity,
            generation,
            addresses,
            facts,
            certificate_life: config.certificate_life,
            store,
            transport,
            gossip,
            tasks,
            stop,
            _stop_when_dropped: guard,
        };
        Ok((mesh, agent_streams))
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.identity.node_id()
    }

    /// This start of this node: higher than any before. Claim ids are made of it.
    pub const fn generation(&self) -> UnixMillis {
        self.generation
    }

    /// Where the mesh port listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    /// Everything known, as it changes. Changes of others show up to 50 ms after they were heard, own ones at once.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.gossip.view()
    }

    /// Opens a stream to `node`, dialling it if need be. Cancel safe; has its own deadline.
    ///
    /// # Errors
    /// Why there is no stream; nothing has been sent then.
    pub async fn open(&self, node: NodeId, kind: StreamKind) -> Result<Stream, OpenError> {
        self.transport.open(node, kind).await
    }

    /// All known peers and how they are connected.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.transport.peers()
    }

    /// How far other clusters are, in milliseconds of round trip to the peer in the middle, in steps of 10. What was
    /// published stands until it is off by more than 10 ms and a fifth, so that gossip is silent.
    pub fn distances(&self) -> BTreeMap<String, u32> {
        let measured = self.peers().into_iter().filter_map(|peer| Some((peer.node, peer.rtt?)));
        distances::distances(&self.view().borrow(), measured)
    }

    /// The replicated endpoint specs.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a join token that leads to this node, on record in the store before it is returned.
    ///
    /// # Errors
    /// [`MeshError::NotAnIssuer`], limits that no token can have, or why it could not be recorded.
    pub async fn create_token(&self, limits: TokenLimits) -> Result<JoinToken, MeshError> {
        let issuer = self.identity.issuer().ok_or_else(|| MeshError::NotAnIssuer { node: self.me() })?;
        let own = self.view().borrow().nodes.get(&self.me()).map(|node| node.facts.addresses.clone());
        let now = clock::now();
        let token = issuer.create_token(&limits, &own.unwrap_or_default(), now)?;
        self.store.note_token(&token, limits, now).await?;
        Ok(token)
    }

    /// All join tokens of the mesh, without their secrets.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenStatus>, MeshError> {
        Ok(self.store.tokens().await?)
    }

    /// Takes a join token back, for good. Nodes that joined with it stay.
    ///
    /// # Errors
    /// If there is no such token, or it could not be written.
    pub async fn revoke_token(&self, token: TokenId) -> Result<(), MeshError> {
        Ok(self.store.revoke_token(token, clock::now()).await?)
    }

    /// Throws `node` out, for good: it disappears from the view, and its connections are closed as the word spreads.
    ///
    /// # Errors
    /// [`MeshError::OwnNode`] for this node itself, or why it could not be written.
    pub async fn revoke_node(&self, node: NodeId) -> Result<(), MeshError> {
        if node == self.me() {
            return Err(MeshError::OwnNode);
        }
        Ok(self.store.revoke_node(node, clock::now()).await?)
    }

    /// All that the store holds at this moment.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn backup(&self) -> Result<Backup, MeshError> {
        let origin = Origin { mesh: self.identity.mesh_id(), node: self.me(), made: clock::now() };
        Ok(self.store.backup(origin).await?)
    }

    /// Puts back what `backup` has and the store has not, and says what became of each entry. What was revoked stays so.
    ///
    /// # Errors
    /// If this node may not write, or why not all could be written; doing it again then does the rest.
    pub async fn restore(&self, backup: Backup, options: RestoreOptions) -> Result<Vec<Restored>, MeshError> {
        Ok(self.store.restore(backup, options, clock::now()).await?)
    }

    /// Whether this node is a member no more: the store says so, or a peer that hung up on it.
    pub fn is_revoked(&self) -> bool {
        self.store.snapshot().revoked_nodes.contains_key(&self.me()) || self.transport.revoked_by().borrow().is_some()
    }

    /// Leaves: says goodbye, waits until the live peers were told (five rounds of gossip at most), stops everything.
    /// Takes seconds at most.
    pub async fn shutdown(&self) {
        if timeout(STOP_WITHIN, self.gossip.leave()).await.is_err() {
            warn!("this node leaves without having told everybody");
        }
        self.stop_all().await;
    }

    /// Stops everything without a goodbye, as a daemon does that will be back in seconds: others route around it at
    /// once, and wait for its replicas as for those of any node that has gone quiet.
    pub async fn pause(&self) {
        self.stop_all().await;
    }

    async fn stop_all(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), "some tasks of the mesh did not end in time");
        }
        self.transport.shutdown().await;
    }
}

async fn generation(config: &MeshConfig, tasks: &TaskTracker) -> Result<UnixMillis, MeshError> {
    let directory = config.state_dir.clone();
    let next = tasks.spawn_blocking(move || next_generation(&directory, clock::now())).await;
    let next = next.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    next.map_err(|source| MeshError::State { directory: config.state_dir.clone(), source })
}
