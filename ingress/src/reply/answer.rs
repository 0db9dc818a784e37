//! One answer on its way to the client, from however many replicas.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Aborted, LAST_WORDS,
    passing::{Look, Loss, Next, Passing},
    resuming::{Ask, Resuming, Waited},
};
use crate::{
    Ingress,
    account::Account,
    api::Api,
    attempt::Opened,
    circuits::Suspect,
    error::ErrorShape,
    headers::{Media, RESUMED},
    metrics::ResumeEnd,
    pending::Pending,
    resume::{Continuation, Exclusion, Follower, Generation, Splice},
    routes::ReplicaRef,
    sse::Boundary,
    upstream::BrokenBody,
};

/// How often one stream may lose its replica and go on: more is no bad luck but a stream that kills engines.
const RESUMES_MAX: u32 = 5;

/// An answer on its way to the client. Dropped before its end, it cancels the request at the engine.
#[derive(Debug)]
pub(crate) struct Reply {
    phase: Phase,
    account: Box<Account>,
    ingress: Arc<Ingress>,
    /// How its client is told of errors.
    shape: ErrorShape,
    replica: ReplicaRef,
    kept: Kept,
    resumes: u32,
    /// The client reads trailers, and has been told of one.
    trailers: bool,
}

/// The client's request.
#[derive(Debug)]
enum Kept {
    Request(Box<Pending>),
    /// It is not kept, or not here any more.
    Not(Exclusion),
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // a reply is behind a box already
enum Phase {
    Passing(Passing),
    Resuming(Resuming),
    Trailers,
    /// The last event has been given out; the connection ends when this does.
    LastWords(Pin<Box<Sleep>>),
    Ended,
}

impl Reply {
    /// Passes `opened` on, which answers `pending`. Its headers are given back: they are for the client as well.
    pub(crate) fn new(
        ingress: Arc<Ingress>,
        pending: Box<Pending>,
        mut opened: Box<Opened>,
        mut account: Box<Account>,
    ) -> (HeaderMap, Self) {
        let look = look_at(&opened, pending.outgoing.api);
        let headers = std::mem::take(&mut opened.head.headers);
        let length = if matches!(look, Look::Follow(_)) { None } else { content_length(&headers) };
        let (deadline, stall) = (pending.deadline, pending.route.streams.stall);
        let shape = pending.outgoing.api.errors();
        let is_followed = matches!(look, Look::Follow(_));
        let trailers = pending.trailers && is_followed && pending.route.streams.resume;
        let kept = match is_followed {
            false => Kept::Not(Exclusion::Api),
            true if !pending.route.streams.resume => Kept::Not(Exclusion::Off),
            true if ingress.admission.is_tight() => Kept::Not(Exclusion::Room),
            true => Kept::Request(pending),
        };
        let replica = opened.replica;
        let passing = Passing::new(opened, look, length, deadline, stall);
        if passing.is_empty() {
            account.finished(); // hyper will not ask for it
        }
        let phase = Phase::Passing(passing);
        (headers, Self { phase, account, ingress, shape, replica, kept, resumes: 0, trailers })
    }

    /// Whether the client may be told more after the end.
    pub(crate) const fn has_trailers(&self) -> bool {
        self.trailers
    }

    /// Whether what the client gets may become longer or shorter than what the replica said that it would be.
    pub(crate) const fn may_change(&self) -> bool {
        !matches!(self.kept, Kept::Not(Exclusion::Api))
    }

