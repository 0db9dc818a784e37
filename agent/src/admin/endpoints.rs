//! Endpoints: `/v1/endpoints`.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use shoal_mesh::clock;
use shoal_types::{Endpoint, EndpointName, Hlc, SpecError, parse_endpoints};

use super::{
    access::Actor,
    model::{AppliedStatus, ApplyOutcome, EndpointStatus},
    problem::{Code, Problem},
    routes::{Admin, Answer, Shared},
    view,
};
use crate::events::{Draft, Reason};

/// What documents are as people write them.
const YAML: &str = "application/yaml";

pub(super) async fn list(State(admin): Shared) -> Json<Vec<EndpointStatus>> {
    let (view, memory) = (admin.view(), admin.memory.borrow().clone());
    Json(view::endpoints(&admin.scene(&view, &memory)))
}

/// What an apply demands of what stands.
#[derive(Debug, Deserialize)]
pub(super) struct Expectation {
    /// The version of the one endpoint that is applied.
    expect: Option<String>,
}

pub(super) async fn apply(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Query(Expectation { expect }): Query<Expectation>,
    body: String,
) -> Answer<Vec<AppliedStatus>> {
    let endpoints = parse_endpoints(&body)?;
    let expect = expect.map(|text| text.parse()).transpose().map_err(|error| Problem::new(Code::Invalid, error))?;
    if expect.is_some() && endpoints.len() > 1 {
        return Err(Problem::new(
            Code::Invalid,
            "a version can only be expected of one endpoint: apply them one by one",
        ));
    }
    let mut applied = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let name = endpoint.metadata.name.clone();
        match apply_one(&admin, &actor, endpoint, expect).await {
            Ok(one) => applied.push(one),
            Err(problem) => return Err(partly(problem, &name, &applied)),
        }
    }
    Ok(Json(applied))
}

/// The problem, and what stands of the documents before it.
fn partly(problem: Problem, name: &EndpointName, applied: &[AppliedStatus]) -> Problem {
    let before: Vec<String> = applied.iter().map(|one| format!("{} {}", one.name, one.outcome)).collect();
    let before = if before.is_empty() { String::new() } else { format!(" (before it: {})", before.join(", ")) };
    Problem { message: format!("endpoint {name}: {}{before}", problem.message), ..problem }
}

async fn apply_one(
    admin: &Admin,
    actor: &Actor,
    endpoint: Endpoint,
    expect: Option<Hlc>,
) -> Result<AppliedStatus, Problem> {
    let name = endpoint.metadata.name.clone();
    let known = admin.mesh.store().endpoints().contains_key(&name);
    let applied = admin.mesh.store().apply(endpoint, expect, clock::now()).await?;
    let outcome = match (applied.changed, known) {
        (false, _) => ApplyOutcome::Unchanged,
        (true, true) => ApplyOutcome::Configured,
        (true, false) => ApplyOutcome::Created,
    };
    if applied.changed {
        let what = format!("it was {outcome}, version {}", applied.record.version);
        admin.events.tell(Draft::of_endpoint(Reason::EndpointApplied, &name, what).by(actor));
    }
    Ok(AppliedStatus { name, outcome, version: applied.record.version })
}

/// As JSON with how it is, or as the document that was applied where that is asked for (`Accept: application/yaml`).
pub(super) async fn one(
    State(admin): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (view, memory) = (admin.view(), admin.memory.borrow().clone());
    let found = view::endpoints(&admin.scene(&view, &memory))
        .into_iter()
        .find(|one| one.endpoint.metadata.name.as_str() == name)
        .ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no endpoint `{name}`")).hint("shoal get endpoints")
        })?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.trim_start().starts_with(YAML) {
        return Ok(Json(found).into_response());
    }
    let text = serde_saphyr::to_string(&found.endpoint)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot print the spec: {error}")))?;
    Ok(([(header::CONTENT_TYPE, YAML)], text).into_response())
}

pub(super) async fn delete(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Answer<()> {
    let name: EndpointName = name.parse().map_err(|error| Problem::new(Code::Invalid, error))?;
    admin.mesh.store().delete(&name, None, clock::now()).await?;
    admin.events.tell(Draft::of_endpoint(Reason::EndpointDeleted, &name, "it was deleted").by(actor));
    Ok(Json(()))
}

impl From<SpecError> for Problem {
    fn from(error: SpecError) -> Self {
        Self::new(Code::Invalid, error).hint("`shoal config schema endpoint` prints all fields")
    }
}
