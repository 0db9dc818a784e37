//! Who is in the mesh, and with what certificates: what needs attention. And the store of the mesh as a whole.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use shoal_mesh::{Backup, RestoreOptions, RestoreOutcome, Restored};
use shoal_types::{Liveness, UnixMillis, Validity};

use super::{
    access::Actor,
    model::NodeStatus,
    problem::{Code, Problem},
    root,
    routes::{Admin, Answer, Shared},
};
use crate::events::{Draft, Reason, Subject};

/// Largest backup that is taken: all the entries that a store holds, of the size that they usually are.
pub(crate) const BACKUP_MAX: usize = 64 << 20;

/// All that is to be said of a node that was thrown out: the rest follows from it.
pub(crate) const REVOKED: &str = "this node is revoked: its peers hang up on it, and it takes part in nothing any more; stop it, \
     or remove `identity` from its state directory and join as a new node";

/// What needs attention of certificates and of those who sign them. Pure.
pub(crate) fn problems(nodes: &[NodeStatus], now: UnixMillis) -> Vec<String> {
    let there = || nodes.iter().filter(|node| node.liveness != Liveness::Left);
    let issuers = || there().filter(|node| node.facts.issuer);
    let none = (!nodes.is_empty() && !issuers().any(|node| node.liveness == Liveness::Alive)).then(|| {
        let known: Vec<&str> = issuers().map(|node| node.name.as_str()).collect();
        let known = if known.is_empty() { String::new() } else { format!(" ({} is silent)", known.join(", ")) };
        format!(
            "no issuer is live{known}: serving goes on, but no node can join and no certificate is renewed; start one"
        )
    });
    let own = there().filter_map(|node| {
        let (name, validity) = (&node.name, node.facts.validities?.node);
        ends(
            validity,
            now,
            &format!("the certificate of node {name}"),
            &match validity.is_over(now) {
                true => format!(
                    "peers refuse it: on {name}, run `shoal join` again with a new token, and restart the daemon"
                ),
                false => "it is renewed by any issuer that it can reach, and has found none for long".to_owned(),
            },
        )
    });
    let issuing = there().filter_map(|node| {
        let (name, validity) = (&node.name, node.facts.validities?.issuer?);
        ends(
            validity,
            now,
            &format!("the issuing certificate of node {name}"),
            &format!("what it signed ends with it: `shoal issuer rotate {name}`"),
        )
    });
    // All nodes have the same.
    let root = there().find_map(|node| node.facts.validities).and_then(|validities| {
        ends(validities.root, now, "the root certificate of the mesh", "see \"Another root\" in docs/operations.md")
    });
    none.into_iter().chain(own).chain(issuing).chain(root).collect()
}

fn ends(validity: Validity, now: UnixMillis, what: &str, then: &str) -> Option<String> {
    let verb = if validity.is_over(now) { "ended" } else { "ends" };
    validity.is_ending(now).then(|| format!("{what} {verb} at {}: {then}", validity.until))
}

/// What only administrators may ask.
pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/v1/nodes/{node}/issuer-request", post(request_issuer))
        .route("/v1/nodes/{node}/issuer", post(install_issuer))
        .route("/v1/root", post(root::finish))
        .route("/v1/backup", get(backup))
        .route("/v1/restore", post(restore).layer(DefaultBodyLimit::max(BACKUP_MAX)))
}

/// What a node and the holder of the root key say to each other: a request, or the grant for it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IssuerText {
    pub(crate) text: String,
}

async fn request_issuer(State(admin): Shared, Path(node): Path<String>) -> Answer<IssuerText> {
    let node = admin.node(&node)?;
    let text = if node == admin.mesh.me() {
        admin.control.request_issuer().await.map_err(|why| Problem::new(Code::Failed, why))?
    } else {
        admin.peers.request_issuer(node).await?
    };
    Ok(Json(IssuerText { text }))
}

async fn install_issuer(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(node): Path<String>,
    Json(IssuerText { text }): Json<IssuerText>,
) -> Answer<()> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() {
        admin.control.install_issuer(&text).await.map_err(|why| Problem::new(Code::Failed, why))?;
    } else {
        admin.peers.install_issuer(node, text).await?;
    }
    let about = Subject::node(&admin.name_of(node));
    admin.events.tell(Draft::new(Reason::IssuerInstalled, about, "it signs with a new issuing key").by(actor));
    Ok(Json(()))
}

async fn backup(State(admin): Shared) -> Result<Response, Problem> {
    let text = admin.mesh.backup().await?.to_text().map_err(|error| Problem::new(Code::Failed, error))?;
    if text.len() > BACKUP_MAX {
        let why =
            format!("a backup of {} MiB is more than can be restored: {} MiB", text.len() >> 20, BACKUP_MAX >> 20);
        return Err(Problem::new(Code::Failed, why).hint("delete endpoints that nobody needs"));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// How a backup is restored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RestoreQuery {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    replace: bool,
}

async fn restore(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Query(RestoreQuery { dry_run, replace }): Query<RestoreQuery>,
    body: String,
) -> Answer<Vec<Restored>> {
    let backup = Backup::parse(&body).map_err(|error| Problem::new(Code::Invalid, error))?;
    let origin = backup.origin.clone();
    let restored = admin.mesh.restore(backup, RestoreOptions { replace, dry_run }).await?;
    let put_back = |one: &&Restored| matches!(one.outcome, RestoreOutcome::Created | RestoreOutcome::Replaced);
    let number = restored.iter().filter(put_back).count();
    if !dry_run && number > 0 {
        let what =
            format!("{number} entries of the backup of {} by node {} are put back", origin.made, origin.node.short());
        admin.events.tell(Draft::new(Reason::BackupRestored, Subject::mesh(), what).by(actor));
    }
    Ok(Json(restored))
}
