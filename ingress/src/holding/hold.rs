//! Waiting for a replica.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{late::SILENCE, room::Seat};
use crate::{
    Ingress,
    attempt::Opened,
    error::RequestError,
    metrics::HeldEnd,
    models,
    pending::Pending,
    routes::{RoutingTable, Wanted},
};

/// How far a request has come by the time that its client must be told something.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It has an answer.
    Answer(Opened),
    /// It is for a stream and still waits for a replica.
    Waiting(Hold),
}

/// The wait of one request.
#[derive(Debug)]
pub(crate) struct Hold {
    since: Instant,
    until: Instant,
    /// Given up while a replica is asked.
    seat: Option<Seat>,
}

/// Why a request waits no longer.
enum Release {
    Ready,
    Refused(HeldEnd, RequestError),
}

impl Ingress {
    /// Sends `pending` to a replica; where none is ready, and one may come, once one is. One for a stream is given back
    /// if that takes long.
    ///
    /// Dropping the future, or what it gives back, gives the request up.
    pub(crate) async fn forward_or_hold(&self, pending: &Pending) -> Result<Begun, RequestError> {
        match self.forward(pending).await {
            Err(RequestError::NoReadyReplica { .. }) if pending.may_wake => {}
            done => return done.map(Begun::Answer),
        }
        let since = Instant::now();
        let mut hold = Hold { since, until: pending.deadline.min(since + self.config.timeouts.hold), seat: None };
        if !pending.stream {
            return self.forward_held(pending, hold).await.map(Begun::Answer);
        }
        loop {
            match timeout_at(since + SILENCE, self.until_ready(pending, &mut hold)).await {
                Ok(ready) => ready?,
                Err(_) => return Ok(Begun::Waiting(hold)),
            }
            match self.forward(pending).await {
                Err(RequestError::NoReadyReplica { .. }) => {}
                done => return done.map(Begun::Answer),
            }
        }
    }

    /// Waits on, however long it takes, and sends `pending` to the replica that comes.
    pub(super) async fn forward_held(&self, pending: &Pending, mut hold: Hold) -> Result<Opened, RequestError> {
        loop {
            self.until_ready(pending, &mut hold).await?;
            match self.forward(pending).await {
                // It has gone again.
                Err(RequestError::NoReadyReplica { .. }) => {}
                done => return done,
            }
        }
    }

    /// Until a replica can be asked. Cancel safe: the seat stays with `hold`.
    async fn until_ready(&self, pending: &Pending, hold: &mut Hold) -> Result<(), RequestError> {
        let wanted = &pending.wanted;
        // Before looking, so that a change in between is not missed.
        let mut rerouted = self.rerouted.subscribe();
        if hold.seat.is_none() {
            hold.seat = Some(self.seat(pending)?);
        }
        let release = loop {
            if let Some(release) = released(&self.routes.load(), wanted) {
                break release;
            }
            tokio::select! {
                // The sender lives as long as this ingress.
                _ = rerouted.changed() => {}
                () = sleep_until(hold.until) => {
                    let error = RequestError::NeverReady { wanted: wanted.clone(), held: hold.since.elapsed() };
                    break Release::Refused(HeldEnd::Expired, error);
                }
                () = self.stopping.cancelled() => {
                    break Release::Refused(HeldEnd::Stopped, RequestError::Stopping { wanted: wanted.clone() });
                }
            }
        };
        let (end, result) = match release {
            Release::Ready => (HeldEnd::Ready, Ok(())),
            Release::Refused(end, error) => (end, Err(error)),
        };
        if let Some(seat) = hold.seat.take() {
            seat.leave(end);
        }
        result
    }

    fn seat(&self, pending: &Pending) -> Result<Seat, RequestError> {
        let wanted = &pending.wanted;
        self.waiting.enter(wanted.endpoint.as_str(), &pending.tally).map_err(|full| RequestError::TooManyWaiting {
            wanted: wanted.clone(),
            limit: full.limit,
            of: full.bound,
        })
    }
}

/// Whether `wanted` need not, or must not, be waited for any longer.
fn released(routes: &Arc<RoutingTable>, wanted: &Wanted) -> Option<Release> {
    let gone = |error| Some(Release::Refused(HeldEnd::Gone, error));
    match routes.route(wanted.endpoint.as_str()).filter(|route| route.is_called(wanted)) {
        None => gone(models::unknown(routes, wanted.name())),
        Some(route) if route.serves(wanted) => Some(Release::Ready),
        Some(route) if !route.may_wake => gone(RequestError::NoReadyReplica { endpoint: wanted.endpoint.clone() }),
        Some(_) => None,
    }
}
