//! What comes onto the disk, and how, whatever the hub does.

use http::StatusCode;

use super::{fake_hub::COMMIT, *};
use crate::weights::{BadModel, HubError, check::tests::safetensors};

const WEIGHTS: usize = 1 << 20;

#[tokio::test]
async fn a_model_is_fetched_once_with_progress() {
    let hub = FakeHub::with_model("a/b", WEIGHTS).await;
    let node = Node::new(Some(&hub));
    let (progress, said) = watch::channel(None);
    let path = node.store.prepare(claim(1), "a/b", None, progress).await.unwrap();

    assert!(path.ends_with(format!("models--a--b/snapshots/{COMMIT}")), "{path:?}");
    let files: BTreeSet<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["config.json".into(), "model.safetensors".into()].into());
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), safetensors(WEIGHTS));
    let head = fs::read_to_string(node.cache.path().join("hub/models--a--b/refs/main")).unwrap();
    assert_eq!(head, COMMIT);
    let total = (safetensors(WEIGHTS).len() + 8) as u64;
    assert_eq!(said.borrow().map(|said| (said.done, said.total)), Some((total, total)));
    let stored = node.store.models();
    assert_eq!(stored[0].bytes.as_bytes(), total);
    assert_eq!((stored[0].revision.as_str(), stored[0].complete, stored[0].in_use), (COMMIT, true, true));

    assert_eq!(node.prepare(2, "a/b").await.unwrap(), path);
    assert_eq!(hub.asked("model.safetensors"), [0]);
}

#[tokio::test]
async fn a_fetch_that_is_cut_goes_on_where_it_was() {
    let hub = FakeHub::with_model("a/b", 8 * WEIGHTS).await;
    hub.behaviour().cut = Some(4 * WEIGHTS);
    let node = Node::new(Some(&hub));
    let path = node.prepare(1, "a/b").await.unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), safetensors(8 * WEIGHTS));
    let asked = hub.asked("model.safetensors");
    assert!(asked.len() == 2 && asked[1] > 0 && asked[1] <= 4 * WEIGHTS, "{asked:?}");
}

#[tokio::test]
async fn a_hub_that_knows_no_ranges_sends_all_again() {
    let hub = FakeHub::with_model("a/b", 8 * WEIGHTS).await;
    hub.behaviour().cut = Some(4 * WEIGHTS);
    hub.behaviour().ignores_range = true;
    let node = Node::new(Some(&hub));
    let path = node.prepare(1, "a/b").await.unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), safetensors(8 * WEIGHTS));
    assert_eq!(node.incomplete(), 0);
}

