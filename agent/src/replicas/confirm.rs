//! Asking the replicas that stay whether they serve, before one goes.

use shoal_types::{ClaimId, NodeId};
use tokio::task::JoinSet;

use crate::peer::PeerClient;

/// Whether all of `replicas` answer that they serve. Nobody to ask is a yes; no answer is a no.
pub(super) async fn serve_all(peers: &PeerClient, replicas: Vec<(NodeId, ClaimId)>) -> bool {
    let mut answers = JoinSet::new();
    for (node, claim) in replicas {
        let peers = peers.clone();
        answers.spawn(async move { peers.serves(node, claim).await });
    }
    answers.join_all().await.into_iter().all(|serves| serves)
}
