//! The store on a disk, against peers that lie, lag and live in the future.

mod backup;
mod history;
mod keys;
mod roots;

use std::{path::Path, sync::Arc, time::Duration};

use shoal_types::{Hlc, HlcClock, NodeId, Revision, UnixMillis};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    core::{Core, Merged, TOMBSTONES_KEPT},
    disk::{Batch, Disk},
    entry::{Entry, EntryKey},
    *,
};
use crate::{
    clock,
    fixture::{endpoint, first_node, joined_node},
    identity::{Identity, TokenLedger as _, TokenLimits, testing},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Host {
    dir: TempDir,
    identity: Arc<Identity>,
}

impl Host {
    fn first() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { identity: first_node(dir.path()), dir }
    }

    fn joins(&self, write: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { identity: joined_node(&self.identity, dir.path(), write), dir }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store.redb")
    }

    fn open(&self, now: UnixMillis) -> Core {
        Core::open(&self.path(), self.identity.clone(), now).unwrap()
    }

    fn id(&self) -> NodeId {
        self.identity.node_id()
    }
}

fn everything(core: &Core) -> Vec<Entry> {
    core.entries().map(|entry| Entry::clone(entry)).collect()
}

fn accepted(accepted: usize) -> Merged {
    Merged { accepted, ..Merged::default() }
}

fn refused(core: &mut Core, entry: Entry) {
    let merged = core.merge(NodeId::from_bytes([13; 16]), vec![entry], clock::now()).unwrap();
    assert_eq!(merged, Merged { refused: 1, ..Merged::default() });
}

#[test]
fn rule_2_what_was_applied_outlives_a_restart() {
    let (host, now) = (Host::first(), clock::now());
    let mut core = host.open(now);
    core.apply(endpoint("kept", "m", 1), None, now).unwrap();
    core.apply(endpoint("gone", "m", 1), None, now).unwrap();
    core.delete(&"gone".parse().unwrap(), None, now).unwrap();
    let (entries, digest, version) =
        (everything(&core), core.digest(), core.snapshot().endpoints[&"kept".parse().unwrap()].version);
    drop(core);
    // The clock stepped back meanwhile.
    let now = UnixMillis::from_millis(now.as_millis() - 60_000);
    let mut core = host.open(now);
    assert_eq!(everything(&core), entries);
    assert_eq!(core.digest(), digest);
    assert_eq!(core.snapshot().endpoints.len(), 1);
    let (record, _) = core.apply(endpoint("kept", "m", 2), None, now).unwrap();
    assert!(record.version > version, "versions rise even so");
}

#[test]
fn only_changes_make_versions_and_only_new_processes_make_revisions() {
    let (host, now) = (Host::first(), clock::now());
    let mut core = host.open(now);
    let (first, written) = core.apply(endpoint("e", "m", 1), None, now).unwrap();
    assert!(written.is_some());
    assert_eq!(first.revision, Revision(first.version));
    let (same, written) = core.apply(endpoint("e", "m", 1), None, now).unwrap();
    assert!(written.is_none());
    assert_eq!(same, first);
    let (scaled, _) = core.apply(endpoint("e", "m", 5), None, now).unwrap();
    assert_eq!(scaled.revision, first.revision);
    assert!(scaled.version > first.version);
    let (changed, _) = core.apply(endpoint("e", "other", 5), None, now).unwrap();
    assert_eq!(changed.revision, Revision(changed.version));
}

#[test]
fn rule_2_a_write_can_demand_what_it_read() {
    let (host, now) = (Host::first(), clock::now());
    let mut core = host.open(now);
    let name = "e".parse().unwrap();
    let (first, _) = core.apply(endpoint("e", "m", 1), None, now).unwrap();
    let (second, _) = core.apply(endpoint("e", "m", 2), Some(first.version), now).unwrap();
    let conflict = core.apply(endpoint("e", "m", 3), Some(first.version), now).unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { current: Some(current), .. } if current == second.version));
    assert!(matches!(core.delete(&name, Some(first.version), now), Err(StoreError::Conflict { .. })));
    core.delete(&name, Some(second.version), now).unwrap();
    assert!(matches!(core.delete(&name, None, now), Err(StoreError::NotFound { .. })));
    let conflict = core.apply(endpoint("e", "m", 3), Some(second.version), now).unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { current: None, .. }));
}

