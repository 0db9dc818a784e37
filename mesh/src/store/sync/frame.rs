//! The frames of a sync stream.
//!
//! The opener says [`Hello`]. After [`Hello::Push`] follow batches of entries. After [`Hello::Compare`] the other side
//! answers [`Standing`]; the opener sends its stamps, gets the entries and the keys that differ, sends the entries of
//! those keys. After [`Hello::Time`] the other side answers [`Time`]. In any case it ends with [`Done`], once everything is
//! on its disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shoal_types::UnixMillis;

use crate::{
    store::{core::ENTRIES_MAX, entry::Entry},
    transport::{FrameError, RecvStream, SendStream},
};

/// Entries of one frame, in bytes: well below the largest frame, whatever the entries are.
const ENTRIES_BYTES: usize = 384 << 10;
/// Stamps or keys of one frame; each is below 200 bytes.
const KEYS_PER_FRAME: usize = 2_000;
/// Items that a peer may send in one list.
const ITEMS_MAX: usize = 2 * ENTRIES_MAX;

/// The first frame of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hello {
    /// Entries follow.
    Push,
    /// Let us compare all we have.
    Compare {
        /// See [`Standing`].
        current: bool,
    },
    /// What time is it?
    Time,
    /// As [`Hello::Compare`], from one that speaks `protocol`. Since version 2.
    CompareIn {
        /// See [`Standing`].
        current: bool,
        /// The newest frame version that it speaks.
        protocol: u8,
    },
}

/// The answer to [`Hello::Time`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Time {
    /// By the wall clock of the side that answers.
    pub(super) now: UnixMillis,
}

/// The answer to [`Hello::Compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Whether absence from this store means that an entry does not exist.
    pub(super) current: bool,
}

/// The last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done;

/// A part of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part<T> {
    pub(super) items: Vec<T>,
    pub(super) last: bool,
}

/// Why a dialogue broke off. What was merged until then stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer sends more than {ITEMS_MAX} items in one list")]
    TooMany,
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Open(#[from] crate::transport::OpenError),
    #[error("it took longer than {0:?}")]
    TooSlow(std::time::Duration),
}

/// Sends a list of stamps or keys.
pub(super) async fn send_list<T>(send: &mut SendStream, items: Vec<T>) -> Result<(), SyncError>
where
    T: Serialize + Clone + Send + Sync,
{
    for chunk in items.chunks(KEYS_PER_FRAME) {
        send.write_frame(&Part { items: chunk.to_vec(), last: false }).await?;
    }
    Ok(send.write_frame(&Part::<T> { items: Vec::new(), last: true }).await?)
}

/// Sends entries.
pub(super) async fn send_entries(send: &mut SendStream, entries: &[Arc<Entry>]) -> Result<(), SyncError> {
    for items in batches(entries) {
        send.write_frame(&Part { items, last: false }).await?;
    }
    Ok(send.write_frame(&Part::<&Entry> { items: Vec::new(), last: true }).await?)
}

/// What replaces the root of the mesh comes first, as each batch is judged with what came before it.
fn batches(entries: &[Arc<Entry>]) -> Vec<Vec<&Entry>> {
    let mut batches: Vec<Vec<&Entry>> = Vec::new();
    let mut bytes = ENTRIES_BYTES;
    let (of_roots, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.key.is_of_roots());
    for entry in of_roots.into_iter().chain(others) {
        bytes += entry.frame_len();
        match batches.last_mut() {
            Some(batch) if bytes <= ENTRIES_BYTES => batch.push(entry),
            Some(_) | None => {
                bytes = entry.frame_len();
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

/// Reads one part of a list; `None` after the last. `read` counts the items so far.
pub(super) async fn next_part<T: DeserializeOwned>(
    recv: &mut RecvStream,
    read: &mut usize,
) -> Result<Option<Vec<T>>, SyncError> {
    let part: Part<T> = recv.read_frame().await?;
    *read += part.items.len();
    if *read > ITEMS_MAX {
        return Err(SyncError::TooMany);
    }
    Ok((!part.last).then_some(part.items))
}

/// Reads a whole list of stamps or keys.
pub(super) async fn read_list<T: DeserializeOwned>(recv: &mut RecvStream) -> Result<Vec<T>, SyncError> {
    let (mut items, mut read) = (Vec::new(), 0);
    while let Some(part) = next_part(recv, &mut read).await? {
        items.extend(part);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use shoal_types::{Hlc, MeshId, NodeId, wire};

    use super::*;
    use crate::store::entry::{BODY_MAX, Blob, EntryKey};

    fn entry(key: EntryKey, size: usize) -> Arc<Entry> {
        let version = Hlc { time: UnixMillis::from_millis(1), counter: 0, node: NodeId::from_bytes([1; 16]) };
        let (body, chain) = (Some("x".repeat(size)), vec![Blob(vec![0; 4096]); 3]);
        Arc::new(Entry { key, version, body, chain, signature: Blob(vec![0; 64]) })
    }

    #[test]
    fn what_replaces_the_root_is_sent_first() {
        let endpoint = || EntryKey::Endpoint("e".parse().unwrap());
        let root = EntryKey::RetiredRoot(MeshId::from_bytes([1; 16]));
        let entries = [entry(endpoint(), BODY_MAX), entry(endpoint(), 10), entry(root.clone(), 10)];
        let keys: Vec<_> = batches(&entries).concat().iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(keys, [root, endpoint(), endpoint()]);
    }

    #[test]
    fn entries_of_any_size_fit_their_frames() {
        let entry = |size: usize| entry(EntryKey::Endpoint("e".parse().unwrap()), size);
        let entries: Vec<_> = (0..40).map(|index| entry(if index % 3 == 0 { BODY_MAX } else { 10 })).collect();
        let batches = batches(&entries);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), entries.len());
        assert!(batches.len() < entries.len());
        for items in batches {
            assert!(wire::encode(&Part { items, last: false }).unwrap().len() < 512 << 10);
        }
    }
}
