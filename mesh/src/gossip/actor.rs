//! The one task that owns everything gossip knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::seq::IteratorRandom as _;
use shoal_types::{NodeId, View};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use super::{
    GossipConfig, GossipError, GossipParts, Key, Link,
    goodbye::Goodbye,
    handle::{Change, Command},
    incarnations::Incarnations,
    peers::PeerBook,
    presence::{Now, Patience, SILENT_AFTER},
    protocol::Voice,
    roster::{Circumstances, Roster},
    said::Said,
    wire::Wire,
};
use crate::{clock, store::Snapshot};

/// Changes of others are gathered this long before a new view is made.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Rounds that the detector needs to hear everybody again after we were deaf.
const RELEARN_ROUNDS: u32 = 6;
/// Own delay, in rounds, beyond which we were deaf.
const LATE_ROUNDS: u32 = 2;
/// Rounds between two knocks at a known peer that is not there, and how many are tried at once by a node that is alone.
const KNOCK_ROUNDS: u32 = 10;
const KNOCKS_ALONE: usize = 3;
const SAVE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Actor {
    voice: Voice,
    link: Arc<dyn Link>,
    wire: Arc<Wire>,
    connected: watch::Receiver<BTreeSet<NodeId>>,
    /// The connected peers from which nothing came as of this round.
    silent: BTreeSet<NodeId>,
    specs: watch::Receiver<Arc<Snapshot>>,
    inbox: mpsc::Receiver<Command>,
    tasks: TaskTracker,
    view: watch::Sender<Arc<View>>,
    roster: Roster,
    peers: PeerBook,
    /// The own keys as they are gossiped: what a restarted chitchat begins with.
    own: BTreeMap<Key, String>,
    chitchat: Incarnations,
    round_due: Instant,
    deaf_until: Instant,
    refresh_at: Option<Instant>,
    tick: Interval,
    rounds: u32,
    saved: Instant,
    goodbye: Option<(Goodbye, oneshot::Sender<()>)>,
}

enum Event {
    Stop,
    Command(Command),
    /// chitchat dealt with a message, or a connection came or went.
    Activity,
    Refresh,
    Specs,
    /// One gossip interval has passed, or more.
    Round,
    Ended,
}

