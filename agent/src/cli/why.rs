//! `shoal why` and `shoal plan`: what placement thinks, and what it would do.

use shoal_placement::{Explanation, Plan, PlanOutcome};
use shoal_types::EndpointName;

use super::{
    apply::{parse, read},
    args::{PlanArgs, WhyArgs},
    client::Client,
    output::Output,
    target::Targets,
};
use crate::admin::{Code, Problem, RequestsFound};

/// Status of a plan that would change something, and of one that cannot be placed whole.
const CHANGES: u8 = 1;
const CANNOT_BE_PLACED: u8 = 2;

pub(super) async fn why(client: &Client, args: WhyArgs) -> Result<(), Problem> {
    if let ("request", Some(id)) | ("requests", Some(id)) = (args.target.as_str(), &args.id) {
        return request(client, id, &args.output.output).await;
    }
    if let Some(id) = args.target.strip_prefix("request/") {
        return request(client, id, &args.output.output).await;
    }
    let words: Vec<String> = [args.target].into_iter().chain(args.id).collect();
    let Ok([name]) = <[EndpointName; 1]>::try_from(Targets::endpoints(&words, "why")?) else {
        return Err(Problem::new(Code::Invalid, "name one endpoint, or one request")
            .hint("shoal why endpoint/NAME, or shoal why request ID"));
    };
    let explanation: Explanation = client.get(&format!("/v1/endpoints/{name}/why")).await?;
    args.output.output.print(&explanation, |_| &explanation)
}

async fn request(client: &Client, id: &str, output: &Output) -> Result<(), Problem> {
    // What is none is not sent: it would be a path.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
        return Err(Problem::new(Code::Invalid, format!("`{id}` is no id of a request"))
            .hint("it is in the answer's header x-request-id"));
    }
    let found: RequestsFound = client.get(&format!("/v1/requests/{id}/why")).await?;
    output.print(&found, |_| &found)
}

/// Returns the status to exit with.
pub(super) async fn plan(client: &Client, args: PlanArgs) -> Result<u8, Problem> {
    let text = read(&args.filename)?;
    parse(&text, &args.filename)?;
    let plan: Plan = client.post_text("/v1/plan", text).await?;
    args.output.output.print(&plan, |_| &plan)?;
    Ok(match plan.outcome() {
        PlanOutcome::Nothing => 0,
        PlanOutcome::Changes => CHANGES,
        PlanOutcome::CannotBePlaced => CANNOT_BE_PLACED,
    })
}
