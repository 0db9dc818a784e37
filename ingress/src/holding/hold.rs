//! Waiting for a replica: for one to serve, or for one to have room.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    fair::{NoPlace, Ticket},
    line::{Call, Called, CallerId, Entrance, Line, Standing},
    refusal::{Unserved, refused},
    room::{Full, Seat},
};
use crate::{
    Ingress,
    attempt::{Opened, Tried},
    error::RequestError,
    metrics::HeldEnd,
    models,
    pending::Pending,
    routes::{RoutingTable, Wanted},
};

/// How long a stream is held without a word. What a replica is found for within it is answered as if there had been no
/// wait.
const SILENCE: Duration = Duration::from_secs(1);

/// How long this node may not know yet that a replica has ended which others say is gone, or whose host is: as long as gossip
/// takes, and as it takes to miss a host.
const STALE: Duration = Duration::from_secs(5);

/// How far a request has come by the time that its client must be told something.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It has an answer.
    Answer(Box<Opened>),
    /// It is for a stream and still waits for a replica.
    Waiting(Box<Hold>),
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prospect {
    /// Nothing serves it; a replica may come.
    Cold,
    /// Replicas serve it; one of them may have room again.
    Busy,
}

/// The wait of one request.
#[derive(Debug)]
pub(crate) struct Hold {
    since: Instant,
    /// Until when a replica must have come, if none serves.
    until: Instant,
    /// Since when it has only waited for room, if it does.
    busy_since: Option<Instant>,
    /// Given up while a replica is asked.
    seat: Option<Seat>,
    standing: Option<Standing>,
    /// Where it stood last, to come back to.
    ticket: Option<Ticket<CallerId>>,
    /// Leave to ask a replica.
    called: Option<Called>,
    /// The replicas that said last that they have no room.
    busy: Option<Tried>,
    /// The replicas that may have begun with it before their node was lost: none is given it twice.
    lost: Tried,
    /// Set if all replicas of the routes of then were gone: it waits for other routes.
    stale: Option<watch::Receiver<()>>,
    /// Until when that may be so; set the first time.
    stale_until: Option<Instant>,
}

impl Hold {
    fn new(since: Instant, until: Instant) -> Self {
        Self {
            since,
            until,
            busy_since: None,
            seat: None,
            standing: None,
            ticket: None,
            called: None,
            busy: None,
            lost: Tried::default(),
            stale: None,
            stale_until: None,
        }
    }

    /// Whether routes whose replicas are all gone may still be replaced by others.
    fn awaits_news(&mut self, now: Instant) -> bool {
        now < *self.stale_until.get_or_insert_with(|| self.until.min(now + STALE))
    }

    /// Until when it waits if that is what it waits for at `now`: as long for room as for it alone, however long it has
    /// waited for a replica to come.
    fn ends(&mut self, prospect: Prospect, pending: &Pending, now: Instant) -> Instant {
        match prospect {
            Prospect::Cold => {
                self.busy_since = None;
                self.until
            }
            Prospect::Busy => {
                let since = *self.busy_since.get_or_insert(now);
                pending.deadline.min(since + pending.route.queue.deadline)
            }
        }
    }

