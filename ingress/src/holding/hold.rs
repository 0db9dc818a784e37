//! Waiting for a replica.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::room::Seat;
use crate::{
    Ingress,
    attempt::Opened,
    error::RequestError,
    metrics::HeldEnd,
    models,
    pending::Pending,
    routes::{RoutingTable, Wanted},
};

/// How long a stream is held without a word. What a replica is found for within it is answered as if there had been no
/// wait.
const SILENCE: Duration = Duration::from_secs(1);

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

/// Why a request waits no longer although nothing serves it.
struct Unserved {
    end: HeldEnd,
    error: RequestError,
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
        // Before looking, so that a change in between is not missed.
        let rerouted = self.rerouted.subscribe();
        if hold.seat.is_none() {
            hold.seat = Some(self.seat(pending)?);
        }
        let waited = self.wait(&pending.wanted, hold, rerouted).await;
        if let Some(seat) = hold.seat.take() {
            seat.leave(waited.as_ref().map_or_else(|unserved| unserved.end, |()| HeldEnd::Ready));
        }
        waited.map_err(|unserved| unserved.error)
    }

    async fn wait(&self, wanted: &Wanted, hold: &Hold, mut rerouted: watch::Receiver<()>) -> Result<(), Unserved> {
        loop {
            if let Some(released) = released(&self.routes.load(), wanted) {
                return released;
            }
            let wanted = wanted.clone();
            tokio::select! {
                biased;
                // The sender lives as long as this ingress.
                _ = rerouted.changed() => {}
                () = self.stopping.cancelled() => {
                    return Err(Unserved { end: HeldEnd::Stopped, error: RequestError::Stopping { wanted } });
                }
                () = sleep_until(hold.until) => {
                    let error = RequestError::NeverReady { wanted, held: hold.since.elapsed() };
                    return Err(Unserved { end: HeldEnd::Expired, error });
                }
            }
        }
    }

    fn seat(&self, pending: &Pending) -> Result<Seat, RequestError> {
        let wanted = &pending.wanted;
        let seat = self.waiting.enter(wanted.endpoint.as_str(), &pending.tally);
        seat.map_err(|full| RequestError::TooManyWaiting { wanted: wanted.clone(), full })
    }
}

/// What `routes` say to a request that waits for `wanted`; `None` if it has to wait on.
fn released(routes: &RoutingTable, wanted: &Wanted) -> Option<Result<(), Unserved>> {
    let gone = |error| Some(Err(Unserved { end: HeldEnd::Gone, error }));
    match routes.route(wanted.endpoint.as_str()).filter(|route| route.is_called(wanted)) {
        None => gone(models::unknown(routes, wanted.name())),
        Some(route) if route.serves(wanted) => Some(Ok(())),
        Some(route) if !route.may_wake => gone(RequestError::NoReadyReplica { endpoint: wanted.endpoint.clone() }),
        Some(_) => None,
    }
}
