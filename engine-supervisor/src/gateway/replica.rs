//! The task of one gateway: it checks, and publishes what comes of it.

use std::{sync::Arc, time::Duration};

use shoal_types::{Backend, GatewayTarget, Load};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    GatewayConfig, KeyError, Service,
    check::{Ailment, Well},
    client::Client,
    course::Course,
};
use crate::{EnginePhase, EngineStatus, LaunchPlan, LogSource, log::ReplicaLog, status::StatusBoard};

/// One gateway, before and while it is watched.
#[derive(Debug)]
pub(crate) struct GatewayReplica {
    pub(crate) plan: LaunchPlan,
    pub(crate) log: Arc<ReplicaLog>,
    pub(crate) stop: CancellationToken,
    board: StatusBoard,
    service: Service,
    client: Client,
    course: Course,
    /// With the last key that the service took.
    target: Arc<GatewayTarget>,
    load: Load,
}

impl GatewayReplica {
    /// The replica that stands for `service`. Reads its key.
    ///
    /// # Errors
    /// If there is no key where the service takes one.
    pub(crate) fn new(
        plan: LaunchPlan,
        service: Service,
        config: &GatewayConfig,
        log: Arc<ReplicaLog>,
        board: StatusBoard,
        stop: CancellationToken,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            target: Arc::new(service.target(service.read_key()?)),
            client: Client { tls: Arc::clone(&config.tls), deadline: config.timings.deadline },
            course: Course::new(config.timings.clone()),
            load: Load::default(),
            plan,
            log,
            stop,
            board,
            service,
        })
    }

    /// Until it is told to stop.
    pub(crate) async fn run(mut self) {
        self.say(&format!("standing for {} as {}", self.target, self.target.model));
        let stop = self.stop.clone();
        while let Some(result) =
            stop.run_until_cancelled(self.service.check(&self.client, !self.course.is_ready())).await
        {
            let wait = self.take_in(result).await;
            self.board.set(self.status());
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
        }
    }

    /// Returns how long to wait until the next check.
    async fn take_in(&mut self, result: Result<Well, Ailment>) -> Duration {
        let before = self.course.phase().clone();
        let (result, load) = match result {
            Ok(Well { target, load }) => {
                self.use_target(target).await;
                (Ok(()), load)
            }
            Err(ailment) => (Err(ailment.to_string()), Load::default()),
        };
        self.load = load;
        let wait = self.course.checked(result);
        if before != *self.course.phase() {
            self.say(&self.course.phase().to_string());
        }
        wait
    }

    /// A key that the service has just taken is used from now on.
    async fn use_target(&mut self, target: GatewayTarget) {
        if *self.target != target {
            self.target = Arc::new(target);
            self.say("its key has changed and is accepted");
        }
    }

    fn say(&self, line: &str) {
        tracing::info!(claim = %self.plan.claim, endpoint = %self.plan.endpoint, "gateway: {line}");
        self.log.append(LogSource::Supervisor, line);
    }

    /// Where it stands.
    pub(crate) fn status(&self) -> EngineStatus {
        let phase = self.course.phase().clone();
        EngineStatus {
            claim: self.plan.claim,
            endpoint: self.plan.endpoint.clone(),
            backend: Backend::Gateway(Arc::clone(&self.target)),
            gpus: Vec::new(),
            crashes: 0,
            load: if phase == EnginePhase::Ready { self.load } else { Load::default() },
            phase,
            pid: None,
        }
    }
}
