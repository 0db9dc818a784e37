//! Where requests wait: how many may, and what is counted of them.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{
    Limits,
    demand::Tally,
    metrics::{HeldEnd, Metrics},
};

/// Room for the requests that wait for a replica.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    seats: Arc<Semaphore>,
    limit: usize,
    limit_per_endpoint: u32,
    /// Changes when an endpoint gets its first waiting request.
    first: watch::Sender<()>,
    metrics: Metrics,
}

/// Why there is no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} requests wait for one already, which are as many as may for one endpoint")]
    Endpoint(u32),
    #[error("{0} requests wait for replicas on this node already, which are as many as may")]
    Node(usize),
}

/// A request that waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    tally: Arc<Tally>,
    endpoint: Arc<str>,
    metrics: Metrics,
    since: Instant,
    end: HeldEnd,
    _seat: OwnedSemaphorePermit,
}

impl WaitingRoom {
    /// Room for as many as `limits` say.
    pub(crate) fn new(limits: &Limits, metrics: Metrics) -> Self {
        let limit = limits.held.min(Semaphore::MAX_PERMITS);
        Self {
            seats: Arc::new(Semaphore::new(limit)),
            limit,
            limit_per_endpoint: limits.held_per_endpoint,
            first: watch::Sender::default(),
            metrics,
        }
    }

    /// Changes when an endpoint gets its first waiting request.
    pub(crate) fn first_held(&self) -> watch::Receiver<()> {
        self.first.subscribe()
    }

    /// A seat for one more request for `endpoint`, whose tally counts it from now on.
    pub(crate) fn enter(&self, endpoint: &str, tally: &Arc<Tally>) -> Result<Seat, Full> {
        let endpoint: Arc<str> = endpoint.into();
        let seat =
            self.seat(tally).inspect_err(|_| self.metrics.held_ended(&endpoint, HeldEnd::Refused, Duration::ZERO));
        let (seat, is_first) = seat?;
        self.metrics.held(&endpoint, tally.held());
        if is_first {
            self.first.send_replace(());
        }
        Ok(Seat {
            tally: Arc::clone(tally),
            endpoint,
            metrics: self.metrics.clone(),
            since: Instant::now(),
            end: HeldEnd::Cancelled,
            _seat: seat,
        })
    }

    fn seat(&self, tally: &Tally) -> Result<(OwnedSemaphorePermit, bool), Full> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| Full::Node(self.limit))?;
        let held = tally.hold(self.limit_per_endpoint).ok_or(Full::Endpoint(self.limit_per_endpoint));
        held.map(|is_first| (seat, is_first))
    }
}

impl Seat {
    /// The request waits no longer, for this reason. Without a word, its client has gone.
    pub(crate) fn leave(mut self, end: HeldEnd) {
        self.end = end;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tally.release();
        self.metrics.held(&self.endpoint, self.tally.held());
        self.metrics.held_ended(&self.endpoint, self.end, self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Tallies;

    /// Rule 9: everything is bounded.
    #[tokio::test]
    async fn an_endpoint_and_a_node_have_so_many_seats() {
        let limits = Limits { held: 3, held_per_endpoint: 2, ..Limits::default() };
        let (room, tallies) = (WaitingRoom::new(&limits, Metrics::new()), Tallies::default());
        let tally = |name: &str| tallies.of(&name.parse().unwrap(), Instant::now());
        let mut changed = room.first_held();
        let mut told = || {
            let told = changed.has_changed().unwrap();
            changed.mark_unchanged();
            told
        };
        let first = room.enter("a", &tally("a")).unwrap();
        assert!(told());
        let seats = [first, room.enter("a", &tally("a")).unwrap()];
        assert_eq!(room.enter("a", &tally("a")).unwrap_err(), Full::Endpoint(2));
        assert!(!told(), "one that is held already tells nothing new");
        let last = room.enter("b", &tally("b")).unwrap();
        assert!(told(), "another endpoint");
        assert_eq!(room.enter("c", &tally("c")).unwrap_err(), Full::Node(3));
        assert_eq!((tally("a").held(), tally("b").held(), tally("c").held()), (2, 1, 0));
        drop(last);
        seats.into_iter().for_each(|seat| seat.leave(HeldEnd::Ready));
        assert_eq!((tally("a").held(), tally("b").held()), (0, 0));
        let _again = room.enter("a", &tally("a")).unwrap();
        assert!(told(), "the first one once more");
    }
}