    /// What is next for the client.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match &mut self.phase {
                Phase::Passing(passing) => match ready!(passing.poll(cx)) {
                    Ok(next) => {
                        if let Some(bytes) = self.passed(next) {
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                    }
                    Err(loss) => {
                        if let Some(last) = self.lose(&loss) {
                            return Poll::Ready(Some(last.map(Frame::data)));
                        }
                    }
                },
                Phase::Resuming(resuming) => {
                    let bytes = match ready!(resuming.poll(cx)) {
                        Waited::Heartbeat(comment) => Ok(comment),
                        Waited::Over(pending, rest) => self.resumed(pending, rest),
                    };
                    return Poll::Ready(Some(bytes.map(Frame::data)));
                }
                Phase::Trailers => {
                    self.phase = Phase::Ended;
                    return Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([(
                        RESUMED,
                        HeaderValue::from(self.resumes),
                    )])))));
                }
                Phase::LastWords(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.phase = Phase::Ended;
                    return Poll::Ready(Some(Err(Aborted)));
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }

    /// The bytes of `next`, which are accounted for.
    fn passed(&mut self, next: Next) -> Option<Bytes> {
        let bytes = match next {
            Next::Text(bytes) => {
                self.account.passed_text(bytes.len());
                return Some(bytes);
            }
            Next::Some(bytes) => bytes,
            Next::Last(last) => {
                self.end();
                last?
            }
        };
        self.account.passed(&bytes);
        Some(bytes)
    }

    /// All has been passed on.
    fn end(&mut self) {
        self.account.finished();
        self.phase = if self.trailers && self.resumes > 0 { Phase::Trailers } else { Phase::Ended };
    }

    /// The replica is lost: looks for another one that goes on, or gives the answer up. Returns what the client is told, if
    /// anything.
    fn lose(&mut self, loss: &Loss) -> Option<Result<Bytes, Aborted>> {
        let Phase::Passing(passing) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Some(Err(Aborted));
        };
        let look = passing.into_look();
        if !matches!(loss, Loss::Deadline) {
            self.ingress.circuits.failed(self.replica.suspect(loss), loss.blow(), Instant::now(), rand::random());
        }
        let (look, end) = match look {
            Look::Follow(follower) if !matches!(loss, Loss::Deadline) => match self.go_on(follower) {
                Ok(done) => return done.map(Ok),
                Err((follower, end)) => (Look::Follow(follower), Some(end)),
            },
            look @ Look::Events(_) => (look, Some(ResumeEnd::Excluded(Exclusion::Api))),
            look => (look, None),
        };
        let end = end.filter(|_| !matches!(loss, Loss::Deadline));
        let why = self.replica.told(loss, end);
        Some(self.give_up(look, loss, end, &why))
    }

    /// Begins to look for a replica that goes on. If none is needed, the last event.
    fn go_on(&mut self, follower: Box<Follower>) -> Result<Option<Bytes>, (Box<Follower>, ResumeEnd)> {
        let pending = match std::mem::replace(&mut self.kept, Kept::Not(Exclusion::Room)) {
            Kept::Request(pending) => pending,
            Kept::Not(exclusion) => return Err((follower, ResumeEnd::Excluded(exclusion))),
        };
        if self.resumes >= RESUMES_MAX {
            return Err((follower, ResumeEnd::Exhausted));
        }
        let (body, splice) = match follower.continuation(&pending.outgoing.body) {
            Err(exclusion) => return Err((follower, ResumeEnd::Excluded(exclusion))),
            Ok(Continuation::Done) => {
                self.count(ResumeEnd::Completed);
                self.end();
                return Ok(Some(Bytes::from_static(b"data: [DONE]\n\n")));
            }
            Ok(Continuation::Ask { body, splice }) => (body, splice),
        };
        let Some(model) = self.model(&pending) else { return Err((follower, ResumeEnd::Failed)) };
        let ask = Ask { body, splice, model, lost: self.replica.claim, is_chat: follower.is_chat() };
        tracing::info!(node = %self.replica.node, "a stream lost its replica and is to go on with another one");
        self.phase = Phase::Resuming(Resuming::new(Arc::clone(&self.ingress), pending, follower, ask));
        Ok(None)
    }

    /// The model by which the answer is (rule 10).
    fn model(&self, pending: &Pending) -> Option<String> {
        let routes = self.ingress.routes.load();
        let now = routes.route(pending.wanted.endpoint.as_str());
        let model = now.and_then(|route| route.model_of(self.replica.revision));
        model.or_else(|| pending.route.model_of(self.replica.revision)).map(str::to_owned)
    }

    /// What the client is told now that another replica goes on, or none does.
    fn resumed(
        &mut self,
        pending: Box<Pending>,
        rest: Result<(Box<Opened>, Splice), String>,
    ) -> Result<Bytes, Aborted> {
        let Phase::Resuming(Resuming { mut follower, .. }) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Err(Aborted);
        };
        let (opened, splice) = match rest {
            Ok(rest) => rest,
            Err(why) => {
                let why = format!("{}, and no other one goes on with it: {why}", self.replica.lost());
                let loss = Loss::Invalid(String::new());
                return self.give_up(Look::Follow(follower), &loss, Some(ResumeEnd::Failed), &why);
            }
        };
        self.count(ResumeEnd::Resumed);
        self.resumes += 1;
        self.account.resumed(opened.replica);
        self.replica = opened.replica;
        follower.go_on(splice);
        let passing = Passing::new(opened, Look::Follow(follower), None, pending.deadline, pending.route.streams.stall);
        self.phase = Phase::Passing(passing);
        self.kept = Kept::Request(pending);
        Ok(format!(": resumed on {}\n\n", self.replica.node).into())
    }

    /// Gives up the answer: a stream of events ends with one that says why, anything else is cut.
    fn give_up(&mut self, look: Look, loss: &Loss, end: Option<ResumeEnd>, why: &str) -> Result<Bytes, Aborted> {
        if let Some(end) = end {
            self.count(end);
        }
        let code = match loss {
            Loss::Deadline => {
                self.account.broke();
                "timeout"
            }
            Loss::Broken(_) | Loss::Stalled(_) | Loss::Invalid(_) => {
                self.account.lost();
                "replica_lost"
            }
        };
        tracing::info!(node = %self.replica.node, error = %why, "an answer was broken off");
        let gap: &[u8] = match &look {
            Look::Blind => return Err(Aborted),
            Look::Events(boundary) => boundary.gap(),
            // Only whole events have been passed on.
            Look::Follow(_) => b"",
        };
        self.phase = Phase::LastWords(Box::pin(sleep(LAST_WORDS)));
        Ok([gap, &self.shape.event(code, why, self.account.id())].concat().into())
    }

    fn count(&self, end: ResumeEnd) {
        self.ingress.metrics.streams.lost(self.account.endpoint(), end);
    }
}

