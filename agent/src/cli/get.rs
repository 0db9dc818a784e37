//! `shoal get` and `shoal status`.

use shoal_mesh::TokenStatus;
use shoal_types::KeyStatus;

use super::{
    args::{EventArgs, GetArgs, OutputArgs, Resource},
    client::Client,
    events,
    listed::Listed,
    output::{Output, note},
    select::Selection,
    target::Targets,
    watch,
};
use crate::admin::{Code, EndpointStatus, MeshStatus, NodeStatus, Problem, ReplicaStatus};

/// All, or those that `names` mean.
pub(super) async fn list<T: Listed>(client: &Client, names: &[&str]) -> Result<Vec<T>, Problem> {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Selection { names, ..Selection::default() }.choose(client.get(T::PATH).await?)
}

pub(super) async fn run(client: &Client, args: GetArgs) -> Result<(), Problem> {
    if let [word] = args.target.as_slice()
        && ["events", "event", "ev"].contains(&word.as_str())
    {
        return events(client, args).await;
    }
    let Targets { resource, names } = Targets::parse(&args.target)?;
    let selection = Selection { names, labels: args.labels, sort_by: args.sort_by };
    let (watch, output) = (args.watch, &args.output.output);
    match resource {
        Resource::Nodes => get::<NodeStatus>(client, &selection, watch, output).await,
        Resource::Endpoints => get::<EndpointStatus>(client, &selection, watch, output).await,
        Resource::Replicas => get::<ReplicaStatus>(client, &selection, watch, output).await,
        Resource::Keys => get::<KeyStatus>(client, &selection, watch, output).await,
        Resource::Tokens => get::<TokenStatus>(client, &selection, watch, output).await,
    }
}

/// As `shoal events`, which has what they can be selected by.
async fn events(client: &Client, args: GetArgs) -> Result<(), Problem> {
    if !args.labels.is_empty() || args.sort_by.is_some() {
        return Err(Problem::new(Code::Invalid, "events have no labels, and an order of their own")
            .hint("shoal events --for KIND/NAME, --since TIME, --warnings"));
    }
    events::run(client, EventArgs::latest(args.watch, args.output)).await
}

async fn get<T: Listed>(client: &Client, selection: &Selection, watch: bool, output: &Output) -> Result<(), Problem> {
    let list: Vec<T> = selection.choose(client.get(T::PATH).await?)?;
    if watch {
        return watch::watch(client, selection, list, output).await;
    }
    if list.is_empty() && output.is_for_people() {
        note(&format!("there is no {}", T::WORD));
        return Ok(());
    }
    match (selection.names.as_slice(), list.as_slice()) {
        // Asked by name, a script wants the thing and not a list of one.
        ([_], [one]) => output.print(one, |wide| T::table(&list, wide)),
        _ => output.print(&list, |wide| T::table(&list, wide)),
    }
}

/// The mesh in one screen; a problem if it needs attention.
pub(super) async fn status(client: &Client, args: OutputArgs) -> Result<(), Problem> {
    let status: MeshStatus = client.get("/v1/status").await?;
    args.output.print(&status, |wide| screen(&status, wide))?;
    match status.problems.len() {
        0 => Ok(()),
        number => Err(Problem::new(Code::Failed, format!("{number} thing(s) need attention, see above"))),
    }
}

fn screen(status: &MeshStatus, wide: bool) -> String {
    let health = if status.problems.is_empty() { "healthy" } else { "needs attention" };
    let head = format!("mesh {} seen from {} (shoal {}): {health}", status.mesh, status.node, status.version);
    let dashboard = status.dashboard.as_ref().map(|url| format!("dashboard {url}\n")).unwrap_or_default();
    let nodes = NodeStatus::table(&status.nodes, wide);
    let endpoints = EndpointStatus::table(&status.endpoints, wide);
    let problems: String = status.problems.iter().map(|problem| format!("! {problem}\n")).collect();
    format!("{head}\n{dashboard}{problems}\n{nodes}\n{endpoints}")
}
