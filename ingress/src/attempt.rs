//! Trying replicas until one answers.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use shoal_types::{Backend, NodeId, Revision};
use tokio::time::{Instant, timeout_at};

use crate::{
    Ingress,
    choose::{Candidate, choose},
    error::RequestError,
    failure::Failure,
    headers::is_event_stream,
    holding::Called,
    inflight::Serving,
    loads,
    opening::hold_back,
    pending::Pending,
    routes::{Place, Replica, Route, Wanted},
    tunnel::NotServing,
    upstream::{Head, Outgoing, RemoteCall, UpstreamBody, send_local},
};

/// Replicas that may fail one request, each once: more would turn an outage into a flood.
const ATTEMPTS_MAX: usize = 3;
/// Replicas that may send it on besides, because they are about to leave: that costs them nothing, and a node that drains
/// has several at once.
const REFUSALS_MAX: usize = 8;

/// An answer that has begun, and can from now on only be passed on.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) replica: Replica,
    pub(crate) head: Head,
    /// What has arrived of the body.
    pub(crate) held: Vec<Bytes>,
    pub(crate) body: UpstreamBody,
    pub(crate) serving: Serving,
}

impl Opened {
    /// Whether it is a stream of tokens, the first of which has come.
    pub(crate) fn is_token_stream(&self) -> bool {
        self.head.status == StatusCode::OK && is_event_stream(&self.head.headers)
    }
}

/// The replicas that failed a request, in order.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    failed: Vec<Attempt>,
    /// Of which revision the replica is that is being tried.
    current: Option<Revision>,
    /// None of the replicas that are left had room.
    found_no_room: bool,
}

#[derive(Debug)]
struct Attempt {
    name: String,
    replica: Replica,
    failure: Failure,
}

impl Tried {
    pub(crate) const fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether no further replica is tried.
    fn is_exhausted(&self) -> bool {
        let refusals = self.failed.iter().filter(|attempt| attempt.failure.is_refusal()).count();
        refusals >= REFUSALS_MAX || self.failed.len() - refusals >= ATTEMPTS_MAX
    }

    fn contains(&self, replica: &Replica) -> bool {
        self.failed.iter().any(|attempt| attempt.replica.claim == replica.claim)
    }

    fn all_loops(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_loop())
    }

    /// Whether there was none but such as have ended, or sleep.
    pub(crate) fn all_gone(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_gone())
    }

    /// Whether one of them is well and only had no room.
    pub(crate) fn is_any_full(&self) -> bool {
        self.failed.iter().any(|attempt| attempt.failure.is_full())
    }

    fn all_busy(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_busy())
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Attempt { name, replica, failure }) in self.failed.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{name} on node {}: {failure}", replica.node.short())?;
        }
        Ok(())
    }
}

