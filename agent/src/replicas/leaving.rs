//! What makes this node or one of its replicas leave: operators, hosts, GPUs.

use std::{io, time::Duration};

use shoal_engine_supervisor::process_group;
use shoal_mesh::clock;
use shoal_placement::Action;
use shoal_types::Departure;
use tracing::{info, warn};

use super::{Replicas, departing::taken_away, faults};
use crate::{config::FaultVerdict, inventory::GpuEvent, notices::Notice};

impl Replicas {
    /// Starts or ends the drain that an operator wants, and remembers it.
    pub(super) async fn set_draining(&mut self, draining: bool) -> io::Result<()> {
        if self.departing.is_ending() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        self.mark.set(draining)?;
        self.departing.drain(draining);
        self.say_departure().await;
        Ok(())
    }

    /// A GPU reported what its engine does not survive, although the GPU itself does.
    pub(super) fn restart_engine(&self, event: &GpuEvent) {
        if event.verdict != FaultVerdict::RestartEngine {
            return;
        }
        for (claim, gpus) in self.book.holdings() {
            if gpus.contains(&event.gpu) {
                warn!(%claim, gpu = %event.gpu, reason = event.reason, "An engine is started again because of its GPU");
                self.parts.supervisor.gpu_fault(claim, &event.reason);
            }
        }
    }

    /// The host will be taken away, or not any more.
    pub(super) async fn heed(&mut self, notice: Option<Notice>) {
        let now = clock::now();
        self.departing.reclaim(notice.map(|notice| taken_away(&notice, now)));
        self.say_departure().await;
    }

    /// Says which replicas placement wants elsewhere, and takes it back of those that it no longer does.
    pub(super) async fn set_moving(&mut self, actions: &[Action]) {
        let moves = actions.iter().filter_map(|action| match action {
            Action::Move { claim, reason } => Some((*claim, reason.to_string())),
            Action::Claim { .. }
            | Action::Start(_)
            | Action::Wake(_)
            | Action::Withdraw { .. }
            | Action::Drain { .. } => None,
        });
        let moving = moves.collect();
        if self.moving != moving {
            self.moving = moving;
            self.say_leaving().await;
        }
    }

    /// Publishes which replicas must go although the node stays: a fault of a GPU is a graver reason than a move.
    async fn say_leaving(&mut self) {
        let mut leaving = self.moving.clone();
        leaving.extend(faults::leaving(&self.gpus, self.book.holdings()));
        for claim in self.book.set_leaving(&leaving) {
            self.publish(claim).await;
        }
    }

    /// Publishes why this node leaves, or that it stays, if that is news.
    pub(super) async fn say_departure(&mut self) {
        let Some(departure) = self.departing.news(clock::now()) else { return };
        match &departure {
            Some(Departure { reason, detail, deadline, .. }) => {
                let detail = detail.as_deref().unwrap_or_default();
                warn!(detail, deadline = deadline.map(|at| at.to_string()), "This node leaves: {reason}");
            }
            None => info!("This node stays"),
        }
        self.parts.mesh.publish_departure(departure.as_ref()).await;
        if let Some(departure) = &departure {
            self.past.note(departure, clock::now());
            self.parts.mesh.publish_departures(&self.past.told(clock::now())).await;
        }
        if departure.is_some_and(|departure| departure.deadline.is_some()) {
            // Those that drain already were given the time of their endpoint.
            for claim in self.book.draining() {
                self.finish_streams(claim, Duration::MAX);
            }
        }
    }

    /// Publishes the GPUs as they are now, and what their faults mean for replicas and for the node.
    pub(super) async fn refresh_gpus(&mut self) {
        let engines = self.parts.supervisor.statuses().borrow().clone();
        let groups: Vec<u32> = engines.values().filter_map(|engine| engine.pid).collect();
        let readings = self.parts.readings.borrow().clone();
        let gpus = self
            .ledger
            .describe(&readings, |process| process_group(process).is_some_and(|group| groups.contains(&group)));
        if gpus != self.gpus {
            self.gpus = gpus;
            self.parts.mesh.publish_gpus(&self.gpus).await;
        }
        self.say_leaving().await;
        self.departing.fault(faults::of_node(&self.gpus));
        self.say_departure().await;
    }
}
