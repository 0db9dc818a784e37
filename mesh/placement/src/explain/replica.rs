//! One claim of an endpoint, put for people.

use serde::{Deserialize, Serialize};
use shoal_types::{ClaimId, EndpointName, ReplicaState, Revision};

use crate::{
    clearing::MakesRoom,
    muster::{Post, Standing},
    presence::Holder,
};

/// A replica and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStanding {
    /// What people call it.
    pub name: String,
    /// Which claim.
    pub claim: ClaimId,
    /// The name of its node.
    pub node: String,
    /// Which processes.
    pub revision: Revision,
    /// How far it has come.
    pub state: ReplicaState,
    /// What it is good for.
    pub standing: Standing,
    /// Why it leaves, or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The endpoint for whose replica it makes room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub makes_room_for: Option<EndpointName>,
}

impl ReplicaStanding {
    pub(crate) fn new(holder: &Holder<'_>, standing: Standing) -> Self {
        let Holder { node, claim } = holder;
        Self {
            name: claim.id.replica_name(&claim.endpoint),
            claim: claim.id,
            node: node.facts.name.clone(),
            revision: claim.revision,
            state: claim.state,
            standing,
            reason: match standing {
                Standing::Leaving | Standing::Failed => claim.leaving.clone().or_else(|| claim.reason.clone()),
                Standing::Kept
                | Standing::Woken
                | Standing::Asleep
                | Standing::Surplus
                | Standing::Superseded
                | Standing::Lost => None,
            },
            makes_room_for: None,
        }
    }

    /// The same, where room is being made as `making` says.
    pub(super) fn beside(self, making: &[MakesRoom]) -> Self {
        let room = making.iter().find(|room| room.going.contains(&self.claim));
        Self { makes_room_for: room.map(|room| room.for_endpoint.clone()), ..self }
    }
}

/// The replicas that fill `post`.
pub(super) fn of_post(post: &Post<'_>) -> Vec<ReplicaStanding> {
    let kept = post.kept.iter().map(|holder| ReplicaStanding::new(holder, Standing::Kept));
    let woken = post.woken.iter().map(|holder| ReplicaStanding::new(holder, Standing::Woken));
    kept.chain(woken).collect()
}
