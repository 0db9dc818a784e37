//! `shoal rollout`.

use shoal_placement::RolloutStatus;
use shoal_types::EndpointName;

use super::{
    args::{RolloutTarget, RolloutUndo, RolloutVerb},
    client::Client,
    output::out,
    table::Table,
};
use crate::admin::{AppliedStatus, PastRevisionStatus, Problem, RolloutAction};

pub(super) async fn run(client: &Client, verb: RolloutVerb) -> Result<(), Problem> {
    match verb {
        RolloutVerb::Status(target) => status(client, &target).await,
        RolloutVerb::History(target) => history(client, &target).await,
        RolloutVerb::Pause(target) => act(client, &target.endpoint, RolloutAction::Pause, "is paused").await,
        RolloutVerb::Resume(target) => act(client, &target.endpoint, RolloutAction::Resume, "goes on").await,
        RolloutVerb::Undo(RolloutUndo { endpoint, to }) => {
            act(client, &endpoint, RolloutAction::Undo { to }, "goes back").await
        }
    }
}

async fn status(client: &Client, target: &RolloutTarget) -> Result<(), Problem> {
    let status: RolloutStatus = client.get(&format!("/v1/endpoints/{}/rollout", target.endpoint)).await?;
    target.output.output.print(&status, |_| &status)
}

async fn history(client: &Client, target: &RolloutTarget) -> Result<(), Problem> {
    let history: Vec<PastRevisionStatus> =
        client.get(&format!("/v1/endpoints/{}/rollout/history", target.endpoint)).await?;
    target.output.output.print(&history, |_| {
        let mut table = Table::new(&["REVISION", "WHEN", "MODEL", "ENGINE", "GPUS", ""], &[], false);
        for past in &history {
            let mark = if past.current { "current" } else { "" };
            let gpus = past.spec.resources.gpus.to_string();
            table.row([
                past.revision.to_string(),
                past.revision.0.time.to_string(),
                past.spec.model.clone(),
                past.spec.engine.kind().to_owned(),
                gpus,
                mark.to_owned(),
            ]);
        }
        table
    })
}

async fn act(client: &Client, endpoint: &EndpointName, action: RolloutAction, done: &str) -> Result<(), Problem> {
    let applied: AppliedStatus = client.post(&format!("/v1/endpoints/{endpoint}/rollout"), &action).await?;
    out(&format!("rollout of endpoint {} {done} ({})\n", applied.name, applied.outcome))
}
