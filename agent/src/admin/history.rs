//! What the ingresses of all nodes did during the last hour: `/v1/history`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};
use shoal_types::{NodeId, UnixMillis};

use super::{
    gather::MissingNode,
    routes::{Admin, Shared},
};
use crate::history::{Point, STEP};

/// Which steps are wanted.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    /// Those that ended after this, in milliseconds of Unix time; all if it is not said.
    after: Option<UnixMillis>,
}

/// Steps of all nodes that answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MeshHistory {
    /// Length of a step in milliseconds.
    pub(crate) step_ms: u64,
    /// Each node's own, the newest last.
    pub(crate) nodes: BTreeMap<NodeId, Vec<Arc<Point>>>,
    /// Nodes whose part is missing, and why.
    pub(crate) missing: Vec<MissingNode>,
}

pub(super) async fn history(State(admin): Shared, Query(query): Query<HistoryQuery>) -> Json<MeshHistory> {
    let after = query.after.unwrap_or_default();
    Json(admin.history(|_| after).await)
}

impl Admin {
    /// The steps of each node that ended after what `after` says for it.
    pub(super) async fn history(self: &Arc<Self>, after: impl Fn(NodeId) -> UnixMillis) -> MeshHistory {
        let ask = |admin: Arc<Self>, node| {
            let after = after(node);
            async move { admin.peers.history(node, after).await }
        };
        let (theirs, missing) = self.ask_others(ask).await;
        let me = self.mesh.me();
        let own = (me, self.control.history(after(me)));
        MeshHistory { step_ms: STEP.as_secs() * 1_000, nodes: theirs.into_iter().chain([own]).collect(), missing }
    }
}

impl MeshHistory {
    /// The newest step of each node that has told of one.
    pub(super) fn newest(&self) -> impl Iterator<Item = (NodeId, UnixMillis)> {
        self.nodes.iter().filter_map(|(node, points)| Some((*node, points.last()?.at)))
    }
}
