//! Routes that tell what placement thinks, and that steer rollouts.

use std::{fmt, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use shoal_mesh::clock;
use shoal_placement::{Plan, RolloutStatus, explain, making_room, plan, rollout_status};
use shoal_types::{Endpoint, EndpointName, EndpointRecord, EndpointSpec, Revision, View, parse_endpoints};

use super::{
    access::Actor,
    model::{AppliedStatus, ApplyOutcome},
    problem::{Code, Problem},
    routes::{Admin, Answer, Shared},
};
use crate::events::{Draft, Reason};

/// What somebody wants of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "action")]
pub(crate) enum RolloutAction {
    /// It stands still.
    Pause,
    /// It goes on; one that was rolled back begins again.
    Resume,
    /// The processes of an earlier revision come back.
    Undo {
        /// Which; the one before if it is not said.
        #[serde(default)]
        to: Option<String>,
    },
}

impl fmt::Display for RolloutAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause => f.write_str("its rollout is to stand still"),
            Self::Resume => f.write_str("its rollout is to go on"),
            Self::Undo { to: None } => f.write_str("it is to go back to the revision before"),
            Self::Undo { to: Some(revision) } => write!(f, "it is to go back to revision {revision}"),
        }
    }
}

/// A revision of an endpoint that is or was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PastRevisionStatus {
    /// Which processes.
    pub(crate) revision: Revision,
    /// Whether it is the present one.
    pub(crate) current: bool,
    /// What was wanted then.
    pub(crate) spec: EndpointSpec,
}

/// As JSON, or as the text for people where that is what is asked for (`Accept: text/plain`).
pub(super) async fn why(
    State(admin): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (view, record) = find(&admin, &name)?;
    let memory = admin.memory.borrow().clone();
    let scene = admin.scene(&view, &memory);
    let explanation = explain(&scene, &record, &making_room(&scene));
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    Ok(if accept.trim_start().starts_with("text/plain") {
        explanation.to_string().into_response()
    } else {
        Json(explanation).into_response()
    })
}

pub(super) async fn dry_run(State(admin): Shared, body: String) -> Answer<Plan> {
    let proposed = parse_endpoints(&body)?;
    let (view, memory) = (admin.view(), admin.memory.borrow().clone());
    Ok(Json(plan(&admin.scene(&view, &memory), &proposed)))
}

pub(super) async fn rollout(State(admin): Shared, Path(name): Path<String>) -> Answer<RolloutStatus> {
    let (view, record) = find(&admin, &name)?;
    let memory = admin.memory.borrow().clone();
    Ok(Json(rollout_status(&admin.scene(&view, &memory), &record)))
}

pub(super) async fn history(State(admin): Shared, Path(name): Path<String>) -> Answer<Vec<PastRevisionStatus>> {
    let (_, record) = find(&admin, &name)?;
    let current = (record.revision, &record.endpoint.spec, true);
    let past = record.previous.iter().map(|past| (past.revision, &past.spec, false));
    let status = |(revision, spec, current): (Revision, &EndpointSpec, bool)| PastRevisionStatus {
        revision,
        current,
        spec: spec.clone(),
    };
    Ok(Json(std::iter::once(current).chain(past).map(status).collect()))
}

pub(super) async fn steer(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Json(action): Json<RolloutAction>,
) -> Answer<AppliedStatus> {
    let (name, store) = (named(&name)?, admin.mesh.store());
    // The view may be behind what was applied a moment ago.
    let record = store.endpoints().get(&name).cloned().ok_or_else(|| absent(&name))?;
    let endpoint = steered(&record, &action)?;
    let again = action == RolloutAction::Resume && endpoint == record.endpoint;
    let now = clock::now();
    let applied = if again {
        store.touch(&name, Some(record.version), now).await?
    } else {
        store.apply(endpoint, Some(record.version), now).await?
    };
    admin.events.tell(Draft::of_endpoint(Reason::RolloutSteered, &name, action.to_string()).by(actor));
    let outcome = if applied.changed { ApplyOutcome::Configured } else { ApplyOutcome::Unchanged };
    Ok(Json(AppliedStatus { name, outcome, version: applied.record.version }))
}

/// What is to be applied for `action`.
fn steered(record: &EndpointRecord, action: &RolloutAction) -> Result<Endpoint, Problem> {
    let mut endpoint = record.endpoint.clone();
    match action {
        RolloutAction::Pause => endpoint.spec.rollout.paused = true,
        RolloutAction::Resume => endpoint.spec.rollout.paused = false,
        RolloutAction::Undo { to } => {
            let past = match to {
                None => record.previous.first(),
                Some(revision) => record.previous.iter().find(|past| past.revision.to_string() == *revision),
            };
            let name = &endpoint.metadata.name;
            let past = past.ok_or_else(|| {
                let which = to.as_ref().map_or_else(|| "earlier revision".to_owned(), |to| format!("revision `{to}`"));
                Problem::new(Code::NotFound, format!("endpoint {name} has no {which} to go back to"))
                    .hint(format!("shoal rollout history {name}"))
            })?;
            endpoint.spec = endpoint.spec.with_processes_of(&past.spec);
            endpoint.spec.rollout.paused = false;
        }
    }
    Ok(endpoint)
}

fn find(admin: &Admin, name: &str) -> Result<(Arc<View>, Arc<EndpointRecord>), Problem> {
    let (name, view) = (named(name)?, admin.view());
    let record = view.endpoints.get(&name).cloned().ok_or_else(|| absent(&name))?;
    Ok((view, record))
}

fn named(name: &str) -> Result<EndpointName, Problem> {
    name.parse().map_err(|error| Problem::new(Code::Invalid, error))
}

fn absent(name: &EndpointName) -> Problem {
    Problem::new(Code::NotFound, format!("there is no endpoint `{name}`")).hint("shoal get endpoints")
}
