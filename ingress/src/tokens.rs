//! Tokens of a stream, as far as its framing tells.

use memchr::memchr2;

/// Counts the events of a stream as they pass, without understanding them: each line of data but `[DONE]` is one.
///
/// Engines send an event for each token, so this is the number of tokens but for the two or three events of an answer that
/// have none (its role, its end, its usage); where an engine puts several tokens into one event, it is fewer.
#[derive(Debug, Default)]
pub(crate) struct TokenCounter(At);

/// Where in a line the stream stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    /// So many bytes of [`FIELD`] have come, and nothing else.
    Field(usize),
    /// Only spaces after it.
    Value,
    /// The rest is of no interest.
    Rest,
}

const FIELD: &[u8] = b"data:";

impl TokenCounter {
    /// Looks at the next bytes of the stream. Returns how many events have shown that they carry something.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            count += u32::from(self.push_byte(byte));
            bytes = rest;
            if self.0 == At::Rest {
                // Most bytes are passed over here.
                bytes = &bytes[memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len())..];
            }
        }
        count
    }

    fn push_byte(&mut self, byte: u8) -> bool {
        let is_line_end = byte == b'\n' || byte == b'\r';
        // `[DONE]`; what carries something is an object.
        let carries = self.0 == At::Value && !matches!(byte, b' ' | b'[' | b'\n' | b'\r');
        self.0 = match self.0 {
            _ if is_line_end => At::Start,
            At::Start => after_field(0, byte),
            At::Field(matched) => after_field(matched, byte),
            At::Value if byte == b' ' => At::Value,
            At::Value | At::Rest => At::Rest,
        };
        carries
    }
}

/// Where a line stands of which `matched` bytes of the field's name have come, after `byte`.
fn after_field(matched: usize, byte: u8) -> At {
    match FIELD.get(matched) {
        Some(expected) if *expected == byte && matched + 1 == FIELD.len() => At::Value,
        Some(expected) if *expected == byte => At::Field(matched + 1),
        Some(_) | None => At::Rest,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": waiting\n\ndata: {\"a\":1}\n\ndata:{\"b\":\"data: \"}\r\n\r\nid: 1\nevent: x\ndata: {}\r\r\
                          dat: 1\n\ndatas: 1\n\ndata:\n\ndata: [DONE]\n\n";

    #[test]
    fn events_that_carry_something_are_counted() {
        assert_eq!(TokenCounter::default().push(STREAM.as_bytes()), 3);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(cuts in prop::collection::vec(1..9_usize, 0..60)) {
            let (mut counter, mut count, mut rest) = (TokenCounter::default(), 0, STREAM.as_bytes());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                count += counter.push(chunk);
                rest = tail;
            }
            prop_assert_eq!(count, 3);
        }
    }
}
