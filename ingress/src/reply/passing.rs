//! The body of one replica's answer as it is passed on: bytes in, bytes out, and when it is lost.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    attempt::Opened,
    circuits::Blow,
    inflight::Serving,
    resume::{Follower, Heard},
    sse::Boundary,
    upstream::{BrokenBody, UpstreamBody},
};

/// Into how many parts the longest silence is divided: it is noticed a part too late at most, and nobody has to look at a
/// clock when bytes pass.
const PARTS: u32 = 8;
/// For a stream that is done to end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Why an answer cannot be finished by the replica that began it.
#[derive(Debug)]
pub(super) enum Loss {
    /// Its connection broke.
    Broken(BrokenBody),
    /// It said nothing for so long.
    Stalled(Duration),
    /// What it said is no answer.
    Invalid(String),
    /// The endpoint's timeout has passed.
    Deadline,
}

impl Loss {
    /// How sure it is that the next request would be lost as well.
    pub(super) const fn blow(&self) -> Blow {
        match self {
            Self::Broken(_) => Blow::Hard,
            Self::Stalled(_) | Self::Invalid(_) | Self::Deadline => Blow::Soft,
        }
    }
}

/// The next step of an answer.
#[derive(Debug)]
pub(super) enum Next {
    Some(Bytes),
    /// One event of a stream that has text and nothing else.
    Text(Bytes),
    /// The end, and what there still is to pass on.
    Last(Option<Bytes>),
}

/// How the bytes of an answer are looked at.
#[derive(Debug)]
pub(super) enum Look {
    /// Not at all.
    Blind,
    /// Events of some kind: where the client stands.
    Events(Boundary),
    /// The events of chat or completions.
    Follow(Box<Follower>),
}

#[derive(Debug)]
pub(super) struct Passing {
    held: VecDeque<Bytes>,
    /// `None` if all has come.
    body: Option<UpstreamBody>,
    /// Bytes to come, if the engine gave a length and the client gets what the engine gives.
    left: Option<u64>,
    /// The last bytes of an answer with a length. hyper drops the body as soon as it has them, so they wait for the end
    /// of the answer: only then can the engine's connection be used again, and has the trailer been read.
    last: Option<Bytes>,
    look: Look,
    /// Found, but not told yet.
    lost: Option<Loss>,
    /// `None` where there is nothing to wait for.
    timer: Option<Timer>,
    _serving: Serving,
}

impl Passing {
    /// Passes `opened` on until `deadline`, as long as no silence is longer than `stall`; `left` bytes of it are to come, if
    /// that is known.
    pub(super) fn new(opened: Box<Opened>, look: Look, left: Option<u64>, deadline: Instant, stall: Duration) -> Self {
        let Opened { held, body, serving, .. } = *opened;
        Self {
            held: held.into(),
            timer: body.is_some().then(|| Timer::new(deadline, stall)),
            body,
            left,
            last: None,
            look,
            lost: None,
            _serving: serving,
        }
    }

