//! Spans of a request: one at the ingress that took it, one for each replica that was tried, and one at the far end where
//! that is another node.

use shoal_ingress::{Decision, Hop, Outcome, RequestRecord, SpanId, TraceId};
use shoal_types::{EndpointName, UnixMillis};

use super::{Traced, otlp::Value};

/// On which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Server,
    Client,
}

/// One span. Times are nanoseconds of Unix time.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) error: Option<String>,
}

impl Span {
    /// Those of `traced`.
    pub(super) fn of(traced: &Traced) -> Vec<Self> {
        match traced {
            Traced::Request(record) => of_request(record),
            Traced::Hop(hop, ended) => vec![of_hop(hop, *ended)],
        }
    }
}

fn of_request(record: &RequestRecord) -> Vec<Span> {
    let Some(context) = record.trace else { return Vec::new() };
    let start = nanos(record.arrived);
    let endpoint = record.endpoint.as_ref();
    let server = Span {
        trace: context.trace,
        span: context.span,
        parent: context.parent,
        // As the conventions for generative AI name it: the operation, and the model.
        name: format!("{} {}", record.operation.label(), endpoint.map_or("", EndpointName::as_str)).trim().to_owned(),
        kind: Kind::Server,
        start,
        end: start + record.took_us * 1_000,
        attributes: request_attributes(record),
        error: (record.outcome != Outcome::Finished || record.status.is_some_and(|status| status >= 500))
            .then(|| record.error.clone().unwrap_or_else(|| format!("{:?}", record.outcome).to_lowercase())),
    };
    let attempts = record.decisions.iter().enumerate();
    let attempts = attempts.filter_map(|(number, decision)| of_attempt(record, &server, number, decision));
    let attempts: Vec<Span> = attempts.collect();
    std::iter::once(server).chain(attempts).collect()
}

fn request_attributes(record: &RequestRecord) -> Vec<(&'static str, Value)> {
    let mut attributes = vec![
        ("http.request.method", "POST".into()),
        ("url.path", record.path.as_str().into()),
        ("client.address", record.client.to_string().into()),
        ("gen_ai.operation.name", record.operation.label().into()),
        ("gen_ai.usage.input_tokens", record.tokens.input.into()),
        ("gen_ai.usage.output_tokens", record.tokens.output.into()),
        ("shoal.request_id", record.id.as_str().into()),
        ("shoal.attempts", record.attempts().into()),
    ];
    attributes.extend(record.name().map(|model| ("gen_ai.request.model", model.into())));
    attributes.extend(record.status.map(|status| ("http.response.status_code", u32::from(status).into())));
    attributes.extend(record.error.as_deref().map(|error| ("error.type", error.into())));
    attributes.extend(record.queued_us.map(|queued| ("shoal.queue_us", queued.into())));
    attributes.extend(record.first_byte_us.map(|first| ("shoal.first_byte_us", first.into())));
    attributes
}

fn of_attempt(record: &RequestRecord, server: &Span, number: usize, decision: &Decision) -> Option<Span> {
    let chosen = decision.chosen()?;
    let name = record.endpoint.as_ref().map(|endpoint| chosen.claim.replica_name(endpoint)).unwrap_or_default();
    // The one that answered is on with it until the request ends.
    let end = if decision.failed.is_some() { decision.ended_us.unwrap_or(record.took_us) } else { record.took_us };
    let mut attributes = vec![
        ("shoal.node", chosen.claim.node.to_string().into()),
        ("shoal.replica", name.as_str().into()),
        ("shoal.attempt", number.into()),
        ("shoal.local", chosen.local.into()),
        ("shoal.considered", (decision.considered.len() as u64 + decision.more).into()),
        ("shoal.choice_us", decision.took_us.into()),
        ("shoal.why", decision.why.as_ref().into()),
    ];
    attributes.extend(decision.failed.as_ref().map(|failed| ("error.type", failed.reason.as_str().into())));
    Some(Span {
        trace: server.trace,
        span: decision.span?,
        parent: Some(server.span),
        name: format!("attempt {name}"),
        kind: Kind::Client,
        start: server.start + decision.after_us * 1_000,
        end: server.start + end * 1_000,
        attributes,
        error: decision.failed.as_ref().map(|failed| failed.error.clone()),
    })
}

fn of_hop(hop: &Hop, ended: UnixMillis) -> Span {
    let end = nanos(ended);
    let took = u64::try_from(hop.took.as_nanos()).unwrap_or(u64::MAX);
    Span {
        trace: hop.trace.trace,
        span: hop.trace.span,
        parent: hop.trace.parent,
        name: "tunnel".to_owned(),
        kind: Kind::Server,
        start: end.saturating_sub(took),
        end,
        attributes: vec![("shoal.from", hop.from.to_string().into()), ("shoal.claim", hop.claim.to_string().into())],
        error: hop.error.clone(),
    }
}

const fn nanos(time: UnixMillis) -> u64 {
    time.as_millis().saturating_mul(1_000_000)
}
