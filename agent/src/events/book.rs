//! The events of this node.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shoal_mesh::clock;
use shoal_types::UnixMillis;
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    event::{Draft, Event, Level},
    file::EventFile,
};

/// How long events are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most events of one node, of some 300 bytes each; beyond it the oldest go before their day is over.
pub(crate) const EVENTS_MAX: usize = 8192;
/// Least time between two events that somebody can cause at will.
const REPEATS: Duration = Duration::from_secs(60);
/// Events that wait to be written to disk; what finds no room is in memory only.
const QUEUE: usize = 1024;

/// The book; clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Events(Arc<Book>);

#[derive(Debug)]
struct Book {
    /// Name of the node.
    node: String,
    pages: Mutex<Pages>,
    to_disk: mpsc::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Pages {
    /// The number of the next event.
    next: u64,
    /// The newest last.
    events: VecDeque<Arc<Event>>,
}

impl Pages {
    fn enter(&mut self, draft: Draft, node: &str, now: UnixMillis) -> Arc<Event> {
        let event = Arc::new(draft.told(self.next, now, node));
        self.next += 1;
        self.events.push_back(Arc::clone(&event));
        while self.events.len() > EVENTS_MAX || self.events.front().is_some_and(|event| is_over(event, now)) {
            self.events.pop_front();
        }
        event
    }
}

fn is_over(event: &Event, now: UnixMillis) -> bool {
    now.since(event.at) > KEPT
}

/// What brings events to disk.
#[derive(Debug)]
pub(crate) struct EventKeeper {
    queue: mpsc::Receiver<Arc<Event>>,
    file: EventFile,
}

impl Events {
    /// The book of the node that people call `node`, with what is in `state_dir` of the last day; none, and a line in the log,
    /// if that cannot be read. Blocks.
    pub(crate) fn open(state_dir: &Path, node: &str) -> (Self, EventKeeper) {
        let now = clock::now();
        let (file, mut events) = EventFile::open(state_dir);
        // Numbers rise even where the file is lost.
        let next = events.last().map_or(0, |last| last.number + 1).max(now.as_millis());
        events.retain(|event| !is_over(event, now));
        let excess = events.len().saturating_sub(EVENTS_MAX);
        let pages = Pages { next, events: events.into_iter().skip(excess).map(Arc::new).collect() };
        let (to_disk, queue) = mpsc::channel(QUEUE);
        let book = Book { node: node.to_owned(), pages: Mutex::new(pages), to_disk };
        (Self(Arc::new(book)), EventKeeper { queue, file })
    }

    /// Enters what happened now, and writes it to the log.
    pub(crate) fn tell(&self, draft: Draft) {
        let event = self.lock().enter(draft, &self.0.node, clock::now());
        let Event { level, reason, about, actor, message, .. } = &*event;
        match level {
            Level::Normal => info!(reason, %about, actor, "{message}"),
            Level::Warning => warn!(reason, %about, actor, "{message}"),
        }
        // A disk that is slow or full must not hold up whoever tells; the keeper says so.
        let _ = self.0.to_disk.try_send(event);
    }

    /// As [`Self::tell`], unless the same actor was told of for the same reason within the last minute: what somebody can do at
    /// will must not push out what others did.
    pub(crate) fn tell_now_and_then(&self, draft: Draft) {
        let now = clock::now();
        let pages = self.lock();
        let recent = pages.events.iter().rev().take_while(|event| now.since(event.at) < REPEATS);
        let told = recent.into_iter().any(|event| draft.is_like(event));
        drop(pages);
        if !told {
            self.tell(draft);
        }
    }

    /// Those of `since` and later that `wanted` wants, the newest last; at most `limit`, the newest.
    pub(crate) fn since(&self, since: UnixMillis, limit: usize, wanted: impl Fn(&Event) -> bool) -> Vec<Arc<Event>> {
        let pages = self.lock();
        let newest = pages.events.iter().rev().filter(|event| event.at >= since && wanted(event)).take(limit);
        let mut found: Vec<_> = newest.map(Arc::clone).collect();
        found.reverse();
        found
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventKeeper {
    /// Writes what is told, until `stop`; then what is left.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut some = Vec::new();
        loop {
            let stopping = stop.run_until_cancelled(self.queue.recv_many(&mut some, QUEUE)).await.is_none();
            while let Ok(event) = self.queue.try_recv() {
                some.push(event);
            }
            let events = std::mem::take(&mut some);
            match self.write(events).await {
                Ok(keeper) => self = keeper,
                Err(error) => return error!(%error, "Events are no longer written to disk"),
            }
            if stopping {
                return;
            }
        }
    }

    async fn write(mut self, events: Vec<Arc<Event>>) -> Result<Self, JoinError> {
        spawn_blocking(move || {
            self.file.append(&events);
            self
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::ReplicaState;

    use super::{
        super::event::{Reason, Subject},
        *,
    };

    fn draft(text: &str) -> Draft {
        Draft::new(Reason::of_state(ReplicaState::Ready), Subject::replica("a-1"), text)
    }

    fn messages(events: &Events, limit: usize) -> Vec<String> {
        events.since(UnixMillis::default(), limit, |_| true).iter().map(|event| event.message.clone()).collect()
    }

    #[tokio::test]
    async fn what_was_told_is_there_after_a_restart_and_numbers_rise() {
        let dir = tempfile::tempdir().unwrap();
        let (events, keeper) = Events::open(dir.path(), "gpu-a");
        events.tell(draft("one"));
        events.tell(draft("two"));
        let stop = CancellationToken::new();
        stop.cancel();
        keeper.keep(stop).await;
        let (again, _keeper) = Events::open(dir.path(), "gpu-a");
        again.tell(draft("three"));
        assert_eq!(messages(&again, 9), ["one", "two", "three"]);
        assert_eq!(messages(&again, 2), ["two", "three"]);
        let numbers: Vec<u64> = again.since(UnixMillis::default(), 9, |_| true).iter().map(|e| e.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn whoever_is_refused_again_and_again_is_told_of_once_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let (events, _keeper) = Events::open(dir.path(), "gpu-a");
        for (actor, text) in [("token eve", "one"), ("token eve", "two"), ("token bob", "three")] {
            events.tell_now_and_then(Draft::new(Reason::WriteRefused, Subject::mesh(), text).by(actor));
        }
        assert_eq!(messages(&events, 9), ["one", "three"]);
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn a_day_and_a_number_of_events_are_kept() {
        let mut pages = Pages::default();
        let at = |hours: u64| UnixMillis::from_millis(hours * 3_600_000);
        for hour in 0..30 {
            pages.enter(draft("x"), "gpu-a", at(hour));
        }
        assert_eq!(pages.events.front().unwrap().at, at(5));
        for _ in 0..EVENTS_MAX + 10 {
            pages.enter(draft("x"), "gpu-a", at(29));
        }
        assert_eq!(pages.events.len(), EVENTS_MAX);
    }
}
