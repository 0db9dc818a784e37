//! Sends spans to a collector.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use reqwest::{Client, StatusCode};
use shoal_types::NodeId;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Span, Traced, next,
    otlp::{Source, encode},
};
use crate::{config::OtlpConfig, web};

/// Requests whose spans are sent at once.
const BATCH: usize = 512;
/// How long spans wait for others to go with.
const GATHER: Duration = Duration::from_secs(1);
/// For one batch to be taken.
const DEADLINE: Duration = Duration::from_secs(5);

/// Sends spans over OTLP/HTTP. A batch that is not taken is lost, and counted: spans of a collector's bad minute are worth
/// less than the memory to keep them.
#[derive(Debug)]
pub(super) struct Exporter {
    url: String,
    client: Client,
    source: Source,
    complained: bool,
    dropped: Counter,
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("it cannot be reached: {0}")]
    Unreachable(reqwest::Error),
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("the spans cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Exporter {
    /// To the collector of `config`; of `node`, which people call `name`.
    pub(super) fn new(config: &OtlpConfig, node: NodeId, name: &str, dropped: Counter) -> reqwest::Result<Self> {
        let url = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
        let (client, source) = (web::client(DEADLINE)?, Source::new(node, name));
        Ok(Self { url, client, source, complained: false, dropped })
    }

    /// Sends what is in `queue` until `stop`, and then what is left, each batch within its deadline.
    pub(super) async fn export(mut self, mut queue: mpsc::Receiver<Traced>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while next(&mut queue, &mut batch, 1, &stop).await > 0 {
            let _ = stop.run_until_cancelled(sleep(GATHER)).await;
            while batch.len() < BATCH
                && let Ok(more) = queue.try_recv()
            {
                batch.push(more);
            }
            let spans: Vec<Span> = batch.iter().flat_map(Span::of).collect();
            let sent = self.send(&spans).await;
            self.note(sent, batch.len());
            batch.clear();
        }
    }

    async fn send(&self, spans: &[Span]) -> Result<(), ExportError> {
        let body = encode(&self.source, spans)?;
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let answer = request.send().await.map_err(|error| ExportError::Unreachable(error.without_url()))?;
        if answer.status().is_success() { Ok(()) } else { Err(ExportError::Refused(answer.status())) }
    }

    fn note(&mut self, sent: Result<(), ExportError>, count: usize) {
        match sent {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.dropped.inc_by(count as u64);
                if !std::mem::replace(&mut self.complained, true) {
                    let collector = web::origin(&self.url);
                    warn!(%collector, %error, "Traces are lost: telemetry.otlp.endpoint does not take them");
                }
            }
        }
    }
}
