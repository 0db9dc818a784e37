//! A stream on its way to a client: passed on event by event, taken down, and made one with what came before.

use bytes::{Bytes, BytesMut};

use super::{
    Continuation, Exclusion, Splice,
    continuation::continuation,
    eligible::Generation,
    framing::{Endless, Framing, events},
    transcript::{Heard, Transcript},
};

/// What is to be done with the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// To the client.
    pub(crate) pass: Option<Bytes>,
    /// That is one event with text, and nothing else.
    pub(crate) is_text: bool,
    pub(crate) then: Heard,
}

impl Step {
    const fn new(pass: Option<Bytes>, then: Heard) -> Self {
        Self { pass, is_text: false, then }
    }
}

/// Follows one stream of chat or completions, from replica to replica.
#[derive(Debug)]
pub(crate) struct Follower {
    api: Generation,
    framing: Framing,
    transcript: Transcript,
    splice: Option<Splice>,
}

impl Follower {
    /// Nothing has come yet.
    pub(crate) fn new(api: Generation) -> Self {
        Self { api, framing: Framing::default(), transcript: Transcript::default(), splice: None }
    }

    /// Takes what has come. Only whole events are passed on, so that another replica can go on at any time.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Step {
        match self.framing.push(bytes) {
            Ok(Some(whole)) => self.pass(whole),
            Ok(None) => Step::new(None, Heard::More),
            Err(Endless) => Step::new(None, Heard::Broken("an event of it is longer than any should be".to_owned())),
        }
    }

    /// The replica says that this was all.
    pub(crate) fn finish(&mut self) -> Step {
        let rest = self.framing.finish();
        let step = if rest.is_empty() {
            Step::new(None, Heard::More)
        } else {
            // Clients pass over an event that lacks the empty line.
            self.pass([&rest[..], b"\n\n"].concat().into())
        };
        match step.then {
            Heard::More if self.transcript.is_whole() => Step { then: Heard::Done, ..step },
            Heard::More => Step { then: Heard::Broken("its stream ended in the middle".to_owned()), ..step },
            Heard::Done | Heard::Broken(_) => step,
        }
    }

    /// Whether it is a stream of chat.
    pub(crate) fn is_chat(&self) -> bool {
        self.api == Generation::Chat
    }

    /// Whether the client has been told that the stream is done.
    pub(crate) const fn is_done(&self) -> bool {
        self.transcript.is_done
    }

    /// How the answer to `request` can go on after what the client has been sent.
    pub(crate) fn continuation(&self, request: &Bytes) -> Result<Continuation, Exclusion> {
        continuation(self.api, request, &self.transcript)
    }

    /// From now on the events are those of another replica. What the one before left unfinished is forgotten.
    pub(crate) fn go_on(&mut self, splice: Splice) {
        self.framing = Framing::default();
        self.splice = Some(splice);
    }

    fn pass(&mut self, whole: Bytes) -> Step {
        match self.splice.take() {
            None => self.pass_as_it_is(whole),
            Some(mut splice) => {
                let step = self.pass_spliced(&whole, &mut splice);
                self.splice = Some(splice);
                step
            }
        }
    }

    fn pass_as_it_is(&mut self, whole: Bytes) -> Step {
        // Which is what nearly all are.
        if self.transcript.push_text(&whole) {
            return Step { is_text: true, ..Step::new(Some(whole), Heard::More) };
        }
        let mut passed = 0;
        for event in events(&whole) {
            match self.transcript.push(event) {
                Heard::More => passed += event.len(),
                Heard::Done => return Step::new(Some(whole.slice(..passed + event.len())), Heard::Done),
                then @ Heard::Broken(_) => {
                    return Step::new((passed > 0).then(|| whole.slice(..passed)), then);
                }
            }
        }
        Step::new(Some(whole), Heard::More)
    }

    fn pass_spliced(&mut self, whole: &[u8], splice: &mut Splice) -> Step {
        let (mut passed, mut then) = (BytesMut::new(), Heard::More);
        for event in events(whole) {
            let Some(event) = splice.rewrite(event) else { continue };
            then = self.transcript.push(&event);
            if !matches!(then, Heard::Broken(_)) {
                passed.extend_from_slice(&event);
            }
            if then != Heard::More {
                break;
            }
        }
        Step::new((!passed.is_empty()).then(|| passed.freeze()), then)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(id: &str, text: &str) -> String {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
        format!("data: {}\n\n", json!({"id": id, "created": 1, "choices": [choice]}))
    }

    const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

    /// What a client gets of `stream`, which comes in pieces of `cut` bytes, and what that leads to.
    fn followed(follower: &mut Follower, stream: &str, cut: usize) -> (String, Heard) {
        let (mut passed, mut then) = (Vec::new(), Heard::More);
        for piece in stream.as_bytes().chunks(cut) {
            let step = follower.push(Bytes::copy_from_slice(piece));
            passed.extend_from_slice(&step.pass.unwrap_or_default());
            then = step.then;
            if then != Heard::More {
                break;
            }
        }
        (String::from_utf8(passed).unwrap(), then)
    }

    #[test]
    fn what_is_sound_is_passed_on_and_nothing_after_it() {
        let sound = text("a", "One") + ": ping\n\n";
        for bad in ["data: {\n\n", "data: [DONE]\n\n", "data: {\"error\":{}}\n\n"] {
            let (passed, then) =
                followed(&mut Follower::new(Generation::Chat), &(sound.clone() + bad + END), usize::MAX);
            assert!(passed == sound && matches!(then, Heard::Broken(_)), "{bad}: {passed}");
        }
        let (passed, then) =
            followed(&mut Follower::new(Generation::Chat), &(sound.clone() + END + "rubbish"), usize::MAX);
        assert_eq!((passed, then), (sound + END, Heard::Done));
    }

    #[test]
    fn a_stream_that_just_ends_is_whole_if_it_has_said_why() {
        let mut follower = Follower::new(Generation::Chat);
        followed(&mut follower, &text("a", "One"), usize::MAX);
        assert!(matches!(follower.finish().then, Heard::Broken(_)));
        let mut follower = Follower::new(Generation::Chat);
        let last = END.split_once("\n\n").unwrap().0;
        followed(&mut follower, last, usize::MAX);
        let step = follower.finish();
        assert_eq!((step.pass, step.then), (Some(format!("{last}\n\n").into()), Heard::Done));
    }

    #[test]
    fn the_counts_that_the_client_has_are_not_asked_for_again() {
        let request = r#"{"messages":[{"role":"user","content":"Hi"}],"stream_options":{"include_usage":true}}"#;
        let (end, usage) =
            (END.split_inclusive("\n\n").next().unwrap(), r#"{"prompt_tokens":1,"completion_tokens":1}"#);
        let in_each = end.replacen("{\"choices\"", &format!("{{\"usage\":{usage},\"choices\""), 1);
        let alone = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
        for (sent, is_done) in [(end, false), (&in_each, false), (&format!("{end}{alone}"), true)] {
            let mut follower = Follower::new(Generation::Chat);
            followed(&mut follower, &(text("a", "One") + sent), usize::MAX);
            let next = follower.continuation(&Bytes::from_static(request.as_bytes())).unwrap();
            assert_eq!(matches!(next, Continuation::Done), is_done, "{sent}");
        }
    }

    proptest! {
        /// Wherever a stream breaks, however its pieces come, and whoever goes on: the client gets the whole.
        #[test]
        fn the_seam_does_not_show(words in prop::collection::vec("[ \n]{0,2}[a-z\"\u{e9}]{1,4}", 1..8), at in 0..2_000_usize, cut in 1..90_usize) {
            let all: String = words.iter().map(|word| text("a", word)).collect::<String>() + END;
            let mut at = at % all.len();
            while !all.is_char_boundary(at) {
                at -= 1;
            }
            let mut follower = Follower::new(Generation::Chat);
            let (mut got, _) = followed(&mut follower, &all[..at], cut);
            let request = Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#);
            match follower.continuation(&request).unwrap() {
                Continuation::Done => got.push_str("data: [DONE]\n\n"),
                Continuation::Ask { splice, .. } => {
                    // A model that goes on exactly, from the last character that is no white space.
                    let whole = words.concat();
                    let kept = follower.transcript.text.trim_end().len();
                    let rest: String = whole[kept..].chars().map(|one| text("b", &one.to_string())).collect::<String>() + END;
                    follower.go_on(splice);
                    let (more, then) = followed(&mut follower, &rest, cut);
                    prop_assert_eq!(then, Heard::Done);
                    prop_assert!(!more.contains("\"id\":\"b\"") || got.is_empty());
                    got.push_str(&more);
                }
            }
            prop_assert!(got.ends_with(END));
            let mut client = Transcript::default();
            for event in events(got.as_bytes()) {
                prop_assert!(!matches!(client.push(event), Heard::Broken(_)));
            }
            prop_assert_eq!(client.text, words.concat());
        }

        #[test]
        fn any_bytes_are_followed_without_panic(pieces: Vec<Vec<u8>>) {
            let mut follower = Follower::new(Generation::Completion);
            for piece in pieces {
                let _ = follower.push(piece.into());
            }
            let _ = follower.finish();
        }
    }
}
