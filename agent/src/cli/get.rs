//! `shoal get` and `shoal status`.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_types::{Departure, DepartureReason, Liveness};

use super::{
    args::{GetArgs, OutputArgs, Resource},
    client::Client,
    output::{Output, out},
    table::{Table, age, or_dash},
};
use crate::admin::{Code, EndpointStatus, MeshStatus, NodeStatus, Problem, ReplicaStatus};

/// Something that can be listed by name.
pub(super) trait Listed: DeserializeOwned + Serialize {
    /// Path of the list in the API.
    const PATH: &'static str;
    /// The word for one of them.
    const WORD: &'static str;

    /// Whether `name` means this one.
    fn is(&self, name: &str) -> bool;

    /// All of them as a table.
    fn table(list: &[Self], wide: bool) -> Table;
}

/// All, or those that `name` means.
pub(super) async fn list<T: Listed>(client: &Client, name: Option<&str>) -> Result<Vec<T>, Problem> {
    let mut list: Vec<T> = client.get(T::PATH).await?;
    if let Some(name) = name {
        list.retain(|item| item.is(name));
        if list.is_empty() {
            return Err(Problem::new(Code::NotFound, format!("there is no {} `{name}`", T::WORD))
                .hint(format!("shoal get {}s", T::WORD)));
        }
    }
    Ok(list)
}

pub(super) async fn run(client: &Client, args: GetArgs) -> Result<(), Problem> {
    match args.resource {
        Resource::Nodes => print::<NodeStatus>(client, args).await,
        Resource::Endpoints => print::<EndpointStatus>(client, args).await,
        Resource::Replicas => print::<ReplicaStatus>(client, args).await,
    }
}

async fn print<T: Listed>(client: &Client, args: GetArgs) -> Result<(), Problem> {
    let list: Vec<T> = list(client, args.name.as_deref()).await?;
    match (&args.name, list.as_slice()) {
        // Asked by name, a script wants the thing and not a list of one.
        (Some(_), [one]) => args.output.output.print(one, |wide| T::table(&list, wide)),
        _ => args.output.output.print(&list, |wide| T::table(&list, wide)),
    }
}

/// The mesh in one screen; a problem if it needs attention.
pub(super) async fn status(client: &Client, args: OutputArgs) -> Result<(), Problem> {
    let status: MeshStatus = client.get("/v1/status").await?;
    let wide = args.output == Output::Wide;
    if matches!(args.output, Output::Table | Output::Wide) {
        let health = if status.problems.is_empty() { "healthy" } else { "needs attention" };
        let head = format!("mesh {} seen from {} (shoal {}): {health}", status.mesh, status.node, status.version);
        let dashboard = status.dashboard.as_ref().map(|url| format!("dashboard {url}\n")).unwrap_or_default();
        let nodes = NodeStatus::table(&status.nodes, wide);
        let endpoints = EndpointStatus::table(&status.endpoints, wide);
        let problems: String = status.problems.iter().map(|problem| format!("! {problem}\n")).collect();
        out(&format!("{head}\n{dashboard}{problems}\n{nodes}\n{endpoints}"))?;
    } else {
        args.output.print(&status, |_| Table::new(&[], &[], false))?;
    }
    match status.problems.len() {
        0 => Ok(()),
        number => Err(Problem::new(Code::Failed, format!("{number} thing(s) need attention, see above"))),
    }
}

impl Listed for NodeStatus {
    const PATH: &'static str = "/v1/nodes";
    const WORD: &'static str = "node";

    fn is(&self, name: &str) -> bool {
        self.name == name || self.id.to_string().starts_with(name)
    }

