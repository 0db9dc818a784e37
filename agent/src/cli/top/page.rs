//! What each page of `shoal top` shows: rows of text. Pure.

use std::{collections::BTreeMap, time::Duration};

use shoal_ingress::Outcome;
use shoal_types::{EndpointName, Gpu, Latencies, Liveness, UnixMillis};

use crate::{
    admin::{EndpointHealth, EndpointStatus, LatestRequest, LatestRequests, MeshHistory, MeshStatus, NodeStatus},
    cli::{
        args::TopPage,
        listed::node_state,
        table::{Table, age, or_dash},
    },
    history::Traffic,
    requests::RequestSummary,
};

/// The mesh at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) status: MeshStatus,
    /// The last minute.
    pub(super) history: MeshHistory,
    pub(super) requests: LatestRequests,
    /// When it was taken.
    pub(super) at: UnixMillis,
}

/// What a row is about to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    Plain,
    /// Something changes.
    Changing,
    /// Somebody should look.
    Trouble,
}

/// A table, and the tone of each of its rows.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) table: Table,
    pub(super) tones: Vec<Tone>,
}

impl Page {
    fn new(heads: &[&str]) -> Self {
        Self { table: Table::new(heads, &[], false), tones: Vec::new() }
    }

    fn row(&mut self, tone: Tone, cells: impl IntoIterator<Item = String>) {
        self.tones.push(tone);
        self.table.row(cells);
    }
}

impl TopPage {
    /// All pages, in the order of their keys.
    pub(super) const ALL: [Self; 3] = [Self::Nodes, Self::Endpoints, Self::Requests];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Endpoints => "endpoints",
            Self::Requests => "requests",
        }
    }

    pub(super) fn of(self, snapshot: &Snapshot) -> Page {
        match self {
            Self::Nodes => nodes(&snapshot.status.nodes),
            Self::Endpoints => endpoints(snapshot),
            Self::Requests => requests(&snapshot.requests, snapshot.at),
        }
    }
}

fn nodes(nodes: &[NodeStatus]) -> Page {
    let heads = ["NAME", "STATE", "ZONE", "GPUS", "UTIL", "MEMORY", "TEMP", "FREE", "REPLICAS", "INFLIGHT", "NEWS"];
    let mut page = Page::new(&heads);
    for node in nodes {
        let hottest = node.gpus.iter().filter_map(|gpu| gpu.temperature).max();
        let inflight = node.replicas.iter().filter_map(|replica| Some(replica.load?.inflight)).sum::<u32>();
        page.row(
            node_tone(node),
            [
                node.name.clone(),
                node_state(node),
                or_dash(node.labels().zone.as_ref()),
                or_dash(Some(node.gpus.len()).filter(|count| *count > 0)),
                strip(&node.gpus, |gpu| gpu.utilization.map(u64::from)),
                strip(&node.gpus, memory_percent),
                or_dash(hottest.map(|celsius| format!("{celsius}C"))),
                node.gpus_free.to_string(),
                node.replicas.iter().filter(|replica| !replica.is_over()).count().to_string(),
                inflight.to_string(),
                format!("{} ago", age(Duration::from_millis(node.age_ms))),
            ],
        );
    }
    page
}

fn node_tone(node: &NodeStatus) -> Tone {
    let is_ill = node.gpus.iter().any(|gpu| gpu.fault.is_some());
    match (node.liveness, &node.departure) {
        (Liveness::Suspect { .. } | Liveness::Left, _) => Tone::Trouble,
        (Liveness::Alive, _) if is_ill => Tone::Trouble,
        (Liveness::Alive, Some(_)) => Tone::Changing,
        (Liveness::Alive, None) => Tone::Plain,
    }
}

const fn endpoint_tone(health: EndpointHealth) -> Tone {
    match health {
        EndpointHealth::Ready | EndpointHealth::Idle => Tone::Plain,
        EndpointHealth::Progressing | EndpointHealth::Paused => Tone::Changing,
        EndpointHealth::Unplaceable | EndpointHealth::RolledBack => Tone::Trouble,
    }
}

const fn request_tone(request: &RequestSummary) -> Tone {
    match (request.outcome, request.status) {
        (Outcome::Broken, _) | (_, Some(500..)) => Tone::Trouble,
        (_, Some(400..)) => Tone::Changing,
        (Outcome::Finished | Outcome::Cancelled, _) => Tone::Plain,
    }
}

fn memory_percent(gpu: &Gpu) -> Option<u64> {
    gpu.memory_used.map(|used| used.as_bytes().saturating_mul(100) / gpu.memory.as_bytes().max(1))
}