    /// Whether the client is to get nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.left == Some(0)
    }

    /// How it was looked at, once it is lost.
    pub(super) fn into_look(self) -> Look {
        self.look
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Loss>> {
        if let Some(loss) = self.lost.take() {
            return Poll::Ready(Err(loss));
        }
        loop {
            if self.timer.as_ref().is_some_and(Timer::is_overdue) {
                return Poll::Ready(self.end_with(Loss::Deadline));
            }
            let chunk = match self.poll_chunk(cx) {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    let Some(timer) = &mut self.timer else { return Poll::Pending };
                    let loss = ready!(timer.poll_loss(cx));
                    return Poll::Ready(self.end_with(loss));
                }
            };
            if let Some(timer) = &mut self.timer {
                timer.bytes_came();
            }
            let next = match chunk {
                Some(Ok(bytes)) => self.take(bytes),
                None => self.finish().map(Some),
                Some(Err(broken)) => self.end_with(Loss::Broken(broken)).map(Some),
            };
            match next {
                Ok(None) => {}
                Ok(Some(next)) => return Poll::Ready(Ok(next)),
                Err(loss) => return Poll::Ready(Err(loss)),
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        match (self.held.pop_front(), &mut self.body) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(bytes))),
            (None, Some(body)) => body.poll_chunk(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    /// What `bytes` give the client now.
    fn take(&mut self, bytes: Bytes) -> Result<Option<Next>, Loss> {
        if self.last.is_some() {
            return Ok(None);
        }
        let bytes = match &mut self.look {
            Look::Blind => Some(bytes),
            Look::Events(boundary) => {
                boundary.push(&bytes);
                Some(bytes)
            }
            Look::Follow(follower) if follower.is_done() => None,
            Look::Follow(follower) => {
                let step = follower.push(bytes);
                match step.then {
                    Heard::More => {}
                    Heard::Done => self.timer.iter_mut().for_each(|timer| timer.ends_within(END_WITHIN)),
                    Heard::Broken(why) => return self.broken_after(step.pass, why).map(Some),
                }
                if step.is_text {
                    return Ok(step.pass.map(Next::Text));
                }
                step.pass
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        if self.left == Some(0) {
            self.last = Some(bytes);
            return Ok(None);
        }
        Ok(Some(Next::Some(bytes)))
    }

    /// What is sound goes to the client before the loss is told; the replica is given up at once.
    fn broken_after(&mut self, sound: Option<Bytes>, why: String) -> Result<Next, Loss> {
        let Some(sound) = sound else { return Err(Loss::Invalid(why)) };
        self.body = None;
        self.lost = Some(Loss::Invalid(why));
        Ok(Next::Some(sound))
    }

    /// The replica says that this is the end.
    fn finish(&mut self) -> Result<Next, Loss> {
        let Look::Follow(follower) = &mut self.look else { return Ok(Next::Last(self.last.take())) };
        if follower.is_done() {
            return Ok(Next::Last(self.last.take()));
        }
        let step = follower.finish();
        match step.then {
            Heard::Broken(why) => self.broken_after(step.pass, why),
            Heard::More | Heard::Done => Ok(Next::Last(self.last.take().or(step.pass))),
        }
    }

    /// `loss`, unless all there was to say has been said.
    fn end_with(&mut self, loss: Loss) -> Result<Next, Loss> {
        let is_done = matches!(&self.look, Look::Follow(follower) if follower.is_done());
        if is_done || self.last.is_some() { Ok(Next::Last(self.last.take())) } else { Err(loss) }
    }
}

/// When an answer has taken too long, as a whole or from one byte to the next.
#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
    stall: Duration,
    /// Parts of the longest silence that have passed in silence.
    silent: u32,
    /// Bytes came in the present part.
    heard: bool,
}

impl Timer {
    fn new(deadline: Instant, stall: Duration) -> Self {
        let sleep = Box::pin(sleep_until(deadline.min(Instant::now() + stall / PARTS)));
        Self { sleep, deadline, stall, silent: 0, heard: true }
    }

    const fn bytes_came(&mut self) {
        self.heard = true;
    }

    /// Whether the deadline has passed while there were always bytes. Looks at no clock before a part is over.
    fn is_overdue(&self) -> bool {
        self.sleep.is_elapsed() && Instant::now() >= self.deadline
    }

    fn ends_within(&mut self, time: Duration) {
        self.deadline = self.deadline.min(Instant::now() + time);
        self.sleep.as_mut().reset(self.deadline);
    }

    /// Ready once nothing more is to be waited for. Asked only while there are no bytes: a client that does not read is
    /// not the replica's silence.
    fn poll_loss(&mut self, cx: &mut Context<'_>) -> Poll<Loss> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(Loss::Deadline);
            }
            self.silent = if std::mem::take(&mut self.heard) { 0 } else { self.silent + 1 };
            if self.silent >= PARTS {
                return Poll::Ready(Loss::Stalled(self.stall));
            }
            self.sleep.as_mut().reset(self.deadline.min(now + self.stall / PARTS));
        }
    }
}