#[tokio::test]
async fn a_hub_that_goes_away_is_an_error_after_some_attempts() {
    let hub = FakeHub::with_model("a/b", WEIGHTS).await;
    let node = Node::new(Some(&hub));
    assert!(node.store.refuse("a/b", None).await.is_none(), "the list is remembered");
    drop(hub);
    let error = node.prepare(1, "a/b").await.unwrap_err();
    assert!(matches!(error, WeightsError::Hub(HubError::Unreachable { .. })) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn files_of_another_size_than_listed_are_not_kept() {
    for lie in [-1, 1] {
        let hub = FakeHub::with_model("a/b", WEIGHTS).await;
        hub.behaviour().lie = lie;
        let node = Node::new(Some(&hub));
        let error = node.prepare(1, "a/b").await.unwrap_err();
        assert!(matches!(&error, WeightsError::Size { file, .. } if file == "model.safetensors"), "{error}");
        assert!(!error.is_transient());
        assert_eq!(node.incomplete(), 0);
        assert_eq!(node.models(), []);
    }
}

#[tokio::test]
async fn weights_that_are_cut_off_at_the_hub_are_not_served() {
    let hub = FakeHub::start().await;
    hub.add("a/b", &[("config.json", b"{}"), ("model.safetensors", &safetensors(1000)[..900])]);
    let node = Node::new(Some(&hub));
    let error = node.prepare(1, "a/b").await.unwrap_err();
    assert!(matches!(error, WeightsError::BadModel(BadModel::File { .. })), "{error}");
    assert!(!node.cache.path().join("hub/models--a--b/refs/main").exists());
    assert_eq!(node.models(), []);
}

#[tokio::test]
async fn a_token_is_asked_for_and_not_shown_to_others() {
    let hub = FakeHub::with_model("a/b", WEIGHTS).await;
    hub.behaviour().token = Some("hf_secret");
    let error = Node::new(Some(&hub)).prepare(1, "a/b").await.unwrap_err();
    assert!(error.to_string().contains("does not give `a/b` without a token (`weights.hub.tokenFile`)"), "{error}");
    assert!(!error.is_transient());

    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), "hf_secret\n").unwrap();
    let with_token =
        |config: &mut WeightsConfig| config.hub.as_mut().unwrap().token_file = Some(token.path().to_owned());
    Node::with(Some(&hub), with_token).prepare(1, "a/b").await.unwrap();
    let seen: Vec<_> = hub.behaviour().requests.iter().map(|request| (request.path.clone(), request.token)).collect();
    // The weights came from another host, by redirect.
    assert!(seen.contains(&("a/b/config.json".to_owned(), true)), "{seen:?}");
    assert!(seen.contains(&("a/b/model.safetensors".to_owned(), false)), "{seen:?}");

    fs::write(token.path(), "hf_other").unwrap();
    let error = Node::with(Some(&hub), with_token).store.refuse("a/b", None).await.unwrap().to_string();
    assert!(error.contains("to the owner of this node's token"), "{error}");
}

#[tokio::test]
async fn a_gated_model_is_refused_before_a_claim_although_its_list_is_public() {
    let hub = FakeHub::with_model("a/b", WEIGHTS).await;
    hub.behaviour().token = Some("hf_secret");
    hub.behaviour().gated = true;
    let error = Node::new(Some(&hub)).store.refuse("a/b", None).await.unwrap().to_string();
    assert!(error.contains("does not give `a/b` without a token"), "{error}");

    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), "hf_other").unwrap();
    let with_token =
        |config: &mut WeightsConfig| config.hub.as_mut().unwrap().token_file = Some(token.path().to_owned());
    let node = Node::with(Some(&hub), with_token);
    assert!(node.store.refuse("a/b", None).await.is_none(), "only asking for a file tells");
    assert!(matches!(node.prepare(1, "a/b").await, Err(WeightsError::Hub(HubError::Denied { token: true, .. }))));
    fs::write(token.path(), "hf_secret").unwrap();
    assert!(node.prepare(1, "a/b").await.is_ok());
}