#[test]
fn rule_2_two_stores_that_exchange_all_they_have_are_equal() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let (mut on_a, mut on_b) = (a.open(now), b.open(now));
    on_a.apply(endpoint("both", "a", 1), None, now).unwrap();
    on_a.apply(endpoint("only-a", "m", 1), None, now).unwrap();
    on_b.apply(endpoint("both", "b", 1), None, now).unwrap();
    on_b.apply(endpoint("only-b", "m", 1), None, now).unwrap();
    let (for_b, from_b) = on_a.compare(on_b.stamps(true), now);
    assert_eq!(for_b.len() + from_b.len(), 3, "what is the same does not cross");
    let from_b: Vec<Entry> = on_b.get(&from_b).iter().map(|entry| Entry::clone(entry)).collect();
    on_a.merge(b.id(), from_b, now).unwrap();
    on_b.merge(a.id(), for_b.iter().map(|entry| Entry::clone(entry)).collect(), now).unwrap();
    assert_eq!(on_a.digest(), on_b.digest());
    assert_eq!(everything(&on_a), everything(&on_b));
    assert_eq!(on_a.snapshot().endpoints.len(), 3);
}

#[test]
fn rule_2_what_was_deleted_stays_deleted_when_old_writes_arrive_late() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let (mut on_a, mut on_b) = (a.open(now), b.open(now));
    on_a.apply(endpoint("e", "m", 1), None, now).unwrap();
    let old = everything(&on_a);
    on_b.merge(a.id(), old.clone(), now).unwrap();
    on_b.delete(&"e".parse().unwrap(), None, now).unwrap();
    assert_eq!(on_b.merge(a.id(), old, now).unwrap(), accepted(0));
    assert!(on_b.snapshot().endpoints.is_empty());
    on_a.merge(b.id(), everything(&on_b), now).unwrap();
    assert!(on_a.snapshot().endpoints.is_empty());
    // Nor does a restart bring it back.
    drop(on_a);
    assert!(a.open(now).snapshot().endpoints.is_empty());
}

#[test]
fn rule_2_what_its_writer_did_not_sign_is_refused() {
    let (a, now) = (Host::first(), clock::now());
    let mut on_a = a.open(now);
    on_a.apply(endpoint("e", "m", 1), None, now).unwrap();
    let good = everything(&on_a).remove(0);
    let b = a.joins(true);
    let mut on_b = b.open(now);
    let later = Hlc { counter: good.version.counter + 1, ..good.version };
    let body = good.body.clone().map(|body| body.replace("\"m\"", "\"x\""));
    refused(&mut on_b, Entry { body, ..good.clone() });
    refused(&mut on_b, Entry { body: None, ..good.clone() });
    refused(&mut on_b, Entry { version: later, ..good.clone() });
    refused(&mut on_b, Entry { version: Hlc { node: b.id(), ..good.version }, ..good.clone() });
    refused(&mut on_b, Entry { key: EntryKey::Endpoint("f".parse().unwrap()), ..good.clone() });
    refused(&mut on_b, Entry { chain: Vec::new(), ..good.clone() });
    refused(&mut on_b, Entry { signature: entry::Blob(Vec::new()), ..good.clone() });
    assert!(on_b.entries().next().is_none());
    assert_eq!(on_b.merge(a.id(), vec![good], now).unwrap(), accepted(1));
}

#[test]
fn rule_2_another_meshs_entry_is_refused() {
    let (a, other, now) = (Host::first(), Host::first(), clock::now());
    let mut elsewhere = other.open(now);
    elsewhere.apply(endpoint("e", "m", 1), None, now).unwrap();
    refused(&mut a.open(now), everything(&elsewhere).remove(0));
}

#[test]
fn rule_2_a_node_without_the_write_role_writes_nothing() {
    let (a, now) = (Host::first(), clock::now());
    let spot = a.joins(false);
    let error = spot.open(now).apply(endpoint("e", "m", 1), None, now).unwrap_err();
    assert!(matches!(error, StoreError::NotAWriter { .. }));
    let version = HlcClock::new(spot.id(), now).tick(now);
    let forged = EntryKey::Endpoint("e".parse().unwrap());
    let error = seal::seal(&spot.identity, forged, version, Some("{}".to_owned())).unwrap_err();
    assert!(matches!(error, crate::identity::IdentityError::NotAWriter { .. }));
}

