//! One claim of an endpoint, put for people.

use serde::{Deserialize, Serialize};
use shoal_types::{ClaimId, ReplicaState, Revision};

use crate::{
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
        }
    }
}

/// The replicas that fill `post`.
pub(super) fn of_post(post: &Post<'_>) -> Vec<ReplicaStanding> {
    let kept = post.kept.iter().map(|holder| ReplicaStanding::new(holder, Standing::Kept));
    let woken = post.woken.iter().map(|holder| ReplicaStanding::new(holder, Standing::Woken));
    kept.chain(woken).collect()
}
