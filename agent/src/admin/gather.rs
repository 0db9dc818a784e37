//! Asking all nodes for what each of them alone knows.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use shoal_types::NodeId;

use super::{problem::Problem, routes::Admin};

/// Nodes that are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// A node that did not say what it knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MissingNode {
    /// What people call it.
    pub(crate) node: String,
    /// Why.
    pub(crate) reason: String,
}

impl Admin {
    /// What `ask` got of each other node, and the nodes of which it got nothing; those that are not there are not asked.
    pub(super) async fn ask_others<T, F>(
        self: &Arc<Self>,
        ask: impl Fn(Arc<Self>, NodeId) -> F,
    ) -> (Vec<(NodeId, T)>, Vec<MissingNode>)
    where
        F: Future<Output = Result<T, Problem>>,
    {
        let (view, mut asked, mut missing) = (self.view(), Vec::new(), Vec::new());
        for node in view.nodes.values().filter(|node| node.id != view.me) {
            if node.is_alive() {
                let answer = ask(Arc::clone(self), node.id);
                let name = node.facts.name.clone();
                asked.push(async move { (node.id, name, answer.await) });
            } else {
                missing.push(MissingNode { node: node.facts.name.clone(), reason: "it is not there".to_owned() });
            }
        }
        let (mut answers, mut got) = (stream::iter(asked).buffer_unordered(ASKED_AT_ONCE), Vec::new());
        while let Some((id, node, answer)) = answers.next().await {
            match answer {
                Ok(answer) => got.push((id, answer)),
                Err(problem) => missing.push(MissingNode { node, reason: problem.message }),
            }
        }
        missing.sort_by(|a, b| a.node.cmp(&b.node));
        (got, missing)
    }
}
