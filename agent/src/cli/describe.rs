//! `shoal describe`: all about one thing, and why it is as it is.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use shoal_engine_supervisor::StoredModel;
use shoal_mesh::TokenStatus;
use shoal_types::{Departure, Gpu, GpuUse, KeyStatus};

use super::{
    args::{DescribeArgs, Resource},
    client::Client,
    events,
    get::list,
    listed::{Listed, node_state, replica_state},
    output::Output,
    table::{Table, age, or_dash},
    target::Targets,
};
use crate::{
    admin::{Code, EndpointStatus, NodeStatus, Problem, ReplicaStatus},
    detail::{GpuDetail, NodeDetail},
};

pub(super) async fn run(client: &Client, args: DescribeArgs) -> Result<(), Problem> {
    let targets = Targets::parse(&args.target)?;
    let (name, output) = (targets.only()?, &args.output.output);
    match targets.resource {
        Resource::Nodes => node_closely(client, name, output).await,
        Resource::Endpoints => print(client, &list::<EndpointStatus>(client, &[name]).await?, output, endpoint).await,
        Resource::Replicas => {
            print(client, &list::<ReplicaStatus>(client, &[name]).await?, output, |one| Ok(replica(one))).await
        }
        Resource::Keys => print(client, &list::<KeyStatus>(client, &[name]).await?, output, listed).await,
        Resource::Tokens => print(client, &list::<TokenStatus>(client, &[name]).await?, output, listed).await,
    }
}

/// What there is to say is in its row.
fn listed<T: Listed>(one: &T) -> Result<String, Problem> {
    Ok(T::table(std::slice::from_ref(one), true).to_string())
}

async fn node_closely(client: &Client, name: &str, output: &Output) -> Result<(), Problem> {
    let list = list::<NodeStatus>(client, &[name]).await?;
    let mut details = BTreeMap::new();
    for one in &list {
        // Only the node itself knows the rest, and it may be gone.
        details.insert(one.id, client.get::<NodeDetail>(&format!("/v1/nodes/{}/detail", one.id)).await);
    }
    let closely = |one: &NodeStatus| match details.get(&one.id) {
        Some(Ok(detail)) => closely(detail),
        Some(Err(problem)) => format!("Closely:      {problem}\n"),
        None => String::new(),
    };
    print(client, &list, output, |one| Ok(node(one) + &closely(one))).await
}

/// One thing is one value; a name may mean several, such as the beginning of nodes' ids.
async fn print<T: Listed>(
    client: &Client,
    list: &[T],
    output: &Output,
    describe: impl Fn(&T) -> Result<String, Problem>,
) -> Result<(), Problem> {
    let mut texts = Vec::new();
    if output.is_for_people() {
        for one in list {
            let subject = one.names().and_then(|names| names.into_iter().next()).unwrap_or_default();
            texts.push(describe(one)? + &events::section(client, &subject).await);
        }
    }
    let text = texts.join("\n");
    match list {
        [one] => output.print(one, |_| text),
        list => output.print(list, |_| text),
    }
}

fn fields(fields: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<14}{value}", format!("{name}:"));
    }
    text
}

fn node(node: &NodeStatus) -> String {
    let labels = node.labels();
    let place = [Some(&labels.cluster), labels.cloud.as_ref(), labels.region.as_ref(), labels.zone.as_ref()];
    let place: Vec<&str> = place.into_iter().flatten().map(String::as_str).collect();
    let addresses: Vec<String> = node.facts.addresses.iter().map(ToString::to_string).collect();
    let engines: Vec<&str> = node.facts.engines.iter().map(|engine| engine.0.as_str()).collect();
    let mut text = fields(&[
        ("Name", node.name.clone()),
        ("Id", node.id.to_string()),
        ("State", format!("{}, last news {} ago", node_state(node), age(Duration::from_millis(node.age_ms)))),
        ("Leaves", or_dash(node.departure.as_ref().map(departure))),
        ("Place", place.join(" / ")),
        ("Capacity", format!("{}, {}", labels.capacity_type, price(labels.price))),
        ("Host", format!("{} cpus, {}, {}", node.facts.host.cpus, node.facts.host.memory, node.facts.host.os)),
        ("Version", format!("{} (protocol {})", node.facts.version, node.facts.protocol)),
        ("Addresses", addresses.join(", ")),
        ("Issuer", node.facts.issuer.to_string()),
        ("Engines", if engines.is_empty() { "none offered".to_owned() } else { engines.join(", ") }),
        ("GPUs", node.gpu_summary()),
    ]);
    let mut gpus = Table::new(&["  GPU", "MEMORY", "USED", "UTIL", "TEMP", "USED BY", "FAULT"], &[], false);
    for gpu in &node.gpus {
        gpus.row(gpu_row(gpu, node));
    }
    if !node.gpus.is_empty() {
        text += &gpus.to_string();
    }
    text += &replicas(&node.replicas);
    text
}

