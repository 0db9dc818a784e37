//! From chitchat's states to one [`Heard`] per node.
//!
//! chitchat keeps every start of a node as a node of its own, dead twins included. Of those the highest generation that
//! has said who it is counts; a restart therefore replaces the old self at once, and never by an empty one.

use std::collections::{BTreeMap, HashSet};

use chitchat::{Chitchat, ChitchatId, NodeState};
use shoal_types::NodeId;

use super::{Key, address};

/// Which state of a node has been read: its generation and chitchat's version within it.
pub(super) type Read = (u64, u64);

/// What chitchat knows of one node.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) node: NodeId,
    pub(super) state: Read,
    /// The failure detector's word.
    pub(super) live: bool,
    /// All its values; `None` if they are those already read.
    pub(super) values: Option<Vec<(Key, String)>>,
}

/// One entry per node other than this one, in no order. `read` says which states need not be copied again.
pub(super) fn fold(chitchat: &Chitchat, read: &BTreeMap<NodeId, Read>) -> Vec<Heard> {
    let live: HashSet<&ChitchatId> = chitchat.live_nodes().collect();
    let own = &chitchat.self_chitchat_id().node_id;
    let mut newest: BTreeMap<NodeId, (&ChitchatId, &NodeState)> = BTreeMap::new();
    // Ascending by node id, then generation: the last one wins.
    for (id, state) in chitchat.node_states().iter().filter(|(id, _)| id.node_id != *own) {
        if let Some(node) = speaker(id).filter(|_| state.contains_key("facts")) {
            newest.insert(node, (id, state));
        }
    }
    let heard = |(node, (id, state)): (NodeId, (&ChitchatId, &NodeState))| {
        let current = (id.generation_id, state.max_version());
        Heard {
            node,
            state: current,
            live: live.contains(id),
            values: (read.get(&node) != Some(&current)).then(|| values(state)),
        }
    };
    newest.into_iter().map(heard).collect()
}

/// Whose state it is, unless the id contradicts itself.
fn speaker(id: &ChitchatId) -> Option<NodeId> {
    let node: NodeId = id.node_id.parse().ok()?;
    (id.gossip_advertise_addr == address::stand_in(node)).then_some(node)
}

/// Keys of newer programs are left out.
fn values(state: &NodeState) -> Vec<(Key, String)> {
    state.key_values().filter_map(|(key, value)| Some((key.parse().ok()?, value.to_owned()))).collect()
}