#[test]
fn grow_only_sets_do_not_shrink() {
    let (a, now) = (Host::first(), clock::now());
    let key = EntryKey::RevokedNode(NodeId::from_bytes([3; 16]));
    let version = HlcClock::new(a.id(), now).tick(now);
    let deletion = seal::seal(&a.identity, key, version, None).unwrap();
    refused(&mut a.open(now), deletion);
}

#[test]
fn rule_2_the_future_is_quarantined_until_it_comes() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let ahead = now.plus(HlcClock::MAX_AHEAD + Duration::from_secs(60));
    let mut on_b = b.open(ahead);
    on_b.apply(endpoint("e", "m", 1), None, ahead).unwrap();
    let mut on_a = a.open(now);
    let merged = on_a.merge(b.id(), everything(&on_b), now).unwrap();
    assert_eq!(merged, Merged { quarantined: 1, ..Merged::default() });
    assert!(on_a.snapshot().endpoints.is_empty());
    assert_eq!(on_a.merge(b.id(), everything(&on_b), ahead).unwrap(), accepted(1));
}

#[test]
fn rule_2_a_node_whose_clock_was_fast_writes_again_when_others_would_take_it_over() {
    let (a, now) = (Host::first(), clock::now());
    let (minute, name) = (Duration::from_secs(60), "e".parse().unwrap());
    let fast = now.plus(HlcClock::MAX_AHEAD + minute);
    let mut core = a.open(fast);
    core.apply(endpoint("e", "m", 1), None, fast).unwrap();
    drop(core);
    let mut core = a.open(now);
    let error = core.apply(endpoint("e", "m", 2), None, now).unwrap_err();
    assert!(matches!(error, StoreError::ClockSteppedBack { again, .. } if again == now.plus(minute)), "{error:?}");
    assert!(matches!(core.delete(&name, None, now), Err(StoreError::ClockSteppedBack { .. })));
    let revoked = EntryKey::RevokedNode(NodeId::from_bytes([3; 16]));
    let error = core.write(revoked, "{}".to_owned(), now).unwrap_err();
    assert!(error.to_string().contains(&format!("writes work again at {}", now.plus(minute))), "{error}");
    core.apply(endpoint("e", "m", 2), None, now.plus(minute)).unwrap();
}

#[tokio::test]
async fn rule_2_a_clock_that_disagrees_with_the_peers_writes_nothing() {
    let (a, now) = (Host::first(), clock::now());
    let (store, _fresh) = Store::open(a.path(), a.identity.clone(), now, TaskTracker::new()).await.unwrap();
    let (name, token) = ("e".parse().unwrap(), testing::token(&a.identity, &testing::limits(1), now));
    store.apply(endpoint("e", "m", 1), None, now).await.unwrap();
    let peer = |byte| NodeId::from_bytes([byte; 16]);
    let hear =
        |time| (1..4).for_each(|byte| store.clocks().note(peer(byte), clocks::Reading { time, at: Instant::now() }));
    // Half a minute over, as peers' clocks run on while this test may have to wait.
    hear(UnixMillis::from_millis(now.as_millis() - 3_690_000));
    let digest = store.snapshot().digest;
    for refused in [
        store.apply(endpoint("e", "m", 2), None, now).await.map(drop),
        store.delete(&name, None, now).await.map(drop),
        store.note_token(&token, testing::limits(1), now).await,
        store.revoke_node(peer(9), now).await,
        store.note_key(keys::KEY, keys::record("team-a"), now).await,
    ] {
        let Err(error @ StoreError::ClockSkew { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("1h1m"), "{error}");
    }
    store.record_use(token.id(), peer(9)).unwrap_err();
    assert_eq!(store.snapshot().digest, digest);
    hear(now);
    store.delete(&name, None, now).await.unwrap();
}

#[test]
fn rule_2_an_endpoint_that_only_newer_programs_understand_is_kept_and_passed_on() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let mut on_a = a.open(now);
    let (record, _) = on_a.apply(endpoint("e", "m", 1), None, now).unwrap();
    let known = everything(&on_a).remove(0).body.unwrap();
    let strange = known.replace("\"sim\"", "\"warp\"");
    let extended = known.replacen('{', "{\"future\":[1,2],", 1);
    let key = EntryKey::Endpoint("e".parse().unwrap());
    on_a.write(key.clone(), strange.clone(), now).unwrap();
    assert!(on_a.snapshot().endpoints.is_empty());
    let mut on_b = b.open(now);
    on_b.merge(a.id(), everything(&on_a), now).unwrap();
    assert_eq!(everything(&on_b)[0].body, Some(strange));
    on_a.write(key, extended.clone(), now).unwrap();
    on_b.merge(a.id(), everything(&on_a), now).unwrap();
    assert_eq!(everything(&on_b)[0].body, Some(extended));
    assert_eq!(on_b.snapshot().endpoints[&"e".parse().unwrap()].revision, record.revision);
}