    fn table(list: &[Self], wide: bool) -> Table {
        let heads = ["NAME", "STATE", "CLUSTER", "ZONE", "CAPACITY", "GPUS", "FREE", "REPLICAS", "NEWS"];
        let mut table = Table::new(&heads, &["RTT", "VERSION", "ADDRESS", "ID"], wide);
        for node in list {
            table.row([
                node.name.clone(),
                node_state(node),
                node.labels().cluster.clone(),
                or_dash(node.labels().zone.as_ref()),
                node.labels().capacity_type.to_string(),
                node.gpu_summary(),
                node.gpus_free.to_string(),
                node.replicas.iter().filter(|replica| !replica.is_over()).count().to_string(),
                format!("{} ago", age(Duration::from_millis(node.age_ms))),
                or_dash(node.rtt_ms.map(|rtt| format!("{rtt:.1}ms"))),
                node.facts.version.clone(),
                or_dash(node.facts.addresses.first()),
                node.id.to_string(),
            ]);
        }
        table
    }
}

/// `alive`, `draining`, `leaving`, `suspect`, `left`.
pub(super) fn node_state(node: &NodeStatus) -> String {
    match (node.liveness, &node.departure) {
        (Liveness::Alive, None) => "alive",
        (Liveness::Alive, Some(Departure { reason: DepartureReason::Drain, .. })) => "draining",
        (Liveness::Alive, Some(_)) => "leaving",
        (Liveness::Suspect { .. }, _) => "suspect",
        (Liveness::Left, _) => "left",
    }
    .to_owned()
}

impl Listed for EndpointStatus {
    const PATH: &'static str = "/v1/endpoints";
    const WORD: &'static str = "endpoint";

    fn is(&self, name: &str) -> bool {
        self.endpoint.metadata.name.as_str() == name
    }

    fn table(list: &[Self], wide: bool) -> Table {
        let mut table = Table::new(
            &["NAME", "STATE", "READY", "MODEL", "ENGINE", "GPUS"],
            &["REVISION", "UPDATED", "VERSION"],
            wide,
        );
        for endpoint in list {
            let status = &endpoint.status;
            table.row([
                endpoint.endpoint.metadata.name.to_string(),
                status.health.text().to_owned(),
                format!("{}/{}", status.ready, status.desired),
                endpoint.endpoint.spec.model.clone(),
                endpoint.endpoint.spec.engine.kind().to_owned(),
                endpoint.endpoint.spec.resources.gpus.to_string(),
                status.revision.to_string(),
                status.version.time.to_string(),
                status.version.to_string(),
            ]);
        }
        table
    }
}

impl Listed for ReplicaStatus {
    const PATH: &'static str = "/v1/replicas";
    const WORD: &'static str = "replica";

    fn is(&self, name: &str) -> bool {
        self.name == name || self.claim.to_string() == name
    }

    fn table(list: &[Self], wide: bool) -> Table {
        let heads = ["NAME", "STATE", "SINCE", "NODE", "ZONE", "GPUS", "INFLIGHT"];
        let mut table = Table::new(&heads, &["REVISION", "REASON", "CLAIM"], wide);
        for replica in list {
            table.row([
                replica.name.clone(),
                replica_state(replica),
                age(Duration::from_millis(replica.since_ms)),
                replica.node.clone(),
                or_dash(replica.zone.as_ref()),
                replica.gpus.to_string(),
                or_dash(replica.load.map(|load| load.inflight)),
                replica.revision.to_string(),
                or_dash(replica.reason.as_ref()),
                replica.claim.to_string(),
            ]);
        }
        table
    }
}

/// The state, how far it has come, and a doubt where its node has gone quiet.
pub(super) fn replica_state(replica: &ReplicaStatus) -> String {
    let progress = replica.progress.map(|progress| format!(" {progress}")).unwrap_or_default();
    let doubt = match replica.liveness {
        Liveness::Alive if replica.leaving.is_some() => " (leaving)",
        Liveness::Alive => "",
        Liveness::Suspect { .. } => " (node suspect)",
        Liveness::Left => " (node left)",
    };
    format!("{}{progress}{doubt}", replica.state)
}
