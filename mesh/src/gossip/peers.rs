//! Peers that this node knew, kept so that it finds the mesh again after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use shoal_types::NodeId;
use tracing::warn;

use super::state_file;

const PEERS_FILE: &str = "peers.json";
/// Peers kept besides those that are there. Any one that comes back is enough.
const PEERS_MAX: usize = 128;
/// Addresses kept per peer.
const ADDRESSES_MAX: usize = 8;

/// A node and where it could be dialled, best first.
#[derive(Debug, Serialize, Deserialize)]
struct KnownPeer {
    node: NodeId,
    addresses: Vec<SocketAddr>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PeersFile {
    peers: Vec<KnownPeer>,
}

/// Adds `peers`, each with the addresses where it can be dialled, to those that a daemon with this state directory tries
/// first: to be called after joining, before the daemon starts. Blocks.
///
/// # Errors
/// Of the file system.
pub fn remember_peers(state_dir: &Path, peers: &[(NodeId, Vec<SocketAddr>)]) -> io::Result<()> {
    let mut known = PeerBook::load(state_dir);
    for (node, addresses) in peers {
        known.learn(*node, addresses);
    }
    known.page(&peers.iter().map(|(node, _)| *node).collect()).write()
}

/// All peers with a known address.
#[derive(Debug)]
pub(super) struct PeerBook {
    path: PathBuf,
    peers: BTreeMap<NodeId, Vec<SocketAddr>>,
    dirty: bool,
}

/// What is written of a [`PeerBook`].
#[derive(Debug)]
pub(super) struct Page {
    path: PathBuf,
    file: PeersFile,
}

impl PeerBook {
    /// The book on disk; an empty one, with a warning, if it cannot be read: peers also come by joining. Blocks.
    pub(super) fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(PEERS_FILE);
        let file: PeersFile = match std::fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => {
                warn!(path = %path.display(), %error, "the list of known peers is damaged and is started anew");
                PeersFile::default()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => PeersFile::default(),
            Err(error) => {
                warn!(path = %path.display(), %error, "the list of known peers cannot be read");
                PeersFile::default()
            }
        };
        let peers = file.peers.into_iter().map(|peer| (peer.node, peer.addresses)).collect();
        Self { path, peers, dirty: false }
    }

    /// Notes where `node` can be dialled. Returns whether that is news.
    pub(super) fn learn(&mut self, node: NodeId, addresses: &[SocketAddr]) -> bool {
        let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
        if addresses.is_empty() || self.peers.get(&node).is_some_and(|known| known == addresses) {
            return false;
        }
        self.peers.insert(node, addresses.to_vec());
        self.dirty = true;
        true
    }

    /// Forgets a node that is no longer a member.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.dirty |= self.peers.remove(&node).is_some();
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &[SocketAddr])> {
        self.peers.iter().map(|(node, addresses)| (*node, addresses.as_slice()))
    }

    /// What is to be written, if anything changed since the last time. When not all fit, those that are not `alive`
    /// are left out, and forgotten.
    pub(super) fn take_dirty(&mut self, alive: &BTreeSet<NodeId>) -> Option<Page> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let page = self.page(alive);
        let kept: BTreeSet<NodeId> = page.file.peers.iter().map(|peer| peer.node).collect();
        self.peers.retain(|node, _| kept.contains(node) || alive.contains(node));
        Some(page)
    }

    fn page(&self, first: &BTreeSet<NodeId>) -> Page {
        let (mut peers, others): (Vec<_>, Vec<_>) = self
            .iter()
            .map(|(node, addresses)| KnownPeer { node, addresses: addresses.to_vec() })
            .partition(|peer| first.contains(&peer.node));
        peers.extend(others);
        peers.truncate(PEERS_MAX);
        Page { path: self.path.clone(), file: PeersFile { peers } }
    }
}

impl Page {
    /// Writes it. Blocks.
    pub(super) fn write(&self) -> io::Result<()> {
        state_file::replace(&self.path, &serde_json::to_vec_pretty(&self.file)?)
    }

    /// Writes it, or says why not: the next change tries again. Blocks.
    pub(super) fn write_or_warn(&self) {
        if let Err(error) = self.write() {
            warn!(path = %self.path.display(), %error, "the list of known peers could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn address(port: u16) -> Vec<SocketAddr> {
        vec![([10, 0, 0, 1], port).into()]
    }

    #[test]
    fn peers_outlive_a_restart_and_the_living_come_first() {
        let dir = tempfile::tempdir().unwrap();
        remember_peers(dir.path(), &[(node(1), address(1))]).unwrap();
        let mut book = PeerBook::load(dir.path());
        assert!(book.learn(node(2), &address(2)));
        assert!(!book.learn(node(2), &address(2)), "no news");
        let page = book.take_dirty(&BTreeSet::from([node(2)])).unwrap();
        assert_eq!(page.file.peers[0].node, node(2));
        page.write().unwrap();
        assert!(book.take_dirty(&BTreeSet::new()).is_none());
        assert_eq!(PeerBook::load(dir.path()).iter().count(), 2);
    }

    #[test]
    fn the_file_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let peers: Vec<_> = (0..=255).map(|byte| (node(byte), address(9))).collect();
        remember_peers(dir.path(), &peers).unwrap();
        assert_eq!(PeerBook::load(dir.path()).iter().count(), PEERS_MAX);
    }

    #[test]
    fn a_damaged_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PEERS_FILE), "{").unwrap();
        assert_eq!(PeerBook::load(dir.path()).iter().count(), 0);
    }
}
