//! Server-sent events, as far as a gateway must understand them: where the first one ends and whether it is an error.
//!
//! The framing is that of the HTML standard, section 9.2.6. Bytes are looked at, never changed.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest part of an engine's error message that is repeated, in bytes.
const MESSAGE_MAX: usize = 300;

/// What the first event of a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstEvent {
    /// An answer has begun.
    Content,
    /// The engine failed; nothing was generated.
    Error(String),
    /// The end, with nothing before it.
    Done,
}

/// Finds the first event that carries data. Comments and events without data are passed over.
#[derive(Debug, Default)]
pub(crate) struct FirstEventFinder {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    named_error: bool,
    after_cr: bool,
}

impl FirstEventFinder {
    /// Looks at the next bytes of the stream. Returns the first event once it is complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<FirstEvent> {
        bytes.iter().find_map(|&byte| self.push_byte(byte))
    }

    /// What the stream amounts to if it ends here.
    pub(crate) fn finish(mut self) -> FirstEvent {
        self.end_line().or_else(|| self.end_event()).unwrap_or(FirstEvent::Done)
    }

    fn push_byte(&mut self, byte: u8) -> Option<FirstEvent> {
        let second_half_of_crlf = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
        match byte {
            b'\n' if second_half_of_crlf => None,
            b'\r' | b'\n' => self.end_line(),
            _ => {
                self.line.push(byte);
                None
            }
        }
    }

    fn end_line(&mut self) -> Option<FirstEvent> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_event();
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => self.add_data(value),
            b"event" => self.named_error = value == b"error",
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &[u8]) {
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
    }

    fn end_event(&mut self) -> Option<FirstEvent> {
        let named_error = std::mem::take(&mut self.named_error);
        self.data.take().map(|data| judge(&data, named_error))
    }
}

#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorCode<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

pub(crate) fn judge(data: &[u8], named_error: bool) -> FirstEvent {
    if data.trim_ascii() == b"[DONE]" {
        return FirstEvent::Done;
    }
    let probe: Option<Probe<'_>> = serde_json::from_slice(data).ok();
    let (is_error, code) = probe.as_ref().map_or((false, None), |probe| match probe.error {
        Some(error) => (true, serde_json::from_str::<ErrorCode<'_>>(error.get()).ok().and_then(|error| error.code)),
        // The shape of vLLM before 0.10.
        None => (probe.object.is_some_and(|object| object.get() == "\"error\""), probe.code),
    });
    // What the client did wrong would be as wrong at another replica.
    if (is_error || named_error) && !code.is_some_and(is_clients_fault) {
        FirstEvent::Error(excerpt(data))
    } else {
        FirstEvent::Content
    }
}

fn is_clients_fault(code: &RawValue) -> bool {
    code.get().parse().is_ok_and(|code: u16| (400..500).contains(&code) && code != 429)
}

fn excerpt(data: &[u8]) -> String {
    String::from_utf8_lossy(&data[..data.len().min(MESSAGE_MAX)]).into_owned()
}

/// Follows a stream to know whether it stands between two events.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    tail: [u8; 2],
}

