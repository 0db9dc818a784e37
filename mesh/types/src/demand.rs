//! What the clients of an ingress ask of an endpoint.

use serde::{Deserialize, Serialize};

use crate::{EndpointName, Latencies, Revision};

/// Most revisions of which one demand tells the outcomes, the newest.
pub const OUTCOMES_MAX: usize = 2;

/// What the clients of one node's ingress ask of an endpoint. Quantised, so that an idle mesh is silent; without any, it is
/// not said at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// Requests that replicas have and that are not finished.
    pub inflight: u32,
    /// Requests that wait here for a replica to serve.
    pub held: u32,
    /// Requests that arrived in the last minute.
    pub arrivals: u32,
    /// Tokens that were streamed in the last minute.
    pub tokens: u32,
    /// Requests of the last hour, to a power of two: slow, so that replicas may be placed by it.
    pub hourly: u32,
    /// How requests of the last minutes went, by revision; at most [`OUTCOMES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
}

/// How the requests of one revision went in the last five minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Of which revision.
    pub revision: Revision,
    /// Attempts that ended, or whose answer began.
    pub requests: u32,
    /// Of those, the ones that the replica failed: no answer, a 5xx, a broken stream.
    pub failed: u32,
    /// Times to the first token of streamed answers.
    pub ttft: Latencies,
}

impl Outcome {
    /// No request of `revision` yet.
    pub fn none(revision: Revision) -> Self {
        Self { revision, requests: 0, failed: 0, ttft: Latencies::default() }
    }

    /// Adds what another ingress saw of the same revision.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        self.ttft.merge(&other.ttft);
    }

    /// Share of the requests that failed, from 0 to 1; `None` if there were none.
    pub fn error_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| f64::from(self.failed) / f64::from(self.requests))
    }
}
