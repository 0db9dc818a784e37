//! What this node's ingress did during the last hour, in steps of five seconds: what the dashboard charts.
//!
//! Kept in memory and by this node alone; whoever wants the whole mesh asks all nodes. For longer there is `/metrics`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shoal_ingress::{Ingress, Outcome, RequestRecord};
use shoal_mesh::clock;
use shoal_types::{Demand, EndpointName, Latencies, UnixMillis};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Length of a step.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// Steps that are remembered: an hour.
const POINTS_MAX: usize = 720;
/// Endpoints that are told apart within a step. A point then takes at most 12 KiB, all of them 8 MiB; usually it is a
/// hundredth of that.
const ENDPOINTS_MAX: usize = 32;

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    /// When it ended: a multiple of its length, so that points of several nodes lie over each other.
    pub(crate) at: UnixMillis,
    /// Endpoints that were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) endpoints: BTreeMap<EndpointName, Traffic>,
    /// Requests that no endpoint was found for, and those of further endpoints.
    #[serde(default, skip_serializing_if = "Traffic::is_none")]
    pub(crate) others: Traffic,
}

/// What clients asked of an endpoint during a step, counted where requests ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Traffic {
    /// Answered with a status below 400.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) succeeded: u32,
    /// Refused for what the client sent or may not do.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) refused: u32,
    /// Answered with 500 or more, or broken off.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) failed: u32,
    /// Given up by the client.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cancelled: u32,
    /// Tokens of prompts.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) input: u32,
    /// Tokens of answers.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) output: u32,
    /// Times to the first token of streams.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) ttft: Latencies,
    /// Requests that ran at the end of the step, rounded.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) inflight: u32,
    /// Requests that waited for a replica then, rounded.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) held: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for it
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_empty(latencies: &Latencies) -> bool {
    latencies.count() == 0
}

impl Traffic {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn count(&mut self, record: &RequestRecord) {
        let counter = match (record.outcome, record.status) {
            (Outcome::Cancelled, _) => &mut self.cancelled,
            (Outcome::Finished, Some(..400)) => &mut self.succeeded,
            (Outcome::Finished, Some(400..500)) => &mut self.refused,
            (Outcome::Finished | Outcome::Broken, _) => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        self.input = self.input.saturating_add(record.tokens.input);
        self.output = self.output.saturating_add(record.tokens.output);
        if let Some(first) = record.first_token_us {
            self.ttft.record(Duration::from_micros(first));
        }
    }
}

/// The last hour; clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<Steps>>);

#[derive(Debug, Default)]
struct Steps {
    /// The one that runs.
    current: Point,
    /// Those that have ended, the newest last.
    ended: VecDeque<Arc<Point>>,
}

impl History {
    /// Counts a request that has ended. Called where requests run: one short lock.
    pub(crate) fn count(&self, record: &RequestRecord) {
        let mut steps = self.lock();
        steps.current.traffic(record.endpoint.as_ref()).count(record);
    }

    /// The steps that ended after `after`, the newest last.
    pub(crate) fn since(&self, after: UnixMillis) -> Vec<Arc<Point>> {
        self.lock().ended.iter().filter(|point| point.at > after).map(Arc::clone).collect()
    }

    /// Ends a step every five seconds, until `stop`.
    pub(crate) async fn keep(self, ingress: Arc<Ingress>, stop: CancellationToken) {
        let mut last = UnixMillis::default();
        loop {
            let now = clock::now();
            // A sleep may end a moment before the wall clock says so.
            let end = Some(end_of_step(now)).filter(|end| *end != last).unwrap_or_else(|| last.plus(STEP));
            if stop.run_until_cancelled(sleep(end.since(now))).await.is_none() {
                return;
            }
            self.end(end, ingress.demands());
            last = end;
        }
    }

