//! The head of a request as it is written, and that of an answer as it is read.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use httparse::{Header, ParserConfig, Response, Status};

use super::{Framing, Http1Error, chunked::Chunked};
use crate::{
    headers::{is_hop_by_hop, remove_named_by_connection},
    upstream::{Head, request::BackendRequest},
};

/// Most bytes of an answer's head.
const HEAD_MAX: usize = 64 << 10;
const TOO_LARGE: Http1Error = Http1Error::TooLarge { what: "a head", max: HEAD_MAX };
/// Most headers of an answer: hyper's own bound.
const HEADERS_MAX: usize = 100;
/// Room for those that a client is told besides: a map that grows is made anew.
const ADDED: usize = 3;

/// Writes the head of `request` behind what is in `out`.
pub(super) fn write(request: &BackendRequest<'_>, out: &mut Vec<u8>) {
    let mut put = |text: &[u8]| out.extend_from_slice(text);
    put(b"POST ");
    put(request.target.as_str().as_bytes());
    put(b" HTTP/1.1\r\n");
    for (name, value) in &*request.headers {
        put(name.as_str().as_bytes());
        put(b": ");
        put(value.as_bytes());
        put(b"\r\n");
    }
    put(b"content-length: ");
    put(itoa::Buffer::new().format(request.body.remaining()).as_bytes());
    put(b"\r\n\r\n");
}

/// An answer whose head is there.
#[derive(Debug)]
pub(in super::super) struct Answer {
    /// Without what concerns the connection only.
    pub(in super::super) head: Head,
    pub(in super::super) framing: Framing,
    /// The connection stays open behind it.
    pub(in super::super) persists: bool,
}

/// What has been seen of the answer to one request before its head was whole.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How much of what has come is no whole head.
    pub(super) partial: usize,
    /// One that only informs (1xx), and says that the backend has begun.
    pub(super) interim: bool,
}

/// The head that `input` begins with, taken off it; `None` if it is not whole, which `seen` takes note of.
pub(super) fn read(input: &mut BytesMut, seen: &mut Seen) -> Result<Option<Answer>, Http1Error> {
    while may_be_whole(input, seen.partial) {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut headers)?;
        let Status::Complete(length) = parsed else { break };
        if length > HEAD_MAX {
            return Err(TOO_LARGE);
        }
        let is_1_1 = response.version == Some(1);
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Http1Error::Invalid("its status is none that there is"))?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Http1Error::Invalid("it changes to another protocol, which it was not asked to do"));
        }
        let answer = if status.is_informational() { None } else { Some(answer(status, is_1_1, response.headers)?) };
        input.advance(length);
        *seen = Seen { partial: 0, interim: true };
        if answer.is_some() {
            return Ok(answer);
        }
    }
    seen.partial = input.len();
    if input.len() > HEAD_MAX { Err(TOO_LARGE) } else { Ok(None) }
}

/// Whether a head can have come to its end behind the first `partial` bytes of `input`: what trickles in is not parsed anew for each
/// byte.
pub(super) fn may_be_whole(input: &[u8], partial: usize) -> bool {
    let new = &input[partial.saturating_sub(3)..];
    let has_end = || new.windows(2).any(|end| end == b"\n\n") || new.windows(3).any(|end| end == b"\n\r\n");
    !input.is_empty() && (partial == 0 || has_end())
}

fn answer(status: StatusCode, is_1_1: bool, lines: &[Header<'_>]) -> Result<Answer, Http1Error> {
    let mut headers = HeaderMap::with_capacity(lines.len() + ADDED);
    let (mut length, mut is_chunked, mut has_options) = (None, false, false);
    let (mut stays, mut closes) = (is_1_1, false);
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let name = name.map_err(|_| Http1Error::Invalid("a header's name cannot be one"))?;
        let value = HeaderValue::from_bytes(line.value);
        let value = value.map_err(|_| Http1Error::Invalid("a header's value cannot be one"))?;
        if name == header::CONTENT_LENGTH {
            let said = content_length(line.value).ok_or(Http1Error::Invalid("its Content-Length is not a number"))?;
            if length.replace(said).is_some_and(|before| before != said) {
                return Err(Http1Error::Invalid("it has two Content-Lengths, which differ"));
            }
            headers.insert(name, value);
        } else if name == header::TRANSFER_ENCODING {
            if is_chunked || !is_1_1 || !line.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Http1Error::Invalid(
                    "its Transfer-Encoding is something else than one `chunked` of HTTP/1.1",
                ));
            }
            is_chunked = true;
        } else if name == header::CONNECTION {
            for option in line.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                closes |= option.eq_ignore_ascii_case(b"close");
                stays |= option.eq_ignore_ascii_case(b"keep-alive");
            }
            has_options = true;
            headers.append(name, value);
        } else if !is_hop_by_hop(name.as_str()) {
            headers.append(name, value);
        }
    }
    if has_options {
        remove_named_by_connection(&mut headers);
        headers.remove(header::CONNECTION);
    }
    let framing = match (status, is_chunked, length) {
        (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, ..) => Framing::Length(0),
        // Whoever goes by the other one sees another answer.
        (_, true, Some(_)) => return Err(Http1Error::Invalid("it has a Content-Length and a Transfer-Encoding")),
        (_, true, None) => Framing::Chunked(Chunked::Size),
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    let persists = stays && !closes && framing != Framing::UntilClose;
    Ok(Answer { head: Head::new(status, headers), framing, persists })
}

/// The number that `value` is, in digits and nothing else.
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
