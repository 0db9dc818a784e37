//! Hashes that are the same on every node and in every version. Changing them changes placement.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::NodeId;

/// SipHash-2-4 with a zero key over the length-prefixed parts, so that `["ab","c"]` and `["a","bc"]` differ.
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new();
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish()
}

/// The weight of `node` for `key`: the node with the highest is its home (rendezvous hashing, Thaler and Ravishankar
/// 1996), which moves nothing but its own keys when a node comes or goes.
pub fn rendezvous_weight(key: &str, node: NodeId) -> u64 {
    stable_hash(&[b"rendezvous", key.as_bytes(), node.as_bytes()])
}
