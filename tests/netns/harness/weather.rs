//! What becomes of the packets that a node is sent over the mesh.

use std::{collections::BTreeSet, net::Ipv4Addr};

/// What one node hears. Packets are dropped where they arrive, so that senders learn nothing, as in a real partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    /// Whose packets do not arrive.
    pub(crate) deaf_to: BTreeSet<Ipv4Addr>,
    /// Of a thousand packets, how many are lost.
    pub(crate) lost_per_mille: u32,
}

impl Weather {
    /// The packet filter that makes it, in the words of nft: what stood before goes in the same transaction.
    pub(crate) fn ruleset(&self) -> String {
        let mut rules = String::new();
        for sender in &self.deaf_to {
            rules += &format!("iifname mesh0 ip saddr {sender} drop\n");
        }
        if self.lost_per_mille > 0 {
            rules += &format!("iifname mesh0 numgen random mod 1000 < {} drop\n", self.lost_per_mille);
        }
        format!(
            "add table inet weather\ndelete table inet weather\ntable inet weather {{\nchain input {{\n\
             type filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
        )
    }
}
