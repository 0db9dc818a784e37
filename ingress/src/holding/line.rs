//! The queue of one endpoint: who stands in it, and how they are called.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use shoal_types::{KeyId, Priority};
use tokio::{sync::oneshot, time::Instant};

use super::{
    drain::Drain,
    fair::{Asker, FairQueue, NoPlace, Ticket},
    hold::Prospect,
};
use crate::{
    bell::Bell,
    headroom::Rooms,
    routes::{Route, Wanted},
};

/// Whoever shows no key is one caller.
pub(super) type CallerId = Option<KeyId>;

/// Requests for one endpoint that wait here.
#[derive(Debug)]
pub(crate) struct Line {
    endpoint: Arc<str>,
    bell: Arc<Bell>,
    state: Mutex<State>,
    /// By priority, those that are counted as waiting.
    seated: [AtomicU32; 3],
}

#[derive(Debug, Default)]
struct State {
    queue: FairQueue<CallerId, Waiter>,
    /// Those that were told to go on and have not come to a replica yet: the room that they will take is still counted.
    called: u32,
    drain: Drain,
    /// Requests wait for which nothing serves.
    is_cold: bool,
}

#[derive(Debug)]
struct Waiter {
    wanted: Wanted,
    /// What it waits for.
    prospect: Prospect,
    call: oneshot::Sender<Call>,
}

/// What one that waits is told.
#[derive(Debug)]
pub(super) enum Call {
    /// There is room for it.
    Go(Called),
    /// What it waits for has changed.
    Look,
    /// Another one has its place.
    Displaced,
}

/// Leave to go to a replica; given up if it is dropped unused.
#[derive(Debug)]
pub(crate) struct Called {
    line: Arc<Line>,
    is_used: bool,
}

/// A request in the queue. Dropped, it leaves.
#[derive(Debug)]
pub(super) struct Standing {
    line: Arc<Line>,
    pub(super) ticket: Ticket<CallerId>,
    call: oneshot::Receiver<Call>,
}

/// How one enters the queue.
pub(super) enum Entrance {
    /// As one more of at most so many.
    New(Asker<CallerId>, usize),
    /// Where it was before.
    Back(Ticket<CallerId>),
}

impl Line {
    pub(super) fn new(endpoint: &str, bell: Arc<Bell>) -> Self {
        Self { endpoint: endpoint.into(), bell, state: Mutex::default(), seated: Default::default() }
    }

    pub(super) const fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }

    /// Whether a newcomer would overtake somebody.
    pub(super) fn is_passed_by_newcomers(&self) -> bool {
        let state = self.lock();
        state.called > 0 || !state.queue.is_empty()
    }

    /// Whether nobody is in it or on the way from it.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_passed_by_newcomers()
    }

    /// A request that waits for `wanted` enters, and may be called before `until`. Returns whether it is the first one
    /// for which nothing serves.
    pub(super) fn enter(
        self: &Arc<Self>,
        entrance: Entrance,
        wanted: Wanted,
        prospect: Prospect,
        until: Instant,
    ) -> Result<(Standing, bool), NoPlace> {
        let (call, called) = oneshot::channel();
        let waiter = Waiter { wanted, prospect, call };
        let (ticket, displaced, is_first) = {
            let mut state = self.lock();
            let (ticket, displaced) = match entrance {
                Entrance::New(asker, size) => state.queue.push(asker, size, until, waiter)?,
                Entrance::Back(ticket) => (state.queue.come_back(ticket, until, waiter), None),
            };
            let is_first = prospect == Prospect::Cold && !state.is_cold;
            state.is_cold |= is_first;
            (ticket, displaced, is_first)
        };
        if let Some(displaced) = displaced {
            let _ = displaced.call.send(Call::Displaced); // or it has just gone
        }
        Ok((Standing { line: Arc::clone(self), ticket, call: called }, is_first))
    }

    /// Calls as many as `rooms` of `route` have room for, in their order.
    pub(super) fn call(self: &Arc<Self>, route: &Route, mut rooms: Rooms, now: Instant) {
        let mut calls = Vec::new();
        {
            let state = &mut *self.lock();
            for _ in 0..state.called {
                rooms.take(route.replicas.iter());
            }
            while rooms.is_any() {
                let replicas = |waiter: &Waiter| rooms.has(route.replicas_for(&waiter.wanted).map(|(_, _, it)| it));
                let Some(waiter) = state.queue.pop(now, replicas) else { break };
                rooms.take(route.replicas_for(&waiter.wanted).map(|(_, _, replica)| replica));
                state.called += 1;
                state.drain.note(now);
                calls.push(waiter.call);
            }
            state.is_cold &= !state.queue.is_empty();
        }
        for call in calls {
            // One that has just gone gives its leave back by not taking it.
            let _ = call.send(Call::Go(Called { line: Arc::clone(self), is_used: false }));
        }
    }

    /// Tells those to look again for which `prospect` is no longer what they wait for.
    pub(super) fn tell(&self, prospect: impl Fn(&Wanted) -> Option<Prospect>) {
        let told = {
            let mut state = self.lock();
            let told = state.queue.remove_all(|waiter| prospect(&waiter.wanted) != Some(waiter.prospect));
            state.is_cold &= !state.queue.is_empty();
            told
        };
        for waiter in told {
            let _ = waiter.call.send(Call::Look); // or it has just gone
        }
    }

    /// Seconds until all that wait now have gone on, as it looks at `now`.
    pub(super) fn seconds_to_drain(&self, now: Instant) -> u16 {
        let state = self.lock();
        state.drain.seconds_for(state.queue.len() + 1, now)
    }

    /// Counts one more of `priority`, and returns how many there are.
    pub(super) fn sit(&self, priority: Priority) -> u32 {
        self.seated[priority as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts one less of `priority`, and returns how many there are.
    pub(super) fn rise(&self, priority: Priority) -> u32 {
        self.seated[priority as usize].fetch_sub(1, Ordering::Relaxed) - 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Until it is told something. Cancel safe.
    pub(super) async fn told(&mut self) -> Call {
        // A line never forgets one that stands in it.
        (&mut self.call).await.unwrap_or(Call::Look)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let left = {
            let mut state = self.line.lock();
            let left = state.queue.remove(&self.ticket);
            state.is_cold &= !state.queue.is_empty();
            left
        };
        drop(left);
    }
}

impl Called {
    /// It has come to a replica, or has found that there is no room after all.
    pub(crate) fn use_up(mut self) {
        self.is_used = true;
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.called -= 1;
        drop(state);
        // Another one may go in its place.
        if !self.is_used {
            self.line.bell.freed();
        }
    }
}

#[cfg(test)]
mod tests;
