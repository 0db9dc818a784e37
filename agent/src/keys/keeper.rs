//! The task that keeps the ingress's keys, its knowledge of other ingresses, and the book.

use std::{collections::HashMap, sync::Arc, time::Duration};

use shoal_ingress::Ingress;
use shoal_mesh::{Keys, Mesh, clock};
use shoal_types::{KeyId, KeyUse, UnixMillis};
use tokio::{
    select,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    book::{UsageBook, day_of},
    elsewhere::{elsewhere, rounded},
};

/// Between two looks at what was used. With what gossip takes, this is how far the limits of a key lag behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two writes of the book: a daemon that is killed forgets as much.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct KeyKeeper {
    mesh: Arc<Mesh>,
    ingress: Arc<Ingress>,
    book: UsageBook,
    keys: watch::Receiver<Arc<Keys>>,
    /// When the next of the keys expires that the ingress accepts.
    next_expiry: Option<UnixMillis>,
    /// The book has something that is not on disk.
    unwritten: bool,
}

impl KeyKeeper {
    /// Gives the ingress the keys that there are, so that it accepts them from its first request on.
    pub(crate) fn new(mesh: Arc<Mesh>, ingress: Arc<Ingress>, book: UsageBook) -> Self {
        let keys = mesh.store().keys();
        let mut keeper = Self { mesh, ingress, book, keys, next_expiry: None, unwritten: false };
        keeper.hand_over();
        keeper
    }

    /// Keeps until `stop`, and writes the book once more then.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut written = Instant::now();
        loop {
            select! {
                // The store lives as long as the mesh.
                Ok(()) = self.keys.changed() => self.hand_over(),
                _ = look.tick() => self.look().await,
                () = stop.cancelled() => break,
            }
            if self.unwritten && written.elapsed() >= WRITE_EVERY {
                written = Instant::now();
                self.write().await;
            }
        }
        self.enter();
        self.write().await;
    }

    /// The ingress accepts what is good now.
    fn hand_over(&mut self) {
        let (keys, now) = (Arc::clone(&self.keys.borrow_and_update()), clock::now());
        let good = keys.iter().filter(|(_, record)| record.is_valid(now));
        self.next_expiry = good.clone().filter_map(|(_, record)| record.expires).min();
        self.ingress.set_keys(good.map(|(id, record)| (*id, Arc::clone(record))));
    }

    async fn look(&mut self) {
        let now = clock::now();
        if self.next_expiry.is_some_and(|expiry| now >= expiry) {
            self.hand_over();
        }
        self.enter();
        let day = day_of(now);
        let mut today = self.book.tokens_of(day);
        let told = told(self.ingress.key_uses(), &today, day);
        self.mesh.publish_key_uses(&told).await;
        let elsewhere = elsewhere(&self.mesh.view().borrow(), day);
        for (key, used) in &elsewhere {
            let sum = today.entry(*key).or_default();
            *sum = sum.saturating_add(used.tokens_of_day);
        }
        self.ingress.set_key_uses(&elsewhere, &today);
    }

    fn enter(&mut self) {
        let usage = self.ingress.take_key_usage();
        if !usage.is_empty() {
            self.unwritten = true;
            self.book.enter(usage, day_of(clock::now()));
        }
    }

    async fn write(&mut self) {
        let book = self.book.clone();
        match spawn_blocking(move || book.write()).await {
            Ok(Ok(())) => self.unwritten = false,
            Ok(Err(error)) => warn!(%error, "What clients used is not on disk; it is tried again"),
            Err(panic) => error!(%panic, "What clients used is not on disk"),
        }
    }
}

/// What this node says of `uses`, of those that say something, with the tokens of `day`.
fn told(uses: HashMap<KeyId, KeyUse>, today: &HashMap<KeyId, u64>, day: u32) -> HashMap<KeyId, KeyUse> {
    let with_day = |(key, used): (KeyId, KeyUse)| {
        let tokens_of_day = rounded(today.get(&key).copied().unwrap_or(0));
        (key, KeyUse { day, tokens_of_day, ..used })
    };
    let is_something = |used: &KeyUse| *used != KeyUse { day, ..KeyUse::default() };
    uses.into_iter().map(with_day).filter(|(_, used)| is_something(used)).collect()
}