impl ReplicaRef {
    /// Who is to be avoided: where its node has broken the stream off or passed nonsense on, that is there.
    fn suspect(&self, loss: &Loss) -> Suspect {
        match loss {
            Loss::Broken(BrokenBody::Tunnel(error)) if !error.is_by_the_other_end() => Suspect::Node(self.node),
            Loss::Stalled(_) if !self.is_local => Suspect::Node(self.node),
            Loss::Broken(_) | Loss::Stalled(_) | Loss::Invalid(_) | Loss::Deadline => Suspect::Replica(self.claim),
        }
    }

    fn lost(&self) -> String {
        format!("the replica on node {} was lost in the middle of its answer", self.node.short())
    }

    /// What a client is told of `loss`, and of why there is no way to go on.
    fn told(&self, loss: &Loss, end: Option<ResumeEnd>) -> String {
        let what = match loss {
            Loss::Deadline => return "the endpoint's timeout has passed in the middle of the answer".to_owned(),
            Loss::Broken(broken) => broken.to_string(),
            Loss::Stalled(silence) => format!("it said nothing for {} s", silence.as_secs()),
            Loss::Invalid(why) => why.clone(),
        };
        let lost = self.lost();
        match end {
            Some(ResumeEnd::Excluded(exclusion)) => {
                format!("{lost}: {what}; no other one can go on with it, because {exclusion}")
            }
            Some(ResumeEnd::Exhausted) => format!("{lost}, as {RESUMES_MAX} before it were: {what}"),
            Some(_) | None => format!("{lost}: {what}"),
        }
    }
}

fn look_at(opened: &Opened, api: Api) -> Look {
    if opened.head.media != Media::Events {
        return Look::Blind;
    }
    match Generation::of(api).filter(|_| opened.is_token_stream()) {
        Some(generation) => Look::Follow(Box::new(Follower::new(generation))),
        None => Look::Events(Boundary::default()),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
