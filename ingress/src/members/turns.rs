//! Where turns of a conversation are in a list of messages, found without understanding it.

use super::bracket_end;

const USER: &[u8] = b"\"user\"";
const ROLE: &[u8] = b"\"role\"";

/// Where two of the strings of a list stand, with their quotes. Within a text those are escaped, so that a key or a value is
/// found by them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// The first `"user"`.
    pub(crate) user: Option<usize>,
    /// The first `"role"` behind it.
    pub(crate) next: Option<usize>,
}

impl Turns {
    /// Those of `text`, if it begins with a list.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut turns = Self::default();
        if text.first() == Some(&b'[') {
            turns.read(text);
        }
        turns
    }

    /// Notes those of the list that `text` begins with, and says where it ends.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<usize> {
        bracket_end(text, 0, b'[', b']', |at| match self {
            Self { user: None, .. } if text[at..].starts_with(USER) => self.user = Some(at),
            Self { user: Some(_), next: None } if text[at..].starts_with(ROLE) => self.next = Some(at),
            Self { .. } => {}
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_found_by_its_quotes_and_not_within_a_text() {
        let turns =
            Turns::of(br#"[{"a":"\"user\"","b":"x user \\"},{"role":"user","c":"\"role\""},{"role":"user"},{"role":"user"}] "role""#);
        assert_eq!(turns, Turns { user: Some(42), next: Some(66) });
        let lists = [&b"[\"role\",\"user"[..], b"[", b"\"user\"", b"[[]]\"user\"", b"{\"role\":\"user\"}"];
        assert!(lists.into_iter().all(|text| Turns::of(text) == Turns::default()));
    }
}
