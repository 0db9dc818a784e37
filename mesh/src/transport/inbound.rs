//! The two queues in which this node finds what peers send to it.

use bytes::Bytes;
use shoal_types::NodeId;
use tokio::sync::mpsc;

use super::{Stream, StreamKind};

/// Streams and messages of peers that wait for this node.
const INBOUND: usize = 256;

/// What peers send to this node. Both queues are bounded: whoever does not read makes peers' streams fail.
#[derive(Debug)]
pub struct Inbound {
    /// Streams that peers opened.
    pub streams: mpsc::Receiver<InboundStream>,
    /// Gossip messages and who sent them.
    pub gossip: mpsc::Receiver<(NodeId, Bytes)>,
}

/// A stream that a peer opened.
#[derive(Debug)]
pub struct InboundStream {
    /// The peer; proved by its certificate.
    pub from: NodeId,
    /// Whether its certificate lets the peer change things for others: not so for hosts that are trusted less.
    pub writes: bool,
    /// What the stream is for.
    pub kind: StreamKind,
    /// Both halves, after the byte that gave the kind.
    pub stream: Stream,
}

/// Where [`Inbound`] is filled.
#[derive(Debug, Clone)]
pub(super) struct InboundSender {
    pub(super) streams: mpsc::Sender<InboundStream>,
    pub(super) gossip: mpsc::Sender<(NodeId, Bytes)>,
}

pub(super) fn inbound() -> (InboundSender, Inbound) {
    let (streams, streams_receiver) = mpsc::channel(INBOUND);
    let (gossip, gossip_receiver) = mpsc::channel(INBOUND);
    (InboundSender { streams, gossip }, Inbound { streams: streams_receiver, gossip: gossip_receiver })
}
