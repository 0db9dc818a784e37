//! What this node says of its own certificates, and what it hears of those who sign.

use std::{collections::BTreeSet, sync::Arc};

use shoal_types::{NodeFacts, NodeId, View};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
        changed.mark_changed();
        view.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = changed.changed() => {
                    let facts = stated(self.facts.borrow().clone(), &self.identity);
                    self.gossip.publish(Key::Facts, &facts).await;
                }
                Ok(()) = revoked.changed() => self.store.close(),
                Ok(()) = view.changed() => {
                    let issuers = issuers(&view.borrow_and_update());
                    self.transport.learn_issuers(issuers);
                }
                else => return,
            }
        }
    }
}

/// The live peers that say that they are issuers.
fn issuers(view: &View) -> BTreeSet<NodeId> {
    let others = view.nodes.values().filter(|node| node.id != view.me && node.is_alive());
    others.filter(|node| node.facts.issuer).map(|node| node.id).collect()
}
