//! The task that keeps this store equal to the others.

use std::{mem, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use rand::{Rng as _, seq::SliceRandom as _};
use shoal_types::{NodeId, View, wire};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    dialogue,
    frame::SyncError,
    plan::{DEADLINE, Digests, Plan, somebody_agrees},
};
use crate::{
    clock,
    store::{Store, entry::Entry},
    transport::{InboundStream, StreamKind, Transport},
};

/// Streams of peers that are served at once; more are reset, and their openers try again.
const ANSWERS_MAX: usize = 16;
/// Rounds of pushing that run at once, and peers that one round pushes to at once.
const PUSHES_MAX: usize = 8;
const PEERS_PER_PUSH: usize = 16;
/// Writes that wait for a round. What finds no room is fetched by peers when they see the digest.
const UNPUSHED_MAX: usize = 256;
/// A comparison begins a random part of this later, so that a healed mesh does not ask all at once.
const JITTER_MAX: Duration = Duration::from_millis(200);
/// How long a node that stops waits for its last pushes.
const LAST_PUSHES: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// What the task works with.
pub(crate) struct SyncParts {
    pub(crate) store: Store,
    pub(crate) transport: Transport,
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Own writes.
    pub(crate) fresh: mpsc::Receiver<Arc<Entry>>,
    /// Streams of kind `StoreSync` that peers opened.
    pub(crate) inbound: mpsc::Receiver<InboundStream>,
}

/// See the [module](self).
pub(crate) struct Sync {
    parts: SyncParts,
    plan: Plan,
    running: JoinSet<Finished>,
    answering: usize,
    pushing: usize,
    unpushed: Vec<Arc<Entry>>,
    /// A peer was seen to have exactly what this node has.
    agreed: bool,
    /// The peers' clocks were seen to disagree with the own.
    skewed: bool,
}

enum Finished {
    Compared { peer: NodeId, in_vain: Option<Digests> },
    Pushed,
    TimeHeard,
    Answered,
    Settled,
    Swept,
}

enum Event {
    Stop,
    Look,
    Sweep,
    Written(Arc<Entry>),
    Asked(InboundStream),
    Finished(Finished),
    Died(JoinError),
}

impl Sync {
    pub(crate) fn new(parts: SyncParts) -> Self {
        let (plan, running) = (Plan::default(), JoinSet::new());
        Self { parts, plan, running, answering: 0, pushing: 0, unpushed: Vec::new(), agreed: false, skewed: false }
    }

