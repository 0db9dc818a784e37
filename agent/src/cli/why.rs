//! `shoal why` and `shoal plan`: what placement thinks, and what it would do.

use shoal_placement::{Explanation, Plan, PlanOutcome};

use super::{
    apply::{parse, read},
    args::{PlanArgs, WhyArgs},
    client::Client,
    output::{Output, out},
    table::Table,
};
use crate::admin::{Code, Problem};

/// Status of a plan that would change something, and of one that cannot be placed whole.
const CHANGES: u8 = 1;
const CANNOT_BE_PLACED: u8 = 2;

pub(super) async fn why(client: &Client, args: WhyArgs) -> Result<(), Problem> {
    let Some(name) = ["endpoint/", "endpoints/", "ep/"].iter().find_map(|kind| args.target.strip_prefix(kind)) else {
        return Err(Problem::new(Code::Invalid, format!("`{}` is not endpoint/NAME", args.target))
            .hint("shoal why endpoint/NAME"));
    };
    let explanation: Explanation = client.get(&format!("/v1/endpoints/{name}/why")).await?;
    print(args.output.output, &explanation)
}

/// Returns the status to exit with.
pub(super) async fn plan(client: &Client, args: PlanArgs) -> Result<u8, Problem> {
    let text = read(&args.filename)?;
    parse(&text, &args.filename)?;
    let plan: Plan = client.post_text("/v1/plan", text).await?;
    print(args.output.output, &plan)?;
    Ok(match plan.outcome() {
        PlanOutcome::Nothing => 0,
        PlanOutcome::Changes => CHANGES,
        PlanOutcome::CannotBePlaced => CANNOT_BE_PLACED,
    })
}

fn print<T: serde::Serialize + std::fmt::Display>(output: Output, value: &T) -> Result<(), Problem> {
    match output {
        Output::Table | Output::Wide => out(&value.to_string()),
        Output::Json | Output::Yaml => output.print(value, |_| Table::new(&[], &[], false)),
    }
}
