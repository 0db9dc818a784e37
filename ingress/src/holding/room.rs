//! Where requests wait: how many may, and what is counted of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shoal_types::{EndpointName, Priority};
use tokio::{sync::watch, time::Instant};

use super::line::Line;
use crate::{
    bell::Bell,
    demand::Tally,
    metrics::{HeldEnd, Metrics},
};

/// Room for the requests that wait, and the lines in which they do.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    pub(super) bell: Arc<Bell>,
    limit: u32,
    lines: Mutex<HashMap<EndpointName, Arc<Line>>>,
    /// Changes when the first request for an endpoint waits for which nothing serves.
    first_cold: watch::Sender<()>,
    metrics: Metrics,
}

/// Why one more request cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("its endpoint has no queue")]
    NoQueue,
    #[error("{0} requests wait for one already, which are as many as may for one endpoint")]
    Endpoint(usize),
    #[error("{0} requests wait for replicas on this node already, which are as many as may")]
    Node(u32),
    #[error("others with a greater claim wait too: those of a caller that has fewer waiting, or of a higher priority")]
    Share,
}

impl Full {
    /// The word for it in `x-shoal-reason`.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::NoQueue => "saturated",
            Self::Endpoint(_) | Self::Node(_) => "queue-full",
            Self::Share => "fair-share",
        }
    }
}

/// A request that waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    tally: Arc<Tally>,
    line: Arc<Line>,
    bell: Arc<Bell>,
    metrics: Metrics,
    priority: Priority,
    since: Instant,
    end: HeldEnd,
}

impl WaitingRoom {
    /// Room for `limit` requests, for whom `bell` is rung.
    pub(crate) fn new(limit: u32, bell: Arc<Bell>, metrics: Metrics) -> Self {
        Self { bell, limit, lines: Mutex::default(), first_cold: watch::Sender::default(), metrics }
    }

    /// Changes when the first request for an endpoint waits for which nothing serves.
    pub(crate) fn first_held(&self) -> watch::Receiver<()> {
        self.first_cold.subscribe()
    }

    /// Says that [`Self::first_held`] has come to pass.
    pub(super) fn tell_first(&self) {
        self.first_cold.send_replace(());
    }

    /// Whether a new request for `endpoint` would overtake one that waits.
    pub(super) fn is_passed_by_newcomers(&self, endpoint: &EndpointName) -> bool {
        self.bell.anybody_waits() && self.lock().get(endpoint).is_some_and(|line| line.is_passed_by_newcomers())
    }

    /// The line of `endpoint`.
    pub(super) fn line(&self, endpoint: &EndpointName) -> Arc<Line> {
        let mut lines = self.lock();
        if let Some(line) = lines.get(endpoint) {
            return Arc::clone(line);
        }
        let line = Arc::new(Line::new(endpoint.as_str(), Arc::clone(&self.bell)));
        lines.insert(endpoint.clone(), Arc::clone(&line));
        line
    }

    /// All lines in which somebody stands.
    pub(super) fn lines(&self) -> Vec<(EndpointName, Arc<Line>)> {
        let lines = self.lock();
        let waiting = lines.iter().filter(|(_, line)| !line.is_empty());
        waiting.map(|(endpoint, line)| (endpoint.clone(), Arc::clone(line))).collect()
    }

    /// Forgets the lines of all but `endpoints`, once nobody stands in them.
    pub(crate) fn retain(&self, endpoints: &HashSet<&EndpointName>) {
        self.lock().retain(|endpoint, line| endpoints.contains(endpoint) || Arc::strong_count(line) > 1);
    }

    /// A seat for one more request of `line`, whose tally counts it from now on. One that has waited before always gets
    /// one.
    pub(super) fn enter(
        &self,
        line: &Arc<Line>,
        tally: &Arc<Tally>,
        priority: Priority,
        has_waited: bool,
    ) -> Result<Seat, Full> {
        if has_waited {
            self.bell.come_back();
        } else if !self.bell.enter(self.limit) {
            self.refused(line);
            return Err(Full::Node(self.limit));
        }
        tally.hold();
        self.metrics.held(line.endpoint(), priority, line.sit(priority));
        Ok(Seat {
            tally: Arc::clone(tally),
            line: Arc::clone(line),
            bell: Arc::clone(&self.bell),
            metrics: self.metrics.clone(),
            priority,
            since: Instant::now(),
            end: HeldEnd::Cancelled,
        })
    }

    fn refused(&self, line: &Line) {
        self.metrics.held_ended(line.endpoint(), HeldEnd::Refused, Duration::ZERO);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointName, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The request waits no longer, for this reason. Without a word, its client has gone.
    pub(super) fn leave(mut self, end: HeldEnd) {
        self.end = end;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.bell.leave();
        self.tally.release();
        self.metrics.held(self.line.endpoint(), self.priority, self.line.rise(self.priority));
        self.metrics.held_ended(self.line.endpoint(), self.end, self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Tallies;

    /// Rule 9: everything is bounded.
    #[tokio::test]
    async fn a_node_has_so_many_seats_and_always_one_for_who_comes_back() {
        let (room, tallies) = (WaitingRoom::new(2, Arc::default(), Metrics::new()), Tallies::default());
        let enter = |name: &str, has_waited| {
            let endpoint = name.parse().unwrap();
            let tally = tallies.of(&endpoint, Instant::now());
            room.enter(&room.line(&endpoint), &tally, Priority::Normal, has_waited)
        };
        let held = |name: &str| tallies.of(&name.parse().unwrap(), Instant::now()).held();
        let seats = [enter("a", false).unwrap(), enter("b", false).unwrap()];
        assert_eq!(enter("c", false).unwrap_err(), Full::Node(2));
        let back = enter("a", true).unwrap();
        assert_eq!((held("a"), held("b"), held("c")), (2, 1, 0));
        drop(back);
        seats.into_iter().for_each(|seat| seat.leave(HeldEnd::Ready));
        assert_eq!((held("a"), held("b")), (0, 0));
        assert!(!room.bell.anybody_waits());
        enter("c", false).unwrap();
    }
}
