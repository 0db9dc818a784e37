//! `shoal key`.

use shoal_mesh::clock;
use shoal_types::{KeyGrant, KeyStatus};

use super::{
    args::{KeyCreateArgs, KeyUsageArgs, KeyVerb},
    client::Client,
    output::{note, out},
    table::Table,
};
use crate::admin::{KeyCreated, KeyRequest, Problem, UsageReport};

pub(super) async fn run(client: &Client, verb: KeyVerb) -> Result<(), Problem> {
    match verb {
        KeyVerb::Create(args) => create(client, args).await,
        KeyVerb::List(args) => {
            let keys: Vec<KeyStatus> = client.get("/v1/keys").await?;
            args.output.print(&keys, |wide| table(&keys, wide))
        }
        KeyVerb::Revoke { key } => {
            client.delete(&format!("/v1/keys/{key}")).await?;
            out(&format!("key {key} is revoked\n"))
        }
        KeyVerb::Usage(args) => usage(client, args).await,
    }
}

async fn create(client: &Client, args: KeyCreateArgs) -> Result<(), Problem> {
    args.output.output.refuse_name()?;
    let request = KeyRequest {
        name: args.name,
        ttl_ms: args.expires.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        grant: KeyGrant {
            endpoints: args.endpoints.into_iter().collect(),
            requests_per_minute: args.requests_per_minute,
            tokens_per_minute: args.tokens_per_minute,
            tokens_per_day: args.tokens_per_day,
            concurrency: args.concurrency,
            priority: args.priority,
            weight: args.weight,
        },
    };
    let created: KeyCreated = client.post("/v1/keys", &request).await?;
    let until = created.expires.map_or_else(|| "until it is revoked".to_owned(), |expires| format!("until {expires}"));
    note(&format!("key {} ({}), good {until}; it is shown only once", created.name, created.id));
    args.output.output.print(&created, |_| format!("{}\n", created.key))
}

fn state(key: &KeyStatus) -> &'static str {
    if key.revoked {
        "revoked"
    } else if key.expires.is_some_and(|expires| expires <= clock::now()) {
        "expired"
    } else {
        "valid"
    }
}

pub(super) fn table(keys: &[KeyStatus], wide: bool) -> Table {
    let columns = ["NAME", "ID", "STATE", "EXPIRES", "ENDPOINTS", "LIMITS"];
    let mut table = Table::new(&columns, &["PRIORITY", "WEIGHT", "CREATED"], wide);
    for key in keys {
        let endpoints: Vec<&str> = key.grant.endpoints.iter().map(|endpoint| endpoint.as_str()).collect();
        table.row([
            key.name.to_string(),
            key.id.to_string(),
            state(key).to_owned(),
            key.expires.map_or_else(|| "-".to_owned(), |expires| expires.to_string()),
            if endpoints.is_empty() { "all".to_owned() } else { endpoints.join(",") },
            limits(&key.grant),
            key.grant.priority.to_string(),
            key.grant.weight.to_string(),
            key.created.to_string(),
        ]);
    }
    table
}

/// Such as `60 req/min, 8 at once`.
fn limits(grant: &KeyGrant) -> String {
    let limits = [
        grant.requests_per_minute.map(|limit| format!("{limit} req/min")),
        grant.tokens_per_minute.map(|limit| format!("{limit} tok/min")),
        grant.tokens_per_day.map(|limit| format!("{limit} tok/day")),
        grant.concurrency.map(|limit| format!("{limit} at once")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if limits.is_empty() { "-".to_owned() } else { limits.join(", ") }
}

async fn usage(client: &Client, args: KeyUsageArgs) -> Result<(), Problem> {
    let only = args.key.map(|key| format!("&key={key}")).unwrap_or_default();
    let report: UsageReport = client.get(&format!("/v1/key-usage?days={}{only}", args.days)).await?;
    for missing in &report.missing {
        note(&format!("without what was used at node {}: {}", missing.node, missing.reason));
    }
    args.output.output.print(&report, |_| usage_table(&report))
}

fn usage_table(report: &UsageReport) -> Table {
    let mut table = Table::new(&["DAY", "KEY", "ENDPOINT", "REQUESTS", "PROMPT", "CACHED", "COMPLETION"], &[], false);
    for row in &report.usage {
        table.row([
            row.day.clone(),
            row.name.as_ref().map_or_else(|| row.key.to_string(), ToString::to_string),
            row.endpoint.to_string(),
            row.counts.requests.to_string(),
            row.counts.prompt.to_string(),
            row.counts.cached.to_string(),
            row.counts.completion.to_string(),
        ]);
    }
    table
}
