//! What happened, as all nodes tell it: `/v1/events`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};
use shoal_types::UnixMillis;

use super::{
    gather::MissingNode,
    routes::{Admin, Shared},
};
use crate::events::{EVENTS_MAX, Event, Level, together};

/// Events that are shown where nobody says how many.
const LIMIT: usize = 500;

/// Which events are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventQuery {
    /// Those that happened then and later, in milliseconds of Unix time; all if it is not said.
    since: UnixMillis,
    /// Only those that concern this, such as `endpoint/llama` or `node/gpu-a`.
    about: Option<String>,
    /// Only those of this level.
    level: Option<Level>,
    /// At most so many, the latest.
    limit: Option<usize>,
}

/// Events of all nodes that answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventList {
    /// The newest last.
    pub(crate) events: Vec<Event>,
    /// Nodes whose events are missing, and why.
    pub(crate) missing: Vec<MissingNode>,
}

pub(super) async fn list(State(admin): Shared, Query(query): Query<EventQuery>) -> Json<EventList> {
    let EventQuery { since, about, level, limit } = query;
    let wanted = |event: &Event| {
        about.as_ref().is_none_or(|about| event.concerns(about)) && level.is_none_or(|level| event.level == level)
    };
    Json(admin.events(since, limit.unwrap_or(LIMIT).min(EVENTS_MAX), wanted).await)
}

impl Admin {
    /// The latest of all nodes that happened `since` then and that are `wanted`, at most `limit`.
    pub(super) async fn events(
        self: &Arc<Self>,
        since: UnixMillis,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> EventList {
        let ask = |admin: Arc<Self>, node| async move { admin.peers.events(node, since).await };
        let (theirs, missing) = self.ask_others(ask).await;
        let own = self.events.since(since, EVENTS_MAX, |_| true).into_iter().map(Arc::unwrap_or_clone);
        // Only all of them together show what several nodes saw.
        let all = together(own.chain(theirs.into_iter().flat_map(|(_, events)| events)).collect());
        let mut events: Vec<Event> = all.into_iter().filter(wanted).collect();
        events.drain(..events.len().saturating_sub(limit));
        EventList { events, missing }
    }
}
