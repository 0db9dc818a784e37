//! Addresses that stand for node ids.
//!
//! A `ChitchatId` contains a socket address, so a node that moves would become another. It is given a made-up one
//! instead: a unique local address (RFC 4193) derived from the node id. It never reaches a socket; the transport dials
//! by node id.

use std::{
    collections::HashMap,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::{Mutex, PoisonError},
};

use shoal_types::NodeId;

/// Any port but 0 would do; this one reads well in chitchat's log lines.
const PORT: u16 = 7700;

/// The address that stands for `node`: `fd` and the first 15 bytes of its id.
pub(super) fn stand_in(node: NodeId) -> SocketAddr {
    let mut octets = [0xfd; 16];
    octets[1..].copy_from_slice(&node.as_bytes()[..15]);
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), PORT, 0, 0))
}

/// The way back from an address to the node id, whose last byte the address does not hold.
#[derive(Debug, Default)]
pub(super) struct AddressBook(Mutex<HashMap<SocketAddr, NodeId>>);

/// Nodes remembered; ten times the largest mesh that gossips flat. Beyond it the book starts anew and refills from use.
const BOOK_MAX: usize = 10_000;

impl AddressBook {
    /// Notes `node` and returns the address that stands for it.
    pub(super) fn note(&self, node: NodeId) -> SocketAddr {
        let address = stand_in(node);
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if book.len() >= BOOK_MAX && !book.contains_key(&address) {
            book.clear();
        }
        book.insert(address, node);
        address
    }

    /// The node that `address` stands for, if it was noted.
    pub(super) fn node(&self, address: SocketAddr) -> Option<NodeId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_its_node() {
        let (a, b) = (NodeId::from_bytes([7; 16]), NodeId::from_bytes([8; 16]));
        let book = AddressBook::default();
        let address = book.note(a);
        assert_eq!(book.node(address), Some(a));
        assert_eq!(book.node(stand_in(b)), None);
        assert!(matches!(address, SocketAddr::V6(v6) if v6.ip().octets()[0] == 0xfd));
    }
}
