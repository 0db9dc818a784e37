//! Trying replicas until one answers.

mod errand;
mod hedge;
mod tried;

use bytes::Bytes;
use http::StatusCode;
use shoal_types::{Backend, ClaimId, NodeId, Revision};
use tokio::time::{Instant, timeout_at};

pub(crate) use errand::{Begun, Errand};
use tried::Course;
pub(crate) use tried::Tried;

use crate::{
    Ingress,
    choose::{Candidate, choose},
    circuits::{Blow, Suspect},
    error::RequestError,
    failure::Failure,
    headers::is_event_stream,
    inflight::Serving,
    loads,
    opening::{Opening, hold_back},
    pending::Pending,
    routes::{Place, Replica},
    tunnel::NotServing,
    upstream::{Head, Outgoing, RemoteCall, UpstreamBody, send_local},
};

/// An answer that has begun, and can from now on only be passed on.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) replica: Replica,
    pub(crate) head: Head,
    /// What has arrived of the body.
    pub(crate) held: Vec<Bytes>,
    /// What is to come of it; `None` if all has arrived.
    pub(crate) body: Option<UpstreamBody>,
    pub(crate) serving: Serving,
}

impl Opened {
    /// Whether it is a stream of tokens, the first of which has come.
    pub(crate) fn is_token_stream(&self) -> bool {
        self.head.status == StatusCode::OK && is_event_stream(&self.head.headers)
    }
}

impl Ingress {
    /// Sends `pending` to replicas that may answer it, one after the other, until one does.
    pub(crate) async fn forward(&self, pending: &Pending) -> Result<Opened, RequestError> {
        self.run(Errand { pending, outgoing: &pending.outgoing, rest_of: None }).await
    }

