//! From placement's wish for a replica to a claim: GPUs first, then whether it can run here, then the word to others.

use std::{sync::Arc, time::Duration};

use shoal_mesh::clock;
use shoal_types::{ClaimId, EndpointName, EndpointSpec, GpuId, Refusal, Revision, View, clip_reason};
use tokio::time::timeout;
use tracing::info;

use super::{Finished, Replicas};
use crate::ledger::Reservation;

/// How long a node does not claim again what its configuration refuses.
const REFUSAL: Duration = Duration::from_secs(5 * 60);
/// How long it does not claim again when its GPUs were not as free as they looked.
const NO_GPU: Duration = Duration::from_secs(10);
/// How long it may take to find out whether a replica can run here.
const JUDGE_WITHIN: Duration = Duration::from_secs(15);

/// A claim that is about to be made; its GPUs are reserved.
#[derive(Debug)]
pub(super) struct Intent {
    id: ClaimId,
    endpoint: EndpointName,
    revision: Revision,
    spec: EndpointSpec,
    gpus: Vec<GpuId>,
}

impl Replicas {
    pub(super) async fn claim(&mut self, endpoint: &EndpointName, revision: Revision, view: &View) {
        let spec = view.endpoints.get(endpoint).and_then(|record| record.spec_of(revision)).cloned();
        let Some(spec) = spec else { return };
        if self.refusals.contains(endpoint, revision, clock::now()) {
            // Said before, and not heard by placement: there were more refusals than gossip carries.
            return;
        }
        if !self.judging.insert(endpoint.clone()) {
            return;
        }
        let id = self.book.next_id();
        let Reservation { gpus, evicted } =
            match self.ledger.reserve(id, &spec.resources, &self.gpus, &self.book.asleep()) {
                Ok(reservation) => reservation,
                Err(error) => {
                    self.judging.remove(endpoint);
                    return self.refuse(endpoint, revision, NO_GPU, error.to_string()).await;
                }
            };
        for claim in evicted {
            self.withdraw(claim, "it sleeps, and its GPUs are needed").await;
        }
        let supervisor = Arc::clone(&self.parts.supervisor);
        let intent = Intent { id, endpoint: endpoint.clone(), revision, spec, gpus };
        self.tasks.spawn(async move {
            // A hub may have to be asked how large the model is.
            let judged = timeout(JUDGE_WITHIN, supervisor.refuse(&intent.spec, &intent.gpus)).await;
            let late = || Some(format!("what it needs could not be found out within {JUDGE_WITHIN:?}"));
            Finished::Judged(Box::new(intent), judged.unwrap_or_else(|_| late()))
        });
    }

    /// Claims what was intended, unless this node refuses it or it is wanted no longer.
    pub(super) async fn judged(&mut self, intent: Intent, refused: Option<String>) {
        let Intent { id, endpoint, revision, spec, gpus } = intent;
        self.judging.remove(&endpoint);
        let view = self.parts.mesh.view().borrow().clone();
        let wanted = view.endpoints.get(&endpoint).is_some_and(|record| record.spec_of(revision).is_some());
        if let Some(reason) = refused {
            self.ledger.release(id);
            return self.refuse(&endpoint, revision, REFUSAL, reason).await;
        }
        if !wanted || self.departing.is_ending() {
            self.ledger.release(id);
            return;
        }
        info!(%endpoint, %revision, replica = id.replica_name(&endpoint), "Claiming a replica");
        let claim = self.book.open(id, endpoint, revision, spec, gpus, clock::now());
        self.parts.mesh.publish_claim(&claim).await;
        self.refresh_gpus().await;
    }

    /// Tells others not to count on this node for `wait`.
    pub(super) async fn refuse(&mut self, endpoint: &EndpointName, revision: Revision, wait: Duration, reason: String) {
        let (view, now) = (self.parts.mesh.view().borrow().clone(), clock::now());
        let known = |refusal: &Refusal| {
            let record = view.endpoints.get(&refusal.endpoint);
            record.is_some_and(|record| record.spec_of(refusal.revision).is_some())
        };
        let (endpoint, until, reason) = (endpoint.clone(), now.plus(wait), clip_reason(&reason));
        self.refusals.add(Refusal { endpoint, revision, until, reason }, now, known);
        self.parts.mesh.publish_refusals(self.refusals.as_slice()).await;
    }
}
