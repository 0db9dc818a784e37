//! One shape of error for the API and the command line.

use std::fmt;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// What went wrong, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) struct Problem {
    /// Stable word for scripts.
    pub(crate) code: Code,
    /// What happened, to what, and why.
    pub(crate) message: String,
    /// What there would have to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) needs: Option<String>,
    /// What was tried, and why it did not do, with counts: `3 nodes (a, b, c): …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tried: Vec<String>,
    /// What to do about it.
    #[serde(rename = "try", default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// Kinds of problems; each has one exit code and one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Code {
    /// The request or the document in it is not right.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Somebody changed it meanwhile.
    Conflict,
    /// Not allowed, or not known who asks.
    Forbidden,
    /// The wait ended before the thing was so.
    NotReady,
    /// The wait reached its limit.
    Timeout,
    /// The daemon, or the node asked for, cannot be reached.
    Unreachable,
    /// Anything else.
    Failed,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), needs: None, tried: Vec::new(), hint: None }
    }

    pub(crate) fn needs(self, needs: impl fmt::Display) -> Self {
        Self { needs: Some(needs.to_string()), ..self }
    }

    pub(crate) fn tried(self, tried: Vec<String>) -> Self {
        Self { tried, ..self }
    }

    pub(crate) fn hint(self, hint: impl fmt::Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        let parts = [("needs", self.needs.as_slice()), ("tried", &self.tried), ("try", self.hint.as_slice())];
        for (name, lines) in parts {
            for (index, line) in lines.iter().enumerate() {
                write!(f, "\n  {:<5}  {line}", if index == 0 { name } else { "" })?;
            }
        }
        Ok(())
    }
}

impl Code {
    const fn text(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::NotReady => "not-ready",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }

    /// The exit code of a command that ends so; `shoal --help` lists them.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::NotReady => 2,
            Self::Unreachable => 3,
            Self::Forbidden => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Invalid => 64,
            Self::Timeout => 124,
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::PRECONDITION_FAILED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotReady | Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.code.status(), Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_says_what_what_for_what_was_tried_and_what_to_do() {
        let problem = Problem::new(Code::NotReady, "no node can run it")
            .needs("8 GPUs on one node")
            .tried(vec!["2 nodes (a, b): too few GPUs".to_owned(), "1 node (c): draining".to_owned()])
            .hint("shoal why endpoint/x");
        let text = "error[not-ready]: no node can run it\n  needs  8 GPUs on one node\n  tried  2 nodes (a, b): too few GPUs\n\
                    \x20        1 node (c): draining\n  try    shoal why endpoint/x";
        assert_eq!(problem.to_string(), text);
        assert_eq!(Problem::new(Code::Failed, "x").to_string(), "error[failed]: x");
        // An older daemon says less.
        let old: Problem = serde_json::from_value(json!({"code": "failed", "message": "x"})).unwrap();
        assert_eq!(old, Problem::new(Code::Failed, "x"));
        assert_eq!(serde_json::from_str::<Problem>(&serde_json::to_string(&problem).unwrap()).unwrap(), problem);
    }
}
