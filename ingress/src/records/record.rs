//! One request of a client, after its end.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, KeyId, UnixMillis};

use super::Decision;
use crate::{
    metrics::{Code, Operation},
    traces::TraceContext,
    usage::Usage,
};

/// One request of a client, after its end: no prompt, no answer, no secret. Times are in microseconds after its arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// `x-request-id`, which clients may have chosen themselves: not always unique.
    pub id: String,
    /// When it arrived.
    pub arrived: UnixMillis,
    /// Who sent it.
    pub client: IpAddr,
    /// The key that was shown, if one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<KeyId>,
    /// Without the query.
    pub path: String,
    /// What is asked of the model.
    pub operation: Operation,
    /// `None` if it got not so far.
    pub endpoint: Option<EndpointName>,
    /// The name that the client used, where that is not the endpoint's own.
    pub model: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The status that was sent; `None` if the client had gone before.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the error that the ingress answered with.
    pub error: Option<String>,
    /// How long it waited before a replica was first chosen.
    pub queued_us: Option<u64>,
    /// When the first bytes of an answer came.
    pub first_byte_us: Option<u64>,
    /// When the first token of a stream came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_token_us: Option<u64>,
    /// When it ended.
    pub took_us: u64,
    /// What it took.
    pub tokens: Tokens,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of a replica's answer that were passed on.
    pub sent: u64,
    /// How often another replica went on with its answer.
    #[serde(default)]
    pub resumes: u32,
    /// The choices of replicas, the first eight and the last one.
    pub decisions: Vec<Decision>,
    /// The trace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace: Option<TraceContext>,
}

/// What is sent on sooner, in microseconds, has not waited.
const WAITED_US: u64 = 10_000;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With all of an answer, whatever it says.
    Finished,
    /// The answer broke off.
    Broken,
    /// The client went away.
    Cancelled,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Of the prompt.
    pub input: u32,
    /// Generated.
    pub output: u32,
    /// Of the prompt, those that the engine had in its cache.
    pub cached: u32,
    /// Whether the engine counted them; else they are estimated.
    pub exact: bool,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self { input: usage.prompt, output: usage.completion, cached: usage.cached, exact: usage.exact }
    }
}

impl From<Code> for Outcome {
    fn from(code: Code) -> Self {
        match code {
            Code::Success | Code::Redirect | Code::ClientError | Code::ServerError => Self::Finished,
            Code::Broken => Self::Broken,
            Code::Cancelled => Self::Cancelled,
        }
    }
}

impl RequestRecord {
    /// The decision whose replica answered.
    pub fn answered(&self) -> Option<&Decision> {
        self.decisions.iter().rev().find(|decision| decision.ended_us.is_some() && decision.failed.is_none())
    }

    /// Whether it went as nearly all do: it did not wait, and the first replica answered it, with success and to the end.
    pub(crate) fn is_plain(&self) -> bool {
        self.outcome == Outcome::Finished
            && self.status.is_some_and(|status| (200..300).contains(&status))
            && self.decisions.len() == 1
            && self.resumes == 0
            && self.queued_us.is_none_or(|waited| waited < WAITED_US)
    }

    /// What the client called the model, if an endpoint was found for it.
    pub fn name(&self) -> Option<&str> {
        self.model.as_deref().or_else(|| self.endpoint.as_ref().map(EndpointName::as_str))
    }

    /// Replicas that were tried.
    pub fn attempts(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.chosen.is_some()).count()
    }
}