fn departure(departure: &Departure) -> String {
    let detail = departure.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let by = departure.deadline.map(|deadline| format!(", by {deadline}")).unwrap_or_default();
    format!("{}{detail}, since {}{by}", departure.reason, departure.since)
}

fn price(price: Option<f64>) -> String {
    price.map_or_else(|| "price unknown".to_owned(), |price| format!("{price} USD per GPU-hour"))
}

/// What only the node itself says.
fn closely(detail: &NodeDetail) -> String {
    gpus_closely(&detail.gpus) + &models_closely(&detail.models)
}

fn models_closely(models: &[StoredModel]) -> String {
    if models.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["  MODEL", "REVISION", "SIZE", "COMPLETE", "IN USE"], &[], false);
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for StoredModel { model, revision, bytes, complete, in_use, .. } in models {
        table.row([format!("  {model}"), revision.clone(), bytes.to_string(), word(*complete), word(*in_use)]);
    }
    format!("Models on its disk:\n{table}")
}

fn gpus_closely(gpus: &[GpuDetail]) -> String {
    if gpus.is_empty() {
        return String::new();
    }
    let heads = ["  GPU", "POWER", "LIMIT", "NVLINKS", "PCIE", "NUMA", "ECC", "REMAPPED", "THROTTLED BY", "PROCESSES"];
    let mut table = Table::new(&heads, &[], false);
    for gpu in gpus {
        table.row(closely_row(gpu));
    }
    format!("Closely:\n{table}")
}

fn closely_row(gpu: &GpuDetail) -> [String; 10] {
    let watts = |milliwatts: Option<u32>| or_dash(milliwatts.map(|milliwatts| format!("{}W", milliwatts / 1_000)));
    let names = |names: &Option<Vec<String>>| {
        or_dash(names.as_ref().map(|names| if names.is_empty() { "none".to_owned() } else { names.join(", ") }))
    };
    let remapped = gpu.remapped_rows.map(|rows| match (gpu.remap_failed, gpu.remap_pending) {
        (Some(true), _) => format!("{rows}, one failed"),
        (_, Some(true)) => format!("{rows}, one waits for a reset"),
        _ => rows.to_string(),
    });
    [
        format!("  {}", gpu.id),
        watts(gpu.power),
        watts(gpu.power_limit),
        or_dash(gpu.nvlinks.map(|(active, total)| format!("{active}/{total}"))),
        or_dash(gpu.pcie.map(|(generation, lanes)| format!("gen{generation} x{lanes}"))),
        or_dash(gpu.numa),
        or_dash(gpu.ecc_uncorrected),
        or_dash(remapped),
        names(&gpu.throttle),
        names(&gpu.processes),
    ]
}

fn gpu_row(gpu: &Gpu, node: &NodeStatus) -> [String; 7] {
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
        gpu.mig.as_ref().map_or_else(|| gpu.memory.to_string(), |profile| format!("{} ({profile})", gpu.memory)),
        or_dash(gpu.memory_used),
        or_dash(gpu.utilization.map(|percent| format!("{percent}%"))),
        or_dash(gpu.temperature.map(|celsius| format!("{celsius}C"))),
        used_by,
        or_dash(gpu.fault.as_ref().map(|fault| format!("{} since {}: {}", fault.action, fault.since, fault.reason))),
    ]
}

fn endpoint(endpoint: &EndpointStatus) -> Result<String, Problem> {
    let status = &endpoint.status;
    let yaml = serde_saphyr::to_string(&endpoint.endpoint)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot print the spec: {error}")))?;
    let mut text = fields(&[
        ("Name", endpoint.endpoint.metadata.name.to_string()),
        ("State", format!("{}, {} of {} replicas ready", status.health.text(), status.ready, status.desired)),
        ("Wanted", or_dash(status.reason.as_ref())),
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
        ("Must leave", or_dash(replica.leaving.as_ref())),
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
