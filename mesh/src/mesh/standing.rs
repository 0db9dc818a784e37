//! What this node says of its own certificates, and what it hears of those who sign.

use std::{collections::BTreeMap, sync::Arc};

use shoal_types::{MeshId, NodeFacts, NodeId, View};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    gossip::{Gossip, Key},
    identity::Identity,
    store::Store,
    transport::Transport,
};

/// `facts` with what `identity` is at this moment.
pub(super) fn stated(mut facts: NodeFacts, identity: &Identity) -> NodeFacts {
    facts.issuer = identity.issuer().is_some();
    facts.validities = Some(identity.validities());
    facts.root = identity.root().ok();
    facts
}

/// Keeps what is said of this node's certificates true.
pub(super) struct Standing {
    pub(super) identity: Arc<Identity>,
    pub(super) facts: watch::Receiver<NodeFacts>,
    pub(super) gossip: Gossip,
    pub(super) transport: Transport,
    pub(super) store: Store,
}

impl Standing {
    /// Runs until `stop`.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let (mut changed, mut view) = (self.identity.changed(), self.gossip.view());
        let mut revoked = self.transport.revoked_by();
        let mut trusted = self.identity.roots().id();
        let (mut store, mut thrown_out) = (self.store.watch(), 0);
        changed.mark_changed();
        view.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = changed.changed() => {
                    let root = self.identity.roots().id();
                    if root != trusted {
                        trusted = root;
                        self.take_roots();
                    }
                    let facts = stated(self.facts.borrow().clone(), &self.identity);
                    self.gossip.publish(Key::Facts, &facts).await;
                }
                Ok(()) = revoked.changed() => self.store.close(),
                Ok(()) = store.changed() => {
                    // That an issuer is revoked concerns those whose certificates it signed.
                    let number = store.borrow_and_update().revoked_nodes.len();
                    if number != thrown_out {
                        thrown_out = number;
                        self.transport.expel();
                    }
                }
                Ok(()) = view.changed() => {
                    let issuers = issuers(&view.borrow_and_update());
                    self.transport.learn_issuers(issuers);
                }
                else => return,
            }
        }
    }

    fn take_roots(&self) {
        match self.transport.take_roots() {
            Ok(()) => info!("the root of the mesh was replaced"),
            Err(error) => error!(%error, "the new root of the mesh cannot be used: restart this daemon"),
        }
    }
}

/// The live peers that say that they are issuers, and of which root.
fn issuers(view: &View) -> BTreeMap<NodeId, Option<MeshId>> {
    let others = view.nodes.values().filter(|node| node.id != view.me && node.is_alive());
    others.filter(|node| node.facts.issuer).map(|node| (node.id, node.facts.root)).collect()
}
