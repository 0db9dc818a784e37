//! The tasks of a peer: what arrives on its link, and what waits to go there.

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use quinn::{ConnectionError, RecvStream};
use shoal_types::NodeId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::{
    InboundStream, OpenError, Stream, StreamKind,
    error::CloseCode,
    gossip::{self, STREAM_MAX},
    link::{Link, LinkUse, Use},
    pool::Pool,
    renewal,
    stream::Opening,
};

/// Streams of one peer whose kind is not known yet, or that wait for this node; more stay in QUIC's flow control.
const OPENING_MAX: usize = 256;
/// Gossip messages of one peer that are being read: bounds them to 4 MiB.
const MESSAGES_MAX: usize = 16;
/// How long a stream may take to say what it is for, and a message to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long a message may take to leave, dialling included; by then a newer one says more.
const DEPARTURE: Duration = Duration::from_secs(5);

/// Serves one link until it ends.
pub(super) async fn run(pool: Arc<Pool>, link: Arc<Link>) {
    let mut openings = JoinSet::new();
    let mut messages = JoinSet::new();
    let mut given_up = pin!(link.until_given_up());
    let ended = loop {
        tokio::select! {
            accepted = link.connection.accept_bi(), if openings.len() < OPENING_MAX => {
                let mut accepted = Some(accepted);
                // Several come at once, and to look for the next one costs less than to wait for all that may happen.
                while let Some(Ok((send, recv))) = accepted {
                    let stream = Stream::new(send, recv, Some(link.begin_use(Use::Stream)));
                    if let Err((stream, byte)) = pass_on(&pool, &link, stream) {
                        openings.spawn(opened(pool.clone(), link.clone(), stream, byte));
                    }
                    let has_room = openings.len() < OPENING_MAX;
                    accepted = has_room.then(|| link.connection.accept_bi().now_or_never()).flatten();
                }
                if let Some(Err(error)) = accepted {
                    break error;
                }
            },
            accepted = link.connection.accept_uni(), if messages.len() < MESSAGES_MAX => match accepted {
                Ok(recv) => {
                    messages.spawn(message(pool.clone(), link.peer.node, link.begin_use(Use::Message), recv));
                }
                Err(error) => break error,
            },
            Some(_) = openings.join_next() => {}
            Some(_) = messages.join_next() => {}
            () = &mut given_up => break ConnectionError::TimedOut,
            () = pool.stop.cancelled() => {
                // Dropping the last handle would close it too, but without a word.
                link.close(CloseCode::Shutdown, "shutting down");
                break ConnectionError::LocallyClosed;
            }
        }
    };
    pool.detach(&link, &ended);
}

/// Passes `stream` on, if its first byte has come with it, as it mostly has, and whom it names has room for it: a task for each costs
/// more than to look. What a task has to see to is returned, with that byte as far as it has come.
fn pass_on(pool: &Pool, link: &Link, mut stream: Stream) -> Result<(), (Stream, Option<u8>)> {
    match stream.recv.read_u8().now_or_never() {
        None => Err((stream, None)),
        // It has been broken off.
        Some(Err(_)) => Ok(()),
        Some(Ok(byte)) => match Opening::from_byte(byte) {
            Some(Opening::Stream(kind)) => pool
                .inbound
                .streams
                .try_send(inbound(link, kind, stream))
                .map_err(|full| (full.into_inner().stream, Some(byte))),
            Some(Opening::Renewal | Opening::Retirement) | None => Err((stream, Some(byte))),
        },
    }
}

fn inbound(link: &Link, kind: StreamKind, stream: Stream) -> InboundStream {
    InboundStream { from: link.peer.node, writes: link.peer.roles.write, kind, stream }
}

/// Passes one stream on to whom its first `byte` names, once that has come. A stream that nobody takes in time is dropped, which
/// resets it.
async fn opened(pool: Arc<Pool>, link: Arc<Link>, mut stream: Stream, byte: Option<u8>) {
    let byte = match byte {
        Some(byte) => byte,
        None => match timeout(ARRIVAL, stream.recv.read_u8()).await {
            Ok(Ok(byte)) => byte,
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let from = link.peer.node;
    match Opening::from_byte(byte) {
        Some(Opening::Stream(kind)) => {
            let inbound = inbound(&link, kind, stream);
            if timeout(ARRIVAL, pool.inbound.streams.send(inbound)).await.is_err() {
                tracing::warn!(peer = %from, ?kind, "this node is too busy to take a stream; it was reset");
            }
        }
        Some(Opening::Renewal) => renewal::answer(&pool, &link.peer, stream).await,
        Some(Opening::Retirement) => {
            pool.retire(&link);
            link.agree_to_close(stream.uncounted()).await;
        }
        None => tracing::debug!(peer = %from, byte, "a stream of unknown kind was reset"),
    }
}

async fn message(pool: Arc<Pool>, from: NodeId, _link_use: LinkUse, mut recv: RecvStream) {
    let Ok(Ok(stream)) = timeout(ARRIVAL, recv.read_to_end(STREAM_MAX)).await else {
        tracing::debug!(peer = %from, "a gossip message was too large, too slow or broken off");
        return;
    };
    let Some(message) = gossip::decode(&stream) else {
        tracing::warn!(peer = %from, "a gossip message could not be read");
        return;
    };
    if pool.inbound.gossip.try_send((from, message)).is_err() {
        tracing::debug!(peer = %from, "this node is too busy for a gossip message");
    }
}

/// Sends what is posted to `node`, dialling it if need be, until it is forgotten.
pub(super) async fn drain_mailbox(pool: Arc<Pool>, node: NodeId, mut mailbox: mpsc::Receiver<Bytes>) {
    loop {
        let message = tokio::select! {
            Some(message) = mailbox.recv() => message,
            () = pool.stop.cancelled() => return,
            else => return,
        };
        let sent = tokio::select! {
            sent = timeout(DEPARTURE, send(&pool, node, &message)) => sent,
            () = pool.stop.cancelled() => return,
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(peer = %node, %error, "a gossip message was dropped"),
            Err(_) => tracing::debug!(peer = %node, "a gossip message was dropped: the peer takes none"),
        }
    }
}

async fn send(pool: &Arc<Pool>, node: NodeId, message: &[u8]) -> Result<(), OpenError> {
    let lost = |error: io::Error| OpenError::Lost { node, reason: error.to_string() };
    let (link, link_use) = pool.link(node, Use::Message).await?;
    let mut stream = link.open_gossip(link_use).await.map_err(|error| lost(error.into()))?;
    stream.write_all(&gossip::encode(message).map_err(lost)?).await.map_err(lost)?;
    stream.shutdown().await.map_err(lost)
}