    /// How long it has waited for room by now.
    fn queued(&self) -> Duration {
        self.busy_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Ingress {
    /// Sends `pending` to a replica; where none is ready, and one may come, or none has room, once one is or has. One for
    /// a stream is given back if that takes long.
    ///
    /// Dropping the future, or what it gives back, gives the request up.
    pub(crate) async fn forward_or_hold(&self, pending: &Pending) -> Result<Begun, RequestError> {
        let since = pending.since;
        let mut hold = Hold::new(since, pending.deadline.min(since + self.config.timeouts.hold));
        // Nobody that waits is overtaken.
        if !self.waiting.is_passed_by_newcomers(&pending.wanted.endpoint)
            && let Some(opened) = self.try_forward(pending, &mut hold).await?
        {
            return Ok(Begun::Answer(opened));
        }
        Box::pin(self.hold(pending, hold)).await
    }

    /// Waits, a stream for no longer than it may be silent.
    async fn hold(&self, pending: &Pending, mut hold: Hold) -> Result<Begun, RequestError> {
        if !pending.stream {
            return self.forward_held(pending, hold).await.map(Begun::Answer);
        }
        let told = Instant::now() + SILENCE;
        loop {
            match timeout_at(told, self.until_called(pending, &mut hold)).await {
                Ok(called) => called?,
                Err(_) => return Ok(Begun::Waiting(Box::new(hold))),
            }
            if let Some(opened) = self.try_forward(pending, &mut hold).await? {
                return Ok(Begun::Answer(opened));
            }
        }
    }

    /// Waits on, however long it takes, and sends `pending` to the replica that comes.
    pub(super) async fn forward_held(&self, pending: &Pending, mut hold: Hold) -> Result<Box<Opened>, RequestError> {
        loop {
            self.until_called(pending, &mut hold).await?;
            if let Some(opened) = self.try_forward(pending, &mut hold).await? {
                return Ok(opened);
            }
        }
    }

    /// The answer of a replica; `None` if none is ready, and one may come, or none has room.
    async fn try_forward(&self, pending: &Pending, hold: &mut Hold) -> Result<Option<Box<Opened>>, RequestError> {
        let asked_by = self.routes.load().number();
        let queued = hold.queued();
        match self.forward(pending, hold.called.take(), queued, std::mem::take(&mut hold.lost)).await {
            Err(RequestError::NoReadyReplica { .. }) if pending.may_wake => Ok(None),
            Err(RequestError::NoRoom { tried, .. }) => {
                hold.lost = tried.lost();
                Ok(None)
            }
            Err(RequestError::Busy { tried, .. }) if tried.is_any_full() => {
                hold.busy = Some(tried);
                Ok(None)
            }
            // The host of the last one has just died, and this node has not heard of it.
            Err(RequestError::Failed { tried, .. })
                if pending.may_wake && tried.all_gone() && !self.is_stopping() && hold.awaits_news(Instant::now()) =>
            {
                (hold.stale, hold.lost) = (Some(self.rerouted_since(asked_by)), tried.lost());
                Ok(None)
            }
            // The last one has just gone to sleep, and this node has not heard of it.
            Err(RequestError::Busy { tried, .. })
                if pending.may_wake && tried.all_gone() && !self.is_stopping() && hold.awaits_news(Instant::now()) =>
            {
                hold.stale = Some(self.rerouted_since(asked_by));
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Changes when other routes come than those with this `number`, or has changed if they have come.
    fn rerouted_since(&self, number: u64) -> watch::Receiver<()> {
        // In this order, so that a change in between is not missed.
        let mut rerouted = self.rerouted.subscribe();
        if self.routes.load().number() != number {
            rerouted.mark_changed();
        }
        rerouted
    }

    /// Until a replica can be asked. Cancel safe: its seat and its place in the line stay with `hold`.
    async fn until_called(&self, pending: &Pending, hold: &mut Hold) -> Result<(), RequestError> {
        let line = self.waiting.line(&pending.wanted.endpoint);
        if hold.seat.is_none() {
            let has_waited = hold.ticket.is_some();
            let seat = self.waiting.enter(&line, &pending.tally, pending.caller.priority, has_waited);
            hold.seat = Some(seat.map_err(|full| self.refusal(pending, &line, full).error)?);
        }
        if let (Some(mut stale), Some(until)) = (hold.stale.take(), hold.stale_until) {
            self.stopping.run_until_cancelled(timeout_at(until, stale.changed())).await;
        }
        let called = self.wait(pending, &line, hold).await;
        if let Some(seat) = hold.seat.take() {
            seat.leave(called.as_ref().map_or_else(|unserved| unserved.end, |_| HeldEnd::Ready));
        }
        hold.called = Some(called.map_err(|unserved| unserved.error)?);
        Ok(())
    }

    async fn wait(&self, pending: &Pending, line: &Arc<Line>, hold: &mut Hold) -> Result<Called, Unserved> {
        loop {
            let routes = self.routes.load_full();
            let prospect = prospect(&routes, &pending.wanted)?;
            let until = hold.ends(prospect, pending, Instant::now());
            if hold.standing.is_none() {
                hold.standing = Some(self.enter(pending, line, hold.ticket, prospect, until)?);
                // Only what changes from now on is told to it.
                if !Arc::ptr_eq(&routes, &self.routes.load()) {
                    hold.ticket = hold.standing.take().map(|standing| standing.ticket);
                    continue;
                }
                self.waiting.bell.ring();
            }
            let Some(standing) = &mut hold.standing else { continue };
            let call = tokio::select! {
                biased;
                call = standing.told() => call,
                () = self.stopping.cancelled() => return Err(Unserved::stopped(pending)),
                () = sleep_until(until) => return Err(self.late(pending, line, hold, prospect)),
            };
            let ticket = standing.ticket;
            hold.standing = None;
            match call {
                Call::Go(called) => {
                    hold.ticket = Some(ticket.gone_on());
                    return Ok(called);
                }
                Call::Look => hold.ticket = Some(ticket),
                Call::Displaced => return Err(self.refusal(pending, line, Full::Share)),
            }
        }
    }

    /// A place in `line`: the one of `ticket`, if there is one.
    fn enter(
        &self,
        pending: &Pending,
        line: &Arc<Line>,
        ticket: Option<Ticket<CallerId>>,
        prospect: Prospect,
        until: Instant,
    ) -> Result<Standing, Unserved> {
        let size = pending.route.queue.size;
        let entrance = ticket.map_or_else(|| Entrance::New(pending.asker(), size), Entrance::Back);
        let entered = line.enter(entrance, pending.wanted.clone(), prospect, until);
        let (standing, is_first_cold) = entered.map_err(|no_place| {
            let full = match no_place {
                NoPlace::Full if size == 0 => Full::NoQueue,
                NoPlace::Full => Full::Endpoint(size),
                NoPlace::OwnShare => Full::Share,
            };
            self.refusal(pending, line, full)
        })?;
        if is_first_cold {
            self.waiting.tell_first();
        }
        Ok(standing)
    }

    /// Why `pending` does not wait: as a caller that is to come again, or as one for whom nothing serves.
    fn refusal(&self, pending: &Pending, line: &Line, full: Full) -> Unserved {
        let is_cold = matches!(prospect(&self.routes.load(), &pending.wanted), Ok(Prospect::Cold));
        refused(pending, full, is_cold, line.seconds_to_drain(Instant::now()))
    }

    /// Why `pending` waits no longer.
    fn late(&self, pending: &Pending, line: &Line, hold: &mut Hold, prospect: Prospect) -> Unserved {
        let (wanted, now) = (pending.wanted.clone(), Instant::now());
        let error = match prospect {
            Prospect::Cold => RequestError::NeverReady { wanted, held: now - hold.since },
            Prospect::Busy => RequestError::NeverRoom {
                wanted,
                queued: hold.queued(),
                tried: Box::new(hold.busy.take().unwrap_or_default()),
                retry_after: line.seconds_to_drain(now),
            },
        };
        Unserved { end: HeldEnd::Expired, error }
    }
}

/// What `wanted` waits for by `routes`; an error if there is nothing to wait for.
pub(super) fn prospect(routes: &RoutingTable, wanted: &Wanted) -> Result<Prospect, Unserved> {
    let gone = |error| Err(Unserved { end: HeldEnd::Gone, error });
    match routes.route(wanted.endpoint.as_str()).filter(|route| route.is_called(wanted)) {
        None => gone(models::unknown(routes, wanted.name(), |_| false)),
        Some(route) if route.serves(wanted) => Ok(Prospect::Busy),
        Some(route) if !route.may_wake => gone(RequestError::NoReadyReplica { endpoint: wanted.endpoint.clone() }),
        Some(_) => Ok(Prospect::Cold),
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::NodeId;

    use super::*;
    use crate::{IngressConfig, tunnel::Nobody};

    #[tokio::test]
    async fn routes_that_came_while_a_replica_was_asked_are_news() {
        let ingress = Ingress::new(IngressConfig::default(), NodeId::from_bytes([1; 16]), Arc::new(Nobody));
        let asked_by = ingress.routes.load().number();
        let rerouted = ingress.rerouted_since(asked_by);
        assert!(!rerouted.has_changed().unwrap());
        ingress.set_routes(RoutingTable::new([]));
        assert!(rerouted.has_changed().unwrap() && ingress.rerouted_since(asked_by).has_changed().unwrap());
        assert!(!ingress.rerouted_since(ingress.routes.load().number()).has_changed().unwrap());
    }
}
