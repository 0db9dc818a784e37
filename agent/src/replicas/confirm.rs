//! Asking the replicas that stay whether they serve, before one goes.

use std::collections::BTreeSet;

use shoal_types::{ClaimId, NodeId};
use tokio::task::JoinSet;

use crate::peer::PeerClient;

/// Those of `replicas` that do not say that they serve; no answer is a no. With none of them the asker may go.
pub(super) async fn doubtful(peers: &PeerClient, replicas: Vec<(NodeId, ClaimId)>) -> BTreeSet<ClaimId> {
    let mut answers = JoinSet::new();
    for (node, claim) in replicas {
        let peers = peers.clone();
        answers.spawn(async move { (claim, peers.serves(node, claim).await) });
    }
    answers.join_all().await.into_iter().filter(|(_, serves)| !serves).map(|(claim, _)| claim).collect()
}
