//! Gossip over the transport.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use bytes::Bytes;
use shoal_types::NodeId;

use crate::{gossip::Link, transport::Transport};

pub(super) struct TransportLink(pub(super) Transport);

impl Link for TransportLink {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        self.0.send_gossip(to, message)
    }

    fn learn(&self, node: NodeId, addresses: &[SocketAddr]) {
        self.0.learn(node, addresses);
    }

    fn silent_for(&self, time: Duration) -> BTreeSet<NodeId> {
        self.0.silent_for(time)
    }

    fn lapse(&self) -> Duration {
        self.0.lapse()
    }

    fn disconnect(&self, node: NodeId) {
        self.0.disconnect(node);
    }
}