impl Boundary {
    /// Notes what was passed on.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().skip(bytes.len().saturating_sub(4)) {
            if byte == b'\n' && self.tail[1] == b'\r' {
                self.tail[1] = b'\n'; // one line end
            } else {
                self.tail = [self.tail[1], byte];
            }
        }
    }

    /// What has to be sent so that an event can follow: nothing between two events.
    pub(crate) fn gap(&self) -> &'static [u8] {
        let ended = |byte: u8| byte == b'\n' || byte == b'\r';
        if self.tail == [0, 0] || self.tail.into_iter().all(ended) { b"" } else { b"\n\n" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(stream: &str) -> Option<FirstEvent> {
        FirstEventFinder::default().push(stream.as_bytes())
    }

    #[test]
    fn content_is_known_when_its_event_is_complete() {
        assert_eq!(first("data: {\"choices\":[]}\n"), None);
        for stream in ["data: {\"choices\":[]}\n\n", "data:{}\r\n\r\n", "data:{}\r\r", ": ping\n\ndata: {}\n\n"] {
            assert_eq!(first(stream), Some(FirstEvent::Content), "{stream:?}");
        }
        assert_eq!(first("data: {\"error\":null,\"choices\":[]}\n\n"), Some(FirstEvent::Content));
        assert_eq!(first("data: not json\n\n"), Some(FirstEvent::Content));
    }

    #[test]
    fn an_engines_error_is_not_content() {
        let streams = [
            "data: {\"error\":{\"message\":\"EngineCore\",\"code\":500}}\n\ndata: [DONE]\n\n",
            "event: error\ndata: dead\n\n",
            "data: {\"object\":\"error\",\ndata: \"message\":\"x\",\"code\":503}\n\n",
            "data: {\"error\":{\"code\":429}}\n\n",
        ];
        for stream in streams {
            assert!(matches!(first(stream), Some(FirstEvent::Error(_))), "{stream:?}");
        }
    }

    #[test]
    fn the_clients_own_error_is_passed_on() {
        assert_eq!(first("data: {\"error\":{\"code\":400}}\n\n"), Some(FirstEvent::Content));
        assert_eq!(first("data: {\"object\":\"error\",\"code\":404}\n\n"), Some(FirstEvent::Content));
    }

    #[test]
    fn an_end_without_a_token_is_known() {
        assert_eq!(first(": ping\n\ndata: [DONE]\n\n"), Some(FirstEvent::Done));
        assert_eq!(FirstEventFinder::default().finish(), FirstEvent::Done);
        let mut finder = FirstEventFinder::default();
        assert_eq!(finder.push(b": ping\n\ndata: {}"), None);
        assert_eq!(finder.finish(), FirstEvent::Content);
    }

    fn streams() -> impl Strategy<Value = String> {
        let line_end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        let event = prop_oneof![
            Just(vec![": comment"]),
            Just(vec!["id: 1"]),
            Just(vec!["data: {\"choices\":[]}"]),
            Just(vec!["event: error", "data: x"]),
            Just(vec!["data: {\"error\":", "data: {}}"]),
            Just(vec!["data: [DONE]"]),
        ];
        (prop::collection::vec(event, 1..4), line_end)
            .prop_map(|(events, end)| events.iter().map(|lines| format!("{}{end}{end}", lines.join(end))).collect())
    }

    proptest! {
        /// However a stream is cut into chunks, the same is found.
        #[test]
        fn chunks_do_not_matter(stream in streams(), cuts in prop::collection::vec(1usize..9, 0..40)) {
            let (mut finder, mut boundary, mut rest) = (FirstEventFinder::default(), Boundary::default(), stream.as_bytes());
            let mut found = None;
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                boundary.push(chunk);
                found = found.or_else(|| finder.push(chunk));
                rest = tail;
            }
            prop_assert_eq!(found, first(&stream));
            prop_assert_eq!(boundary.gap(), b"");
        }

        #[test]
        fn any_bytes_are_followed_without_panic(chunks: Vec<Vec<u8>>) {
            let (mut finder, mut boundary) = (FirstEventFinder::default(), Boundary::default());
            for chunk in &chunks {
                let _ = finder.push(chunk);
                boundary.push(chunk);
            }
            let _ = (finder.finish(), boundary.gap());
        }
    }

    #[test]
    fn within_an_event_there_is_a_gap_to_fill() {
        for partial in ["data: {", "data: {}\n", "data: {}\r\n", "\n\ndata", "x\r\n"] {
            let mut boundary = Boundary::default();
            boundary.push(partial.as_bytes());
            assert_eq!(boundary.gap(), b"\n\n", "{partial:?}");
        }
        assert_eq!(Boundary::default().gap(), b"");
    }
}
