//! Changing a few values of a JSON text. Every other byte stays where it is.

use std::ops::Range;

/// Where `part` stands in `text`. `None` if it is a copy.
pub(super) fn span(text: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let span = start..start + part.len();
    (text.get(span.clone()) == Some(part.as_bytes())).then_some(span)
}

/// `text` as a JSON string, without its quotes.
pub(super) fn escaped(text: &str) -> Vec<u8> {
    let mut quoted = serde_json::to_vec(text).unwrap_or_default(); // text can always be written
    quoted.pop();
    if !quoted.is_empty() {
        quoted.remove(0);
    }
    quoted
}

/// Changes that are to be made in a text.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    text: &'a [u8],
    edits: Vec<(Range<usize>, Vec<u8>)>,
}

impl<'a> Edits<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { text, edits: Vec::new() }
    }

    /// `part`, which is a piece of the text, becomes `new`. Returns `None` if it is not.
    pub(super) fn replace(&mut self, part: &str, new: impl Into<Vec<u8>>) -> Option<()> {
        let span = span(self.text, part)?;
        self.edits.push((span, new.into()));
        Some(())
    }

    /// `new` comes before byte `at` of the text.
    pub(super) fn insert(&mut self, at: usize, new: impl Into<Vec<u8>>) {
        self.edits.push((at..at, new.into()));
    }

    /// The changed text. Of changes that overlap, the one that begins first counts.
    pub(super) fn apply(mut self) -> Vec<u8> {
        self.edits.sort_by_key(|(span, _)| span.start); // stable: insertions at one place keep their order
        let added: usize = self.edits.iter().map(|(_, new)| new.len()).sum();
        let (mut changed, mut at) = (Vec::with_capacity(self.text.len() + added), 0);
        for (span, new) in self.edits {
            if span.start >= at {
                changed.extend_from_slice(&self.text[at..span.start]);
                changed.extend_from_slice(&new);
                at = span.end;
            }
        }
        changed.extend_from_slice(&self.text[at..]);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let text = r#"{ "a": 1, "b" : "x" }"#;
        let mut edits = Edits::new(text.as_bytes());
        edits.insert(text.len() - 2, ",\"c\":2");
        assert_eq!(edits.replace(&text[7..8], "20"), Some(()));
        assert_eq!(edits.replace("1", "3"), None, "a copy has no place in it");
        assert_eq!(String::from_utf8(edits.apply()).unwrap(), r#"{ "a": 20, "b" : "x","c":2 }"#);
    }

    #[test]
    fn text_is_escaped_as_json_has_it() {
        assert_eq!(escaped("a\"\n\u{1f41f}"), "a\\\"\\n\u{1f41f}".as_bytes());
        assert_eq!(escaped(""), b"");
    }
}
