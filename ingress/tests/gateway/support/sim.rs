//! The simulated engine: its text is a function of model, prompt and position, and it goes on where a text ends.

use std::{path::PathBuf, time::Duration};

use shoal_engine_supervisor::{SimOptions, sim_engine};
use shoal_types::EngineAddress;
use tempfile::TempDir;
use tokio::{net::UnixStream, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::soon;

/// A simulated engine of `llama` on a Unix socket. Dropped, it is gone without a word.
pub(crate) struct Sim {
    socket: PathBuf,
    _tasks: JoinSet<()>,
    _dir: TempDir,
}

impl Sim {
    /// One that takes `latency` for each token.
    pub(crate) async fn start(latency: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sim.sock");
        let mut options = SimOptions::new(EngineAddress::Unix(socket.clone()));
        options.models = vec!["meta/Llama-3".to_owned(), "llama".to_owned()];
        options.load_time = Duration::ZERO;
        (options.time_to_first_token, options.inter_token_latency) = (latency, latency);
        options.max_num_seqs = 1024;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { sim_engine(options, CancellationToken::new()).await.unwrap() });
        let sim = Self { socket, _tasks: tasks, _dir: dir };
        soon("the simulated engine to listen", async {
            while UnixStream::connect(&sim.socket).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        sim
    }

    pub(crate) fn address(&self) -> EngineAddress {
        EngineAddress::Unix(self.socket.clone())
    }
}
