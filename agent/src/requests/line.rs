//! A line of the access log.

use std::{collections::HashMap, net::IpAddr};

use serde::Serialize;
use shoal_ingress::{Operation, Outcome, RequestRecord, TraceId};
use shoal_types::{ClaimId, EndpointName, KeyId, NodeId};

/// Replicas whose names are kept: then they are made anew.
const NAMES_MAX: usize = 1_024;

/// Names that stand in nearly every line, as text. To make them takes longer than to write them.
#[derive(Debug)]
pub(super) struct Names {
    ingress: String,
    replicas: HashMap<ClaimId, Name>,
}

#[derive(Debug)]
struct Name {
    node: String,
    replica: String,
}

impl Names {
    /// Those in the lines of the ingress of `node`.
    pub(super) fn of(node: NodeId) -> Self {
        Self { ingress: node.to_string(), replicas: HashMap::new() }
    }

    /// That of the replica of `endpoint` that holds `claim`.
    fn learn(&mut self, claim: ClaimId, endpoint: &EndpointName) {
        if self.replicas.len() >= NAMES_MAX && !self.replicas.contains_key(&claim) {
            self.replicas.clear();
        }
        let name = || Name { node: claim.node.to_string(), replica: claim.replica_name(endpoint) };
        self.replicas.entry(claim).or_insert_with(name);
    }
}

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
    ingress: &'a str,
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
    node: Option<&'a str>,
    replica: Option<&'a str>,
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
    /// That of `record`.
    pub(super) fn new(record: &'a RequestRecord, names: &'a mut Names) -> Self {
        let answered = record.answered().and_then(|decision| decision.chosen()).zip(record.endpoint.as_ref());
        if let Some((replica, endpoint)) = answered {
            names.learn(replica.claim, endpoint);
        }
        let answered = answered.and_then(|(replica, _)| names.replicas.get(&replica.claim));
        Self {
            time: record.arrived.to_string(),
            request_id: &record.id,
            trace_id: record.trace.map(|trace| trace.trace),
            client: record.client,
            key: record.key,
            ingress: &names.ingress,
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
            node: answered.map(|name| name.node.as_str()),
            replica: answered.map(|name| name.replica.as_str()),
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

    /// Writes it to the end of `lines`, with its end.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        // Only maps with keys that are no text cannot be written, and there are none.
        let _ = serde_json::to_writer(&mut *lines, self);
        lines.push(b'\n');
    }
}

#[allow(clippy::cast_precision_loss)] // no request takes 285 years
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use shoal_types::UnixMillis;

    use super::*;

    /// Rule 9: everything is bounded.
    #[test]
    fn rule_9_few_names_are_kept_and_each_is_its_replicas() {
        let node = |number: u8| NodeId::from_bytes([number; 16]);
        let (mut names, endpoint) = (Names::of(node(0)), "llama".parse::<EndpointName>().unwrap());
        let mut most = 0;
        for counter in 0..2_500_u32 {
            let claim =
                ClaimId { node: node(1 + u8::from(counter % 2 == 0)), generation: UnixMillis::from_millis(1), counter };
            names.learn(claim, &endpoint);
            let count = names.replicas.len();
            most = most.max(count);
            names.learn(claim, &endpoint);
            assert_eq!(names.replicas.len(), count, "one that is known takes no room");
            assert_eq!(names.replicas[&claim].replica, claim.replica_name(&endpoint));
            assert_eq!(names.replicas[&claim].node, claim.node.to_string());
        }
        assert_eq!(most, NAMES_MAX);
    }
}
