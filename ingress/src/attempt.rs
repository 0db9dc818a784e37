//! Trying replicas until one answers.

mod errand;
mod hedge;
mod tried;

use std::{panic::resume_unwind, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use shoal_types::{ClaimId, Revision};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use errand::{Begun, Errand};
use tried::Course;
pub(crate) use tried::Tried;

use crate::{
    Ingress,
    choose::{Chosen, NotChosen},
    circuits::{Blow, Suspect},
    error::RequestError,
    failure::Failure,
    headers::Media,
    holding::Called,
    inflight::Serving,
    opening::{Opening, hold_back},
    pending::Pending,
    routes::ReplicaRef,
    tunnel::{DialError, FrameWriter, NotServing, RequestHead},
    upstream::{Head, Outgoing, RemoteCall, UpstreamBody, send_local},
};

/// An answer that has begun, and can from now on only be passed on.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) replica: ReplicaRef,
    /// When it began.
    pub(crate) at: Instant,
    pub(crate) head: Head,
    /// What has arrived of the body.
    pub(crate) held: Vec<Bytes>,
    /// What is to come of it; `None` if all has arrived.
    pub(crate) body: Option<UpstreamBody>,
    pub(crate) serving: Serving,
}

impl Opened {
    /// Its headers and its body, if all of that has come, and in one piece.
    pub(crate) fn into_whole(mut self: Box<Self>) -> Result<(HeaderMap, Bytes), Box<Self>> {
        match self.held.as_mut_slice() {
            [whole] if self.body.is_none() => Ok((std::mem::take(&mut self.head.headers), std::mem::take(whole))),
            _ => Err(self),
        }
    }

    /// Whether it is a stream of tokens, the first of which has come.
    pub(crate) fn is_token_stream(&self) -> bool {
        self.head.status == StatusCode::OK && self.head.media == Media::Events
    }
}

