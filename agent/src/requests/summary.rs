//! One request in a list: what happened, without the choices that led there.

use serde::{Deserialize, Serialize};
use shoal_ingress::{Operation, Outcome, RequestRecord, Tokens};
use shoal_types::{EndpointName, KeyId, NodeId, UnixMillis};

/// One request of a client, after its end. Times are in microseconds after its arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestSummary {
    pub(crate) id: String,
    pub(crate) arrived: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyId>,
    pub(crate) operation: Operation,
    pub(crate) endpoint: Option<EndpointName>,
    pub(crate) stream: bool,
    pub(crate) status: Option<u16>,
    pub(crate) outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) queued_us: Option<u64>,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) first_token_us: Option<u64>,
    pub(crate) took_us: u64,
    pub(crate) tokens: Tokens,
    pub(crate) attempts: usize,
    pub(crate) resumes: u32,
    /// Who answered.
    pub(crate) node: Option<NodeId>,
    pub(crate) replica: Option<String>,
}

impl From<&RequestRecord> for RequestSummary {
    fn from(record: &RequestRecord) -> Self {
        let answered = record.answered().and_then(|decision| decision.chosen());
        Self {
            id: record.id.clone(),
            arrived: record.arrived,
            key: record.key,
            operation: record.operation,
            endpoint: record.endpoint.clone(),
            stream: record.stream,
            status: record.status,
            outcome: record.outcome,
            error: record.error.clone(),
            queued_us: record.queued_us,
            first_byte_us: record.first_byte_us,
            first_token_us: record.first_token_us,
            took_us: record.took_us,
            tokens: record.tokens,
            attempts: record.attempts(),
            resumes: record.resumes,
            node: answered.map(|replica| replica.claim.node),
            replica: answered.zip(record.endpoint.as_ref()).map(|(replica, name)| replica.claim.replica_name(name)),
        }
    }
}
