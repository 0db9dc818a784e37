//! A body in chunks (RFC 9112 section 7.1), unwrapped as it arrives.

use bytes::{Buf as _, Bytes, BytesMut};
use httparse::Status;
use memchr::{memchr, memchr_iter};

use super::Http1Error;

/// Longest line with a chunk's size, in bytes: 16 digits, and extensions that nobody uses.
const LINE_MAX: usize = 1 << 10;
/// Most bytes of trailers.
const TRAILERS_MAX: usize = 16 << 10;
/// Most trailers.
const TRAILERS: usize = 64;

/// Where in it the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Chunked {
    /// Before the size of a chunk.
    Size,
    /// In a chunk, of which so many bytes are to come.
    Data(u64),
    /// Behind a chunk, before the end of its line.
    DataEnd,
    Trailers,
    End,
}

impl Chunked {
    /// The next piece of what `input` begins with, as long as it can be; `None` if more has to come first, or if this is its
    /// [`End`](Self::End).
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Http1Error> {
        loop {
            match *self {
                Self::Size => {
                    let Some(size) = size(input)? else { return Ok(None) };
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(_) if input.is_empty() => return Ok(None),
                Self::Data(left) => {
                    let here = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let data = input.split_to(here).freeze();
                    *self = if here as u64 == left { Self::DataEnd } else { Self::Data(left - here as u64) };
                    return Ok(Some(data));
                }
                Self::DataEnd => match input.get(..2) {
                    Some(b"\r\n") => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Http1Error::Invalid("a chunk is longer than it says")),
                    None => return Ok(None),
                },
                Self::Trailers => {
                    if !skip_trailers(input)? {
                        return Ok(None);
                    }
                    *self = Self::End;
                }
                Self::End => return Ok(None),
            }
        }
    }
}

/// How long the chunk is whose size `input` begins with; its line is taken off. Strict, as whoever sees another size than its sender meant
/// takes a part of one answer for another one.
fn size(input: &mut BytesMut) -> Result<Option<u64>, Http1Error> {
    let Some(end) = memchr(b'\n', &input[..input.len().min(LINE_MAX)]) else {
        let is_too_long = input.len() >= LINE_MAX;
        let too_long = Http1Error::TooLarge { what: "a chunk's size and extensions", max: LINE_MAX };
        return if is_too_long { Err(too_long) } else { Ok(None) };
    };
    let size = input[..end].strip_suffix(b"\r").and_then(size_of).ok_or(Http1Error::Invalid("a chunk has no size"))?;
    input.advance(end + 1);
    Ok(Some(size))
}

/// The size that `line` says, without its end.
fn size_of(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let behind = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    let is_sound = matches!(behind, None | Some(b';')) && !rest.contains(&b'\r');
    let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    is_sound.then_some(size)
}

/// Takes trailers off `input`, if all are there: those of an engine are not part of OpenAI's API.
fn skip_trailers(input: &mut BytesMut) -> Result<bool, Http1Error> {
    // Nearly always there are none.
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(true);
    }
    let length = match httparse::parse_headers(input, &mut [httparse::EMPTY_HEADER; TRAILERS])? {
        Status::Complete((length, _)) => Some(length),
        Status::Partial => None,
    };
    if length.unwrap_or(input.len()) > TRAILERS_MAX {
        return Err(Http1Error::TooLarge { what: "trailers", max: TRAILERS_MAX });
    }
    let Some(length) = length else { return Ok(false) };
    // To httparse a line may end without a CR.
    if memchr_iter(b'\n', &input[..length]).any(|end| end == 0 || input[end - 1] != b'\r') {
        return Err(Http1Error::Invalid("a line of its trailers does not end as one"));
    }
    input.advance(length);
    Ok(true)
}
