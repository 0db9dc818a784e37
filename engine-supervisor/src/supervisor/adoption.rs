//! What the daemon before left behind: engines that still run are taken over, everything else is cleared away.

use std::{io, path::Path, sync::Arc};

use futures_util::future::join_all;
use shoal_types::{ClaimId, EngineSpec};
use tokio::time::{Instant, timeout};

use super::{Supervisor, books::lock};
use crate::{
    LaunchPlan, LogLine, LogSource, SupervisorError,
    lifecycle::{Adopted, Lifecycle},
    log::{LINES_MAX, ReplicaLog},
    log_file,
    process::Process,
    record::{GONE_WITHIN, clear_leftovers},
    replica::Replica,
    replica_record::{GatewayRecord, ReplicaRecord, Stage},
};

/// Why an engine is not taken over.
#[derive(Debug, thiserror::Error)]
enum NotAdopted {
    #[error("there is no whole record of it: {0}")]
    Record(#[from] io::Error),
    #[error("it was to end")]
    Ending,
    #[error("its record says that it is a gateway, and it is none")]
    NotAGateway,
    #[error("this node runs it no longer: {0}")]
    Refused(#[from] SupervisorError),
    #[error("its shim is gone")]
    NoShim,
    #[error("its shim cannot be used: {0}")]
    Shim(io::Error),
}

impl Supervisor {
    /// Takes over what can be, and clears the rest.
    pub(super) async fn take_over(&mut self) -> Result<(), SupervisorError> {
        let directories = self.directories.of_replicas()?;
        let found = join_all(directories.iter().map(|directory| self.adopt(directory))).await;
        let mut left = Vec::new();
        for (directory, adopted) in directories.into_iter().zip(found) {
            match adopted {
                Ok(plan) => self.adopted.push(plan),
                Err(why) => {
                    tracing::info!(directory = %directory.display(), "clearing what is left of a replica: {why}");
                    left.push(directory);
                }
            }
        }
        let claims: Vec<ClaimId> = self.adopted.iter().map(|plan| plan.claim).collect();
        clear_leftovers(&left).await.map_err(|error| self.directories.not_cleared(error))?;
        self.directories.remove_sockets_but_of(&claims)
    }

    async fn adopt(&self, directory: &Path) -> Result<LaunchPlan, NotAdopted> {
        if let Some(GatewayRecord { plan }) = GatewayRecord::read(directory)? {
            return self.adopt_gateway(plan);
        }
        let record = ReplicaRecord::read(directory)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let (log, socket) = (ReplicaLog::new(), self.directories.shim_socket(record.plan.claim));
        let process = Process::adopt(directory, &socket, &log).await.map_err(NotAdopted::Shim)?;
        let process = process.ok_or(NotAdopted::NoShim)?;
        match self.adopted_replica(record, log) {
            Ok(replica) => {
                let plan = replica.plan.clone();
                replica.say(&format!("taken over as process {} at {}", process.pid(), replica.probe.address));
                self.begin(&mut lock(&self.replicas), replica, Some(process));
                Ok(plan)
            }
            Err(why) => {
                // By its shim, while there is one: nobody else finds all that it forked.
                let _ = timeout(GONE_WITHIN, process.end()).await;
                Err(why)
            }
        }
    }

    fn adopt_gateway(&self, plan: LaunchPlan) -> Result<LaunchPlan, NotAdopted> {
        let EngineSpec::Gateway(engine) = &plan.spec.engine else { return Err(NotAdopted::NotAGateway) };
        self.launch_gateway(&mut lock(&self.replicas), &plan, engine)?;
        Ok(plan)
    }

    fn adopted_replica(&self, record: ReplicaRecord, log: Arc<ReplicaLog>) -> Result<Replica, NotAdopted> {
        let ReplicaRecord { plan, address, stage } = record;
        let come = match stage {
            Stage::Starting => Adopted::Starting,
            Stage::Served => Adopted::Served,
            Stage::Asleep => Adopted::Asleep,
            Stage::Ending => return Err(NotAdopted::Ending),
        };
        let mut replica = self.replica(plan)?;
        self.models.hold(&replica.plan);
        let (profile, timings) = (self.profile(&replica.plan, &*replica.adapter), self.config.timings.clone());
        replica.lifecycle = Lifecycle::adopted(Instant::now(), profile, timings, come);
        replica.probe.address = address;
        replica.stage = stage;
        // What cannot be read is missed by those who ask for it, and by nobody else.
        let previous = log_file::read_previous(&replica.shim.directory, LINES_MAX);
        log.set_previous(previous.map(log_lines).unwrap_or_default());
        replica.log = log;
        Ok(replica)
    }
}

/// The lines of a log file, which does not say by which pipe they came.
fn log_lines(lines: Vec<String>) -> Vec<LogLine> {
    let lines = lines.into_iter().zip(0..);
    lines.map(|(line, number)| LogLine { number, source: LogSource::Stdout, text: line.into() }).collect()
}
