//! What an operator's file or command says about a notice.

use serde::Deserialize;

use super::{
    finding::{Deadline, Finding, one_line},
    notice::NoticeKind,
    when::instant,
};

#[derive(Deserialize)]
struct Statement {
    deadline: Option<String>,
    reason: Option<String>,
}

/// `text` if it is a JSON object with `deadline`, `reason` or both.
pub(super) fn statement(text: &str) -> Option<Finding> {
    let Statement { deadline, reason } = serde_json::from_str(text).ok()?;
    if deadline.is_none() && reason.is_none() {
        return None;
    }
    let mut detail = reason.unwrap_or_default();
    let deadline = match deadline {
        None => Deadline::Unsaid,
        // The host goes whether or not its deadline can be read.
        Some(text) => read_deadline(&text).unwrap_or_else(|| {
            detail = format!("{detail} (`{text}` is not a deadline)");
            Deadline::Unsaid
        }),
    };
    Some(Finding::new(NoticeKind::Reclaim, deadline, &detail))
}

/// What `text` says, if it is known to be a notice: a statement, or else the reason in plain words. Where it gives no
/// reason, that is `unsaid`.
pub(super) fn notice_text(text: &str, unsaid: &str) -> Finding {
    let mut finding = statement(text).unwrap_or_else(|| Finding::new(NoticeKind::Reclaim, Deadline::Unsaid, text));
    if finding.detail.is_empty() {
        finding.detail = one_line(unsaid);
    }
    finding
}

fn read_deadline(text: &str) -> Option<Deadline> {
    let left = || humantime::parse_duration(text).ok().map(Deadline::In);
    instant(text).map(Deadline::At).or_else(left)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_notice_is_never_lost_for_how_it_is_written() {
        let at = Deadline::At(instant("2026-11-22T14:05:00Z").unwrap());
        for (text, deadline, detail) in [
            ("", Deadline::Unsaid, "no reason"),
            (" \n", Deadline::Unsaid, "no reason"),
            (r#"{"deadline": "2026-11-22T14:05:00Z", "reason": "sold"}"#, at, "sold"),
            (r#"{"deadline": "1m 30s"}"#, Deadline::In(Duration::from_secs(90)), "no reason"),
            (r#"{"reason": "moving\nout", "by": "ops"}"#, Deadline::Unsaid, "moving out"),
            (r#"{"deadline": "soon", "reason": "x"}"#, Deadline::Unsaid, "x (`soon` is not a deadline)"),
            (r#"{"deadline": 60}"#, Deadline::Unsaid, r#"{"deadline": 60}"#),
            ("rack 7 is moved\nat noon", Deadline::Unsaid, "rack 7 is moved at noon"),
        ] {
            let finding = notice_text(text, "no reason");
            assert_eq!((finding.deadline, finding.detail.as_str()), (deadline, detail), "{text}");
        }
    }

    #[test]
    fn chatter_is_no_statement() {
        for text in ["", "ok", "{}", r#"{"status": "ok"}"#, "[]", "null", "60s"] {
            assert_eq!(statement(text), None, "{text}");
        }
        assert!(statement(r#"{"reason": ""}"#).is_some());
    }
}
