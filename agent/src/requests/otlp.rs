//! Spans as a collector takes them: the JSON of OTLP 1.0 (opentelemetry-proto, `trace/v1/trace.proto`, by protobuf's JSON
//! mapping, but with hexadecimal ids, as OTLP has it). It is stable; the libraries for it would bring a dozen crates, two
//! code generators' output among them, for these four structures.

use serde::Serialize;
use shoal_types::NodeId;

use super::span::{Kind, Span};

/// A value of an attribute.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::enum_variant_names)] // as they are called in JSON
pub(super) enum Value {
    StringValue(String),
    /// 64-bit numbers are strings in this mapping.
    IntValue(String),
    BoolValue(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::StringValue(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::StringValue(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::IntValue(number.to_string())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::IntValue(number.to_string())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::IntValue(number.to_string())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::BoolValue(truth)
    }
}

#[derive(Debug, Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: &'a Value,
}

/// The body of a POST to `/v1/traces`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Resource<'a> {
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Debug, Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<WireSpan<'a>>,
}

#[derive(Debug, Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSpan<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    code: u8,
    message: &'a str,
}

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// What stands for a node in all of its spans.
#[derive(Debug)]
pub(super) struct Source(Vec<(&'static str, Value)>);

impl Source {
    pub(super) fn new(node: NodeId, name: &str) -> Self {
        Self(vec![
            ("service.name", "shoal".into()),
            ("service.version", env!("CARGO_PKG_VERSION").into()),
            ("service.instance.id", node.to_string().into()),
            ("host.name", name.into()),
        ])
    }
}

/// `spans` of `source`, for a POST to `/v1/traces`.
///
/// # Errors
/// None that can happen: all of it is text and numbers.
pub(super) fn encode(source: &Source, spans: &[Span]) -> serde_json::Result<Vec<u8>> {
    let scope = Scope { name: "shoal", version: env!("CARGO_PKG_VERSION") };
    let resource = Resource { attributes: key_values(&source.0) };
    let scope_spans = [ScopeSpans { scope, spans: spans.iter().map(WireSpan::from).collect() }];
    serde_json::to_vec(&Export { resource_spans: [ResourceSpans { resource, scope_spans }] })
}

fn key_values<'a>(attributes: &'a [(&'static str, Value)]) -> Vec<KeyValue<'a>> {
    attributes.iter().map(|(key, value)| KeyValue { key, value }).collect()
}

impl<'a> From<&'a Span> for WireSpan<'a> {
    fn from(span: &'a Span) -> Self {
        Self {
            trace_id: span.trace.to_string(),
            span_id: span.span.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_string()),
            name: &span.name,
            kind: match span.kind {
                Kind::Server => 2,
                Kind::Client => 3,
            },
            start_time_unix_nano: span.start.to_string(),
            end_time_unix_nano: span.end.to_string(),
            attributes: key_values(&span.attributes),
            status: span.error.as_deref().map(|message| Status { code: ERROR, message }),
        }
    }
}