#[test]
fn rule_2_deletions_are_remembered_for_30_days_and_then_forgotten_by_all() {
    let (a, now) = (Host::first(), clock::now());
    let mut core = a.open(now);
    core.apply(endpoint("e", "m", 1), None, now).unwrap();
    core.delete(&"e".parse().unwrap(), None, now).unwrap();
    let tombstone = everything(&core);
    assert!(!core.sweep(now.plus(TOMBSTONES_KEPT - DAY)).unwrap());
    let later = now.plus(TOMBSTONES_KEPT + DAY);
    assert!(core.sweep(later).unwrap());
    assert_eq!(core.digest(), digest::Digest::default());
    assert_eq!(core.merge(a.id(), tombstone, later).unwrap(), accepted(0), "nor learnt again from a slower peer");
}

#[test]
fn rule_2_a_node_that_was_away_too_long_does_not_bring_back_what_was_deleted() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let (mut on_a, mut on_b) = (a.open(now), b.open(now));
    on_a.apply(endpoint("deleted", "m", 1), None, now).unwrap();
    on_a.apply(endpoint("kept", "m", 1), None, now).unwrap();
    on_a.settle(now).unwrap();
    on_b.merge(a.id(), everything(&on_a), now).unwrap();
    on_b.settle(now).unwrap();
    drop(on_b);
    assert!(b.open(now.plus(DAY)).is_current(), "a short absence does no harm");
    on_a.delete(&"deleted".parse().unwrap(), None, now).unwrap();
    on_a.apply(endpoint("new", "m", 1), None, now).unwrap();
    let later = now.plus(TOMBSTONES_KEPT + DAY);
    on_a.sweep(later).unwrap();
    // Restarts do not make it current, whatever it did before it had caught up.
    let mut on_b = b.open(later);
    on_b.sweep(later).unwrap();
    let mut pushed = everything(&on_a);
    pushed.retain(|entry| entry.key == EntryKey::Endpoint("new".parse().unwrap()));
    assert_eq!(on_b.merge(a.id(), pushed, later).unwrap(), accepted(1));
    drop(on_b);
    let mut on_b = b.open(later);
    assert!(!on_b.is_current());
    let (from_a, wanted) = on_a.compare(on_b.stamps(false), later);
    assert!(wanted.is_empty());
    on_b.merge(a.id(), from_a.iter().map(|entry| Entry::clone(entry)).collect(), later).unwrap();
    assert_eq!(on_b.catch_up(later).unwrap(), 1);
    assert!(on_b.is_current());
    assert_eq!(on_a.digest(), on_b.digest());
    assert_eq!(on_b.snapshot().endpoints.len(), 2);
    drop(on_b);
    assert!(b.open(later).is_current(), "having caught up is remembered");
}

/// Makes the store at `path` one that was last open 40 days ago and holds an endpoint that no peer has.
pub(crate) fn age(path: &Path, identity: Arc<Identity>) {
    let now = clock::now();
    let mut core = Core::open(path, identity, now).unwrap();
    core.apply(endpoint("ghost", "m", 1), None, now).unwrap();
    drop(core);
    let (mut disk, loaded) = Disk::open(path).unwrap();
    let seen = Some(UnixMillis::from_millis(now.as_millis() - 40 * 24 * 3600 * 1000));
    disk.commit(&Batch { clock: loaded.clock, seen, ..Batch::default() }).unwrap();
}

#[test]
fn a_damaged_file_says_what_to_do() {
    let (a, now) = (Host::first(), clock::now());
    std::fs::write(a.path(), vec![0x5a; 8192]).unwrap();
    let error = Core::open(&a.path(), a.identity.clone(), now).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("move the file away"), "{error}");
}

