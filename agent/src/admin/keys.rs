//! Keys of clients: `/v1/keys`, `/v1/key-usage`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::HeaderMap,
};
use serde::{Deserialize, Serialize};
use shoal_ingress::KeyCounts;
use shoal_mesh::clock;
use shoal_types::{EndpointName, KeyGrant, KeyId, KeyName, KeyStatus, UnixMillis};

use super::{
    access::Actor,
    gather::MissingNode,
    problem::{Code, Problem},
    routes::{Admin, Answer, Shared},
};
use crate::{
    events::{Draft, Reason, Subject},
    keys::{UsageRow, day_of, day_text},
};

/// A key to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyRequest {
    /// What people call it.
    pub(crate) name: KeyName,
    /// How long it is of use, in milliseconds; without it for ever.
    #[serde(default)]
    pub(crate) ttl_ms: Option<u64>,
    /// What it may be used for.
    #[serde(default)]
    pub(crate) grant: KeyGrant,
}

/// A new key. The only time that it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyCreated {
    /// Names it without giving it away.
    pub(crate) id: KeyId,
    /// What people call it.
    pub(crate) name: KeyName,
    /// What clients send.
    pub(crate) key: String,
    /// From when on it is of no use.
    pub(crate) expires: Option<UnixMillis>,
}

/// What is asked about usage.
#[derive(Debug, Deserialize)]
pub(super) struct UsageQuery {
    /// How many days back, today included.
    days: Option<u32>,
    /// Name or id of one key.
    key: Option<String>,
}

/// What was used, over all nodes that answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageReport {
    /// By day, key and endpoint.
    pub(crate) usage: Vec<UsageSum>,
    /// Nodes whose part is missing, and why.
    pub(crate) missing: Vec<MissingNode>,
}

/// What one key used of one endpoint on one day.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageSum {
    /// Such as `2026-11-30`, in UTC.
    pub(crate) day: String,
    /// Who.
    pub(crate) key: KeyId,
    /// What people call it; not known of a key that only another program understands.
    pub(crate) name: Option<KeyName>,
    /// Of what.
    pub(crate) endpoint: EndpointName,
    /// How much.
    #[serde(flatten)]
    pub(crate) counts: KeyCounts,
}

pub(super) async fn list(State(admin): Shared) -> Answer<Vec<KeyStatus>> {
    Ok(Json(admin.mesh.keys().await?))
}

pub(super) async fn create(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Json(request): Json<KeyRequest>,
) -> Answer<KeyCreated> {
    let KeyRequest { name, ttl_ms, grant } = request;
    check(&admin, &grant)?;
    let expires = ttl_ms.map(|ttl| clock::now().plus(Duration::from_millis(ttl)));
    let created = admin.mesh.create_key(name.clone(), grant, expires).await?;
    let until = expires.map(|expires| format!(" until {expires}")).unwrap_or_default();
    let what = format!("its id is {}; it is good{until}", created.id);
    admin.events.tell(Draft::new(Reason::KeyCreated, Subject::key(&name), what).by(actor));
    Ok(Json(KeyCreated { id: created.id, name, key: created.text, expires }))
}

/// Whether a key with `grant` could be used at all.
fn check(admin: &Admin, grant: &KeyGrant) -> Result<(), Problem> {
    let none = [
        grant.requests_per_minute == Some(0),
        grant.tokens_per_minute == Some(0),
        grant.tokens_per_day == Some(0),
        grant.concurrency == Some(0),
        grant.weight == 0,
    ];
    if none.contains(&true) {
        return Err(Problem::new(
            Code::Invalid,
            "a limit or weight of 0 would allow nothing; leave it out for no limit",
        ));
    }
    let known: BTreeSet<EndpointName> = admin.mesh.store().endpoints().into_keys().collect();
    match grant.endpoints.difference(&known).next() {
        Some(unknown) => Err(Problem::new(Code::NotFound, format!("there is no endpoint `{unknown}`"))
            .hint("shoal get endpoints; a key can only be made for endpoints that exist")),
        None => Ok(()),
    }
}

pub(super) async fn revoke(
    State(admin): Shared,
    Extension(actor): Extension<Actor>,
    Path(which): Path<String>,
) -> Answer<()> {
    let key = find(&admin.mesh.keys().await?, &which)?;
    admin.mesh.revoke_key(key).await?;
    admin.events.tell(Draft::new(Reason::KeyRevoked, Subject::key(&which), format!("its id is {key}")).by(actor));
    Ok(Json(()))
}