impl Actor {
    pub(super) async fn start(
        config: GossipConfig,
        facts: String,
        parts: GossipParts,
        inbox: mpsc::Receiver<Command>,
        tasks: TaskTracker,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), GossipError> {
        let GossipConfig { me, mesh, generation, interval, state_dir } = config;
        let voice = Voice { me, mesh, interval };
        let specs = parts.specs.borrow().clone();
        let own = BTreeMap::from([(Key::Facts, facts), (Key::Specs, digest_text(&specs))]);
        let said = said(me, &own)?;
        let roster = Roster::new(me, mesh, Patience::new(interval), said, clock::now()).ok_or(GossipError::Facts)?;
        let wire = Arc::new(Wire::new(parts.link.clone(), parts.inbound));
        let directory = state_dir.clone();
        let loading = tasks.spawn_blocking(move || PeerBook::load(&directory));
        let peers = loading.await.map_err(|panic| GossipError::Start(panic.into()))?;
        for (node, addresses) in peers.iter() {
            wire.book.note(node);
            parts.link.learn(node, addresses);
        }
        let chitchat = Incarnations::start(voice, generation, state_dir, &own, wire.clone(), tasks.clone()).await;
        let chitchat = chitchat.map_err(GossipError::Start)?;
        let (view, views) = watch::channel(Arc::new(roster.view(&specs)));
        let now = Instant::now();
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let actor = Self {
            voice,
            link: parts.link,
            wire,
            connected: parts.connected,
            silent: BTreeSet::new(),
            specs: parts.specs,
            inbox,
            tasks,
            view,
            roster,
            peers,
            own,
            chitchat,
            round_due: now,
            deaf_until: now,
            refresh_at: None,
            tick,
            rounds: 0,
            saved: now,
            goodbye: None,
        };
        Ok((actor, views))
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            match self.next(&stop).await {
                Event::Stop => break,
                Event::Command(Command::Publish(changes, done)) => {
                    self.change(changes).await;
                    let _gave_up_waiting = done.send(());
                }
                Event::Command(Command::Leave(done)) => self.leave(done).await,
                Event::Activity => {
                    self.refresh_at.get_or_insert_with(|| Instant::now() + DEBOUNCE);
                }
                Event::Refresh => self.refresh().await,
                Event::Specs => self.take_specs().await,
                Event::Round => self.round().await,
                Event::Ended => self.chitchat.bury(),
            }
            self.finish_goodbye();
        }
        self.save_peers();
        self.chitchat.stop().await;
    }

    async fn next(&mut self, stop: &CancellationToken) -> Event {
        let refresh_at = self.refresh_at;
        let refresh = async move {
            match refresh_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Event::Stop,
            Some(command) = self.inbox.recv() => Event::Command(command),
            () = self.wire.activity.notified() => Event::Activity,
            Ok(()) = self.connected.changed() => Event::Activity,
            Ok(()) = self.specs.changed() => Event::Specs,
            () = refresh => Event::Refresh,
            _ = self.tick.tick() => Event::Round,
            () = self.chitchat.ended() => Event::Ended,
        }
    }

    async fn round(&mut self) {
        let now = Instant::now();
        self.notice_delay(now);
        self.round_due = now + self.voice.interval;
        self.rounds = self.rounds.wrapping_add(1);
        if self.chitchat.restart_if_due(&self.own, now).await {
            self.be_deaf();
        }
        self.knock();
        self.silent = self.link.silent_for(SILENT_AFTER);
        self.refresh().await;
        if now.saturating_duration_since(self.saved) >= SAVE_EVERY {
            self.saved = now;
            self.save_peers();
        }
    }

    fn save_peers(&mut self) {
        if let Some(page) = self.peers.take_dirty(&self.roster.peers()) {
            self.tasks.spawn_blocking(move || page.write_or_warn());
        }
    }

    /// Changes own keys: in the own view at once, and with chitchat. What is said already is not said again.
    async fn change(&mut self, changes: Vec<Change>) {
        let mut changed = false;
        for (key, text) in changes {
            if self.own.get(&key) != text.as_ref() && self.say(key, text.as_deref()) {
                changed = true;
                if let Some(protocol) = self.chitchat.current() {
                    protocol.set(key, text.as_deref()).await;
                }
            }
        }
        if changed {
            self.roster.own.show(clock::now());
            self.show();
        }
    }

    /// Notes what this node says from now on. Returns whether it can be said.
    fn say(&mut self, key: Key, text: Option<&str>) -> bool {
        let Some(text) = text else {
            self.roster.own.clear(key);
            self.own.remove(&key);
            return true;
        };
        if let Err(error) = self.roster.own.set(key, text) {
            error!(%key, %error, "an own value cannot be read back and is not gossiped");
            return false;
        }
        self.own.insert(key, text.to_owned());
        true
    }

    /// Looks at what chitchat knows, and shows a new view if it differs.
    async fn refresh(&mut self) {
        self.refresh_at = None;
        let Some(protocol) = self.chitchat.current() else { return };
        let heard = protocol.heard(&self.roster.read()).await;
        for heard in &heard {
            self.wire.book.note(heard.node);
        }
        let monotonic = Instant::now();
        self.notice_delay(monotonic);
        let now = Now { monotonic, wall: clock::now() };
        let changed = {
            let (connected, specs) = (self.connected.borrow_and_update(), self.specs.borrow());
            let deaf = monotonic < self.deaf_until;
            let around =
                Circumstances { connected: &connected, silent: &self.silent, revoked: &specs.revoked_nodes, deaf };
            self.roster.hear(heard, around, now)
        };
        if changed {
            for (node, addresses) in self.roster.addresses() {
                if self.peers.learn(node, addresses) {
                    self.link.learn(node, addresses);
                }
            }
            self.show();
        }
    }

    /// The store has changed.
    async fn take_specs(&mut self) {
        let specs = self.specs.borrow_and_update().clone();
        if specs.revoked_nodes.contains_key(&self.voice.me) {
            error!("this node was revoked: its peers hang up on it; stop it, or join again as a new node");
        }
        for node in specs.revoked_nodes.keys() {
            self.peers.forget(*node);
            self.link.disconnect(*node);
        }
        self.change(vec![(Key::Specs, Some(digest_text(&specs)))]).await;
        self.refresh().await;
    }

    fn show(&self) {
        let view = self.roster.view(&self.specs.borrow());
        self.view.send_replace(Arc::new(view));
    }

    /// Tries known peers that are not there: often while alone, now and then otherwise, which heals old partitions.
    fn knock(&self) {
        let Some(protocol) = self.chitchat.current() else { return };
        let alive = self.roster.peers();
        let count = match alive.is_empty() {
            true => KNOCKS_ALONE,
            false if self.rounds.is_multiple_of(KNOCK_ROUNDS) => 1,
            false => return,
        };
        let missing = self.peers.iter().map(|(node, _)| node).filter(|node| !alive.contains(node));
        let chosen = missing.filter(|node| *node != self.voice.me).choose_multiple(&mut rand::rng(), count);
        protocol.gossip_with(&chosen.into_iter().collect());
    }

    async fn leave(&mut self, done: oneshot::Sender<()>) {
        self.change(vec![(Key::Left, Some("true".to_owned()))]).await;
        self.wire.start_telling();
        let audience = self.roster.peers();
        if let Some(protocol) = self.chitchat.current() {
            protocol.gossip_with(&audience);
        }
        self.goodbye = Some((Goodbye::new(audience, self.voice.interval, Instant::now()), done));
    }

    fn finish_goodbye(&mut self) {
        let (wire, now) = (&self.wire, Instant::now());
        if let Some((_, done)) =
            self.goodbye.take_if(|(goodbye, _)| goodbye.is_over(|audience| wire.told(audience), now))
        {
            let _gave_up_waiting = done.send(());
        }
    }

    /// Whether this node was listening all the time is judged by its own rounds, and by what drives its connections.
    fn notice_delay(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.round_due).max(self.link.lapse());
        if late > self.voice.interval * LATE_ROUNDS {
            // Once, however often it is noticed until that is over.
            if now >= self.deaf_until {
                warn!(?late, "this node was too busy to listen; it declares nobody lost for a while");
            }
            self.round_due = now;
            self.be_deaf();
        }
    }

    fn be_deaf(&mut self) {
        self.deaf_until = Instant::now() + self.voice.interval * RELEARN_ROUNDS;
    }
}

/// What the own keys say.
fn said(me: NodeId, own: &BTreeMap<Key, String>) -> Result<Said, GossipError> {
    let mut said = Said::default();
    for (key, text) in own {
        said.set(me, *key, text).map_err(|_| GossipError::Facts)?;
    }
    Ok(said)
}

fn digest_text(specs: &Snapshot) -> String {
    format!("\"{}\"", specs.digest)
}
