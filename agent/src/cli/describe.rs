//! `shoal describe`: all about one thing, and why it is as it is.

use std::{fmt::Write as _, time::Duration};

use shoal_types::{Gpu, GpuUse};

use super::{
    args::{DescribeArgs, Resource},
    client::Client,
    get::{list, node_state, replica_state},
    output::out,
    table::{Table, age, or_dash},
};
use crate::admin::{Code, EndpointStatus, NodeStatus, Problem, ReplicaStatus};

pub(super) async fn run(client: &Client, args: DescribeArgs) -> Result<(), Problem> {
    let name = Some(args.name.as_str());
    let text = match args.resource {
        Resource::Nodes => join(list::<NodeStatus>(client, name).await?, node),
        Resource::Endpoints => join(list::<EndpointStatus>(client, name).await?, endpoint),
        Resource::Replicas => join(list::<ReplicaStatus>(client, name).await?, |one| Ok(replica(one))),
    };
    out(&text?)
}

fn join<T>(list: Vec<T>, describe: impl Fn(&T) -> Result<String, Problem>) -> Result<String, Problem> {
    let texts: Result<Vec<String>, Problem> = list.iter().map(describe).collect();
    Ok(texts?.join("\n"))
}

fn fields(fields: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<14}{value}", format!("{name}:"));
    }
    text
}

#[allow(clippy::unnecessary_wraps)] // one shape for all three
fn node(node: &NodeStatus) -> Result<String, Problem> {
    let labels = node.labels();
    let place = [Some(&labels.cluster), labels.cloud.as_ref(), labels.region.as_ref(), labels.zone.as_ref()];
    let place: Vec<&str> = place.into_iter().flatten().map(String::as_str).collect();
    let addresses: Vec<String> = node.facts.addresses.iter().map(ToString::to_string).collect();
    let engines: Vec<&str> = node.facts.engines.iter().map(|engine| engine.0.as_str()).collect();
    let mut text = fields(&[
        ("Name", node.name.clone()),
        ("Id", node.id.to_string()),
        ("State", format!("{}, last news {} ago", node_state(node), age(Duration::from_millis(node.age_ms)))),
        ("Place", place.join(" / ")),
        ("Capacity", format!("{}, {}", labels.capacity_type, price(labels.price))),
        ("Host", format!("{} cpus, {}, {}", node.facts.host.cpus, node.facts.host.memory, node.facts.host.os)),
        ("Version", format!("{} (protocol {})", node.facts.version, node.facts.protocol)),
        ("Addresses", addresses.join(", ")),
        ("Issuer", node.facts.issuer.to_string()),
        ("Engines", if engines.is_empty() { "none offered".to_owned() } else { engines.join(", ") }),
        ("GPUs", node.gpu_summary()),
    ]);
    let mut gpus = Table::new(&["  GPU", "MEMORY", "USED", "UTIL", "TEMP", "USED BY"], &[], false);
    for gpu in &node.gpus {
        gpus.row(gpu_row(gpu, node));
    }
    if !node.gpus.is_empty() {
        text += &gpus.to_string();
    }
    text += &replicas(&node.replicas);
    Ok(text)
}

fn price(price: Option<f64>) -> String {
    price.map_or_else(|| "price unknown".to_owned(), |price| format!("{price} USD per GPU-hour"))
}

fn gpu_row(gpu: &Gpu, node: &NodeStatus) -> [String; 6] {
    let used_by = match &gpu.used_by {
        GpuUse::Free => "free".to_owned(),
        GpuUse::Unknown => "unknown: the driver does not answer".to_owned(),
        GpuUse::Partitioned => "divided into MIG slices".to_owned(),
        GpuUse::Foreign(who) => format!("{who}, which is not shoal's"),
        GpuUse::Replica(claim) => node
            .replicas
            .iter()
            .find(|replica| replica.claim == *claim)
            .map_or_else(|| claim.to_string(), |replica| replica.name.clone()),
    };
    [
        format!("  {}", gpu.id),
        gpu.memory.to_string(),
        or_dash(gpu.memory_used),
        or_dash(gpu.utilization.map(|percent| format!("{percent}%"))),
        or_dash(gpu.temperature.map(|celsius| format!("{celsius}C"))),
        used_by,
    ]
}

fn endpoint(endpoint: &EndpointStatus) -> Result<String, Problem> {
    let status = &endpoint.status;
    let yaml = serde_saphyr::to_string(&endpoint.endpoint)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot print the spec: {error}")))?;
    let mut text = fields(&[
        ("Name", endpoint.endpoint.metadata.name.to_string()),
        ("State", format!("{}, {} of {} replicas ready", status.health.text(), status.ready, status.desired)),
        ("Revision", status.revision.to_string()),
        ("Updated", format!("{} by node {}", status.version.time, status.version.node.short())),
    ]);
    text += "Spec:\n";
    for line in yaml.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text += &replicas(&status.replicas);
    text += "Why:\n";
    if status.excluded.is_empty() {
        text += "  every node could run a replica\n";
    }
    for (node, why) in &status.excluded {
        let _ = writeln!(text, "  {node} cannot run another replica: {why}");
    }
    Ok(text)
}

fn replica(replica: &ReplicaStatus) -> String {
    let load = replica.load.map_or_else(
        || "not heard".to_owned(),
        |load| {
            format!(
                "{} in flight, {} running, {} waiting, KV cache {}",
                load.inflight,
                or_dash(load.running),
                or_dash(load.waiting),
                or_dash(load.kv_cache.map(|percent| format!("{percent}%"))),
            )
        },
    );
    fields(&[
        ("Name", replica.name.clone()),
        ("Endpoint", replica.endpoint.to_string()),
        ("Revision", replica.revision.to_string()),
        ("Node", replica.node.clone()),
        ("State", format!("{} for {}", replica_state(replica), age(Duration::from_millis(replica.since_ms)))),
        ("GPUs", replica.gpus.to_string()),
        ("Load", load),
        ("Claim", replica.claim.to_string()),
        ("Why", or_dash(replica.reason.as_ref())),
    ])
}

fn replicas(replicas: &[ReplicaStatus]) -> String {
    if replicas.is_empty() {
        return "Replicas:     none\n".to_owned();
    }
    let mut table = Table::new(&["  NAME", "STATE", "SINCE", "NODE", "REASON"], &[], false);
    for replica in replicas {
        table.row([
            format!("  {}", replica.name),
            replica_state(replica),
            age(Duration::from_millis(replica.since_ms)),
            replica.node.clone(),
            or_dash(replica.reason.as_ref()),
        ]);
    }
    format!("Replicas:\n{table}")
}
