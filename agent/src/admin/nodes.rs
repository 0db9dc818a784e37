//! What is done to nodes: `/v1/nodes/{node}/…`.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use shoal_types::GpuId;

use super::{
    access::Actor,
    model::DrainRequest,
    problem::{Code, Problem},
    routes::{Answer, Shared},
};
use crate::{
    detail::NodeDetail,
    events::{Draft, Reason, Subject},
};

pub(super) async fn drain(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(node): Path<String>,
    Json(request): Json<DrainRequest>,
) -> Answer<()> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() {
        admin.control.set_draining(request.drain).await.map_err(|error| {
            Problem::new(Code::Failed, format!("the drain of this node cannot be changed: {error}"))
        })?;
    } else {
        admin.peers.set_draining(node, request.drain).await?;
    }
    let (reason, what) = if request.drain {
        (Reason::DrainAsked, "its replicas are to go elsewhere")
    } else {
        (Reason::UndrainAsked, "it is to take replicas again")
    };
    admin.events.tell(Draft::new(reason, Subject::node(&admin.name_of(node)), what).by(actor));
    Ok(Json(()))
}

pub(super) async fn detail(State(admin): Shared, Path(node): Path<String>) -> Answer<NodeDetail> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() { Ok(Json(admin.control.detail())) } else { admin.peers.detail(node).await.map(Json) }
}

pub(super) async fn clear_fault(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path((node, gpu)): Path<(String, String)>,
) -> Answer<()> {
    let (node, gpu) = (admin.node(&node)?, GpuId(gpu));
    let what = format!("its fault on node {} is to be forgotten", admin.name_of(node));
    let told = Draft::new(Reason::GpuCleared, Subject::gpu(&gpu), what).by(actor);
    if node == admin.mesh.me() {
        admin.control.clear_fault(gpu).await.map_err(|error| Problem::new(Code::Failed, error))?;
    } else {
        admin.peers.clear_fault(node, gpu).await?;
    }
    admin.events.tell(told);
    Ok(Json(()))
}

pub(super) async fn revoke(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(node): Path<String>,
) -> Answer<()> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() {
        return Err(Problem::new(Code::Invalid, "a node cannot revoke itself").hint("run this on another node"));
    }
    let told =
        Draft::new(Reason::NodeRevoked, Subject::node(&admin.name_of(node)), "it is shut out for good").by(actor);
    admin.mesh.revoke_node(node).await?;
    admin.events.tell(told);
    Ok(Json(()))
}
