//! How far a change of the mesh's root is: `/v1/root`.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use shoal_mesh::{Succession, identity::IssuingError};
use shoal_types::{Liveness, MeshId};

use super::{
    access::Actor,
    model::NodeStatus,
    problem::{Code, Problem},
    routes::{Answer, Shared},
};
use crate::events::{Draft, Reason, Subject};

/// That another root be trusted, and no other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootRequest {
    /// A succession, as text.
    pub(crate) succession: String,
    /// Although some nodes are cut off by it.
    pub(crate) force: bool,
}

pub(super) async fn finish(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Json(RootRequest { succession, force }): Json<RootRequest>,
) -> Answer<()> {
    let invalid = |error: IssuingError| Problem::new(Code::Invalid, error);
    let succession: Succession = succession.parse().map_err(invalid)?;
    let root = succession.new_root().map_err(|error| Problem::new(Code::Invalid, error))?;
    let behind = behind(&admin.status().nodes, root);
    if !force && !behind.is_empty() {
        let why = format!("the old root cannot be dropped yet: {}", behind.join("; "));
        return Err(Problem::new(Code::NotReady, why)
            .hint("shoal root status; --force cuts these nodes off until they join again"));
    }
    admin.mesh.replace_root(&succession).await?;
    let what = format!("root {root} is trusted from now on, and no other");
    admin.events.tell(Draft::new(Reason::RootReplaced, Subject::mesh(), what).by(actor));
    Ok(Json(()))
}

/// The nodes that would be cut off if only `root` were trusted, and why. Pure.
fn behind(nodes: &[NodeStatus], root: MeshId) -> Vec<String> {
    let there = nodes.iter().filter(|node| node.liveness != Liveness::Left);
    let why = |node: &NodeStatus| match (node.liveness, node.facts.root) {
        (Liveness::Suspect { .. }, _) => Some(format!("node {} is silent", node.name)),
        (_, None) => Some(format!("node {} runs a version that knows nothing of it", node.name)),
        (_, Some(own)) if own != root => Some(format!("a certificate of node {} comes from root {own}", node.name)),
        (_, Some(_)) => None,
    };
    there.filter_map(why).collect()
}
