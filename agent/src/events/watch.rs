//! Telling what views show.

use std::{sync::Arc, time::Duration};

use shoal_types::View;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    book::Events,
    changes::{Peers, changes},
};

/// After a start, peers that are found are no news.
const FINDING: Duration = Duration::from_secs(10);

/// Compares each view with the one before, until `stop`.
pub(crate) async fn watch(mut view: watch::Receiver<Arc<View>>, events: Events, stop: CancellationToken) {
    let started = Instant::now();
    let mut known = view.borrow_and_update().clone();
    while let Some(Ok(())) = stop.run_until_cancelled(view.changed()).await {
        let current = view.borrow_and_update().clone();
        let peers = if started.elapsed() < FINDING { Peers::BeingFound } else { Peers::Known };
        for draft in changes(&known, &current, peers) {
            events.tell(draft);
        }
        known = current;
    }
}
