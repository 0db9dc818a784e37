//! Hashes that are the same on every node and in every version. Changing them changes placement.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::NodeId;

/// SipHash-2-4 with a zero key over the length-prefixed parts, so that `["ab","c"]` and `["a","bc"]` differ.
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new();
    for part in parts {
        write_part(&mut hasher, part);
    }
    hasher.finish()
}

/// The weight of `node` for `key`: the node with the highest is its home (rendezvous hashing, Thaler and Ravishankar
/// 1996), which moves nothing but its own keys when a node comes or goes.
pub fn rendezvous_weight(key: &str, node: NodeId) -> u64 {
    Rendezvous::new(key).weight(node)
}

/// The weights of many nodes for one key, which is hashed once.
#[derive(Debug, Clone)]
pub struct Rendezvous(SipHasher24);

impl Rendezvous {
    /// Of `key`.
    pub fn new(key: &str) -> Self {
        let mut hasher = SipHasher24::new();
        for part in [b"rendezvous", key.as_bytes()] {
            write_part(&mut hasher, part);
        }
        Self(hasher)
    }

    /// The same as [`rendezvous_weight`] of the key and `node`.
    pub fn weight(&self, node: NodeId) -> u64 {
        let mut hasher = self.0;
        write_part(&mut hasher, node.as_bytes());
        hasher.finish()
    }
}

fn write_part(hasher: &mut SipHasher24, part: &[u8]) {
    hasher.write(&(part.len() as u64).to_le_bytes());
    hasher.write(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_hashes_of_key_and_node() {
        let node = NodeId::from_bytes([7; 16]);
        let whole = stable_hash(&[b"rendezvous", b"llama", node.as_bytes()]);
        assert_eq!([rendezvous_weight("llama", node), Rendezvous::new("llama").weight(node)], [whole, whole]);
    }
}
