//! How far a starting engine has come, by the lines that it writes.

use shoal_types::{Progress, ProgressUnit};

/// A stage of a start, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It loads its weights.
    Loading(Option<Progress>),
    /// It has its weights: it compiles, makes its cache, captures graphs.
    Warming,
}

impl Stage {
    /// Whether a start that was at `self` is at `next` now. A second model, such as a draft, does not take it back.
    pub(crate) const fn allows(self, next: Self) -> bool {
        matches!((self, next), (Self::Loading(_), _) | (_, Self::Warming))
    }
}

/// The stage that `line` is the sign of: [`Stage::Warming`] if it holds one of `warming`, else loading if it holds one
/// of `loading`, with what its progress bar says.
pub(super) fn stage(line: &str, loading: &[&str], warming: &[&str]) -> Option<Stage> {
    let holds = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
    if holds(warming) {
        return Some(Stage::Warming);
    }
    holds(loading).then(|| Stage::Loading(shards(line)))
}

/// What the last of a line's bars says in the shape of tqdm: `… | 3/11 [00:02<00:05, 1.4it/s]`.
fn shards(line: &str) -> Option<Progress> {
    let (counts, _) = line.rsplit_once('|')?.1.split_once('[')?;
    let (done, total) = counts.trim().split_once('/')?;
    let (done, total) = (done.parse().ok()?, total.parse().ok()?);
    (total > 0 && done <= total).then_some(Progress { done, total, unit: ProgressUnit::Shards })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_read_and_what_looks_like_one_is_not() {
        let counts = |line: &str| shards(line).map(|progress| (progress.done, progress.total));
        assert_eq!(counts("x: 100% Completed | 4/4 [00:02<00:00]x: 100% Completed | 4/4 [00:02<00:00]"), Some((4, 4)));
        assert_eq!(counts("Loading weights:  34%|███▍      | 99/291 [00:03<00:07, 25.32it/s]"), Some((99, 291)));
        for other in ["a | b [c]", "| 3/ [x]", "| 4/3 [x]", "| 0/0 [x]", "3/4 [00:00]", "| 3/4", ""] {
            assert_eq!(shards(other), None, "{other}");
        }
    }

    #[test]
    fn a_start_does_not_go_back() {
        let loading = Stage::Loading(None);
        assert!(loading.allows(loading) && loading.allows(Stage::Warming) && Stage::Warming.allows(Stage::Warming));
        assert!(!Stage::Warming.allows(loading));
    }
}
