//! Where events end. The framing is that of the HTML standard, section 9.2.6: an event ends with an empty line.

use bytes::{Bytes, BytesMut};

/// Longest event, in bytes: images and audio come as such. What is longer is no event.
const EVENT_MAX: usize = 4 << 20;

/// What has come is longer than an event may be, and no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endless;

/// Cuts what arrives between events: a part of one is kept until the rest has come.
#[derive(Debug, Default)]
pub(super) struct Framing {
    part: BytesMut,
}

impl Framing {
    /// The events that are whole now, in one piece. What arrives as whole events, as engines write it, is not copied.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<Option<Bytes>, Endless> {
        if self.part.is_empty() && ends_event(&bytes) {
            return Ok(Some(bytes));
        }
        // An empty line may have begun in what came before.
        let seen = self.part.len().saturating_sub(3);
        self.part.extend_from_slice(&bytes);
        let end = (seen..=self.part.len()).rev().find(|&end| ends_event(&self.part[..end]));
        if self.part.len() - end.unwrap_or(0) > EVENT_MAX {
            return Err(Endless);
        }
        Ok(end.map(|end| self.part.split_to(end).freeze()))
    }

    /// What is left at the end of a stream: its last event, if that lacks the empty line.
    pub(super) fn finish(&mut self) -> Bytes {
        self.part.split().freeze()
    }
}

fn ends_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\r\r")
}

/// The events in `bytes`, one after the other, each with the empty line that ends it.
pub(super) fn events(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (event, after) = rest.split_at(first_end(rest));
        rest = after;
        (!event.is_empty()).then_some(event)
    })
}

fn first_end(bytes: &[u8]) -> usize {
    let mut from = 0;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &bytes[from..]) {
        let end = from + found + 1;
        if ends_event(&bytes[..end]) {
            // The second half of a line end may be left.
            let is_half = bytes[..end].ends_with(b"\r") && bytes.get(end) == Some(&b'\n');
            return end + usize::from(is_half);
        }
        from = end;
    }
    bytes.len()
}

/// The lines of `event`, without their ends.
pub(super) fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = event;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let skip = if after.starts_with(b"\r\n") { 2 } else { after.len().min(1) };
        rest = &after[skip..];
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<u8>) {
        let (mut framing, mut whole) = (Framing::default(), Vec::new());
        for chunk in chunks {
            if let Some(events) = framing.push(Bytes::copy_from_slice(chunk)).unwrap() {
                whole.extend_from_slice(&events);
            }
        }
        (whole, framing.finish().to_vec())
    }

    #[test]
    fn half_an_event_waits_for_the_other() {
        let (whole, part) = framed([b"data: 1\n\nda".as_slice(), b"ta: 2\n", b"\ndata: 3\n"]);
        assert_eq!(
            (whole.as_slice(), part.as_slice()),
            (b"data: 1\n\ndata: 2\n\n".as_slice(), b"data: 3\n".as_slice())
        );
    }

    #[test]
    fn whole_events_are_passed_without_a_copy() {
        let chunk = Bytes::from_static(b"data: 1\n\n");
        let passed = Framing::default().push(chunk.clone()).unwrap().unwrap();
        assert_eq!(passed.as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn what_never_ends_is_not_kept_for_ever() {
        let mut framing = Framing::default();
        let chunk = Bytes::from(vec![b'x'; EVENT_MAX / 2]);
        assert_eq!((framing.push(chunk.clone()), framing.push(chunk.clone())), (Ok(None), Ok(None)));
        assert_eq!(framing.push(chunk), Err(Endless));
    }

    #[test]
    fn events_are_told_apart_whatever_their_line_ends() {
        let stream: &[u8] = b"a\n\nb\nc\r\n\r\nd\r\re\n\r\nf";
        let found: Vec<&[u8]> = events(stream).collect();
        assert_eq!(found, [b"a\n\n".as_slice(), b"b\nc\r\n\r\n", b"d\r\r", b"e\n\r\n", b"f"]);
        assert_eq!(lines(b"b\nc\r\n\r\n").collect::<Vec<_>>(), [b"b".as_slice(), b"c", b""]);
    }

    proptest! {
        /// However a stream is cut, nothing is lost, and what is passed on ends with an event.
        #[test]
        fn chunks_do_not_matter(
            lines in prop::collection::vec(prop_oneof!["data: [a-z]{0,5}", Just(String::new())], 0..20),
            end in prop_oneof![Just("\n"), Just("\r\n")],
            cut in 1..12_usize,
        ) {
            let stream = lines.iter().map(|line| format!("{line}{end}")).collect::<String>();
            let (whole, part) = framed(stream.as_bytes().chunks(cut));
            prop_assert!(whole.is_empty() || ends_event(&whole));
            prop_assert_eq!([whole.clone(), part].concat(), stream.as_bytes());
            prop_assert_eq!(events(&whole).collect::<Vec<_>>().concat(), whole);
        }

        #[test]
        fn any_bytes_are_cut_without_panic(chunks: Vec<Vec<u8>>) {
            let all = chunks.concat();
            let (whole, part) = framed(chunks.iter().map(Vec::as_slice));
            prop_assert_eq!([whole, part].concat(), all.clone());
            prop_assert!(events(&all).all(|event| lines(event).count() > 0));
        }
    }
}
