//! The dashboard: pages of the admin listener under `/ui`, which show in a browser what the admin API tells.
//!
//! Its sources are in `agent/ui` and are served as they are, from within the program; there is nothing to build. Whoever opens
//! it must know the admin token, which every question to the API then carries; whoever has a key of a client can try
//! endpoints and see what the key has used.

mod assets;
mod playground;

use std::sync::Arc;

use axum::{
    Router,
    response::Redirect,
    routing::{get, post},
};

use crate::admin::Admin;

/// The files, which are no secret.
pub(crate) fn files() -> Router {
    Router::new()
        .route("/ui", get(|| async { Redirect::permanent("/ui/") }))
        .route("/ui/", get(assets::index))
        .route("/ui/{*path}", get(assets::file))
}

/// What goes on to the ingress of this node, which asks for a key where it asks clients for one.
pub(crate) fn playground(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/ui/v1/chat/completions", post(playground::pass_on))
        .route("/ui/v1/models", get(playground::pass_on))
        .with_state(admin)
}
