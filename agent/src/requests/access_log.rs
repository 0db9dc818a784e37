//! One line of JSON for each request of a client.

use std::{fs::File as StdFile, io, os::fd::AsFd as _, path::PathBuf, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use shoal_engine_supervisor::LogFile;
use shoal_ingress::RequestRecord;
use shoal_types::NodeId;
use tokio::{
    fs::File,
    io::AsyncWriteExt as _,
    select,
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    line::{Line, Names},
    next,
};
use crate::config::AccessLogConfig;

/// Requests whose lines are written at once: a write is a way to another thread and back.
const BATCH: usize = 256;
/// Bytes that are kept for the next lines: a batch of usual ones.
const LINES_KEPT: usize = BATCH << 10;
/// How long lines gather before they are written. A request that finds somebody waiting for it must wake them up, which costs more
/// than its line.
const GATHER: Duration = Duration::from_millis(50);

/// Writes lines to a file or to standard output.
#[derive(Debug)]
pub(super) struct AccessLog {
    names: Names,
    sink: Sink,
    /// Said once, not per line.
    complained: bool,
    dropped: Counter,
}

#[derive(Debug)]
enum Sink {
    File(LogFile, PathBuf),
    Stdout(File),
}

impl AccessLog {
    /// Where `config` wants it; of the ingress of `node`.
    ///
    /// # Errors
    /// If it is wanted on standard output, and that is closed.
    pub(super) fn new(config: &AccessLogConfig, node: NodeId, dropped: Counter) -> io::Result<Self> {
        let sink = match &config.file {
            Some(path) => Sink::File(LogFile::new(path.clone(), config.max_size.as_bytes()), path.clone()),
            None => Sink::Stdout(File::from_std(StdFile::from(io::stdout().as_fd().try_clone_to_owned()?))),
        };
        Ok(Self { names: Names::of(node), sink, complained: false, dropped })
    }

    /// Writes `records` until `stop`, and then those that are left; into a new file whenever it was `moved` away.
    pub(super) async fn write(
        mut self,
        mut records: mpsc::Receiver<Arc<RequestRecord>>,
        mut moved: watch::Receiver<()>,
        stop: CancellationToken,
    ) {
        let (mut batch, mut lines) = (Vec::with_capacity(BATCH), Vec::new());
        loop {
            select! {
                biased;
                Ok(()) = moved.changed() => {
                    self.sink.let_go();
                    continue;
                }
                count = next(&mut records, &mut batch, BATCH, &stop) => if count == 0 { return },
            }
            for record in &batch {
                Line::new(record, &mut self.names).write(&mut lines);
            }
            self.append(&lines, batch.len()).await;
            lines.clear();
            lines.shrink_to(LINES_KEPT);
            if batch.len() < BATCH {
                stop.run_until_cancelled(sleep(GATHER)).await;
            }
            batch.clear();
        }
    }

    async fn append(&mut self, lines: &[u8], count: usize) {
        match self.sink.append(lines).await {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.dropped.inc_by(count as u64);
                if !std::mem::replace(&mut self.complained, true) {
                    let path = self.sink.path();
                    warn!(%path, %error, "The access log cannot be written; its lines are lost until it can");
                }
            }
        }
    }
}

impl Sink {
    async fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.append(lines).await,
            Self::Stdout(stdout) => {
                stdout.write_all(lines).await?;
                stdout.flush().await
            }
        }
    }

    fn let_go(&mut self) {
        match self {
            Self::File(file, _) => file.let_go(),
            Self::Stdout(_) => {}
        }
    }

    fn path(&self) -> String {
        match self {
            Self::File(_, path) => path.display().to_string(),
            Self::Stdout(_) => "standard output".to_owned(),
        }
    }
}
