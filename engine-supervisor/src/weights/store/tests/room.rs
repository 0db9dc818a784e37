//! What goes, what stays, and what is refused when the disk is short.

use super::*;
use crate::weights::check::tests::safetensors;

const MIB: usize = 1 << 20;

/// A hub with the models `a/a`, `a/b`, … of so many bytes.
async fn hub(sizes: &[usize]) -> FakeHub {
    let hub = FakeHub::start().await;
    for (letter, size) in ('a'..).zip(sizes) {
        hub.add(&format!("a/{letter}"), &[("config.json", b"{}"), ("model.safetensors", &safetensors(*size))]);
    }
    hub
}

fn with_budget(hub: &FakeHub, mib: u64) -> Node {
    Node::with(Some(hub), |config| config.budget = Some(MemorySize::from_bytes(mib << 20)))
}

/// The names of what is on the disk.
fn there(node: &Node) -> Vec<String> {
    node.models().into_iter().map(|(model, ..)| model).collect()
}

/// Makes the use of a model look so many seconds later than it was.
fn later(node: &Node, model: &str, seconds: u64) {
    let snapshot = node.cache.path().join("hub").join(model).join("snapshots").join(fake_hub::COMMIT);
    let directory = fs::File::open(snapshot).unwrap();
    let used = directory.metadata().unwrap().modified().unwrap();
    directory.set_modified(used + Duration::from_secs(seconds)).unwrap();
}

#[tokio::test]
async fn the_least_recently_used_model_that_no_claim_holds_makes_room() {
    let hub = hub(&[MIB, MIB, MIB, MIB]).await;
    let node = with_budget(&hub, 4);
    for (counter, model) in (1..).zip(["a/a", "a/b", "a/c"]) {
        node.prepare(counter, model).await.unwrap();
    }
    // `a/a` is the oldest, but held; `a/c` was used before `a/b`.
    node.store.release(claim(3));
    node.store.release(claim(2));
    later(&node, "models--a--b", 60);
    node.prepare(4, "a/d").await.unwrap();
    assert_eq!(there(&node).into_iter().collect::<BTreeSet<_>>(), ["a/a", "a/b", "a/d"].map(str::to_owned).into());
}

#[tokio::test]
async fn what_claims_hold_is_never_evicted() {
    let hub = hub(&[MIB, MIB, MIB]).await;
    let node = with_budget(&hub, 2);
    node.prepare(1, "a/a").await.unwrap();
    let error = node.store.refuse("a/b", None).await.unwrap().to_string();
    assert!(
        error.ends_with(
            "of 2MiB for all models (`weights.budget`) 1.0MiB are used; models that no claim holds could give 0B"
        ),
        "{error}"
    );
    assert!(node.prepare(2, "a/b").await.is_err());
    assert_eq!(there(&node), ["a/a"]);

    // A daemon that takes over says what runs.
    let mut config = WeightsConfig::new(node.cache.path().join("hub"));
    config.hub = Some(hub.config());
    config.reserve = MemorySize::from_bytes(0);
    config.budget = Some(MemorySize::from_bytes(2 << 20));
    let next = Node::open(config, node.disk.clone());
    next.hold(claim(1), "a/a", None);
    assert!(next.refuse("a/b", None).await.is_some());
    next.release(claim(1));
    assert!(next.refuse("a/b", None).await.is_none());
    next.prepare(claim(2), "a/b", None, watch::Sender::new(None)).await.unwrap();
    assert_eq!(next.models().len(), 1);
}