    /// Sends an errand to replicas that may do it, one after the other, until one does.
    pub(crate) async fn run(&self, errand: Errand<'_>) -> Result<Opened, RequestError> {
        let pending = errand.pending;
        let (endpoint, timeout) = (pending.wanted.endpoint.clone(), pending.timeout);
        let mut course = Course::default();
        let outcome = timeout_at(pending.deadline, self.try_replicas(errand, &mut course)).await;
        let Course { tried, current, is_over_budget } = course;
        match outcome {
            Ok(Some(opened)) => Ok(opened),
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

    async fn try_replicas(&self, errand: Errand<'_>, course: &mut Course) -> Option<Opened> {
        while !course.tried.is_exhausted() {
            // The one that was lost is asked again only where there is no other one.
            let lost = errand.rest_of.map(|begun| begun.lost);
            let other = lost.and_then(|lost| self.choose_replica(errand, &course.tried, Some(lost)));
            let replica = other.or_else(|| self.choose_replica(errand, &course.tried, None))?;
            // The rest of an answer is work that the mesh had before, and no replica is asked for it twice.
            if course.tried.costs() && errand.rest_of.is_none() && !errand.pending.tally.may_retry(Instant::now()) {
                self.metrics.streams.refused_retry();
                course.is_over_budget = true;
                return None;
            }
            course.current = Some((replica.claim, replica.revision));
            if let Some(opened) = self.ask(errand, replica, course).await {
                return Some(opened);
            }
        }
        None
    }

    /// One that may do `errand`, has not failed it, and is not `but`.
    ///
    /// Looks at the routes as they are now: an attempt can take so long that they have changed.
    fn choose_replica(&self, errand: Errand<'_>, tried: &Tried, but: Option<ClaimId>) -> Option<Replica> {
        let (routes, now, wanted) = (self.routes.load(), Instant::now(), &errand.pending.wanted);
        let route = routes.route(wanted.endpoint.as_str())?;
        let weights: Vec<u8> = route.revisions.iter().map(|revision| revision.weight).collect();
        let (replicas, mut candidates): (Vec<&Replica>, Vec<Candidate>) = route
            .replicas_for(wanted)
            .filter(|(revision, _)| errand.may_go_to(route, *revision))
            .filter(|(_, replica)| but != Some(replica.claim))
            .map(|(revision, replica)| (replica, self.candidate(revision, replica, tried, now)))
            .unzip();
        loop {
            let index = choose(&candidates, &weights, rand::random())?;
            let (chosen, replica) = (&mut candidates[index], replicas[index]);
            // Where all are avoided, the least bad is asked all the same.
            if chosen.suspect || self.circuits.enter(replica.node, replica.claim, now) {
                return Some(replica.clone());
            }
            chosen.suspect = true;
        }
    }

    fn candidate(&self, revision: usize, replica: &Replica, tried: &Tried, now: Instant) -> Candidate {
        Candidate {
            revision,
            // What a gateway stands for is neither near nor for free.
            local: matches!(replica.place, Place::Local(Backend::Engine(_))),
            suspect: self.circuits.avoids(replica.node, replica.claim, now),
            tried: tried.contains(replica),
            own: self.inflight.count(replica.claim),
            known: self.loads.get(replica.claim, now).or(replica.load).as_ref().map(loads::requests),
        }
    }

    async fn attempt(&self, replica: &Replica, request: &Outgoing, deadline: Instant) -> Result<Opened, Failure> {
        let serving = self.inflight.enter(replica.claim);
        let (head, mut body) = match &replica.place {
            Place::Local(_) => self.send_here(replica, request).await?,
            Place::Remote => self.send_there(replica.node, replica, request, deadline).await?,
        };
        let Opening { held, is_whole } = hold_back(&head, &mut body).await?;
        Ok(Opened { replica: replica.clone(), head, held, body: (!is_whole).then_some(body), serving })
    }

    async fn send_here(&self, replica: &Replica, request: &Outgoing) -> Result<(Head, UpstreamBody), Failure> {
        // After entering, see `InFlight::enter`.
        let backend = match self.routes.load().local(replica.claim) {
            Some(local) => local.takes(&request.headers).map(|()| local.backend.clone()),
            None => Err(NotServing::NoSuchReplica),
        };
        let backend = backend.map_err(Failure::NotServing)?;
        let (head, body) = send_local(&self.engines, &backend, request).await?;
        Ok((head, UpstreamBody::Local(body)))
    }

    async fn send_there(
        &self,
        node: NodeId,
        replica: &Replica,
        request: &Outgoing,
        deadline: Instant,
    ) -> Result<(Head, UpstreamBody), Failure> {
        let timeouts = &self.config.timeouts;
        let call = RemoteCall {
            dial: self.dial.as_ref(),
            node,
            claim: replica.claim,
            request,
            deadline,
            connect: timeouts.connect,
            accept: timeouts.accept,
            loads: &self.loads,
        };
        let (head, body) = call.send().await?;
        Ok((head, UpstreamBody::Remote(body)))
    }

    fn note_success(&self, pending: &Pending, opened: &Opened, sent: Instant) {
        let (replica, now) = (&opened.replica, Instant::now());
        let ttft = opened.is_token_stream().then(|| now - sent);
        pending.tally.answered(replica.revision, opened.head.status, ttft, now);
        self.circuits.succeeded(replica.node, replica.claim, now);
    }

    fn note_failure(&self, pending: &Pending, replica: Replica, failure: Failure, course: &mut Course) {
        let (name, now) = (replica.claim.replica_name(&pending.wanted.endpoint), Instant::now());
        tracing::debug!(replica = %name, node = %replica.node, error = %failure, "a replica gave no answer");
        self.metrics.failed_attempt(failure.reason());
        if let Some((suspect, blow)) = failure.suspect(replica.node, replica.claim) {
            self.circuits.failed(suspect, blow, now, rand::random());
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
        self.circuits.failed(Suspect::Replica(claim), Blow::Soft, now, rand::random());
    }
}