#[test]
fn a_disk_that_refuses_changes_nothing_and_may_recover() {
    let (a, now) = (Host::first(), clock::now());
    let mut core = a.open(now);
    core.apply(endpoint("e", "m", 1), None, now).unwrap();
    let before = core.digest();
    core.disk().close();
    let aside = a.dir.path().join("aside");
    std::fs::rename(a.path(), &aside).unwrap();
    std::fs::create_dir(a.path()).unwrap();
    let error = core.apply(endpoint("f", "m", 1), None, now).unwrap_err();
    assert!(matches!(error, StoreError::Disk { .. }), "{error:?}");
    assert_eq!((core.digest(), core.snapshot().endpoints.len()), (before, 1));
    std::fs::remove_dir(a.path()).unwrap();
    std::fs::rename(&aside, a.path()).unwrap();
    core.apply(endpoint("f", "m", 1), None, now).unwrap();
    let digest = core.digest();
    drop(core);
    assert_eq!(a.open(now).digest(), digest);
}

#[test]
fn a_file_in_use_says_so() {
    let (a, now) = (Host::first(), clock::now());
    let _open = a.open(now);
    let error = Core::open(&a.path(), a.identity.clone(), now).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
}

#[test]
fn an_unreadable_row_is_damage() {
    let (a, now) = (Host::first(), clock::now());
    let mut core = a.open(now);
    core.apply(endpoint("e", "m", 1), None, now).unwrap();
    let entry = everything(&core).remove(0);
    drop(core);
    // A row under another entry's key.
    let (mut disk, _) = Disk::open(&a.path()).unwrap();
    disk.commit(&Batch { put: vec![&entry], ..Batch::default() }).unwrap();
    drop(disk);
    assert!(Disk::open(&a.path()).is_ok());
    write_row(&a.path(), "endpoint/f", &serde_json::to_vec(&entry).unwrap());
    assert!(matches!(Disk::open(&a.path()), Err(StoreError::Damaged { .. })));
}

fn write_row(path: &Path, key: &str, value: &[u8]) {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("entries");
    transaction.open_table(table).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

#[tokio::test]
async fn the_door_shows_a_write_before_it_answers() {
    let (a, now) = (Host::first(), clock::now());
    let (store, mut fresh) = Store::open(a.path(), a.identity.clone(), now, TaskTracker::new()).await.unwrap();
    let mut watched = store.watch();
    let applied = store.apply(endpoint("e", "m", 1), None, now).await.unwrap();
    assert!(applied.changed);
    assert!(watched.has_changed().unwrap());
    assert_eq!(*watched.borrow_and_update().endpoints[&"e".parse().unwrap()], applied.record);
    assert!(fresh.try_recv().is_ok(), "it is to be pushed");
    assert!(!store.apply(endpoint("e", "m", 1), None, now).await.unwrap().changed);
    assert!(!watched.has_changed().unwrap());
    assert!(fresh.try_recv().is_err());
}

#[tokio::test]
async fn tokens_are_counted_and_revoked() {
    let (a, now) = (Host::first(), clock::now());
    let (store, _fresh) = Store::open(a.path(), a.identity.clone(), now, TaskTracker::new()).await.unwrap();
    let labels = [("rack".to_owned(), "7".to_owned())].into();
    let limits = TokenLimits { labels, ..testing::limits(2) };
    let token = testing::token(&a.identity, &limits, now);
    store.note_token(&token, limits, now).await.unwrap();
    let (one, two) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
    for node in [one, two, one] {
        store.record_use(token.id(), node).unwrap();
    }
    assert_eq!(store.uses(token.id()), [one, two], "a retry is one use");
    assert!(!store.is_revoked(token.id()));
    store.revoke_token(token.id(), now).await.unwrap();
    assert!(store.is_revoked(token.id()));
    let status = store.tokens().await.unwrap().remove(0);
    assert_eq!((status.id, status.issuer, status.revoked), (token.id(), a.id(), true));
    assert_eq!((status.grant.uses, status.grant.not_after, status.used_by), (2, token.not_after(), vec![one, two]));
    let elsewhere = testing::token(&a.identity, &testing::limits(1), now);
    let error = store.revoke_token(elsewhere.id(), now).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownToken { .. }));
}
