//! Finds each `"usage": {…}` in an answer that passes in pieces, whether it is one JSON value or a stream of events.
//!
//! The answer is not parsed. Within a JSON string quotes are escaped, so that `"usage"` with a colon after it is a name
//! and never text that was generated or repeated.

use std::sync::LazyLock;

use memchr::memmem::Finder;

const NAME: &[u8] = b"\"usage\"";

/// Longest value that is looked at, in bytes; engines write less than 500. A longer one is none.
pub(super) const VALUE_MAX: usize = 4 << 10;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// Where an answer stands.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    at: At,
    /// What has come of the value.
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// The last bytes were so many of [`NAME`].
    Seeking(usize),
    Name,
    Colon,
    /// Within so many braces.
    Value(u32),
    /// Within a string of the value.
    Text(u32),
    Escape(u32),
}

impl Default for At {
    fn default() -> Self {
        Self::Seeking(0)
    }
}

impl Scanner {
    /// Looks at the next bytes, and gives `read` what begins with an object of that name. It is to return where that ends; where
    /// it cannot tell, it is given the object once more when that is complete, and nothing else.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut read: impl FnMut(&[u8]) -> Option<usize>) {
        while !bytes.is_empty() {
            bytes = match self.at {
                At::Seeking(matched) => self.seek(matched, bytes),
                at => self.follow(at, bytes, &mut read),
            };
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.value.len()
    }

    /// Looks for the name, `matched` bytes of which ended the last piece. Returns what is left of `bytes`.
    fn seek<'a>(&mut self, mut matched: usize, mut bytes: &'a [u8]) -> &'a [u8] {
        while matched > 0 {
            let Some((byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            // The name has one byte that it both begins and ends with.
            matched =
                if NAME.get(matched) == Some(byte) { matched + 1 } else { usize::from(NAME.first() == Some(byte)) };
            if matched == NAME.len() {
                self.at = At::Name;
                return bytes;
            }
        }
        if let Some(start) = FINDER.find(bytes) {
            self.at = At::Name;
            return &bytes[start + NAME.len()..];
        }
        if matched == 0 {
            matched = (1..NAME.len()).rev().find(|&length| bytes.ends_with(&NAME[..length])).unwrap_or(0);
        }
        self.at = At::Seeking(matched);
        &[]
    }

    /// Takes what follows a name. Returns what is left of `bytes`.
    fn follow<'a>(&mut self, at: At, bytes: &'a [u8], read: &mut impl FnMut(&[u8]) -> Option<usize>) -> &'a [u8] {
        match (at, bytes) {
            (At::Value(_) | At::Text(_) | At::Escape(_), _) => self.take(at, bytes, read),
            (At::Name | At::Colon, [b' ' | b'\t' | b'\r' | b'\n', rest @ ..]) => rest,
            (At::Name, [b':', rest @ ..]) => {
                self.at = At::Colon;
                rest
            }
            (At::Colon, [b'{', ..]) => {
                self.at = At::Value(0);
                bytes
            }
            (At::Seeking(_) | At::Name | At::Colon, _) => {
                self.at = At::default();
                bytes
            }
        }
    }

    /// Takes what belongs to the value, which is within no braces before its first byte and after its last one. Nothing is
    /// copied, nor looked at twice, if all of it has come at once.
    fn take<'a>(&mut self, mut at: At, bytes: &'a [u8], read: &mut impl FnMut(&[u8]) -> Option<usize>) -> &'a [u8] {
        if let At::Value(0) = at
            && let Some(end) = read(&bytes[..bytes.len().min(VALUE_MAX)])
        {
            *self = Self::default();
            return &bytes[end..];
        }
        let room = &bytes[..bytes.len().min(VALUE_MAX - self.value.len())];
        let last = room.iter().position(|&byte| {
            at = at.after(byte);
            matches!(at, At::Value(0))
        });
        let (part, rest) = bytes.split_at(last.map_or(room.len(), |last| last + 1));
        if last.is_none() || !self.value.is_empty() {
            self.value.extend_from_slice(part);
        }
        let is_over = last.is_some() || self.value.len() >= VALUE_MAX;
        if last.is_some() {
            let _ = read(if self.value.is_empty() { part } else { &self.value });
        }
        self.at = at;
        if is_over {
            *self = Self::default();
        }
        rest
    }
}

impl At {
    /// Where a value stands after its next `byte`.
    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Value(depth), b'"') => Self::Text(depth),
            (Self::Value(depth), b'{') => Self::Value(depth + 1),
            (Self::Value(depth), b'}') => Self::Value(depth - 1),
            (Self::Text(depth), b'"') => Self::Value(depth),
            (Self::Text(depth), b'\\') => Self::Escape(depth),
            (Self::Escape(depth), _) => Self::Text(depth),
            (at, _) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn found(pieces: &[&str]) -> Vec<String> {
        let (mut scanner, mut all) = (Scanner::default(), Vec::new());
        for piece in pieces {
            scanner.push(piece.as_bytes(), |bytes| {
                let value: &RawValue = serde_json::Deserializer::from_slice(bytes).into_iter().next()?.ok()?;
                all.push(value.get().to_owned());
                Some(value.get().len())
            });
        }
        all
    }

    #[test]
    fn each_object_of_that_name_is_found() {
        assert_eq!(found(&[r#"{"usage":{"a":{"b":"}\"{"}}} {"usage" : {}}"#]), [r#"{"a":{"b":"}\"{"}}"#, "{}"]);
        assert_eq!(found(&[r#"["usage","usage":null,"usage":1,"usage""usage":{}]"#]), ["{}"]);
        assert_eq!(found(&["\"us", "age\"", ":", "{", "}"]), ["{}"]);
        assert_eq!(found(&["\"usa\"us", "age\":{}"]), ["{}"]);
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        let long = format!(r#"{{"usage":{{"a":"{}"}},"usage":{{}}}}"#, "x".repeat(VALUE_MAX));
        assert_eq!(found(&[&long]), ["{}"]);
    }
}