/// The key that `which` names: by its id, or the one of that name that was not revoked.
fn find(keys: &[KeyStatus], which: &str) -> Result<KeyId, Problem> {
    if let Ok(id) = which.parse::<KeyId>()
        && let Some(key) = keys.iter().find(|key| key.id == id)
    {
        return Ok(key.id);
    }
    let mut named = keys.iter().filter(|key| key.name.as_str() == which && !key.revoked);
    match (named.next(), named.next()) {
        (Some(key), None) => Ok(key.id),
        (None, _) => Err(Problem::new(Code::NotFound, format!("there is no key `{which}`, or it was revoked"))
            .hint("shoal key list")),
        (Some(_), Some(_)) => {
            Err(Problem::new(Code::Invalid, format!("two keys are called `{which}`"))
                .hint("give the id; shoal key list"))
        }
    }
}

pub(super) async fn usage(State(admin): Shared, Query(query): Query<UsageQuery>) -> Answer<UsageReport> {
    let keys = admin.mesh.keys().await?;
    let only = query.key.map(|which| by_any_name(&keys, &which)).transpose()?;
    report(&admin, keys, only, query.days).await
}

/// What the key that the request shows has used.
pub(super) async fn own_usage(
    State(admin): Shared,
    Query(query): Query<UsageQuery>,
    headers: HeaderMap,
) -> Answer<UsageReport> {
    let key = admin.control.shown_key(&headers).ok_or_else(|| Problem::new(Code::Forbidden, "the key is not good"))?;
    report(&admin, admin.mesh.keys().await?, Some(BTreeSet::from([key])), query.days).await
}

/// What the keys `only`, or all, used during the last `days`.
async fn report(
    admin: &Arc<Admin>,
    keys: Vec<KeyStatus>,
    only: Option<BTreeSet<KeyId>>,
    days: Option<u32>,
) -> Answer<UsageReport> {
    let since = day_of(clock::now()).saturating_sub(days.unwrap_or(1).saturating_sub(1));
    let (rows, missing) = gather(admin, since).await;
    let mut sums: BTreeMap<(u32, KeyId, EndpointName), KeyCounts> = BTreeMap::new();
    for UsageRow { day, key, endpoint, counts } in rows {
        if only.as_ref().is_none_or(|only| only.contains(&key)) {
            sums.entry((day, key, endpoint)).or_default().add(&counts);
        }
    }
    let names: BTreeMap<KeyId, KeyName> = keys.into_iter().map(|key| (key.id, key.name)).collect();
    let sum = |((day, key, endpoint), counts)| UsageSum {
        day: day_text(day),
        key,
        name: names.get(&key).cloned(),
        endpoint,
        counts,
    };
    Ok(Json(UsageReport { usage: sums.into_iter().map(sum).collect(), missing }))
}

/// All keys that are or were called `which`, or the one with that id: what a revoked key has used can be asked, too.
fn by_any_name(keys: &[KeyStatus], which: &str) -> Result<BTreeSet<KeyId>, Problem> {
    let id = which.parse::<KeyId>().ok();
    let found: BTreeSet<KeyId> =
        keys.iter().filter(|key| key.name.as_str() == which || Some(key.id) == id).map(|key| key.id).collect();
    if found.is_empty() {
        return Err(Problem::new(Code::NotFound, format!("no key `{which}` was made")).hint("shoal key list"));
    }
    Ok(found)
}

/// The rows of all nodes, and the nodes that have given none.
async fn gather(admin: &Arc<Admin>, since: u32) -> (Vec<UsageRow>, Vec<MissingNode>) {
    let ask = |admin: Arc<Admin>, node| async move { admin.peers.key_usage(node, since).await };
    let (theirs, missing) = admin.ask_others(ask).await;
    let mut rows = admin.control.key_usage(since);
    rows.extend(theirs.into_iter().flat_map(|(_, rows)| rows));
    (rows, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8, name: &str, revoked: bool) -> KeyStatus {
        KeyStatus {
            id: KeyId::from_bytes([id; 10]),
            name: name.parse().unwrap(),
            created: UnixMillis::from_millis(id.into()),
            expires: None,
            grant: KeyGrant::default(),
            revoked,
        }
    }

    #[test]
    fn a_name_means_the_key_that_is_good() {
        let keys = [key(1, "a", true), key(2, "a", false), key(3, "b", false), key(4, "b", false)];
        assert_eq!(find(&keys, "a").unwrap(), keys[1].id);
        assert_eq!(find(&keys, &keys[0].id.to_string()).unwrap(), keys[0].id);
        assert_eq!(find(&keys, "b").unwrap_err().code, Code::Invalid);
        assert_eq!(find(&keys, "c").unwrap_err().code, Code::NotFound);
        assert_eq!(by_any_name(&keys, "a").unwrap().len(), 2);
    }
}
