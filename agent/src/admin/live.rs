//! The mesh as it changes, as server-sent events: `/v1/live`.
//!
//! `status` is all of `/v1/status`, when something has changed and every few seconds; `history` is what `/v1/history` has that
//! was not sent before, at first the whole hour.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use shoal_types::{NodeId, UnixMillis, View};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use super::{
    problem::{Code, Problem},
    routes::{Admin, Shared},
};
use crate::history::STEP;

/// Those who look on at once. Each asks all nodes for their history at every step.
pub(super) const VIEWERS_MAX: usize = 16;
/// Least time between two times that the status is sent: in a mesh that starts, the view changes all the time.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// Longest time between them: ages must go on, and a viewer that has gone is noticed when it is written to.
const STATUS_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn live(State(admin): Shared) -> Result<Response, Problem> {
    let place = Arc::clone(&admin.viewers).try_acquire_owned().map_err(|_| {
        Problem::new(Code::Unreachable, format!("{VIEWERS_MAX} viewers look on already"))
            .hint("close a dashboard, or open that of another node")
    })?;
    let ending = admin.ending.clone().cancelled_owned();
    let statuses = stream::unfold(Statuses::new(Arc::clone(&admin)), Statuses::next);
    let histories = stream::unfold(Histories::new(admin), Histories::next);
    // Side by side: a node that does not answer must not hold up the news that it is gone.
    let events = stream::select(statuses, histories).take_until(ending).map(move |event| {
        let _ = &place;
        event
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(events)).into_response())
}

type Event = Result<Bytes, serde_json::Error>;

fn event(name: &str, data: &impl Serialize) -> Event {
    // JSON has no line breaks of its own.
    serde_json::to_string(data).map(|json| Bytes::from(format!("event: {name}\ndata: {json}\n\n")))
}

struct Statuses {
    admin: Arc<Admin>,
    view: watch::Receiver<Arc<View>>,
    /// When it was last sent.
    sent: Option<Instant>,
}

impl Statuses {
    fn new(admin: Arc<Admin>) -> Self {
        Self { view: admin.mesh.view(), admin, sent: None }
    }

    async fn next(mut self) -> Option<(Event, Self)> {
        if let Some(sent) = self.sent {
            sleep_until(sent + STATUS_PAUSE).await;
            // Whether it was news or time makes no difference.
            let _ = timeout_at(sent + STATUS_EVERY, self.view.changed()).await;
        }
        self.view.mark_unchanged();
        let event = event("status", &self.admin.status());
        Some((event, Self { sent: Some(Instant::now()), ..self }))
    }
}

struct Histories {
    admin: Arc<Admin>,
    steps: Interval,
    /// The newest step that was sent of each node.
    sent: BTreeMap<NodeId, UnixMillis>,
}

impl Histories {
    fn new(admin: Arc<Admin>) -> Self {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { admin, steps, sent: BTreeMap::new() }
    }

    async fn next(mut self) -> Option<(Event, Self)> {
        self.steps.tick().await;
        let history = self.admin.history(|node| self.sent.get(&node).copied().unwrap_or_default()).await;
        self.sent.extend(history.newest());
        Some((event("history", &history), self))
    }
}
