//! What a notice is, and which of several to act on.

use std::{collections::BTreeMap, fmt};

use shoal_types::UnixMillis;

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// The instance metadata service of AWS.
    Aws,
    /// The metadata server of Google Cloud.
    Gcp,
    /// The scheduled events of Azure.
    Azure,
    /// A file that is there.
    File,
    /// A command of the operator.
    Command,
    /// A SIGTERM to the daemon.
    Signal,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "AWS",
            Self::Gcp => "GCP",
            Self::Azure => "Azure",
            Self::File => "the notice file",
            Self::Command => "the notice command",
            Self::Signal => "SIGTERM",
        })
    }
}

/// What will happen to the host. The graver comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NoticeKind {
    /// It is taken away for good: spot capacity that somebody else wants, or an instance that is deleted.
    Reclaim,
    /// It is stopped for a while, and everything that runs on it with it.
    Maintenance,
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reclaim => "reclaim",
            Self::Maintenance => "maintenance",
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}: {}", self.kind, self.source, self.detail)
    }
}

/// That this host will be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Who says so.
    pub(crate) source: Source,
    /// What will happen.
    pub(crate) kind: NoticeKind,
    /// When it will be gone, by this host's clock; `None` if the source does not say.
    pub(crate) deadline: Option<UnixMillis>,
    /// The source's own words: one line, bounded.
    pub(crate) detail: String,
}

impl Notice {
    /// Whichever is less has to be acted on first; a deadline that nobody knows comes last.
    pub(super) const fn urgency(&self) -> (bool, Option<UnixMillis>, NoticeKind, Source) {
        (self.deadline.is_none(), self.deadline, self.kind, self.source)
    }
}

/// What all sources say at the moment; each has a number of its own, since a cloud may have several.
#[derive(Debug, Default)]
pub(super) struct Board {
    standing: BTreeMap<usize, Notice>,
}

impl Board {
    /// `None` takes back what that source said before.
    pub(super) fn hear(&mut self, from: usize, notice: Option<Notice>) {
        match notice {
            Some(notice) => self.standing.insert(from, notice),
            None => self.standing.remove(&from),
        };
    }

    /// The one to act on.
    pub(super) fn earliest(&self) -> Option<&Notice> {
        self.standing.values().min_by_key(|notice| notice.urgency())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(source: Source, kind: NoticeKind, deadline: Option<u64>) -> Notice {
        Notice { source, kind, deadline: deadline.map(UnixMillis::from_millis), detail: String::new() }
    }

    #[test]
    fn the_earliest_deadline_wins_and_an_unknown_one_is_last() {
        use {NoticeKind::*, Source::*};
        let mut board = Board::default();
        assert_eq!(board.earliest(), None);
        let order = [
            notice(Azure, Maintenance, Some(10)),
            notice(Aws, Reclaim, Some(20)),
            notice(File, Reclaim, Some(20)),
            notice(Aws, Maintenance, Some(20)),
            notice(Gcp, Reclaim, None),
            notice(Gcp, Maintenance, None),
        ];
        for (from, notice) in order.iter().enumerate().rev() {
            board.hear(from, Some(notice.clone()));
            assert_eq!(board.earliest(), Some(notice));
        }
        for (from, notice) in order.iter().enumerate() {
            assert_eq!(board.earliest(), Some(notice));
            board.hear(from, None);
        }
        assert_eq!(board.earliest(), None);
    }
}
