//! Keys of clients in the store.

use proptest::{prelude::*, sample::Index};
use shoal_types::{KeyGrant, KeyHash, KeyId, KeyRecord, wire};

use super::*;

pub(super) const KEY: KeyId = KeyId::from_bytes([7; 10]);

pub(super) fn record(name: &str) -> KeyRecord {
    KeyRecord {
        name: name.parse().unwrap(),
        hash: KeyHash::new([1; 32]),
        created: UnixMillis::from_millis(1),
        expires: None,
        grant: KeyGrant::default(),
    }
}

#[tokio::test]
async fn a_key_is_shown_at_once_and_gone_at_once() {
    let (a, now) = (Host::first(), clock::now());
    let (store, mut fresh) = Store::open(a.path(), a.identity.clone(), now, TaskTracker::new()).await.unwrap();
    let mut keys = store.keys();
    store.note_key(KEY, record("team-a"), now).await.unwrap();
    assert!(keys.has_changed().unwrap() && keys.borrow_and_update().contains_key(&KEY));
    assert!(fresh.try_recv().is_ok(), "it is to be pushed");
    store.apply(endpoint("e", "m", 1), None, now).await.unwrap();
    assert!(!keys.has_changed().unwrap(), "an endpoint is no key");

    let twin = store.note_key(KeyId::from_bytes([8; 10]), record("team-a"), now).await.unwrap_err();
    assert!(matches!(twin, StoreError::KeyExists { key: KEY, .. }), "{twin}");
    store.revoke_key(KEY, now).await.unwrap();
    assert!(keys.has_changed().unwrap() && keys.borrow().is_empty());
    store.note_key(KeyId::from_bytes([8; 10]), record("team-a"), now).await.unwrap();
    let all: Vec<_> =
        store.all_keys().await.unwrap().into_iter().map(|key| (key.name.to_string(), key.revoked)).collect();
    assert_eq!(all, [("team-a".to_owned(), true), ("team-a".to_owned(), false)]);
    let unknown = store.revoke_key(KeyId::from_bytes([9; 10]), now).await.unwrap_err();
    assert!(matches!(unknown, StoreError::UnknownKey { .. }));
}

#[test]
fn rule_2_a_node_without_the_write_role_makes_no_keys() {
    let (a, now) = (Host::first(), clock::now());
    let spot = a.joins(false);
    let body = serde_json::to_string(&record("team-a")).unwrap();
    let error = spot.open(now).write(EntryKey::Key(KEY), body, now).unwrap_err();
    assert!(matches!(error, StoreError::NotAWriter { .. }), "{error}");
}

/// Only what a version has a word for is sent to who speaks it.
#[test]
fn nodes_of_the_first_version_are_sent_nothing_of_keys() {
    for key in [EntryKey::Key(KEY), EntryKey::RevokedKey(KEY)] {
        assert_eq!(key.protocol(), 2);
    }
    assert_eq!(EntryKey::Endpoint("e".parse().unwrap()).protocol(), wire::PROTOCOL_MIN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The key is made, and made again with a later time by a node that lies; it is revoked in between or after. Whatever
    /// arrives first, and however often, it stays revoked.
    #[test]
    fn rule_2_a_revocation_wins_in_any_order(order in prop::collection::vec(any::<Index>(), 3..8)) {
        let (a, now) = (Host::first(), clock::now());
        let b = a.joins(true);
        let mut writer = a.open(now);
        let body = |name| serde_json::to_string(&record(name)).unwrap();
        let made = writer.write(EntryKey::Key(KEY), body("one"), now).unwrap();
        let revoked = writer.write(EntryKey::RevokedKey(KEY), "{}".to_owned(), now).unwrap();
        let later = now.plus(Duration::from_secs(1));
        let again = writer.write(EntryKey::Key(KEY), body("two"), later).unwrap();
        let all = [made, revoked, again];
        let mut core = b.open(now);
        for index in order {
            core.merge(a.id(), vec![Entry::clone(&all[index.index(all.len())])], later).unwrap();
        }
        core.merge(a.id(), vec![Entry::clone(&all[1])], later).unwrap();
        prop_assert!(core.key(KEY).is_none());
        drop(core);
        prop_assert!(b.open(later).key(KEY).is_none(), "and after a restart");
    }
}
