//! Room that is being made, put for people.

use std::fmt;

use serde::{Deserialize, Serialize};
use shoal_types::{Claim, ClaimId, View};

use crate::{clearing::MakesRoom, want::Want};

/// A node where others go so that a replica finds room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomBeingMade {
    /// The name of the node.
    pub node: String,
    /// What people call the replicas that go, or are going.
    pub going: Vec<String>,
    /// Whether they are replaced elsewhere first; else they go because the priority of this one is higher.
    pub moves: bool,
}

/// Of all room that is being made, what is for replicas as `want` says.
pub(super) fn rooms(view: &View, want: &Want<'_>, making: &[MakesRoom]) -> Vec<RoomBeingMade> {
    let is_for = |room: &&MakesRoom| {
        room.for_endpoint == want.record.endpoint.metadata.name
            && room.revision == want.revision
            && room.capacity == want.class.into()
    };
    let told = |room: &MakesRoom| {
        let node = view.nodes.get(&room.node)?;
        let name = |id: &ClaimId| node.claims.get(id).map(|claim: &Claim| id.replica_name(&claim.endpoint));
        Some(RoomBeingMade {
            node: node.facts.name.clone(),
            going: room.going.iter().filter_map(name).collect(),
            moves: room.moves,
        })
    };
    making.iter().filter(is_for).filter_map(told).collect()
}

impl fmt::Display for RoomBeingMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, going, moves } = self;
        let verb = match (going.len(), moves) {
            (1, false) => "gives way",
            (_, false) => "give way",
            (1, true) => "moves elsewhere",
            (_, true) => "move elsewhere",
        };
        write!(f, "on {node}: {} {verb}", going.join(", "))
    }
}
