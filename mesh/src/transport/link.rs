//! One connection to one peer, and what is in use on it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::Connection;
use shoal_types::NodeId;
use tokio::{
    io::AsyncWriteExt as _,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    OpenError, Stream, StreamKind,
    error::CloseCode,
    pulse::Pulse,
    silence::{LOOK, Silence},
    stream::{Opening, SendStream},
};
use crate::identity::NodeCertificate;

/// Pause between two questions whether a duplicate can be closed.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Gossip and other small streams go before request bodies.
const PRIORITY_GOSSIP: i32 = 1;
const GIVEN_UP: &str = "nothing came from the peer any more: it hangs, is gone, or cannot be reached";

/// A connection whose peer is known.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) peer: NodeCertificate,
    /// Which end dialled; decides between duplicates.
    pub(super) dialer: NodeId,
    uses: watch::Sender<Uses>,
    pulse: Mutex<Pulse>,
}

/// What is in use on a link.
#[derive(Debug, Default)]
struct Uses {
    messages: usize,
    streams: usize,
    /// The peer was silent for too long, and was hung up on.
    is_given_up: bool,
}

impl Uses {
    const fn of(&mut self, what: Use) -> &mut usize {
        match what {
            Use::Message => &mut self.messages,
            Use::Stream => &mut self.streams,
        }
    }

    const fn is_none(&self) -> bool {
        self.messages == 0 && self.streams == 0
    }
}

/// What a link is used for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// A gossip message, for which nobody waits.
    Message,
    /// A stream, at whose end somebody waits for the peer.
    Stream,
}

/// One use of a link, until it is dropped.
#[derive(Debug)]
pub(super) struct LinkUse {
    uses: watch::Sender<Uses>,
    what: Use,
}

impl LinkUse {
    /// `error`, by which a stream of this use ended, or why it really did.
    pub(super) fn explained(&self, error: io::Error) -> io::Error {
        if self.uses.borrow().is_given_up { io::Error::new(io::ErrorKind::TimedOut, GIVEN_UP) } else { error }
    }
}

impl Drop for LinkUse {
    fn drop(&mut self) {
        // Who waits does so for the last one; to tell of each costs more than to count it.
        self.uses.send_if_modified(|uses| {
            let count = uses.of(self.what);
            *count -= 1;
            *count == 0
        });
    }
}

impl Link {
    pub(super) fn new(connection: Connection, peer: NodeCertificate, dialer: NodeId) -> Self {
        let pulse = Mutex::new(Pulse::new(Instant::now()));
        Self { connection, peer, dialer, uses: watch::Sender::default(), pulse }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.connection.stable_id() == other.connection.stable_id()
    }

    /// How long nothing has come from the peer at `now`; see [`Pulse::silence`].
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let received = self.connection.stats().udp_rx.datagrams;
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).silence(received, now)
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(code.code(), reason.as_bytes());
    }

    /// Counts a use in.
    pub(super) fn begin_use(&self, what: Use) -> LinkUse {
        // As above, for the first one.
        self.uses.send_if_modified(|uses| {
            let count = uses.of(what);
            *count += 1;
            *count == 1
        });
        LinkUse { uses: self.uses.clone(), what }
    }

    /// Hangs up on a peer that is silent for too long while streams are open; see [`Silence`]. Resolves only then, and costs
    /// nothing while there are none. Cancel-safe, though what it knows is lost.
    pub(super) async fn until_given_up(&self) {
        loop {
            // The sender is a field of this link, so that the wait cannot fail.
            let _ = self.uses.subscribe().wait_for(|uses| uses.streams > 0).await;
            if let Some(silence) = self.until_silent().await {
                tracing::info!(peer = %self.peer.node, ?silence, "a peer that was waited for is given up: {GIVEN_UP}");
                self.uses.send_modify(|uses| uses.is_given_up = true);
                self.close(CloseCode::Silent, "nothing came any more");
                return;
            }
        }
    }

    /// Looks for as long as streams are open; says how long nothing has come once that is too long.
    async fn until_silent(&self) -> Option<Duration> {
        let received = || self.connection.stats().udp_rx.datagrams;
        let mut silence = Silence::new(received(), Instant::now());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.uses.borrow().streams > 0 {
            let now = look.tick().await;
            if let Some(silence) = silence.is_too_long(received(), self.connection.rtt(), now) {
                return Some(silence);
            }
        }
        None
    }

    /// Opens a bidirectional stream and says what it is for: of a request, with its head. Waits while the peer allows no more streams.
    pub(super) async fn open(&self, opening: Opening, link_use: LinkUse) -> Result<Stream, OpenError> {
        let lost = |reason: String| OpenError::Lost { node: self.peer.node, reason };
        let (send, recv) = self.connection.open_bi().await.map_err(|error| lost(error.to_string()))?;
        let mut stream = Stream::new(send, recv, Some(link_use));
        if opening == Opening::Stream(StreamKind::Forward) {
            stream.send.open_with_first_write(opening);
        } else {
            stream.send.write_all(&[opening.byte()]).await.map_err(|error| lost(error.to_string()))?;
        }
        Ok(stream)
    }

    /// Opens a unidirectional stream for one gossip message.
    pub(super) async fn open_gossip(&self, link_use: LinkUse) -> Result<SendStream, quinn::ConnectionError> {
        let stream = SendStream::new(self.connection.open_uni().await?, Some(Arc::new(link_use)));
        stream.set_priority(PRIORITY_GOSSIP);
        Ok(stream)
    }

    /// Closes a duplicate that this node dialled, once no stream on it is in use at either end, and not before: what is
    /// in flight is never broken. The peer must agree, as only it knows what it still has to read. Lasts as long as
    /// the streams do; ends early if the connection dies.
    pub(super) async fn close_when_unused(&self) -> Result<(), quinn::ConnectionError> {
        loop {
            self.until_unused().await;
            let (mut send, mut recv) = self.connection.open_bi().await?;
            let asked = send.write_all(&[Opening::Retirement.byte()]).await;
            let agreed = asked.is_ok() && matches!(recv.read_to_end(0).await, Ok(nothing) if nothing.is_empty());
            if let Some(error) = self.connection.close_reason() {
                return Err(error);
            }
            if agreed && self.uses.borrow().is_none() {
                self.close(CloseCode::Duplicate, "both ends dialled; the other connection stays");
                return Ok(());
            }
            sleep(ASK_AGAIN).await; // used again in the meantime, or the peer was too busy to answer
        }
    }

    /// The peer's side of [`Self::close_when_unused`]: agrees, by ending `answer`, once nothing is in use here.
    pub(super) async fn agree_to_close(&self, mut answer: Stream) {
        self.until_unused().await;
        let _ = answer.send.shutdown().await; // only fails if the peer has given up asking
    }

    async fn until_unused(&self) {
        // As above.
        let _ = self.uses.subscribe().wait_for(Uses::is_none).await;
    }
}