impl Ingress {
    /// Sends `pending` to replicas that may answer it and have room, one after the other, until one does. It has waited
    /// for room for `queued`, and was `called` from there if it has waited at all; `tried` have had it before.
    pub(crate) fn forward<'a>(
        &'a self,
        pending: &'a Pending,
        called: Option<Called>,
        queued: Duration,
        tried: Tried,
    ) -> impl Future<Output = Result<Box<Opened>, RequestError>> + 'a {
        self.run(Errand { pending, outgoing: &pending.outgoing, queued, rest_of: None }, called, tried)
    }

    /// Sends an errand to replicas that may do it, one after the other, until one does; to none of those that were `tried`.
    pub(crate) async fn run(
        &self,
        errand: Errand<'_>,
        called: Option<Called>,
        tried: Tried,
    ) -> Result<Box<Opened>, RequestError> {
        let pending = errand.pending;
        let (endpoint, timeout) = (pending.wanted.endpoint.clone(), pending.timeout);
        let mut course = Course { called, tried, ..Course::default() };
        let outcome = {
            let attempts = pin!(self.try_replicas(errand, &mut course));
            timeout_at(pending.deadline, attempts).await
        };
        let Course { tried, current, found_no_room, is_over_budget, .. } = course;
        match outcome {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) if found_no_room => Err(RequestError::NoRoom { endpoint, tried }),
            Ok(None) if tried.is_empty() => Err(RequestError::NoReadyReplica { endpoint }),
            Ok(None) if tried.all_loops() => Err(RequestError::Loop { endpoint, tried }),
            Ok(None) if tried.all_busy() => Err(RequestError::Busy { endpoint, tried }),
            Ok(None) if is_over_budget => Err(RequestError::RetryBudget { endpoint, tried }),
            Ok(None) => Err(RequestError::Failed { endpoint, tried }),
            Err(_) => {
                if let Some((claim, revision)) = current {
                    self.note_silence(pending, claim, revision);
                }
                Err(RequestError::TimedOut { endpoint, timeout, tried })
            }
        }
    }

    async fn try_replicas(&self, errand: Errand<'_>, course: &mut Course) -> Option<Box<Opened>> {
        while !course.tried.is_exhausted() {
            let chosen = self.choose_next(errand, course)?;
            // The rest of an answer is work that the mesh had before, and no replica is asked for it twice.
            if course.tried.costs() && errand.rest_of.is_none() && !errand.pending.tally.may_retry(Instant::now()) {
                self.metrics.streams.refused_retry();
                course.is_over_budget = true;
                return None;
            }
            course.current = Some((chosen.replica.claim, chosen.replica.revision));
            if let Some(opened) = self.ask(errand, chosen, course).await {
                return Some(opened);
            }
        }
        None
    }

    /// The replica to try next, and a place at it; where none has room, `course` says so.
    fn choose_next(&self, errand: Errand<'_>, course: &mut Course) -> Option<Box<Chosen>> {
        // The one that was lost is asked again only where there is no other one.
        let lost = errand.rest_of.map(|begun| begun.lost);
        let other = lost.and_then(|lost| self.choose_replica(errand, &course.tried, Some(lost)).ok());
        let chosen = other.map_or_else(|| self.choose_replica(errand, &course.tried, None), Ok);
        if let Some(called) = course.called.take() {
            called.use_up();
        }
        course.found_no_room = matches!(chosen, Err(NotChosen::NoRoom));
        chosen.ok()
    }

    /// What the `chosen` replica begins to answer.
    async fn attempt(&self, chosen: Box<Chosen>, errand: Errand<'_>) -> Result<Box<Opened>, Failure> {
        let request = errand.outgoing.traced(chosen.trace);
        let (head, body, held) = if chosen.replica.is_local {
            let (head, mut body) = self.send_here(chosen.replica.claim, &request).await?;
            let Opening { held, is_whole } = hold_back(&head, &mut body).await?;
            (head, (!is_whole).then_some(body), held)
        } else {
            self.send_there(&chosen, &request, errand.pending.deadline).await?
        };
        let Chosen { replica, serving, .. } = *chosen;
        let at = Instant::now();
        Ok(Box::new(Opened { replica, at, head, held, body, serving }))
    }

    async fn send_here(&self, claim: ClaimId, request: &Outgoing) -> Result<(Head, UpstreamBody), Failure> {
        // After entering, see `Count::enter`.
        let backend = match self.routes.load().local(claim) {
            Some(local) => local.takes(&request.headers).map(|()| Arc::clone(&local.backend)),
            None => Err(NotServing::NoSuchReplica),
        };
        let backend = backend.map_err(Failure::NotServing)?;
        let (head, body) = send_local(&self.engines, &backend, request).await?;
        Ok((head, UpstreamBody::Local(body)))
    }

    /// Asks where the connections to other nodes are driven: each write and each read takes the lock of one and wakes who drives
    /// it, which costs more from another thread.
    async fn send_there(
        &self,
        chosen: &Chosen,
        request: &Outgoing,
        deadline: Instant,
    ) -> Result<(Head, Option<UpstreamBody>, Vec<Bytes>), Failure> {
        let timeouts = &self.config.timeouts;
        let head = RequestHead::new(chosen.replica.claim, &request.target, &request.headers, deadline);
        let call = RemoteCall {
            dial: Arc::clone(&self.dial),
            node: chosen.replica.node,
            head: FrameWriter::beginning(&head)?,
            body: request.body.clone(),
            connect: timeouts.connect,
            accept: timeouts.accept,
            known: Arc::clone(&chosen.known),
        };
        let answer = async move {
            let (head, body) = call.send().await?;
            let mut body = UpstreamBody::Remote(body);
            let opening = hold_back(&head, &mut body).await?;
            // What is whole ends here, too, and not at the lock of its connection on another thread.
            Ok((head, (!opening.is_whole).then_some(body), opening.held))
        };
        // In a box, as a task is moved about before it runs, and this one is large.
        let asked = AbortOnDropHandle::new(self.runtime.spawn(Box::pin(answer)));
        asked.await.unwrap_or_else(|error| match error.try_into_panic() {
            // As if it had run here: no node is to be blamed for it.
            Ok(panic) => resume_unwind(panic),
            // It is not given up while somebody waits for it, so that the runtime itself ends.
            Err(ended) => Err(DialError::new(ended).into()),
        })
    }

    fn note_success(&self, errand: Errand<'_>, opened: &Opened, sent: Instant) {
        let Errand { pending, queued, .. } = errand;
        let (replica, now) = (opened.replica, opened.at);
        // What engines used to keep waiting, and now waits here, is time to the first token all the same.
        let ttft = opened.is_token_stream().then(|| queued + (now - sent));
        pending.trail.answered(replica.claim, now);
        pending.tally.answered(replica.revision, opened.head.status, ttft, now);
        self.circuits.succeeded(replica.node, replica.claim, now);
    }

    fn note_failure(&self, pending: &Pending, replica: ReplicaRef, failure: Failure, course: &mut Course) {
        let (name, now) = (replica.claim.replica_name(&pending.wanted.endpoint), Instant::now());
        tracing::debug!(replica = %name, node = %replica.node, error = %failure, "a replica gave no answer");
        self.metrics.failed_attempt(failure.reason());
        pending.trail.failed(replica.claim, failure.reason(), failure.to_string(), now);
        if let Some((suspect, blow)) = failure.suspect(replica.node, replica.claim) {
            self.circuits.failed(suspect, blow, now, rand::random());
        }
        if failure.is_full() {
            self.said_full.note(replica.claim, self.inflight.count(replica.claim), now);
        }
        if failure.is_replicas_fault() {
            pending.tally.failed(replica.revision, now);
        }
        course.current = None;
        course.tried.add(name, replica, failure);
    }

    /// The replica with `claim` said nothing in the time that `pending` had.
    fn note_silence(&self, pending: &Pending, claim: ClaimId, revision: Revision) {
        let now = Instant::now();
        pending.tally.failed(revision, now);
        pending.trail.failed(claim, "timeout", "no answer before the endpoint's timeout".to_owned(), now);
        self.circuits.failed(Suspect::Replica(claim), Blow::Soft, now, rand::random());
    }
}
