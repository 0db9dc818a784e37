//! What this node tells others beside its replicas: what its clients ask for, how far others are, which models it has.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use shoal_engine_supervisor::Supervisor;
use shoal_ingress::Ingress;
use shoal_mesh::Mesh;
use tokio::{
    select,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Time between two looks at what clients ask for; what is said is rounded, so that little of it is news.
const DEMAND_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at what hardly changes.
const SLOW_EVERY: Duration = Duration::from_secs(15);

/// What is told of.
#[derive(Debug)]
pub(crate) struct Reports {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) supervisor: Arc<Supervisor>,
}

impl Reports {
    /// Tells until `stop`. That somebody waits for a replica is told at once.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut held = self.ingress.demand_changed();
        let (mut demand, mut slow) = (interval(DEMAND_EVERY), interval(SLOW_EVERY));
        demand.set_missed_tick_behavior(MissedTickBehavior::Delay);
        slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                _ = demand.tick() => self.mesh.publish_demands(&self.ingress.demands()).await,
                // The ingress lives as long as this.
                Ok(()) = held.changed() => self.mesh.publish_demands(&self.ingress.demands()).await,
                _ = slow.tick() => self.tell_slow().await,
                () = stop.cancelled() => return,
            }
        }
    }

    async fn tell_slow(&self) {
        self.mesh.publish_distances(&self.mesh.distances()).await;
        let models = self.supervisor.models().into_iter().filter(|model| model.complete);
        let names = models.flat_map(|model| [format!("{}@{}", model.model, model.revision), model.model]);
        self.mesh.publish_models(&names.collect::<BTreeSet<String>>()).await;
    }
}