    /// Runs until `stop`. Own writes are still pushed then, for a moment: this node may never come back. All else is
    /// broken off, which harms nothing.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut look, mut sweep) = (interval(LOOK_EVERY), interval(SWEEP_EVERY));
        loop {
            match self.next(&stop, &mut look, &mut sweep).await {
                Event::Stop => break,
                Event::Look => self.look(),
                Event::Sweep => self.sweep(),
                Event::Written(entry) => {
                    if self.unpushed.len() < UNPUSHED_MAX {
                        self.unpushed.push(entry);
                    }
                    self.push();
                }
                Event::Asked(stream) => self.answer(stream),
                Event::Finished(finished) => self.finished(finished),
                Event::Died(error) => self.died(&error),
            }
        }
        if timeout(LAST_PUSHES, self.push_the_rest()).await.is_err() {
            warn!("this node stops before its last writes have reached all peers");
        }
        self.running.shutdown().await;
    }

    async fn push_the_rest(&mut self) {
        while let Ok(entry) = self.parts.fresh.try_recv() {
            self.unpushed.push(entry);
        }
        self.push();
        while self.pushing > 0 {
            match self.running.join_next().await {
                Some(Ok(finished)) => self.finished(finished),
                Some(Err(error)) => self.died(&error),
                None => return,
            }
        }
    }

    async fn next(&mut self, stop: &CancellationToken, look: &mut Interval, sweep: &mut Interval) -> Event {
        tokio::select! {
            () = stop.cancelled() => Event::Stop,
            Some(entry) = self.parts.fresh.recv() => Event::Written(entry),
            Some(stream) = self.parts.inbound.recv() => Event::Asked(stream),
            Ok(()) = self.parts.view.changed() => Event::Look,
            _ = look.tick() => Event::Look,
            _ = sweep.tick() => Event::Sweep,
            Some(joined) = self.running.join_next() => joined.map_or_else(Event::Died, Event::Finished),
        }
    }

    /// A task that panicked did not say what it was: start counting anew, on the safe side of doing too much.
    fn died(&mut self, error: &JoinError) {
        warn!(%error, "a sync task ended unexpectedly");
        (self.answering, self.pushing) = (0, 0);
    }

    fn look(&mut self) {
        let digest = self.parts.store.snapshot().digest.to_string();
        let view = self.parts.view.borrow_and_update().clone();
        if !self.agreed && somebody_agrees(&view, &digest) {
            self.agreed = true;
            let store = self.parts.store.clone();
            self.running.spawn(async move {
                if let Err(error) = store.settle(clock::now()).await {
                    warn!(%error, "the store does not know that it is up to date");
                }
                Finished::Settled
            });
        }
        self.compare_where_due(&view, &digest);
        self.ask_the_time(&view);
    }

    fn ask_the_time(&mut self, view: &View) {
        let mut peers = live_peers(view);
        peers.shuffle(&mut rand::rng());
        let due = self.parts.store.clocks().due(peers, Instant::now());
        for peer in due {
            let (store, transport) = (self.parts.store.clone(), self.parts.transport.clone());
            self.running.spawn(async move {
                let asked = within_deadline(async {
                    let stream = transport.open(peer, StreamKind::StoreSync).await?;
                    dialogue::ask_the_time(stream).await
                });
                match asked.await {
                    Ok(reading) => store.clocks().note(peer, reading),
                    Err(error) => debug!(%peer, %error, "a peer did not say what time it is"),
                }
                Finished::TimeHeard
            });
        }
    }

    fn judge_clock(&mut self) {
        let skew = self.parts.store.skew(clock::now());
        match skew {
            Some(skew) if !self.skewed => warn!(%skew, "this host's clock is not that of its peers: it writes nothing"),
            None if self.skewed => info!("this host's clock is that of its peers again"),
            Some(_) | None => {}
        }
        self.skewed = skew.is_some();
    }

    fn compare_where_due(&mut self, view: &View, digest: &str) {
        let now = Instant::now();
        let mut due = self.plan.due(view, digest, now);
        due.shuffle(&mut rand::rng());
        due.truncate(self.plan.room(now));
        for (peer, digests) in due {
            self.plan.begin(peer, now);
            let (store, transport) = (self.parts.store.clone(), self.parts.transport.clone());
            let protocol = protocol(view, peer);
            self.running.spawn(async move {
                let result = within_deadline(compare(&store, &transport, (peer, protocol))).await;
                let in_vain = match result {
                    Ok(crossed) => {
                        debug!(%peer, crossed, "compared stores");
                        (crossed == 0).then_some(digests)
                    }
                    Err(error) => {
                        info!(%peer, %error, "comparing stores broke off; it is tried again");
                        None
                    }
                };
                Finished::Compared { peer, in_vain }
            });
        }
    }

    /// Pushes what was written to all live peers.
    fn push(&mut self) {
        if self.unpushed.is_empty() || self.pushing >= PUSHES_MAX {
            return;
        }
        self.pushing += 1;
        let entries: Arc<[Arc<Entry>]> = mem::take(&mut self.unpushed).into();
        let view = self.parts.view.borrow().clone();
        let peers: Vec<_> = live_peers(&view).into_iter().map(|peer| (peer, protocol(&view, peer))).collect();
        let transport = self.parts.transport.clone();
        self.running.spawn(async move {
            let push = |peer: (NodeId, u8)| push(transport.clone(), peer, entries.clone());
            stream::iter(peers).for_each_concurrent(PEERS_PER_PUSH, push).await;
            Finished::Pushed
        });
    }

    fn answer(&mut self, InboundStream { from, stream, .. }: InboundStream) {
        if self.answering >= ANSWERS_MAX {
            debug!(%from, "too many peers compare stores at once; one was sent away");
            return;
        }
        self.answering += 1;
        let store = self.parts.store.clone();
        self.running.spawn(async move {
            if let Err(error) = within_deadline(dialogue::answer(&store, from, stream)).await {
                info!(%from, %error, "a peer's comparison of stores broke off");
            }
            Finished::Answered
        });
    }

    fn sweep(&mut self) {
        let store = self.parts.store.clone();
        self.running.spawn(async move {
            if let Err(error) = store.sweep(clock::now()).await {
                warn!(%error, "the store could not be swept; it is tried again in an hour");
            }
            Finished::Swept
        });
    }

    fn finished(&mut self, finished: Finished) {
        match finished {
            Finished::Compared { peer, in_vain } => self.plan.end(peer, in_vain, Instant::now()),
            Finished::TimeHeard => self.judge_clock(),
            Finished::Answered => self.answering = self.answering.saturating_sub(1),
            Finished::Pushed => {
                self.pushing = self.pushing.saturating_sub(1);
                self.push();
            }
            Finished::Settled | Finished::Swept => {}
        }
    }
}

fn live_peers(view: &View) -> Vec<NodeId> {
    view.nodes.values().filter(|node| node.id != view.me && node.is_alive()).map(|node| node.id).collect()
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The newest frame version that `peer` and this node both speak, as both say; the oldest, where one has said nothing.
fn protocol(view: &View, peer: NodeId) -> u8 {
    let spoken = |node: NodeId| view.nodes.get(&node).map_or(wire::PROTOCOL_MIN, |node| node.facts.protocol);
    spoken(peer).min(spoken(view.me)).min(wire::PROTOCOL)
}

async fn compare(store: &Store, transport: &Transport, (peer, protocol): (NodeId, u8)) -> Result<usize, SyncError> {
    let jitter = rand::rng().random_range(Duration::ZERO..JITTER_MAX);
    tokio::time::sleep(jitter).await;
    let stream = transport.open(peer, StreamKind::StoreSync).await?;
    dialogue::compare(store, (peer, protocol), stream).await
}

/// A peer that cannot be reached now sees another digest and fetches what it lacks.
async fn push(transport: Transport, (peer, protocol): (NodeId, u8), entries: Arc<[Arc<Entry>]>) {
    let pushed = within_deadline(async {
        let stream = transport.open(peer, StreamKind::StoreSync).await?;
        dialogue::push(&entries, protocol, stream).await
    });
    if let Err(error) = pushed.await {
        info!(%peer, %error, "an entry could not be pushed; the peer will fetch it");
    }
}

async fn within_deadline<T>(dialogue: impl Future<Output = Result<T, SyncError>>) -> Result<T, SyncError> {
    timeout(DEADLINE, dialogue).await.unwrap_or(Err(SyncError::TooSlow(DEADLINE)))
}
