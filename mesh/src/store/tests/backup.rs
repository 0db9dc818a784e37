use shoal_types::KeyId;

use super::{keys::record, *};
use crate::store::{
    backup::{Backup, BackupError, Origin},
    restore::{RestoreOptions, RestoreOutcome},
};

const FOR_REAL: RestoreOptions = RestoreOptions { replace: false, dry_run: false };
const REPLACE: RestoreOptions = RestoreOptions { replace: true, dry_run: false };
const DRY: RestoreOptions = RestoreOptions { replace: true, dry_run: true };

fn backup(host: &Host, core: &Core) -> Backup {
    let origin = Origin { mesh: host.identity.mesh_id(), node: host.id(), made: clock::now() };
    let entries = core.entries().filter(|entry| !entry.is_tombstone()).map(|entry| Entry::clone(entry)).collect();
    Backup::new(origin, entries)
}

/// What became of each entry; through text and back, as between hosts.
fn restore(core: &mut Core, backup: &Backup, options: RestoreOptions) -> Vec<(String, RestoreOutcome)> {
    let backup = Backup::parse(&backup.to_text().unwrap()).unwrap();
    let restored = core.restore(backup, options, clock::now(), &mut Vec::new()).unwrap();
    restored.into_iter().map(|one| (one.what, one.outcome)).collect()
}

fn key(core: &mut Core, byte: u8, name: &str) -> KeyId {
    let id = KeyId::from_bytes([byte; 10]);
    core.add(EntryKey::Key(id), serde_json::to_string(&record(name)).unwrap(), clock::now()).unwrap();
    id
}

/// A store with two endpoints, a deleted one, and a revoked node.
fn filled(host: &Host, revoked: NodeId) -> Core {
    let now = clock::now();
    let mut core = host.open(now);
    for name in ["a", "b", "gone"] {
        core.apply(endpoint(name, "m", 1), None, now).unwrap();
    }
    core.delete(&"gone".parse().unwrap(), None, now).unwrap();
    core.add(EntryKey::RevokedNode(revoked), "{}".to_owned(), now).unwrap();
    core
}

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

#[test]
fn a_backup_is_read_back_as_it_was_and_is_sealed() {
    let host = Host::first();
    let backup = backup(&host, &filled(&host, id(7)));
    assert_eq!(backup.len(), 3, "deletions are left out");
    let text = backup.to_text().unwrap();
    assert_eq!(Backup::parse(&text).unwrap(), backup);

    assert_eq!(Backup::parse(""), Err(BackupError::NotABackup));
    assert_eq!(Backup::parse("{\"kind\": \"Endpoint\"}"), Err(BackupError::NotABackup));
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(Backup::parse(&newer), Err(BackupError::Format { format: 2 }));
    let lines: Vec<&str> = text.lines().collect();
    let without_seal = lines[..lines.len() - 1].join("\n");
    assert_eq!(Backup::parse(&without_seal), Err(BackupError::CutOff { found: 2, expected: 3 }));
    let without_one = [&lines[..2], &lines[3..]].concat().join("\n");
    assert_eq!(Backup::parse(&without_one), Err(BackupError::Damaged));
}

#[test]
fn wherever_a_backup_is_cut_or_altered_it_is_refused() {
    let host = Host::first();
    let text = backup(&host, &filled(&host, id(7))).to_text().unwrap();
    // The line break at the end is nothing to miss.
    for end in (0..text.len() - 1).step_by(97) {
        assert!(Backup::parse(&text[..end]).is_err(), "cut off after {end} of {} bytes", text.len());
    }
    for at in (0..text.len() - 1).step_by(89) {
        let mut altered = text.clone().into_bytes();
        altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
        assert!(Backup::parse(&String::from_utf8(altered).unwrap()).is_err(), "altered at {at}");
    }
}

