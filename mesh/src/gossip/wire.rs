//! chitchat's messages over the mesh's transport.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::{
    ChitchatMessage, Deserializable as _, Serializable as _,
    transport::{Socket, Transport},
};
use shoal_types::NodeId;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tracing::{debug, warn};

use super::address::AddressBook;

/// How long a node whose message made chitchat panic is not listened to. Others pass on what it says.
const MUTED_FOR: Duration = Duration::from_secs(60);

/// What gossip needs of a transport.
pub(crate) trait Link: Send + Sync + 'static {
    /// Queues one message; never blocks. `false` if it was dropped.
    fn send(&self, to: NodeId, message: Bytes) -> bool;
    /// Where `node` can be dialled.
    fn learn(&self, node: NodeId, addresses: &[SocketAddr]);
    /// The connected peers from which nothing has come for `time`, although both ends keep connections alive. To be
    /// asked every round: a packet counts as of the first question after it.
    fn silent_for(&self, time: Duration) -> BTreeSet<NodeId>;
    /// How long it has had no time to listen.
    fn lapse(&self) -> Duration;
    /// Closes what connects us with a node that is no longer a member.
    fn disconnect(&self, node: NodeId);
}

/// What all incarnations of chitchat in this process share.
pub(super) struct Wire {
    link: Arc<dyn Link>,
    inbound: tokio::sync::Mutex<mpsc::Receiver<(NodeId, Bytes)>>,
    pub(super) book: AddressBook,
    /// Woken after each message that chitchat has dealt with.
    pub(super) activity: Notify,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    last_sender: Option<NodeId>,
    muted: BTreeMap<NodeId, Instant>,
    /// Nodes that were sent a delta since [`Wire::start_telling`].
    told: BTreeSet<NodeId>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("book", &self.book).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(link: Arc<dyn Link>, inbound: mpsc::Receiver<(NodeId, Bytes)>) -> Self {
        let inbound = tokio::sync::Mutex::new(inbound);
        Self { link, inbound, book: AddressBook::default(), activity: Notify::new(), record: Mutex::default() }
    }

    /// Blames the last sender for a panic, and does not listen to it for [`MUTED_FOR`].
    pub(super) fn mute_last_sender(&self) -> Option<NodeId> {
        let mut record = self.record();
        let sender = record.last_sender.take()?;
        record.muted.insert(sender, Instant::now() + MUTED_FOR);
        Some(sender)
    }

    /// Forgets who was told; see [`Self::told`].
    pub(super) fn start_telling(&self) {
        self.record().told.clear();
    }

    /// Whether all of `nodes` were sent what they lack since [`Self::start_telling`].
    pub(super) fn told(&self, nodes: &BTreeSet<NodeId>) -> bool {
        nodes.is_subset(&self.record().told)
    }

    /// Whether a message of `from` is to be read; notes it as the last sender.
    fn admit(&self, from: NodeId) -> bool {
        let mut record = self.record();
        match record.muted.get(&from) {
            Some(until) if Instant::now() < *until => false,
            Some(_) | None => {
                record.muted.remove(&from);
                record.last_sender = Some(from);
                true
            }
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the one socket of one incarnation of chitchat.
pub(super) struct WireTransport(pub(super) Arc<Wire>);

#[async_trait]
impl Transport for WireTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(WireSocket { wire: self.0.clone(), delivered: false }))
    }
}

/// An error of either method would end chitchat's loop for good, hence there is none: what concerns one peer is logged,
/// and a transport that has ended is silent.
struct WireSocket {
    wire: Arc<Wire>,
    /// A message was handed out and, as chitchat asks for the next, has been dealt with.
    delivered: bool,
}

#[async_trait]
impl Socket for WireSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let Some(node) = self.wire.book.node(to) else {
            debug!(%to, "no node is known behind a gossip address");
            return Ok(());
        };
        let carries_delta = matches!(message, ChitchatMessage::SynAck { .. } | ChitchatMessage::Ack { .. });
        let sent = self.wire.link.send(node, message.serialize_to_vec().into());
        if sent && carries_delta {
            self.wire.record().told.insert(node);
            self.wire.activity.notify_one();
        }
        Ok(())
    }

    /// Cancel safe: nothing is awaited once a message has been taken.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        if std::mem::take(&mut self.delivered) {
            self.wire.activity.notify_one();
        }
        let mut inbound = self.wire.inbound.lock().await;
        loop {
            let Some((from, bytes)) = inbound.recv().await else {
                return std::future::pending().await;
            };
            if !self.wire.admit(from) {
                continue;
            }
            match decode(&bytes) {
                Ok(message) => {
                    self.delivered = true;
                    return Ok((self.wire.book.note(from), message));
                }
                Err(error) => warn!(%from, %error, "a peer sent gossip that cannot be read; dropped"),
            }
        }
    }
}

fn decode(mut bytes: &[u8]) -> anyhow::Result<ChitchatMessage> {
    let message = ChitchatMessage::deserialize(&mut bytes)?;
    anyhow::ensure!(bytes.is_empty(), "{} bytes follow its end", bytes.len());
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct NoLink;

    impl Link for NoLink {
        fn send(&self, _: NodeId, _: Bytes) -> bool {
            true
        }

        fn learn(&self, _: NodeId, _: &[SocketAddr]) {}

        fn silent_for(&self, _: Duration) -> BTreeSet<NodeId> {
            BTreeSet::new()
        }

        fn lapse(&self) -> Duration {
            Duration::ZERO
        }

        fn disconnect(&self, _: NodeId) {}
    }

    #[tokio::test]
    async fn whoever_made_chitchat_panic_is_not_listened_to_for_a_while() {
        let (_inbox, inbound) = mpsc::channel(1);
        let wire = Wire::new(Arc::new(NoLink), inbound);
        let (good, bad) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        assert!(wire.admit(good) && wire.admit(bad));
        assert_eq!(wire.mute_last_sender(), Some(bad));
        assert!(!wire.admit(bad));
        assert!(wire.admit(good));
        assert_eq!(wire.mute_last_sender(), Some(good), "a muted message blames nobody");
    }
}
