//! What a source says, and the notice that it amounts to.

use std::time::Duration;

use shoal_types::UnixMillis;

use super::notice::{Notice, NoticeKind, Source};

/// Longest `detail` of a notice, in characters: it goes into logs, events and gossip.
const DETAIL_MAX: usize = 200;

/// When the host will be gone, as a source puts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// At this instant.
    At(UnixMillis),
    /// So long after it was first said.
    In(Duration),
    /// The source does not say.
    Unsaid,
}

/// What a source says that will happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: NoticeKind,
    pub(super) deadline: Deadline,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn new(kind: NoticeKind, deadline: Deadline, detail: &str) -> Self {
        Self { kind, deadline, detail: one_line(detail) }
    }
}

/// `text` as one line of at most [`DETAIL_MAX`] characters.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What one source says at the moment. A deadline that it gave does not move because it says the same again.
#[derive(Debug)]
pub(super) struct Standing {
    source: Source,
    /// Time left at a reclaim whose deadline a cloud does not say; `None` for an operator's word, which means what it
    /// says.
    warning: Option<Duration>,
    said: Option<(Finding, Notice)>,
}

impl Standing {
    pub(super) const fn new(source: Source, warning: Option<Duration>) -> Self {
        Self { source, warning, said: None }
    }

    /// Takes in what the source says now. Returns the notice as it then stands, if that has changed.
    pub(super) fn hear(&mut self, finding: Option<Finding>, now: UnixMillis) -> Option<Option<Notice>> {
        let said = finding.map(|finding| {
            let notice = self.notice(&finding, now);
            (finding, notice)
        });
        let before = std::mem::replace(&mut self.said, said);
        let notice = |said: &Option<(Finding, Notice)>| said.as_ref().map(|(_, notice)| notice.clone());
        let (before, after) = (notice(&before), notice(&self.said));
        (before != after).then_some(after)
    }

    fn notice(&self, finding: &Finding, now: UnixMillis) -> Notice {
        let Finding { kind, deadline, detail } = finding.clone();
        let before = self.said.as_ref().filter(|(before, _)| before.kind == kind);
        let deadline = match (deadline, before) {
            (Deadline::At(deadline), _) => Some(deadline),
            (Deadline::In(_), Some((before, notice))) if before.deadline == deadline => notice.deadline,
            (Deadline::In(left), _) => Some(now.plus(left)),
            // Azure empties `NotBefore` once the event has begun: what was said before holds.
            (Deadline::Unsaid, Some((_, notice))) if self.warning.is_some() => notice.deadline,
            (Deadline::Unsaid, _) => self.default_deadline(kind, now),
        };
        Notice { source: self.source, kind, deadline, detail }
    }

    /// No cloud promises how soon maintenance comes; a departure without a deadline then waits for replacements.
    fn default_deadline(&self, kind: NoticeKind, now: UnixMillis) -> Option<UnixMillis> {
        match kind {
            NoticeKind::Reclaim => self.warning.map(|warning| now.plus(warning)),
            NoticeKind::Maintenance => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> UnixMillis {
        UnixMillis::from_millis(secs * 1000)
    }

    fn reclaim(deadline: Deadline) -> Option<Finding> {
        Some(Finding::new(NoticeKind::Reclaim, deadline, "x"))
    }

    /// The deadline after each of `said`, which come ten seconds apart from second 100 on.
    fn deadlines(said: &[Option<Finding>]) -> Vec<Option<UnixMillis>> {
        let mut standing = Standing::new(Source::Azure, Some(Duration::from_secs(30)));
        let mut now = at(100);
        let mut hear = |finding: &Option<Finding>| {
            standing.hear(finding.clone(), now);
            now = now.plus(Duration::from_secs(10));
            standing.said.as_ref().and_then(|(_, notice)| notice.deadline)
        };
        said.iter().map(&mut hear).collect()
    }

    #[test]
    fn a_deadline_does_not_slide_while_the_same_is_said() {
        use Deadline::*;
        let minute = In(Duration::from_secs(60));
        let (first, later) = (Some(at(160)), Some(at(100 + 30)));
        assert_eq!(deadlines(&[reclaim(minute), reclaim(minute)]), [first, first]);
        assert_eq!(deadlines(&[reclaim(Unsaid), reclaim(Unsaid)]), [later, later]);
        assert_eq!(deadlines(&[reclaim(At(at(7))), reclaim(Unsaid)]), [Some(at(7)); 2]);
        assert_eq!(deadlines(&[reclaim(At(at(7))), reclaim(At(at(9)))]), [Some(at(7)), Some(at(9))]);
        // Taken back and said again, or said otherwise, it counts anew.
        assert_eq!(deadlines(&[reclaim(minute), None, reclaim(minute)]), [first, None, Some(at(180))]);
        assert_eq!(deadlines(&[reclaim(minute), reclaim(In(Duration::from_secs(5)))]), [first, Some(at(115))]);
        let maintenance = Some(Finding::new(NoticeKind::Maintenance, Unsaid, "x"));
        assert_eq!(deadlines(&[maintenance, reclaim(Unsaid)]), [None, Some(at(140))]);
    }

    #[test]
    fn only_changes_are_told() {
        let mut standing = Standing::new(Source::Gcp, None);
        assert_eq!(standing.hear(None, at(0)), None);
        let told = standing.hear(reclaim(Deadline::Unsaid), at(1)).unwrap().unwrap();
        assert_eq!((told.source, told.deadline, told.detail.as_str()), (Source::Gcp, None, "x"));
        assert_eq!(standing.hear(reclaim(Deadline::Unsaid), at(2)), None);
        assert_eq!(standing.hear(None, at(3)), Some(None));
    }

    #[test]
    fn an_operator_may_take_back_the_deadline_alone() {
        let mut standing = Standing::new(Source::File, None);
        standing.hear(reclaim(Deadline::At(at(9))), at(0));
        let told = standing.hear(reclaim(Deadline::Unsaid), at(1)).unwrap().unwrap();
        assert_eq!(told.deadline, None);
    }

    #[test]
    fn words_of_others_are_one_bounded_line() {
        assert_eq!(one_line(" a\n\tb \u{1b}[31m\0c "), "a b [31m c");
        let long = one_line(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), DETAIL_MAX + 1);
        assert!(long.ends_with("é…"));
    }
}