#[tokio::test]
async fn what_the_hub_does_not_have_is_told_apart_from_a_hub_that_is_ill() {
    let hub = FakeHub::with_model("a/b", WEIGHTS).await;
    let node = Node::new(Some(&hub));
    let error = node.store.refuse("a/c", None).await.unwrap();
    assert!(error.to_string().ends_with("has no `a/c` at revision `main`") && !error.is_transient(), "{error}");
    let error = node.store.refuse("a/b", Some("v2")).await.unwrap();
    assert!(matches!(error, WeightsError::Hub(HubError::NotFound { .. })), "{error}");
    hub.behaviour().status = Some(StatusCode::BAD_GATEWAY);
    let error = node.prepare(1, "a/d").await.unwrap_err();
    assert!(
        matches!(error, WeightsError::Hub(HubError::Status { status: 502, .. })) && error.is_transient(),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_there_serves_without_the_hub() {
    let hub = FakeHub::with_model("a/b", WEIGHTS).await;
    let node = Node::new(Some(&hub));
    let path = node.prepare(1, "a/b").await.unwrap();
    let mut config = WeightsConfig::new(node.cache.path().join("hub"));
    config.hub = Some(hub.config());
    drop(hub);

    let cut_off = Node::open(config.clone(), node.disk.clone());
    assert_eq!(cut_off.prepare(claim(1), "a/b", None, watch::Sender::new(None)).await.unwrap(), path);
    config.hub = None;
    let offline = Node::open(config, node.disk.clone());
    for revision in [None, Some("main"), Some(COMMIT)] {
        assert_eq!(offline.prepare(claim(1), "a/b", revision, watch::Sender::new(None)).await.unwrap(), path);
    }
    let error = offline.refuse("a/c", None).await.unwrap().to_string();
    assert!(error.contains("names no hub to fetch it from (`weights.hub`)"), "{error}");
    assert!(offline.refuse("a/b", Some("v2")).await.is_some());
    fs::remove_file(fs::canonicalize(path.join("model.safetensors")).unwrap()).unwrap();
    assert!(matches!(offline.refuse("a/b", None).await, Some(WeightsError::Offline { .. })));
}

#[tokio::test]
async fn claims_that_want_the_same_share_one_fetch() {
    let hub = FakeHub::with_model("a/b", 8 << 20).await;
    hub.hold(80);
    let node = Node::new(Some(&hub));
    let (second, mut followed) = watch::channel(None);
    let fetches = async { tokio::join!(node.prepare(1, "a/b"), node.store.prepare(claim(2), "a/b", None, second)) };
    let watch = async {
        // The one who waits sees how far the other is.
        followed.wait_for(|said| said.is_some_and(|said| said.done > 4 << 20 && said.done < said.total)).await.unwrap();
        hub.go_on();
    };
    let ((one, two), ()) = tokio::join!(fetches, watch);
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(hub.asked("model.safetensors"), [0]);
}

#[tokio::test]
async fn a_fetch_that_is_cancelled_is_resumed() {
    let hub = FakeHub::with_model("a/b", 8 << 20).await;
    hub.hold(80);
    let node = Node::new(Some(&hub));
    let (progress, mut said) = watch::channel(None);
    tokio::select! {
        ended = node.store.prepare(claim(1), "a/b", None, progress) => panic!("{ended:?}"),
        _ = said.wait_for(|said| said.is_some_and(|said| said.done > 4 << 20)) => {}
    }
    assert_eq!(node.incomplete(), 1);
    assert_eq!(node.store.0.books.promised(), 0, "nothing is promised to a fetch that is over");
    hub.go_on();
    let path = node.prepare(1, "a/b").await.unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), safetensors(8 << 20));
    let asked = hub.asked("model.safetensors");
    assert!(asked.len() == 2 && asked[1] >= 1 << 20, "{asked:?}");
}

#[tokio::test]
async fn a_gguf_is_fetched_alone_and_its_file_returned() {
    let hub = FakeHub::start().await;
    hub.add("a/b", &[("b-Q4_0.gguf", b"GGUF four"), ("b-Q8_0.gguf", b"GGUF eight")]);
    let node = Node::new(Some(&hub));
    let path = node.prepare(1, "a/b:Q8_0").await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"GGUF eight");
    assert_eq!(path.file_name().unwrap(), "b-Q8_0.gguf");
    assert_eq!(hub.asked("b-Q4_0.gguf"), [0; 0]);
    assert_eq!(node.models(), [("a/b".to_owned(), true, true)]);
    let error = node.prepare(2, "a/b").await.unwrap_err().to_string();
    assert!(error.contains("it holds several GGUF models"), "{error}");
}

#[tokio::test]
async fn absolute_paths_are_checked_and_never_fetched() {
    let node = Node::new(None);
    let model = tempfile::tempdir().unwrap();
    let path = model.path().to_str().unwrap();
    assert!(matches!(node.store.refuse(path, None).await, Some(WeightsError::BadModel(BadModel::NoConfig(_)))));
    fs::write(model.path().join("config.json"), "{}").unwrap();
    fs::write(model.path().join("model.safetensors"), &safetensors(100)[..99]).unwrap();
    let error = node.prepare(1, path).await.unwrap_err().to_string();
    assert!(error.contains("is cut off: it has 99 bytes"), "{error}");
    fs::write(model.path().join("model.safetensors"), safetensors(100)).unwrap();
    assert_eq!(node.prepare(1, path).await.unwrap(), model.path());
}
