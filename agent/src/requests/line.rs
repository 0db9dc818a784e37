//! A line of the access log.

use std::{fmt, net::IpAddr};

use serde::Serialize;
use shoal_ingress::{Operation, Outcome, RequestRecord, TraceId};
use shoal_types::{EndpointName, KeyId, NodeId};

/// One request, as one line of JSON. Names and units stay; fields are only added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line<'a> {
    time: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<TraceId>,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    ingress: NodeId,
    method: &'static str,
    path: &'a str,
    operation: Operation,
    endpoint: Option<&'a EndpointName>,
    model: Option<&'a str>,
    stream: bool,
    status: Option<u16>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    node: Option<NodeId>,
    replica: Option<String>,
    attempts: usize,
    resumes: u32,
    /// Why the attempts before the last failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<&'a str>,
    queue_ms: Option<f64>,
    choose_us: u64,
    first_byte_ms: Option<f64>,
    duration_ms: f64,
    input_tokens: u32,
    output_tokens: u32,
    cached_tokens: u32,
    tokens_exact: bool,
    received_bytes: u64,
    sent_bytes: u64,
}

impl<'a> Line<'a> {
    /// That of `record`, by the ingress of `node`.
    pub(super) fn new(record: &'a RequestRecord, node: NodeId) -> Self {
        let answered = record.answered().and_then(|decision| decision.chosen());
        Self {
            time: record.arrived.to_string(),
            request_id: &record.id,
            trace_id: record.trace.map(|trace| trace.trace),
            client: record.client,
            key: record.key,
            ingress: node,
            // No other is forwarded.
            method: "POST",
            path: &record.path,
            operation: record.operation,
            endpoint: record.endpoint.as_ref(),
            model: record.name(),
            stream: record.stream,
            status: record.status,
            outcome: record.outcome,
            error: record.error.as_deref(),
            node: answered.map(|replica| replica.claim.node),
            replica: answered.zip(record.endpoint.as_ref()).map(|(replica, name)| replica.claim.replica_name(name)),
            attempts: record.attempts(),
            resumes: record.resumes,
            failed: record.decisions.iter().filter_map(|made| Some(made.failed.as_ref()?.reason.as_str())).collect(),
            queue_ms: record.queued_us.map(millis),
            choose_us: record.decisions.iter().map(|decision| decision.took_us).sum(),
            first_byte_ms: record.first_byte_us.map(millis),
            duration_ms: millis(record.took_us),
            input_tokens: record.tokens.input,
            output_tokens: record.tokens.output,
            cached_tokens: record.tokens.cached,
            tokens_exact: record.tokens.exact,
            received_bytes: record.received,
            sent_bytes: record.sent,
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[allow(clippy::cast_precision_loss)] // no request takes 285 years
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
