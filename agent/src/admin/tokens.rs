//! Tokens that hosts join with: `/v1/tokens`.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use shoal_mesh::{TokenLimits, TokenStatus};

use super::{
    access::Actor,
    model::{TokenCreated, TokenRequest},
    problem::{Code, Problem},
    routes::{Answer, Shared},
};
use crate::events::{Draft, Reason, Subject};

pub(super) async fn list(State(admin): Shared) -> Answer<Vec<TokenStatus>> {
    Ok(Json(admin.mesh.tokens().await?))
}

pub(super) async fn create(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Json(request): Json<TokenRequest>,
) -> Answer<TokenCreated> {
    let limits = TokenLimits {
        ttl: Duration::from_millis(request.ttl_ms),
        uses: request.uses,
        write: request.write,
        issuer: request.issuer,
        labels: request.labels,
    };
    let rights = match (request.issuer, request.write) {
        (true, _) => "as an issuer",
        (false, true) => "with the right to write",
        (false, false) => "without the right to write",
    };
    let token = admin.mesh.create_token(limits).await?;
    let hosts = if request.uses == 1 { "one host".to_owned() } else { format!("{} hosts", request.uses) };
    let what = format!("{hosts} may join with it until {}, {rights}", token.not_after());
    admin.events.tell(Draft::new(Reason::TokenCreated, Subject::token(token.id()), what).by(actor));
    Ok(Json(TokenCreated { id: token.id().to_string(), expires: token.not_after(), token: token.to_string() }))
}

pub(super) async fn revoke(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Answer<()> {
    let id = id.parse().map_err(|error| Problem::new(Code::Invalid, error))?;
    admin.mesh.revoke_token(id).await?;
    admin
        .events
        .tell(Draft::new(Reason::TokenRevoked, Subject::token(id), "no host can join with it any more").by(actor));
    Ok(Json(()))
}
