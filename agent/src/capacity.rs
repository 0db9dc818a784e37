//! Tells a program or a URL that the mesh needs more capacity: what is missing, and where it is cheapest.
//!
//! [`capacity_requests`] says what is missing; here is when somebody is told, and how.

mod pace;
mod tell;
#[cfg(test)]
mod testing;

use std::{sync::Arc, time::Duration};

use shoal_mesh::clock;
use shoal_placement::{
    Memory, Scene,
    spot::{Asked, capacity_requests},
};
use shoal_types::{NodeId, View, rendezvous_weight};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{pace::Pace, tell::Teller};
use crate::config::CapacityConfig;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches what is missing, and tells whom it concerns.
#[derive(Debug)]
pub(crate) struct CapacityRequests {
    pub(crate) config: CapacityConfig,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) memory: watch::Receiver<Arc<Memory>>,
}

impl CapacityRequests {
    /// Looks and tells until `stop`. Of the nodes that are configured to tell, only one does at a time.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let teller = match Teller::new(&self.config) {
            Ok(Some(teller)) => teller,
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "Nobody is told when the mesh needs more capacity");
                return;
            }
        };
        let (mut pace, mut asked) = (Pace::new(&self.config), Asked::default());
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let view = self.view.borrow().clone();
            if teller_of(&view) == Some(view.me) {
                stop.run_until_cancelled(self.look(&view, &teller, &mut pace, &mut asked)).await;
            }
        }
    }

    async fn look(&self, view: &View, teller: &Teller, pace: &mut Pace, asked: &mut Asked) {
        let (memory, now) = (self.memory.borrow().clone(), clock::now());
        asked.observe(view, now);
        let missing = capacity_requests(&Scene { view, memory: &memory, now }, asked);
        for request in pace.due(missing, now) {
            match teller.tell(&request).await {
                Ok(()) => {
                    asked.note(&request, now);
                    info!(endpoint = %request.endpoint, replicas = request.replicas, "Asked for more capacity");
                }
                Err(error) => warn!(endpoint = %request.endpoint, %error, "Nobody could be asked for more capacity"),
            }
        }
    }
}

/// The node that tells, of those that are there and can.
fn teller_of(view: &View) -> Option<NodeId> {
    let can = view.nodes.values().filter(|node| node.is_alive() && node.facts.requests_capacity);
    can.map(|node| node.id).max_by_key(|&node| (rendezvous_weight("capacity", node), node))
}
