//! Trying replicas until one answers.

use std::fmt;

use bytes::Bytes;
use shoal_types::{Backend, EndpointName, NodeId};
use tokio::time::{Instant, timeout_at};

use crate::{
    Ingress,
    choose::{Candidate, choose},
    error::RequestError,
    failure::Failure,
    inflight::Serving,
    loads,
    opening::hold_back,
    routes::{Place, Replica, Route},
    tunnel::NotServing,
    upstream::{Head, Outgoing, RemoteCall, UpstreamBody, send_local},
};

/// Replicas that one request tries at most, each once: more would turn an outage into a flood.
const ATTEMPTS_MAX: usize = 3;

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

/// The replicas that failed a request, in order.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<Attempt>);

#[derive(Debug)]
struct Attempt {
    name: String,
    replica: Replica,
    failure: Failure,
}

impl Tried {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, replica: &Replica) -> bool {
        self.0.iter().any(|attempt| attempt.replica.claim == replica.claim)
    }

    fn all_loops(&self) -> bool {
        self.0.iter().all(|attempt| attempt.failure.is_loop())
    }

    fn all_busy(&self) -> bool {
        self.0.iter().all(|attempt| attempt.failure.is_busy())
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Attempt { name, replica, failure }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{name} on node {}: {failure}", replica.node.short())?;
        }
        Ok(())
    }
}

impl Ingress {
    /// Sends `request` to replicas of `route`'s endpoint, one after the other, until one answers.
    pub(crate) async fn forward(
        &self,
        route: &Route,
        request: &Outgoing,
        deadline: Instant,
    ) -> Result<Opened, RequestError> {
        let (endpoint, timeout) = (route.endpoint.clone(), route.timeout);
        let mut tried = Tried::default();
        match timeout_at(deadline, self.try_replicas(&endpoint, request, deadline, &mut tried)).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) if tried.is_empty() => Err(RequestError::NoReadyReplica { endpoint }),
            Ok(None) if tried.all_loops() => Err(RequestError::Loop { endpoint, tried }),
            Ok(None) if tried.all_busy() => Err(RequestError::Busy { endpoint, tried }),
            Ok(None) => Err(RequestError::Failed { endpoint, tried }),
            Err(_) => Err(RequestError::TimedOut { endpoint, timeout, tried }),
        }
    }

    async fn try_replicas(
        &self,
        endpoint: &EndpointName,
        request: &Outgoing,
        deadline: Instant,
        tried: &mut Tried,
    ) -> Option<Opened> {
        while tried.0.len() < ATTEMPTS_MAX {
            let replica = self.choose_replica(endpoint, tried)?;
            match Box::pin(self.attempt(&replica, request, deadline)).await {
                Ok(opened) => return Some(opened),
                Err(failure) => self.note_failure(endpoint, replica, failure, tried),
            }
        }
        None
    }

    /// Looks at the routes as they are now: an attempt can take so long that they have changed.
    fn choose_replica(&self, endpoint: &EndpointName, tried: &Tried) -> Option<Replica> {
        let (routes, now) = (self.routes.load(), Instant::now());
        let route = routes.route(endpoint.as_str())?;
        let candidates: Vec<Candidate> = route
            .replicas
            .iter()
            .map(|replica| Candidate {
                // What a gateway stands for is neither near nor for free.
                local: matches!(replica.place, Place::Local(Backend::Engine(_))),
                suspect: self.suspicions.suspects(replica.node, replica.claim, now),
                tried: tried.contains(replica),
                own: self.inflight.count(replica.claim),
                known: self.loads.get(replica.claim, now).or(replica.load).as_ref().map(loads::requests),
            })
            .collect();
        choose(&candidates, rand::random()).map(|index| route.replicas[index].clone())
    }

    async fn attempt(&self, replica: &Replica, request: &Outgoing, deadline: Instant) -> Result<Opened, Failure> {
        let serving = self.inflight.enter(replica.claim);
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

    fn note_failure(&self, endpoint: &EndpointName, replica: Replica, failure: Failure, tried: &mut Tried) {
        let name = replica.claim.replica_name(endpoint);
        tracing::debug!(replica = %name, node = %replica.node, error = %failure, "a replica gave no answer");
        self.metrics.failed_attempt(failure.reason());
        if let Some(suspect) = failure.suspect(replica.node, replica.claim) {
            self.suspicions.note(suspect, Instant::now());
        }
        tried.0.push(Attempt { name, replica, failure });
    }
}
