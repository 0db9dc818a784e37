//! One daemon of `shoal dev` as a child process.

use std::{fs, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{POLL, layout::NodeLayout};
use crate::{
    admin::{Code, MeshStatus, Problem},
    cli::Client,
    daemon::{DIE_WITH_PARENT, own_binary},
};

/// How long a node may take to stop before it is killed.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// Bytes of a node's log that are shown.
const LOG_SHOWN: usize = 2_000;

/// A running node.
#[derive(Debug)]
pub(super) struct NodeProcess {
    pub(super) layout: NodeLayout,
    child: Child,
    pid: Option<Pid>,
    death_told: bool,
}

impl NodeProcess {
    pub(super) fn spawn(layout: NodeLayout, joins: bool, detach: bool) -> Result<Self, Problem> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Problem::new(Code::Failed, format!("cannot {what} of {}: {error}", layout.name()))
        };
        let log = fs::File::create(layout.log()).map_err(|error| failed("make the log", &error))?;
        let log_too = log.try_clone().map_err(|error| failed("make the log", &error))?;
        let mut command = Command::new(own_binary()?);
        // Variables meant for another daemon must not reach this one.
        let foreign =
            std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("SHOAL_"));
        foreign.for_each(|name| {
            command.env_remove(name);
        });
        command.arg("agent").arg("--config").arg(layout.config());
        if joins {
            command.arg("--join-token-file").arg(layout.token());
        }
        if !detach {
            command.env(DIE_WITH_PARENT, std::process::id().to_string());
        }
        // A group of its own, so that Ctrl-C reaches only `shoal dev`, which stops the nodes in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(log_too);
        let child = command.spawn().map_err(|error| failed("start the process", &error))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(Self { layout, child, pid, death_told: false })
    }

    pub(super) fn client(&self) -> Client {
        Client::unix(self.layout.socket())
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.pid.map(|pid| pid.as_raw_nonzero().get())
    }

    /// Waits until its status is as wanted; the problem says that it `lacks` that.
    pub(super) async fn wait_until(
        &mut self,
        wanted: impl Fn(&MeshStatus) -> bool,
        lacks: &str,
        limit: Duration,
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + limit;
        loop {
            self.check_alive()?;
            // Nobody answers at first, and a busy machine may be late to answer at any time.
            if self.client().get::<MeshStatus>("/v1/status").await.is_ok_and(|status| wanted(&status)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let message = format!("{} {lacks} after {limit:?}; its log ends:\n{}", self.layout.name(), self.log());
                return Err(Problem::new(Code::Timeout, message));
            }
            sleep(POLL).await;
        }
    }

    /// A problem with the end of its log, if it has died.
    pub(super) fn check_alive(&mut self) -> Result<(), Problem> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        let log = self.log();
        let problem = Problem::new(Code::Failed, format!("{} ended ({status}):\n{log}", self.layout.name()));
        Err(if log.contains("ingress address") { problem.hint("choose other ports with --http-base") } else { problem })
    }

    /// The end of its log: the file may go with the mesh.
    fn log(&self) -> String {
        let log = fs::read(self.layout.log()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).trim_end().to_owned()
    }

    /// How it ended, told once.
    pub(super) fn has_died(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let first = !std::mem::replace(&mut self.death_told, true);
        first.then(|| status.to_string())
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.death_told
    }

    /// As Ctrl-C: the node leaves, and its engines with it.
    pub(super) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub(super) async fn wait_until_gone(&mut self) {
        if timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // A killed process can always be reaped.
            let _ = self.child.wait().await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // It may have gone by itself.
            let _ = kill_process_group(pid, signal);
        }
    }
}
