//! How a replica ends: given up, drained, gone or failed.

use std::{sync::Arc, time::Duration};

use shoal_engine_supervisor::FailureClass;
use shoal_mesh::clock;
use shoal_types::{Claim, ClaimId, REASON_MAX, RefusalCause, clip_reason};
use tokio::time::timeout;
use tracing::warn;

use super::{
    Finished, Replicas,
    book::{self, Change},
};

/// How long this node does not try again what would fail in the same way.
const NOT_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

impl Replicas {
    /// Gives up a claim that does not serve.
    pub(super) async fn withdraw(&mut self, claim: ClaimId, reason: &str) {
        match self.book.withdraw(claim, reason, clock::now()) {
            Some(Change::Publish(claim)) => {
                self.parts.supervisor.stop(claim);
                self.publish(claim).await;
            }
            Some(change) => self.apply(change).await,
            None => {}
        }
    }

    /// Others serve in its place: it takes nothing new, and ends once it has finished.
    pub(super) async fn drain(&mut self, claim: ClaimId) {
        let Some(limit) = self.book.drain(claim, clock::now()) else { return };
        self.publish(claim).await;
        // Only now is what the ingress counts all that there will be.
        self.parts.routes.refresh();
        self.finish_streams(claim, limit);
    }

    /// Lets a draining replica finish, for `limit` at the most, and not beyond the end of its node.
    pub(super) fn finish_streams(&mut self, claim: ClaimId, limit: Duration) {
        let limit = self.departing.time_left(clock::now()).map_or(limit, |left| left.min(limit));
        let ingress = Arc::clone(&self.parts.ingress);
        self.tasks.spawn(async move {
            // Streams that outlive the limit are cut when the engine stops; their clients see an error event.
            let _ = timeout(limit, ingress.drained(claim)).await;
            Finished::Drained(claim)
        });
    }

    /// The replica is gone, and its GPUs with it.
    pub(super) async fn close(&mut self, claim: ClaimId) {
        self.book.close(claim);
        self.ledger.release(claim);
        self.loads.remove(&claim);
        self.parts.mesh.retract_claim(claim).await;
        self.refresh_gpus().await;
    }

    /// The replica cannot run here: others should try.
    pub(super) async fn fail(&mut self, claim: ClaimId, class: FailureClass, reason: String) {
        let Some(Claim { endpoint, revision, .. }) = self.book.claim(claim).cloned() else { return };
        warn!(%endpoint, %reason, "A replica cannot run on this node");
        self.parts.supervisor.stop(claim);
        self.book.fail(claim, &reason, clock::now());
        self.ledger.release(claim);
        self.publish(claim).await;
        self.refresh_gpus().await;
        let failures = self.failures.entry((endpoint.clone(), revision)).or_default();
        *failures += 1;
        // What is wrong with a spec or a node's configuration takes a new revision or a new daemon to be right.
        let wait = if class == FailureClass::Config { NOT_AGAIN } else { book::retry_after(*failures) };
        // Its log outlives it, and this is where somebody looks who finds the endpoint without a replica.
        let hint = format!(" (shoal logs {})", claim.replica_name(&endpoint));
        let mut words = clip_reason(&reason);
        words.truncate(words.floor_char_boundary(REASON_MAX.saturating_sub(hint.len())));
        self.refuse(&endpoint, revision, (RefusalCause::Failed, wait), words + &hint).await;
    }
}