#[tokio::test]
async fn a_disk_that_is_too_small_refuses_before_anything_is_fetched() {
    let hub = hub(&[10 * MIB]).await;
    let node = Node::with(Some(&hub), |config| config.reserve = MemorySize::from_bytes(5 << 20));
    node.disk.0.store(12 << 20, Ordering::Relaxed);
    let error = node.store.refuse("a/a", None).await.unwrap();
    let cache = fs::canonicalize(node.cache.path().join("hub")).unwrap();
    let expected = format!(
        "`a/a` needs 10.0MiB of disk; {} has 12MiB free, of which 5MiB stay free (`weights.reserve`); nothing is evicted, \
         since there is no `weights.budget`",
        cache.display()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.is_transient());
    assert_eq!(node.prepare(1, "a/a").await.unwrap_err().to_string(), expected);
    assert_eq!(hub.asked("model.safetensors"), [0; 0]);
    node.disk.0.store(16 << 20, Ordering::Relaxed);
    assert!(node.prepare(1, "a/a").await.is_ok());
    // Once it is there, a full disk is nothing to it.
    node.disk.0.store(0, Ordering::Relaxed);
    assert!(node.store.refuse("a/a", None).await.is_none());
    assert!(node.prepare(2, "a/a").await.is_ok());
}

#[tokio::test]
async fn room_is_promised_to_one_fetch_only() {
    let hub = hub(&[8 * MIB, 8 * MIB]).await;
    hub.hold(16);
    let node = Node::new(Some(&hub));
    node.disk.0.store(10 << 20, Ordering::Relaxed);
    let (progress, mut said) = watch::channel(None);
    let first = node.store.prepare(claim(1), "a/a", None, progress);
    let second = async {
        said.wait_for(Option::is_some).await.unwrap();
        let error = node.prepare(2, "a/b").await.unwrap_err().to_string();
        hub.go_on();
        error
    };
    let (first, error) = tokio::join!(first, second);
    first.unwrap();
    assert!(error.contains("are still to come of other models"), "{error}");
}

#[tokio::test]
async fn a_disk_that_fills_up_meanwhile_gets_its_room_back() {
    let hub = hub(&[MIB, 20 * MIB]).await;
    hub.hold(32);
    let node = Node::with(Some(&hub), |config| config.reserve = MemorySize::from_bytes(1 << 20));
    node.prepare(1, "a/a").await.unwrap();
    let (progress, mut said) = watch::channel(None);
    let fetch = node.store.prepare(claim(2), "a/b", None, progress);
    let fill = async {
        said.wait_for(Option::is_some).await.unwrap();
        node.disk.0.store(1000, Ordering::Relaxed);
        hub.go_on();
    };
    let (ended, ()) = tokio::join!(fetch, fill);
    let error = ended.unwrap_err();
    assert!(matches!(&error, WeightsError::Full { free, .. } if free.as_bytes() == 1000), "{error}");
    assert!(error.is_transient());
    assert_eq!(node.incomplete(), 0);
    assert_eq!(there(&node), ["a/a"], "what serves is not touched");
    node.disk.0.store(1 << 40, Ordering::Relaxed);
    node.prepare(2, "a/b").await.unwrap();
}

#[tokio::test]
async fn nothing_is_evicted_without_a_budget() {
    let hub = hub(&[MIB, MIB]).await;
    let node = Node::new(Some(&hub));
    node.prepare(1, "a/a").await.unwrap();
    node.store.release(claim(1));
    node.disk.0.store(100, Ordering::Relaxed);
    assert!(matches!(node.prepare(2, "a/b").await, Err(WeightsError::NoRoom(_))));
    assert_eq!(there(&node), ["a/a"]);
}

#[tokio::test]
async fn leftovers_of_others_make_room_but_not_those_that_are_resumed() {
    let hub = hub(&[MIB, 8 * MIB]).await;
    hub.hold(80);
    let node = with_budget(&hub, 9);
    let (progress, mut said) = watch::channel(None);
    tokio::select! {
        ended = node.store.prepare(claim(1), "a/b", None, progress) => panic!("{ended:?}"),
        _ = said.wait_for(|said| said.is_some_and(|said| said.done > 4 << 20)) => {}
    }
    node.store.release(claim(1));
    hub.go_on();
    assert!(node.store.refuse("a/b", None).await.is_none(), "its own leftovers are part of it");
    node.prepare(1, "a/b").await.unwrap();
    assert!(hub.asked("a/b/model.safetensors")[1] > 0);
}