    fn end(&self, at: UnixMillis, demands: Vec<Demand>) {
        let mut steps = self.lock();
        for demand in demands {
            let traffic = steps.current.traffic(Some(&demand.endpoint));
            (traffic.inflight, traffic.held) =
                (traffic.inflight.saturating_add(demand.inflight), traffic.held.saturating_add(demand.held));
        }
        let ended = Point { at, ..std::mem::take(&mut steps.current) };
        steps.ended.push_back(Arc::new(ended));
        if steps.ended.len() > POINTS_MAX {
            steps.ended.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Point {
    fn traffic(&mut self, endpoint: Option<&EndpointName>) -> &mut Traffic {
        match endpoint {
            Some(name) if self.endpoints.contains_key(name) || self.endpoints.len() < ENDPOINTS_MAX => {
                self.endpoints.entry(name.clone()).or_default()
            }
            Some(_) | None => &mut self.others,
        }
    }
}

/// When the step in which `now` is will end.
fn end_of_step(now: UnixMillis) -> UnixMillis {
    let step = u64::try_from(STEP.as_millis()).unwrap_or(u64::MAX);
    UnixMillis::from_millis((now.as_millis() / step + 1) * step)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(endpoint: Option<&str>, status: u16, outcome: &str) -> RequestRecord {
        serde_json::from_value(json!({
            "id": "1", "arrived": 1, "client": "10.0.0.9", "path": "/v1/chat/completions", "operation": "chat",
            "endpoint": endpoint, "model": null, "stream": true, "status": status, "outcome": outcome, "error": null,
            "queuedUs": null, "firstByteUs": 30_000, "firstTokenUs": 40_000, "tookUs": 500_000,
            "tokens": {"input": 11, "output": 2, "cached": 8, "exact": true}, "received": 1, "sent": 9, "decisions": [],
        }))
        .unwrap()
    }

    fn at(step: usize) -> UnixMillis {
        UnixMillis::from_millis(step as u64 * 5_000)
    }

    #[test]
    fn a_step_tells_how_requests_went() {
        let history = History::default();
        for (status, outcome) in
            [(200, "finished"), (429, "finished"), (503, "finished"), (200, "broken"), (200, "cancelled")]
        {
            history.count(&record(Some("a"), status, outcome));
        }
        history.count(&record(None, 404, "finished"));
        history.end(
            at(1),
            vec![Demand {
                endpoint: "a".parse().unwrap(),
                inflight: 3,
                held: 2,
                arrivals: 0,
                tokens: 0,
                hourly: 0,
                outcomes: vec![],
            }],
        );
        history.end(at(2), vec![]);
        let points = history.since(UnixMillis::default());
        let traffic = &points[0].endpoints[&"a".parse::<EndpointName>().unwrap()];
        assert_eq!((traffic.succeeded, traffic.refused, traffic.failed, traffic.cancelled), (1, 1, 2, 1));
        assert_eq!((traffic.input, traffic.output, traffic.inflight, traffic.held), (55, 10, 3, 2));
        assert_eq!((traffic.ttft.count(), points[0].others.refused), (5, 1));
        assert_eq!(serde_json::to_string(&points[1]).unwrap(), r#"{"at":10000}"#, "nothing takes no room");
        assert_eq!(history.since(at(1)).len(), 1);
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn an_hour_is_remembered_of_a_bounded_number_of_endpoints() {
        let history = History::default();
        for step in 1..=POINTS_MAX + 3 {
            history.end(at(step), vec![]);
        }
        let points = history.since(UnixMillis::default());
        assert_eq!((points.len(), points[0].at), (POINTS_MAX, at(4)));
        for number in 0..100 {
            history.count(&record(Some(&format!("endpoint-{number}")), 200, "finished"));
        }
        history.end(at(1_000), vec![]);
        let points = history.since(at(999));
        assert_eq!((points[0].endpoints.len(), points[0].others.succeeded), (ENDPOINTS_MAX, 68));
    }

    #[test]
    fn steps_end_at_the_same_moment_everywhere() {
        assert_eq!(end_of_step(UnixMillis::from_millis(4_999)), at(1));
        assert_eq!(end_of_step(UnixMillis::from_millis(5_000)), at(2));
    }
}