impl Ingress {
    /// Sends `pending` to replicas that may answer it and have room, one after the other, until one does. It has waited
    /// for room for `queued`, and was `called` from there if it has waited at all.
    pub(crate) async fn forward(
        &self,
        pending: &Pending,
        called: Option<Called>,
        queued: Duration,
    ) -> Result<Opened, RequestError> {
        let (endpoint, timeout) = (pending.wanted.endpoint.clone(), pending.timeout);
        let mut tried = Tried::default();
        match timeout_at(pending.deadline, self.try_replicas(pending, &mut tried, called, queued)).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) if tried.found_no_room => Err(RequestError::NoRoom { endpoint, tried }),
            Ok(None) if tried.is_empty() => Err(RequestError::NoReadyReplica { endpoint }),
            Ok(None) if tried.all_loops() => Err(RequestError::Loop { endpoint, tried }),
            Ok(None) if tried.all_busy() => Err(RequestError::Busy { endpoint, tried }),
            Ok(None) => Err(RequestError::Failed { endpoint, tried }),
            Err(_) => {
                if let Some(revision) = tried.current {
                    pending.tally.failed(revision, Instant::now());
                }
                Err(RequestError::TimedOut { endpoint, timeout, tried })
            }
        }
    }

    async fn try_replicas(
        &self,
        pending: &Pending,
        tried: &mut Tried,
        mut called: Option<Called>,
        queued: Duration,
    ) -> Option<Opened> {
        while !tried.is_exhausted() {
            let chosen = self.choose_replica(&pending.wanted, tried);
            if let Some(called) = called.take() {
                called.use_up();
            }
            let (replica, serving) = chosen?;
            let (sent, revision) = (Instant::now(), replica.revision);
            tried.current = Some(revision);
            match Box::pin(self.attempt(&replica, serving, &pending.outgoing, pending.deadline)).await {
                Ok(opened) => {
                    let (status, now) = (opened.head.status, Instant::now());
                    // What engines used to keep waiting, and now waits here, is time to the first token all the same.
                    let ttft = opened.is_token_stream().then(|| queued + (now - sent));
                    pending.tally.answered(revision, status, ttft, now);
                    return Some(opened);
                }
                Err(failure) => self.note_failure(pending, replica, failure, tried),
            }
        }
        None
    }

    /// The replica to try next, and a place at it; where none has room, `tried` says so. Looks at the routes as they are
    /// now: an attempt can take so long that they have changed.
    fn choose_replica(&self, wanted: &Wanted, tried: &mut Tried) -> Option<(Replica, Serving)> {
        let (routes, now) = (self.routes.load(), Instant::now());
        let route = routes.route(wanted.endpoint.as_str())?;
        // Others look for room at the same time. Each time that one is faster there is less of it.
        loop {
            let (replica, limit) = self.choose_of(route, wanted, tried, now)?;
            if let Some(serving) = self.inflight.enter_within(replica.claim, limit) {
                return Some((replica.clone(), serving));
            }
        }
    }

    /// One of `route`, and how many requests it may have from here.
    fn choose_of<'a>(
        &self,
        route: &'a Route,
        wanted: &Wanted,
        tried: &mut Tried,
        now: Instant,
    ) -> Option<(&'a Replica, u32)> {
        let weights: Vec<u8> = route.revisions.iter().map(|revision| revision.weight).collect();
        let (replicas, mut candidates): (Vec<&Replica>, Vec<Candidate>) = route
            .replicas_for(wanted)
            .map(|(revision, replica)| (replica, self.candidate(revision, replica, tried, now)))
            .unzip();
        let is_any_unknown = candidates.iter().any(|candidate| candidate.burden.told.is_none());
        let mean = if is_any_unknown { self.mean_burden(route, now) } else { 0 };
        for candidate in &mut candidates {
            candidate.room = candidate.burden.room(route.max_inflight, mean);
        }
        let chosen = choose(&candidates, &weights, rand::random());
        tried.found_no_room = chosen.is_none() && candidates.iter().any(|candidate| !candidate.tried);
        chosen.map(|index| (replicas[index], candidates[index].own.saturating_add(candidates[index].room)))
    }

    fn candidate(&self, revision: usize, replica: &Replica, tried: &Tried, now: Instant) -> Candidate {
        let burden = self.burden(replica, now);
        Candidate {
            revision,
            // What a gateway stands for is neither near nor for free.
            local: matches!(replica.place, Place::Local(Backend::Engine(_))),
            suspect: self.suspicions.suspects(replica.node, replica.claim, now),
            tried: tried.contains(replica),
            own: burden.own,
            burden,
            room: 0,
            known: self.loads.get(replica.claim, now).or(replica.load).as_ref().map(loads::requests),
        }
    }

    async fn attempt(
        &self,
        replica: &Replica,
        serving: Serving,
        request: &Outgoing,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        let (head, mut body) = match &replica.place {
            Place::Local(_) => self.send_here(replica, request).await?,
            Place::Remote => self.send_there(replica.node, replica, request, deadline).await?,
        };
        let held = hold_back(&head, &mut body).await?;
        Ok(Opened { replica: replica.clone(), head, held, body, serving })
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

    fn note_failure(&self, pending: &Pending, replica: Replica, failure: Failure, tried: &mut Tried) {
        let (name, now) = (replica.claim.replica_name(&pending.wanted.endpoint), Instant::now());
        tracing::debug!(replica = %name, node = %replica.node, error = %failure, "a replica gave no answer");
        self.metrics.failed_attempt(failure.reason());
        if let Some(suspect) = failure.suspect(replica.node, replica.claim) {
            self.suspicions.note(suspect, now);
        }
        if failure.is_full() {
            self.said_full.note(replica.claim, self.inflight.count(replica.claim), now);
        }
        if failure.is_replicas_fault() {
            pending.tally.failed(replica.revision, now);
        }
        tried.current = None;
        tried.failed.push(Attempt { name, replica, failure });
    }
}
