//! Trying replicas until one answers.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use shoal_types::Revision;
use tokio::time::{Instant, timeout_at};

use crate::{
    Ingress,
    choose::{Chosen, Known},
    error::RequestError,
    failure::Failure,
    headers::is_event_stream,
    inflight::Serving,
    opening::hold_back,
    pending::Pending,
    routes::{Place, Replica},
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

    pub(crate) fn contains(&self, replica: &Replica) -> bool {
        self.failed.iter().any(|attempt| attempt.replica.claim == replica.claim)
    }

    fn all_loops(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_loop())
    }

    /// Whether there was none but such as have ended, or sleep.
    pub(crate) fn all_gone(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_gone())
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
    /// Sends `pending` to replicas that may answer it, one after the other, until one does.
    pub(crate) async fn forward(&self, pending: &Pending) -> Result<Opened, RequestError> {
        let (endpoint, timeout) = (pending.wanted.endpoint.clone(), pending.timeout);
        let mut tried = Tried::default();
        match timeout_at(pending.deadline, self.try_replicas(pending, &mut tried)).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) if tried.is_empty() => Err(RequestError::NoReadyReplica { endpoint }),
            Ok(None) if tried.all_loops() => Err(RequestError::Loop { endpoint, tried }),
            Ok(None) if tried.all_busy() => Err(RequestError::Busy { endpoint, tried }),
            Ok(None) => Err(RequestError::Failed { endpoint, tried }),
            Err(_) => {
                if let Some(revision) = tried.current {
                    pending.tally.failed(revision, Instant::now());
                    pending.trail.failed(
                        "timeout",
                        "no answer before the endpoint's timeout".to_owned(),
                        Instant::now(),
                    );
                }
                Err(RequestError::TimedOut { endpoint, timeout, tried })
            }
        }
    }

    async fn try_replicas(&self, pending: &Pending, tried: &mut Tried) -> Option<Opened> {
        while !tried.is_exhausted() {
            let (chosen, trace) = self.choose_replica(pending, tried)?;
            let Chosen { replica, known, computing, .. } = chosen;
            let (sent, revision) = (Instant::now(), replica.revision);
            tried.current = Some(revision);
            let outgoing = pending.outgoing.traced(trace);
            let attempt = Box::pin(self.attempt(&replica, known, &outgoing, pending.deadline)).await;
            drop(computing);
            match attempt {
                Ok(opened) => {
                    let (status, now) = (opened.head.status, Instant::now());
                    pending.trail.answered(now);
                    let ttft = opened.is_token_stream().then(|| now - sent);
                    pending.tally.answered(revision, status, ttft, now);
                    return Some(opened);
                }
                Err(failure) => self.note_failure(pending, replica, failure, tried),
            }
        }
        None
    }

    async fn attempt(
        &self,
        replica: &Replica,
        known: Arc<Known>,
        request: &Outgoing,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        let serving = self.inflight.enter(replica.claim);
        let (head, mut body) = match &replica.place {
            Place::Local(_) => self.send_here(replica, request).await?,
            Place::Remote => self.send_there(replica, known, request, deadline).await?,
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
        replica: &Replica,
        known: Arc<Known>,
        request: &Outgoing,
        deadline: Instant,
    ) -> Result<(Head, UpstreamBody), Failure> {
        let timeouts = &self.config.timeouts;
        let call = RemoteCall {
            dial: self.dial.as_ref(),
            node: replica.node,
            claim: replica.claim,
            request,
            deadline,
            connect: timeouts.connect,
            accept: timeouts.accept,
            known,
        };
        let (head, body) = call.send().await?;
        Ok((head, UpstreamBody::Remote(body)))
    }

    fn note_failure(&self, pending: &Pending, replica: Replica, failure: Failure, tried: &mut Tried) {
        let (name, now) = (replica.claim.replica_name(&pending.wanted.endpoint), Instant::now());
        tracing::debug!(replica = %name, node = %replica.node, error = %failure, "a replica gave no answer");
        self.metrics.failed_attempt(failure.reason());
        pending.trail.failed(failure.reason(), failure.to_string(), now);
        if let Some(suspect) = failure.suspect(replica.node, replica.claim) {
            self.suspicions.note(suspect, now);
        }
        if failure.is_replicas_fault() {
            pending.tally.failed(replica.revision, now);
        }
        tried.current = None;
        tried.failed.push(Attempt { name, replica, failure });
    }
}
