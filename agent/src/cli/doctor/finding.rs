//! One finding: what was looked at, how it is, and the one thing to do about it.

use std::fmt::Display;

use serde::Serialize;

use crate::cli::{named::Named, table::Table};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It works, and may not for long or not for all.
    Warn,
    /// It does not work.
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at, in a word.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) message: String,
    /// What to do.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Display) -> Self {
        Self { level: Level::Ok, check, message: message.to_string(), hint: None }
    }

    pub(super) fn warn(check: &'static str, message: impl Display, hint: impl Display) -> Self {
        Self { level: Level::Warn, hint: Some(hint.to_string()), ..Self::ok(check, message) }
    }

    pub(super) fn fail(check: &'static str, message: impl Display, hint: impl Display) -> Self {
        Self { level: Level::Fail, hint: Some(hint.to_string()), ..Self::ok(check, message) }
    }
}

impl Named for Finding {}

/// A line each, and below it what to do.
pub(super) fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["LEVEL", "CHECK", "FINDING"], &[], false);
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        table.row([level.to_owned(), finding.check.to_owned(), finding.message.clone()]);
        if let Some(hint) = &finding.hint {
            table.row([String::new(), String::new(), format!("  try    {hint}")]);
        }
    }
    table
}