/// A bar for each GPU; `?` for one that did not say.
fn strip(gpus: &[Gpu], percent: impl Fn(&Gpu) -> Option<u64>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |percent: u64| usize::try_from(percent * 7 / 100).ok().and_then(|index| BARS.get(index)).unwrap_or(&'█');
    if gpus.is_empty() {
        "-".to_owned()
    } else {
        gpus.iter().map(|gpu| percent(gpu).map_or('?', |percent| *bar(percent))).collect()
    }
}

fn endpoints(snapshot: &Snapshot) -> Page {
    let rates = Rates::of(&snapshot.history);
    let heads = [
        "NAME", "STATE", "READY", "REQ/S", "FAILED/S", "TOKENS/S", "TTFT P50", "TTFT P95", "RUNNING", "WAITING", "NEWS",
    ];
    let mut page = Page::new(&heads);
    for EndpointStatus { endpoint, status } in &snapshot.status.endpoints {
        let name = &endpoint.metadata.name;
        let traffic = rates.endpoints.get(name).cloned().unwrap_or_default();
        let [running, waiting] = rates.now.get(name).copied().unwrap_or_default();
        let first = |quantile| or_dash(traffic.ttft.quantile(quantile).map(|time| format!("{}ms", time.as_millis())));
        page.row(
            endpoint_tone(status.health),
            [
                name.to_string(),
                status.health.text().to_owned(),
                format!("{}/{}", status.ready, status.desired),
                rates.per_second(traffic.requests()),
                rates.per_second(traffic.failed),
                rates.per_second(traffic.output),
                first(0.5),
                first(0.95),
                running.to_string(),
                waiting.to_string(),
                format!("{} ago", age(Duration::from_millis(status.age_ms))),
            ],
        );
    }
    page
}

/// What the last minute of all nodes comes to.
#[derive(Debug, Default)]
struct Rates {
    endpoints: BTreeMap<EndpointName, Sums>,
    /// Requests that run and wait, as each node said last.
    now: BTreeMap<EndpointName, [u32; 2]>,
    seconds: f64,
}

#[derive(Debug, Clone, Default)]
struct Sums {
    succeeded: u32,
    others: u32,
    failed: u32,
    output: u32,
    ttft: Latencies,
}

impl Sums {
    const fn requests(&self) -> u32 {
        self.succeeded.saturating_add(self.others).saturating_add(self.failed)
    }

    fn add(&mut self, traffic: &Traffic) {
        self.succeeded = self.succeeded.saturating_add(traffic.succeeded);
        self.others = self.others.saturating_add(traffic.refused).saturating_add(traffic.cancelled);
        self.failed = self.failed.saturating_add(traffic.failed);
        self.output = self.output.saturating_add(traffic.output);
        self.ttft.merge(&traffic.ttft);
    }
}

impl Rates {
    fn of(history: &MeshHistory) -> Self {
        let mut rates = Self::default();
        let steps = history.nodes.values().map(Vec::len).max().unwrap_or(0);
        rates.seconds = steps as f64 * history.step_ms as f64 / 1e3;
        for points in history.nodes.values() {
            for (name, traffic) in points.iter().flat_map(|point| &point.endpoints) {
                rates.endpoints.entry(name.clone()).or_default().add(traffic);
            }
            for (name, traffic) in points.last().into_iter().flat_map(|point| &point.endpoints) {
                let [running, waiting] = rates.now.entry(name.clone()).or_default();
                *running = running.saturating_add(traffic.inflight);
                *waiting = waiting.saturating_add(traffic.held);
            }
        }
        rates
    }

    fn per_second(&self, count: u32) -> String {
        if self.seconds > 0.0 { format!("{:.1}", f64::from(count) / self.seconds) } else { "-".to_owned() }
    }
}

fn requests(latest: &LatestRequests, now: UnixMillis) -> Page {
    let heads = ["AGE", "ENDPOINT", "BY", "STATUS", "TTFT", "TOOK", "IN", "OUT", "TRIES", "ID"];
    let mut page = Page::new(&heads);
    for LatestRequest { request, .. } in &latest.requests {
        let node = request.node.map(|node| latest.names.get(&node).cloned().unwrap_or_else(|| node.short()));
        page.row(
            request_tone(request),
            [
                age(now.since(request.arrived)),
                or_dash(request.endpoint.as_ref()),
                or_dash(node),
                request.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
                or_dash(request.first_token_us.map(|time| format!("{}ms", time / 1_000))),
                format!("{}ms", request.took_us / 1_000),
                request.tokens.input.to_string(),
                request.tokens.output.to_string(),
                request.attempts.to_string(),
                request.id.clone(),
            ],
        );
    }
    page
}
