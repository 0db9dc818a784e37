//! What a node tells of single requests: lines of an access log, spans of traces; and its history, which counts them.
//!
//! Requests do not wait for the first two. They leave what happened in a queue; one task writes what is in it, and what finds the
//! queue full is counted and forgotten.

mod access_log;
mod exporter;
mod line;
mod otlp;
mod span;
mod summary;

use std::sync::Arc;

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use shoal_ingress::{Hop, Observer, RequestRecord, Telling};
use shoal_mesh::clock;
use shoal_types::{NodeId, UnixMillis};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::summary::RequestSummary;
use self::{access_log::AccessLog, exporter::Exporter, span::Span};
use crate::{
    config::{Config, IngressConfig, TelemetryConfig},
    history::History,
    inventory::host_name,
};

/// Requests that wait to be written or exported: some seconds of a busy ingress, at a few hundred bytes each.
const QUEUE: usize = 8192;

/// Where requests are told; given to the ingress.
#[derive(Debug)]
struct Told {
    history: History,
    log: Option<Feed<Arc<RequestRecord>>>,
    traces: Option<Feed<Traced>>,
}

/// What becomes spans.
#[derive(Debug)]
pub(crate) enum Traced {
    Request(Arc<RequestRecord>),
    Hop(Hop, UnixMillis),
}

/// A queue, and how much found it full.
#[derive(Debug)]
struct Feed<T> {
    queue: mpsc::Sender<T>,
    dropped: Counter,
}

impl<T> Feed<T> {
    fn add(&self, told: T) {
        if self.queue.try_send(told).is_err() {
            self.dropped.inc();
        }
    }
}

impl Observer for Told {
    fn request(&self, record: &Arc<RequestRecord>) {
        self.history.count(record);
        if let Some(log) = &self.log {
            log.add(Arc::clone(record));
        }
        if let Some(traces) = self.traces.as_ref().filter(|_| record.trace.is_some()) {
            traces.add(Traced::Request(Arc::clone(record)));
        }
    }

    fn hop(&self, hop: Hop) {
        if let Some(traces) = &self.traces {
            traces.add(Traced::Hop(hop, clock::now()));
        }
    }
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestsError {
    #[error("ingress.accessLog has no file, and standard output cannot be written to: {0}")]
    Stdout(#[from] std::io::Error),
    #[error("telemetry.otlp cannot be used: {0}")]
    Client(#[from] reqwest::Error),
}

/// The writing ends, until they are started.
#[derive(Debug)]
pub(crate) struct Requests {
    told: Arc<Told>,
    sample: f64,
    log: Option<(AccessLog, mpsc::Receiver<Arc<RequestRecord>>)>,
    exporter: Option<(Exporter, mpsc::Receiver<Traced>)>,
    log_dropped: Counter,
    spans_dropped: Counter,
}

impl Requests {
    /// What `config` wants to be told, by `node`; `history` always is.
    ///
    /// # Errors
    /// If standard output is wanted and closed, or TLS to a collector cannot be set up.
    pub(crate) fn new(config: &Config, node: NodeId, history: History) -> Result<Self, RequestsError> {
        let (log_dropped, spans_dropped) = (Counter::default(), Counter::default());
        let IngressConfig { access_log, .. } = &config.ingress;
        let TelemetryConfig { otlp } = &config.telemetry;
        let (mut told, mut log, mut exporter) = (Told { history, log: None, traces: None }, None, None);
        if let Some(wanted) = access_log {
            let (queue, records) = mpsc::channel(QUEUE);
            told.log = Some(Feed { queue, dropped: log_dropped.clone() });
            log = Some((AccessLog::new(wanted, node, log_dropped.clone())?, records));
        }
        if let Some(wanted) = otlp {
            let (queue, traced) = mpsc::channel(QUEUE);
            told.traces = Some(Feed { queue, dropped: spans_dropped.clone() });
            let name = config.node.name.clone().unwrap_or_else(host_name);
            exporter = Some((Exporter::new(wanted, node, &name, spans_dropped.clone())?, traced));
        }
        let sample = otlp.as_ref().map_or(0.0, |otlp| otlp.sample_ratio);
        Ok(Self { told: Arc::new(told), sample, log, exporter, log_dropped, spans_dropped })
    }

    /// How the ingress is to tell.
    pub(crate) fn telling(&self) -> Telling {
        let observer = Arc::clone(&self.told) as Arc<dyn Observer>;
        Telling { clock: clock::now, sample: self.sample, traces: self.told.traces.is_some(), observer: Some(observer) }
    }

    /// Makes `registry` show what was not told.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Requests that are missing in the access log";
        registry.register("access_log_dropped", help, self.log_dropped.clone());
        let help = "Requests, and far ends of requests, that are missing in traces";
        registry.register("traces_dropped", help, self.spans_dropped.clone());
    }

    /// Writes until `stop`, and then what is left. The file of the access log is opened anew when `moved` says that it was
    /// moved away.
    pub(crate) fn start(self, tasks: &TaskTracker, moved: watch::Receiver<()>, stop: &CancellationToken) {
        if let Some((log, records)) = self.log {
            tasks.spawn(log.write(records, moved, stop.clone()));
        }
        if let Some((exporter, traced)) = self.exporter {
            tasks.spawn(exporter.export(traced, stop.clone()));
        }
    }
}

/// The next of `queue`, at most `limit`, appended to `batch`; nothing more once `stop` is cancelled and the queue is empty.
/// Returns how many there are in it. Cancel safe.
async fn next<T>(queue: &mut mpsc::Receiver<T>, batch: &mut Vec<T>, limit: usize, stop: &CancellationToken) -> usize {
    if stop.is_cancelled() {
        queue.close();
    } else if let Some(received) = stop.run_until_cancelled(queue.recv_many(batch, limit)).await {
        return received;
    } else {
        queue.close();
    }
    queue.recv_many(batch, limit).await
}

#[cfg(test)]
mod tests;
