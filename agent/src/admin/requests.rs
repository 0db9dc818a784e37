//! The latest requests, and why one went where it did: asked of all nodes, as only the ingress that took it knows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use shoal_ingress::RequestRecord;
use shoal_types::NodeId;

use super::{
    gather::MissingNode,
    problem::{Code, Problem},
    routes::{Admin, Answer, Shared},
};
use crate::requests::RequestSummary;

/// Requests that are listed of each node, and in all, if it is not said.
const LIST_DEFAULT: usize = 100;
/// Most of them.
const LIST_MAX: usize = 500;
/// Longest id that is looked for; none that is longer is taken from a client.
const ID_MAX: usize = 128;

/// The requests with one id, and who else was asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestsFound {
    /// The newest first.
    pub(crate) requests: Vec<TakenRequest>,
    /// What nodes that are named in them are called.
    pub(crate) names: BTreeMap<NodeId, String>,
}

/// A request and the node whose ingress took it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TakenRequest {
    pub(crate) ingress: NodeId,
    #[serde(flatten)]
    pub(crate) record: Arc<RequestRecord>,
}

pub(super) async fn why(State(admin): Shared, Path(id): Path<String>) -> Answer<RequestsFound> {
    if id.len() > ID_MAX {
        return Err(Problem::new(Code::Invalid, format!("an id of a request has at most {ID_MAX} bytes")));
    }
    let own = admin.control.requests(&id);
    if !own.is_empty() {
        return Ok(Json(admin.found(taken(admin.mesh.me(), own))));
    }
    let ask = |admin: Arc<Admin>, node| {
        let id = id.clone();
        async move { admin.peers.requests(node, &id).await }
    };
    let (theirs, silent) = admin.ask_others(ask).await;
    let mut requests: Vec<_> = theirs.into_iter().flat_map(|(node, records)| taken(node, records)).collect();
    requests.sort_by_key(|taken| Reverse(taken.record.arrived));
    if requests.is_empty() {
        return Err(not_found(&id, &silent));
    }
    Ok(Json(admin.found(requests)))
}

fn taken(ingress: NodeId, records: Vec<Arc<RequestRecord>>) -> Vec<TakenRequest> {
    records.into_iter().map(|record| TakenRequest { ingress, record }).collect()
}

fn not_found(id: &str, silent: &[MissingNode]) -> Problem {
    let mut why = format!(
        "no node has taken a request `{id}` lately: each ingress remembers the last 4,096 to which something happened and \
         the last 512 others of each of its threads, for ten minutes, and forgets them when it restarts"
    );
    let names = |silent: &[MissingNode]| silent.iter().map(|one| one.node.as_str()).collect::<Vec<_>>().join(", ");
    if !silent.is_empty() {
        why.push_str(&format!("; these did not say: {}", names(silent)));
    }
    Problem::new(Code::NotFound, why)
        .hint("the id is in the answer's header x-request-id; the access log goes further back")
}

/// Which requests are listed.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    /// Of each node at most so many; 100 if it is not said.
    limit: Option<usize>,
}

/// The latest requests of all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatestRequests {
    /// The newest first.
    pub(crate) requests: Vec<LatestRequest>,
    /// What nodes that are named in them are called.
    pub(crate) names: BTreeMap<NodeId, String>,
    /// Nodes whose part is missing, and why.
    pub(crate) missing: Vec<MissingNode>,
}

/// A request and the node whose ingress took it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LatestRequest {
    pub(crate) ingress: NodeId,
    #[serde(flatten)]
    pub(crate) request: RequestSummary,
}

pub(super) async fn list(State(admin): Shared, Query(query): Query<ListQuery>) -> Json<LatestRequests> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    let ask = |admin: Arc<Admin>, node| async move { admin.peers.latest_requests(node, limit).await };
    let (theirs, missing) = admin.ask_others(ask).await;
    let own = [(admin.mesh.me(), admin.control.latest_requests(limit))];
    let all = own.into_iter().chain(theirs);
    let taken = |(ingress, requests): (NodeId, Vec<RequestSummary>)| {
        requests.into_iter().map(move |request| LatestRequest { ingress, request })
    };
    let mut requests: Vec<LatestRequest> = all.flat_map(taken).collect();
    requests.sort_by_key(|one| Reverse(one.request.arrived));
    requests.truncate(limit);
    let names = admin.names(requests.iter().flat_map(|one| [Some(one.ingress), one.request.node]).flatten());
    Json(LatestRequests { requests, names, missing })
}

impl Admin {
    fn found(&self, requests: Vec<TakenRequest>) -> RequestsFound {
        let considered = |taken: &TakenRequest| {
            let decisions = taken.record.decisions.clone();
            decisions.into_iter().flat_map(|decision| decision.considered).map(|replica| replica.claim.node)
        };
        let names = self.names(requests.iter().flat_map(|taken| considered(taken).chain([taken.ingress])));
        RequestsFound { requests, names }
    }

    /// What those of `nodes` are called that are known.
    fn names(&self, nodes: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, String> {
        let (view, nodes): (_, BTreeSet<NodeId>) = (self.view(), nodes.collect());
        nodes.into_iter().filter_map(|node| Some((node, view.nodes.get(&node)?.facts.name.clone()))).collect()
    }
}
