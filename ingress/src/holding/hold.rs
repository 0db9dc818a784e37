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

/// How long this node may not know yet that a replica has ended which others say is gone: as long as gossip takes.
const STALE: Duration = Duration::from_secs(3);

/// How far a request has come by the time that its client must be told something.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // it is moved once, and most are the large one
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
    /// Set if all replicas of the routes of then were gone: it waits for other routes.
    stale: Option<watch::Receiver<()>>,
    /// Until when that may be so; set the first time.
    stale_until: Option<Instant>,
}

impl Hold {
    const fn new(since: Instant, until: Instant) -> Self {
        Self { since, until, seat: None, stale: None, stale_until: None }
    }

    /// Whether routes whose replicas are all gone may still be replaced by others.
    fn awaits_news(&mut self, now: Instant) -> bool {
        now < *self.stale_until.get_or_insert_with(|| self.until.min(now + STALE))
    }
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
        let since = Instant::now();
        let mut hold = Hold::new(since, pending.deadline.min(since + self.config.timeouts.hold));
        if let Some(opened) = self.try_forward(pending, &mut hold).await? {
            return Ok(Begun::Answer(opened));
        }
        let told = Instant::now() + SILENCE;
        if !pending.stream {
            return self.forward_held(pending, hold).await.map(Begun::Answer);
        }
        loop {
            match timeout_at(told, self.until_ready(pending, &mut hold)).await {
                Ok(ready) => ready?,
                Err(_) => return Ok(Begun::Waiting(hold)),
            }
            if let Some(opened) = self.try_forward(pending, &mut hold).await? {
                return Ok(Begun::Answer(opened));
            }
        }
    }

    /// Waits on, however long it takes, and sends `pending` to the replica that comes.
    pub(super) async fn forward_held(&self, pending: &Pending, mut hold: Hold) -> Result<Opened, RequestError> {
        loop {
            self.until_ready(pending, &mut hold).await?;
            if let Some(opened) = self.try_forward(pending, &mut hold).await? {
                return Ok(opened);
            }
        }
    }

    /// The answer of a replica; `None` if none is ready, and one may come.
    async fn try_forward(&self, pending: &Pending, hold: &mut Hold) -> Result<Option<Opened>, RequestError> {
        // Before asking, so that a change in between is not missed.
        let rerouted = self.rerouted.subscribe();
        match self.forward(pending).await {
            Err(RequestError::NoReadyReplica { .. }) if pending.may_wake => Ok(None),
            // The last one has just gone to sleep, and this node has not heard of it.
            Err(RequestError::Busy { tried, .. })
                if pending.may_wake
                    && tried.all_gone()
                    && !self.stopping.is_cancelled()
                    && hold.awaits_news(Instant::now()) =>
            {
                hold.stale = Some(rerouted);
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Until a replica can be asked. Cancel safe: the seat stays with `hold`.
    async fn until_ready(&self, pending: &Pending, hold: &mut Hold) -> Result<(), RequestError> {
        // Before looking, so that a change in between is not missed.
        let rerouted = self.rerouted.subscribe();
        if hold.seat.is_none() {
            hold.seat = Some(self.seat(pending)?);
        }
        if let (Some(mut stale), Some(until)) = (hold.stale.take(), hold.stale_until) {
            self.stopping.run_until_cancelled(timeout_at(until, stale.changed())).await;
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
        None => gone(models::unknown(routes, wanted.name(), |_| false)),
        Some(route) if route.serves(wanted) => Some(Ok(())),
        Some(route) if !route.may_wake => gone(RequestError::NoReadyReplica { endpoint: wanted.endpoint.clone() }),
        Some(_) => None,
    }
}
