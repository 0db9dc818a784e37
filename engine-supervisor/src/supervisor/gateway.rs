//! Replicas without a process: services that run elsewhere.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use shoal_types::{EndpointSpec, GatewayEngine};
use tokio_util::sync::CancellationToken;

use super::{
    Supervisor,
    books::{Reins, Replicas, lock},
    remove_directory,
};
use crate::{
    GatewayConfig, LaunchPlan, RefusalReason, SupervisorError,
    gateway::{GatewayReplica, Service},
    log::ReplicaLog,
    replica_record::GatewayRecord,
    status::StatusBoard,
};

impl Supervisor {
    /// Puts a gateway on the books, and on disk for the next daemon, and watches it.
    pub(super) fn launch_gateway(
        &self,
        replicas: &mut Replicas,
        plan: &LaunchPlan,
        engine: &GatewayEngine,
    ) -> Result<(), SupervisorError> {
        let gateway = self.gateway(plan, engine)?;
        let directory = self.directories.of_replica(plan.claim)?;
        let record = GatewayRecord { plan: plan.clone() };
        record.write(&directory).map_err(|source| {
            let path = directory.clone();
            SupervisorError::Directory { doing: "record a gateway in", path, source }
        })?;
        self.board.set(gateway.status());
        replicas.running.insert(plan.claim, Reins::new(gateway.stop.clone(), gateway.log.clone()));
        let (board, replicas, abandon) = (self.board.clone(), self.replicas.clone(), self.abandon.clone());
        self.tasks.spawn(async move { supervise(gateway, &directory, &board, &replicas, &abandon).await });
        Ok(())
    }

    pub(super) fn service(
        &self,
        spec: &EndpointSpec,
        engine: &GatewayEngine,
    ) -> Result<(&GatewayConfig, Service), RefusalReason> {
        let config = self.config.gateway.as_ref().ok_or(RefusalReason::NotOffered("gateway"))?;
        Ok((config, Service::new(config, spec, engine)?))
    }

    fn gateway(&self, plan: &LaunchPlan, engine: &GatewayEngine) -> Result<GatewayReplica, SupervisorError> {
        let (config, service) = self.service(&plan.spec, engine)?;
        let log = ReplicaLog::new();
        let (board, stop) = (self.board.clone(), self.stop.child_token());
        let gateway = GatewayReplica::new(plan.clone(), service, config, log, board, stop);
        Ok(gateway.map_err(RefusalReason::from)?)
    }
}

/// Watches `gateway` until it is told to stop, and takes it off the books; or until it is the next daemon's.
async fn supervise(
    gateway: GatewayReplica,
    directory: &Path,
    board: &StatusBoard,
    replicas: &Arc<Mutex<Replicas>>,
    abandon: &CancellationToken,
) {
    let (claim, log) = (gateway.plan.claim, gateway.log.clone());
    let ended = Box::pin(abandon.run_until_cancelled(gateway.run())).await;
    log.close();
    if ended.is_none() {
        return;
    }
    remove_directory(directory).await;
    lock(replicas).end(claim);
    board.remove(claim);
}
