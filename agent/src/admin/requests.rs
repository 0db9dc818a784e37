//! Why a request went where it did: asked of all nodes, as only the ingress that took it knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Path, State},
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use shoal_ingress::RequestRecord;
use shoal_types::NodeId;

use super::{
    problem::{Code, Problem},
    routes::{Admin, Answer, Shared},
};

/// Nodes that are asked at once.
const ASKED_AT_ONCE: usize = 32;
/// What one node knows.
type Answered = Result<Vec<Arc<RequestRecord>>, Problem>;

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
    let (requests, silent) = admin.ask_others(&id).await;
    if requests.is_empty() {
        return Err(not_found(&id, &silent));
    }
    Ok(Json(admin.found(requests)))
}

fn taken(ingress: NodeId, records: Vec<Arc<RequestRecord>>) -> Vec<TakenRequest> {
    records.into_iter().map(|record| TakenRequest { ingress, record }).collect()
}

fn not_found(id: &str, silent: &[String]) -> Problem {
    let mut why = format!(
        "no node has taken a request `{id}` lately: each ingress remembers its last 4,096 requests for ten minutes, and \
         forgets them when it restarts"
    );
    if !silent.is_empty() {
        why.push_str(&format!("; these did not say: {}", silent.join(", ")));
    }
    Problem::new(Code::NotFound, why)
        .hint("the id is in the answer's header x-request-id; the access log goes further back")
}

impl Admin {
    async fn ask(&self, node: NodeId, name: String, id: &str) -> (NodeId, String, Answered) {
        (node, name, self.peers.requests(node, id).await)
    }

    /// What the other nodes of the view know, and the names of those that do not say.
    async fn ask_others(&self, id: &str) -> (Vec<TakenRequest>, Vec<String>) {
        let mut asked = Vec::new();
        for node in self.view().nodes.values().filter(|node| node.id != self.mesh.me() && node.is_alive()) {
            asked.push(self.ask(node.id, node.facts.name.clone(), id));
        }
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        let (mut found, mut silent) = (Vec::new(), Vec::new());
        while let Some((node, name, answer)) = answers.next().await {
            match answer {
                Ok(records) => found.extend(taken(node, records)),
                Err(_) => silent.push(name),
            }
        }
        found.sort_by_key(|taken| std::cmp::Reverse(taken.record.arrived));
        (found, silent)
    }

    fn found(&self, requests: Vec<TakenRequest>) -> RequestsFound {
        let considered = |taken: &TakenRequest| {
            let decisions = taken.record.decisions.clone();
            decisions.into_iter().flat_map(|decision| decision.considered).map(|replica| replica.claim.node)
        };
        let nodes: BTreeSet<NodeId> =
            requests.iter().flat_map(|taken| considered(taken).chain([taken.ingress])).collect();
        let view = self.view();
        let name = |node: NodeId| Some((node, view.nodes.get(&node)?.facts.name.clone()));
        RequestsFound { requests, names: nodes.into_iter().filter_map(name).collect() }
    }
}
