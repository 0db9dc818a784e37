//! Both sides of a sync stream. The deadline is the caller's.

use std::sync::Arc;

use shoal_types::{NodeId, wire};
use tokio::{io::AsyncWriteExt as _, time::Instant};
use tracing::info;

use super::frame::{Done, Hello, Standing, SyncError, Time, next_part, read_list, send_entries, send_list};
use crate::{
    clock,
    store::{
        Store,
        clocks::Reading,
        core::Stamp,
        entry::{Entry, EntryKey},
    },
    transport::{FrameError, RecvStream, Stream},
};

/// Compares the whole store with that of `peer`, which speaks `protocol`, as far as there is a word for it in that. Returns
/// how many entries crossed, in either direction.
pub(super) async fn compare(
    store: &Store,
    (peer, protocol): (NodeId, u8),
    mut stream: Stream,
) -> Result<usize, SyncError> {
    let current = store.blocking(|core| Ok(core.is_current())).await?;
    let hello = match protocol {
        wire::PROTOCOL_MIN => Hello::Compare { current },
        _ => Hello::CompareIn { current, protocol: wire::PROTOCOL },
    };
    stream.send.write_frame(&hello).await?;
    let theirs: Standing = stream.recv.read_frame().await?;
    if current && !theirs.current {
        // It has to hear what we have before it may tell us anything, and asks for it itself.
        return Ok(0);
    }
    let catching_up = !current && theirs.current;
    let mut stamps = store.blocking(move |core| Ok(core.stamps(!catching_up))).await?;
    stamps.retain(|stamp| stamp.key.protocol() <= protocol);
    send_list(&mut stream.send, stamps).await?;
    let accepted = receive(store, peer, &mut stream.recv).await?;
    let wanted: Vec<EntryKey> = read_list(&mut stream.recv).await?;
    let entries = store.blocking(move |core| Ok(core.get(&wanted))).await?;
    send_entries(&mut stream.send, &entries).await?;
    end(stream).await?;
    if catching_up {
        let gone = store.blocking(|core| core.catch_up(clock::now())).await?;
        info!(%peer, gone, "this node has all the specs of the mesh; what it held and others had deleted is gone");
    } else if !current {
        store.settle(clock::now()).await?;
    }
    Ok(accepted + entries.len())
}

/// Sends `entries` to a peer that speaks `protocol`, which has them on disk when this returns.
pub(super) async fn push(entries: &[Arc<Entry>], protocol: u8, mut stream: Stream) -> Result<(), SyncError> {
    let entries: Vec<_> = entries.iter().filter(|entry| entry.key.protocol() <= protocol).cloned().collect();
    stream.send.write_frame(&Hello::Push).await?;
    send_entries(&mut stream.send, &entries).await?;
    end(stream).await
}

/// Reads the clock of a peer.
pub(super) async fn ask_the_time(mut stream: Stream) -> Result<Reading, SyncError> {
    let asked = Instant::now();
    stream.send.write_frame(&Hello::Time).await?;
    let Time { now: time } = stream.recv.read_frame().await?;
    // Half way between question and answer, as NTP does.
    let at = asked + asked.elapsed() / 2;
    end(stream).await?;
    Ok(Reading { time, at })
}

/// Answers `peer`, which opened `stream`.
pub(super) async fn answer(store: &Store, peer: NodeId, mut stream: Stream) -> Result<(), SyncError> {
    let stays = match stream.recv.read_frame().await? {
        Hello::Time => {
            stream.send.write_frame(&Time { now: clock::now() }).await?;
            true
        }
        Hello::Push => {
            receive(store, peer, &mut stream.recv).await?;
            true
        }
        Hello::Compare { current } => answer_compare(store, (peer, wire::PROTOCOL_MIN), current, &mut stream).await?,
        Hello::CompareIn { current, protocol } => answer_compare(store, (peer, protocol), current, &mut stream).await?,
    };
    if !stays {
        return Ok(());
    }
    stream.send.write_frame(&Done).await?;
    Ok(stream.send.shutdown().await.map_err(FrameError::from)?)
}

/// Answers a comparison by `peer`, which speaks `protocol`. Returns whether it stays to the end.
async fn answer_compare(
    store: &Store,
    (peer, protocol): (NodeId, u8),
    theirs: bool,
    stream: &mut Stream,
) -> Result<bool, SyncError> {
    let current = store.blocking(|core| Ok(core.is_current())).await?;
    stream.send.write_frame(&Standing { current }).await?;
    let stamps: Vec<Stamp> = match read_list(&mut stream.recv).await {
        // It is current and we are not: it leaves, and we ask it.
        Err(SyncError::Frame(FrameError::Ended | FrameError::Io(_))) if theirs && !current => return Ok(false),
        stamps => stamps?,
    };
    let (mut newer_here, newer_there) = store.blocking(move |core| Ok(core.compare(stamps, clock::now()))).await?;
    newer_here.retain(|entry| entry.key.protocol() <= protocol);
    send_entries(&mut stream.send, &newer_here).await?;
    send_list(&mut stream.send, newer_there).await?;
    receive(store, peer, &mut stream.recv).await?;
    if !current && !theirs {
        store.settle(clock::now()).await?;
    }
    Ok(true)
}

async fn end(mut stream: Stream) -> Result<(), SyncError> {
    stream.send.shutdown().await.map_err(FrameError::from)?;
    let Done = stream.recv.read_frame().await?;
    Ok(())
}

/// Merges a list of entries part by part. Returns how many were taken over.
async fn receive(store: &Store, peer: NodeId, recv: &mut RecvStream) -> Result<usize, SyncError> {
    let (mut accepted, mut read) = (0, 0);
    while let Some(entries) = next_part::<Entry>(recv, &mut read).await? {
        accepted += store.blocking(move |core| core.merge(peer, entries, clock::now())).await?.accepted;
    }
    Ok(accepted)
}
