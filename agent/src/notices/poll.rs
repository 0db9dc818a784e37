//! Asks one source again and again, and tells what changes.

use std::{io, path::PathBuf, time::Duration};

use http::StatusCode;
use shoal_mesh::clock;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    finding::{Finding, Standing, one_line},
    notice::{Notice, Source},
    pace::{Change, Pace},
    url::MetadataUrl,
};
use crate::program::ProcessError;

/// Why a source did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect to {url}: {source}")]
    Connect { url: MetadataUrl, source: io::Error },
    #[error("{url} does not answer within {deadline:?}")]
    Late { url: MetadataUrl, deadline: Duration },
    #[error("the exchange with {url} broke off: {source}")]
    Exchange { url: MetadataUrl, source: hyper::Error },
    #[error("the answer of {url} cannot be read: {source}")]
    Body { url: MetadataUrl, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{target} is not a request target: {source}")]
    Request { target: String, source: http::Error },
    /// The address of the clouds' metadata services is the same, so most likely it is another cloud's.
    #[error("what answers is not this cloud, or not well: {question} answers {status}: {body}")]
    Foreign { question: &'static str, status: StatusCode, body: String },
    #[error("cannot look for the notice file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the notice command says nothing: {0}")]
    Process(#[from] ProcessError),
    #[error(
        "the notice command {program} ended with {status}, which says nothing (0: no notice, 10: notice): {stderr}"
    )]
    Status { program: PathBuf, status: std::process::ExitStatus, stderr: String },
}

impl AskError {
    pub(super) fn foreign(question: &'static str, status: StatusCode, body: &str) -> Self {
        Self::Foreign { question, status, body: one_line(body) }
    }
}

/// Something that knows whether this host will be taken away.
pub(super) trait Ask: Send + 'static {
    /// What it says now; `Ok(None)` says that there is no notice, and takes back an earlier one.
    ///
    /// Has a deadline of its own. Dropping it leaves nothing behind.
    fn ask(&mut self) -> impl Future<Output = Result<Option<Finding>, AskError>> + Send;
}

/// From which poller, and the notice as it now stands.
pub(super) type Told = (usize, Option<Notice>);

/// One source that is polled.
#[derive(Debug)]
pub(super) struct Poller<A> {
    pub(super) number: usize,
    pub(super) source: Source,
    pub(super) asked: A,
    pub(super) pace: Pace,
    pub(super) standing: Standing,
    pub(super) tell: mpsc::Sender<Told>,
}

impl<A: Ask> Poller<A> {
    /// Asks until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(answer) = stop.run_until_cancelled(self.asked.ask()).await {
            let wait = self.hear(answer).await;
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Returns when to ask again.
    async fn hear(&mut self, answer: Result<Option<Finding>, AskError>) -> Duration {
        let (wait, change) = self.pace.heard(answer.is_ok(), rand::random());
        match answer {
            Ok(finding) => {
                self.log_answer(change);
                if let Some(notice) = self.standing.hear(finding, clock::now()) {
                    // Fails only while everything ends.
                    let _ = self.tell.send((self.number, notice)).await;
                }
            }
            Err(error) => self.log_error(change, &error),
        }
        wait
    }

    fn log_answer(&self, change: Change) {
        match change {
            Change::Found => info!(source = %self.source, "Watching for notices that this host will be taken away"),
            Change::Back => info!(source = %self.source, "Notices can be read again"),
            Change::Nothing | Change::Lost => {}
        }
    }

    fn log_error(&self, change: Change, error: &AskError) {
        match change {
            Change::Lost => {
                warn!(source = %self.source, %error, "cannot learn whether this host will be taken away");
            }
            Change::Nothing | Change::Found | Change::Back => debug!(source = %self.source, %error, "No answer"),
        }
    }
}