#[test]
fn deleted_endpoints_come_back_and_what_changed_is_put_back_only_when_told() {
    let (host, now) = (Host::first(), clock::now());
    let mut core = filled(&host, id(7));
    let backup = backup(&host, &core);
    core.delete(&"a".parse().unwrap(), None, now).unwrap();
    core.apply(endpoint("b", "other", 1), None, now).unwrap();
    core.apply(endpoint("new", "m", 1), None, now).unwrap();

    let before = everything(&core);
    let outcomes = restore(&mut core, &backup, DRY);
    assert_eq!(everything(&core), before, "a dry run writes nothing");
    let of = |outcomes: &[(String, RestoreOutcome)], what: &str| {
        outcomes.iter().find(|one| one.0 == what).map(|one| one.1.clone()).unwrap()
    };
    assert_eq!(of(&outcomes, "endpoint/a"), RestoreOutcome::Created);
    assert_eq!(of(&outcomes, "endpoint/b"), RestoreOutcome::Replaced);

    let outcomes = restore(&mut core, &backup, FOR_REAL);
    assert_eq!(of(&outcomes, "endpoint/a"), RestoreOutcome::Created);
    assert_eq!(of(&outcomes, "endpoint/b"), RestoreOutcome::Differs);
    assert_eq!(of(&outcomes, &format!("revoked-node/{}", id(7))), RestoreOutcome::Unchanged);
    let model = |core: &Core, name: &str| {
        core.snapshot().endpoints.get(&name.parse().unwrap()).map(|record| record.endpoint.spec.model.clone())
    };
    assert_eq!([model(&core, "a"), model(&core, "b")], [Some("m".to_owned()), Some("other".to_owned())]);

    restore(&mut core, &backup, REPLACE);
    assert_eq!(model(&core, "b").as_deref(), Some("m"));
    assert!(model(&core, "new").is_some() && model(&core, "gone").is_none(), "what is not in it is left alone");
    assert!(restore(&mut core, &backup, REPLACE).iter().all(|one| one.1 == RestoreOutcome::Unchanged));
}

#[test]
fn what_was_revoked_stays_revoked_on_whichever_side() {
    let (host, now) = (Host::first(), clock::now());
    let mut core = filled(&host, id(7));
    let since = key(&mut core, 1, "since");
    let backup = backup(&host, &core);
    core.add(EntryKey::RevokedKey(since), "{}".to_owned(), now).unwrap();
    core.add(EntryKey::RevokedNode(id(8)), "{}".to_owned(), now).unwrap();
    let outcomes = restore(&mut core, &backup, REPLACE);
    assert!(outcomes.contains(&(format!("key/{since}"), RestoreOutcome::StaysRevoked)), "{outcomes:?}");
    assert!(core.snapshot().keys.is_empty());
    assert_eq!(core.snapshot().revoked_nodes.len(), 2);

    // A store that lost its revocations gets them back, as they were signed.
    let fresh = tempfile::tempdir().unwrap();
    let mut fresh = Core::open(&fresh.path().join("store.redb"), host.identity.clone(), now).unwrap();
    restore(&mut fresh, &backup, FOR_REAL);
    assert!(fresh.snapshot().revoked_nodes.contains_key(&id(7)));
    assert_eq!(fresh.snapshot().keys.len(), 1);
}

#[test]
fn a_new_mesh_takes_endpoints_keys_and_revocations_and_no_tokens() {
    let (old, new, now) = (Host::first(), Host::first(), clock::now());
    let mut core = filled(&old, id(7));
    key(&mut core, 1, "team");
    let limits = testing::limits(1);
    let token = testing::token(&old.identity, &limits, now);
    core.add(EntryKey::Token(token.id()), "{}".to_owned(), now).unwrap();
    let backup = backup(&old, &core);

    let mut core = new.open(now);
    let outcomes = restore(&mut core, &backup, FOR_REAL);
    let left_out = outcomes.iter().filter(|one| one.1 != RestoreOutcome::Created).collect::<Vec<_>>();
    assert_eq!(left_out, [&(format!("token/{}", token.id()), RestoreOutcome::OfAnotherMesh)]);
    let snapshot = core.snapshot();
    assert_eq!((snapshot.endpoints.len(), snapshot.keys.len(), snapshot.revoked_nodes.len()), (2, 1, 1));
    assert!(everything(&core).iter().all(|entry| entry.version.node == new.id()), "in the name of the new mesh's node");

    key(&mut core, 2, "other");
    let other = Host::first();
    let mut third = other.open(now);
    key(&mut third, 3, "team");
    let outcomes = restore(&mut third, &backup, FOR_REAL);
    assert!(outcomes.iter().any(|one| one.1 == RestoreOutcome::NameTaken), "{outcomes:?}");
}

#[test]
fn a_node_that_may_not_write_restores_nothing() {
    let first = Host::first();
    let backup = backup(&first, &filled(&first, id(7)));
    let reader = first.joins(false);
    let mut core = reader.open(clock::now());
    assert!(matches!(
        core.restore(backup, FOR_REAL, clock::now(), &mut Vec::new()),
        Err(StoreError::NotAWriter { .. })
    ));
}
