//! Roots that are replaced, in the store.

use super::*;
use crate::identity::{NODE_LIFE, RootKey, Succession};

impl Host {
    /// The root that is to follow the one whose key lies in the directory `old`, in the directory `new`.
    fn next_root(&self, old: &str, new: &str, now: UnixMillis) -> Succession {
        let home = self.dir.path();
        RootKey::read(&home.join(old).join("root.key")).unwrap().begin_succession(&home.join(new), now).unwrap()
    }

    /// This issuer signs for the root in the directory `new` from now on.
    fn reissue(&self, new: &str, now: UnixMillis) {
        let root = RootKey::read(&self.dir.path().join(new).join("root.key")).unwrap();
        let grant = root.sign(&self.identity.request_issuer().unwrap(), now).unwrap();
        self.identity.install_issuer(grant, NODE_LIFE, now).unwrap();
    }

    /// As after a restart of the daemon.
    fn restarted(mut self, name: &str) -> Self {
        self.identity = Arc::new(Identity::load(&self.dir.path().join(name)).unwrap());
        self
    }
}

fn retirement(succession: &Succession) -> (EntryKey, String) {
    let key = EntryKey::RetiredRoot(succession.old_root().unwrap());
    (key, serde_json::to_string(&succession.to_string()).unwrap())
}

fn retire(core: &mut Core, succession: &Succession, now: UnixMillis) {
    let (key, body) = retirement(succession);
    core.write(key, body, now).unwrap();
}

#[test]
fn what_was_written_under_any_root_of_before_counts_for_those_who_come_after_two_changes() {
    let (a, now) = (Host::first(), clock::now());
    let mut on_a = a.open(now);
    on_a.apply(endpoint("first", "m", 1), None, now).unwrap();
    for (old, new) in [("first", "second"), ("second", "third")] {
        let succession = a.next_root(old, new, now);
        a.reissue(new, now);
        retire(&mut on_a, &succession, now);
        on_a.apply(endpoint(new, "m", 1), None, now).unwrap();
    }
    let mut entries = everything(&on_a);
    assert_eq!(entries.len(), 5);
    for _ in 0..2 {
        entries.reverse();
        let b = a.joins(true);
        let mut on_b = b.open(now);
        assert_eq!(on_b.merge(a.id(), entries.clone(), now).unwrap(), accepted(5), "in whatever order they come");
        assert_eq!(on_b.digest(), on_a.digest());
        drop(on_b);
        // Both know the last root only, until the store tells what was before.
        let b = b.restarted("joined");
        let counts = |entry: &Entry| seal::verify(&b.identity, entry).is_ok();
        assert!(!entries.iter().all(counts));
        let _on_b = b.open(now);
        assert!(entries.iter().all(counts));
    }
}

#[test]
fn of_two_that_replace_a_root_by_the_same_the_first_stands_everywhere() {
    let (a, now) = (Host::first(), clock::now());
    let (b, c) = (a.joins(true), a.joins(true));
    let succession = a.next_root("first", "second", now);
    a.reissue("second", now);
    let (key, body) = retirement(&succession);
    let minute = |minutes: u64| now.plus(Duration::from_secs(60 * minutes));
    let said = |at| {
        let version = Hlc { time: at, counter: 0, node: a.id() };
        seal::seal(&a.identity, key.clone(), version, Some(body.clone())).unwrap()
    };
    let (first, later) = (said(minute(1)), said(minute(2)));
    let (mut on_b, mut on_c) = (b.open(now), c.open(now));
    for entry in [&first, &later] {
        on_b.merge(a.id(), vec![entry.clone()], minute(3)).unwrap();
    }
    for entry in [&later, &first] {
        on_c.merge(a.id(), vec![entry.clone()], minute(3)).unwrap();
    }
    for core in [&on_b, &on_c] {
        assert_eq!(everything(core), std::slice::from_ref(&first));
        assert_eq!(core.digest(), on_b.digest());
    }
    let (for_b, from_b) = on_c.compare(on_b.stamps(true), now);
    assert!(for_b.is_empty() && from_b.is_empty());
    // What it wrote in between does not count: both know the same moment.
    for host in [&b, &c] {
        let between = seal::seal(&host.identity, EntryKey::RevokedNode(a.id()), said(minute(2)).version, None);
        assert!(matches!(between, Err(crate::identity::IdentityError::Certificate(_))));
    }
}

#[tokio::test]
async fn a_root_that_has_given_way_gives_way_to_no_other() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let (second, other) = (a.next_root("first", "second", now), a.next_root("first", "other", now));
    let (key, body) = retirement(&other);
    let before = UnixMillis::from_millis(now.as_millis() - 1_000);
    let version = Hlc { time: before, counter: 0, node: b.id() };
    let elsewhere = seal::seal(&b.identity, key, version, Some(body)).unwrap();

    let (store, _fresh) = Store::open(a.path(), a.identity.clone(), now, TaskTracker::new()).await.unwrap();
    store.succeed(&second, now).await.unwrap();
    store.succeed(&second, now).await.unwrap();
    let error = store.succeed(&other, now).await.unwrap_err();
    assert!(matches!(&error, StoreError::Succession(why) if why.contains("has given way")), "{error}");
    let merged =
        store.blocking(move |core| core.merge(NodeId::from_bytes([13; 16]), vec![elsewhere], now)).await.unwrap();
    assert_eq!(merged, Merged { refused: 1, ..Merged::default() });
    assert_eq!(a.identity.roots().id().unwrap(), second.new_root().unwrap());
}
