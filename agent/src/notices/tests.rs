//! All sources against servers on loopback that play the clouds, real files and real programs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::Method;
use shoal_types::{HumanDuration, UnixMillis};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

use super::{
    Notice, Notices, NoticesConfig,
    config::NoticeCommandConfig,
    keep::Timings,
    loopback::{Asked, Loopback, Reply, closed_port, reply},
    notice::{NoticeKind, Source},
    pace::Backoff,
    url::MetadataUrl,
    when::instant,
};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
const FAST: Duration = Duration::from_millis(5);
const GONE_AT: &str = "2026-11-22T14:05:00Z";

fn timings() -> Timings {
    Timings {
        aws: FAST,
        gcp: FAST,
        azure: FAST,
        file: FAST,
        backoff: Backoff { first: FAST, max: FAST * 4 },
        ..Timings::default()
    }
}

/// Asks nobody.
fn nobody() -> NoticesConfig {
    let mut config = NoticesConfig::default();
    for provider in [&mut config.aws, &mut config.gcp, &mut config.azure] {
        provider.enabled = false;
    }
    config
}

/// Asks only `sources`, all at `url`.
fn only(sources: &[Source], url: &MetadataUrl) -> NoticesConfig {
    let mut config = nobody();
    let NoticesConfig { aws, gcp, azure, .. } = &mut config;
    for (source, provider) in [(Source::Aws, aws), (Source::Gcp, gcp), (Source::Azure, azure)] {
        provider.enabled = sources.contains(&source);
        provider.url = url.clone();
    }
    config
}

/// Notices that are kept until this is dropped.
struct Kept {
    found: watch::Receiver<Option<Notice>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn keep(config: &NoticesConfig) -> Kept {
    let (sender, found) = watch::channel(None);
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let kept = Notices::with_timings(config, timings()).keep(sender, stop.clone());
    tasks.spawn(kept);
    Kept { found, stop, tasks }
}

impl Kept {
    async fn notice(&mut self) -> Notice {
        let found = timeout(PATIENCE, self.found.wait_for(Option::is_some)).await;
        found.expect("a notice in time").unwrap().clone().unwrap()
    }

    async fn nothing(&mut self) {
        timeout(PATIENCE, self.found.wait_for(Option::is_none)).await.expect("taken back in time").unwrap();
    }

    fn now(&self) -> Option<Notice> {
        self.found.borrow().clone()
    }

    async fn end(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.expect("it ends in time").unwrap().unwrap();
    }
}

/// Waits until the server has been asked `more` questions from now on.
async fn asked_again(server: &Loopback, more: usize) {
    let mut asked = server.asked.clone();
    let target = asked.borrow().len() + more;
    timeout(PATIENCE, asked.wait_for(|asked| asked.len() >= target)).await.expect("asked in time").unwrap();
}

/// What AWS answers: `action` is the body of the instance action, `token` the one that is valid.
fn aws(asked: &Asked, action: Option<&str>, token: &str) -> Reply {
    match (&asked.method, asked.target.as_str()) {
        (&Method::PUT, "/latest/api/token") if asked.header("X-aws-ec2-metadata-token-ttl-seconds") == "21600" => {
            reply(200, token)
        }
        (&Method::GET, _) if asked.header("X-aws-ec2-metadata-token") != token => reply(401, ""),
        (&Method::GET, "/latest/meta-data/spot/instance-action") => {
            action.map_or_else(|| reply(404, "<html>404 - Not Found</html>"), |action| reply(200, action))
        }
        _ => reply(404, ""),
    }
}

fn terminate() -> String {
    format!(r#"{{"action": "terminate", "time": "{GONE_AT}"}}"#)
}

fn google(etag: &str, value: &str) -> Reply {
    let headers = vec![("Metadata-Flavor", "Google".to_owned()), ("ETag", etag.to_owned())];
    (200, headers, value.to_owned())
}

/// What Azure answers to the machine `gpu-1`.
fn azure(asked: &Asked, events: &str) -> Reply {
    if asked.header("Metadata") != "true" {
        return reply(400, r#"{"error": "Bad request. Required metadata header not specified"}"#);
    }
    match asked.target.as_str() {
        "/metadata/instance/compute/name?api-version=2021-02-01&format=text" => reply(200, "gpu-1"),
        "/metadata/scheduledevents?api-version=2020-07-01" => {
            reply(200, format!(r#"{{"DocumentIncarnation": 1, "Events": [{events}]}}"#))
        }
        _ => reply(404, ""),
    }
}

fn preempt(machine: &str) -> String {
    format!(
        r#"{{"EventId": "7", "EventType": "Preempt", "ResourceType": "VirtualMachine", "Resources": ["{machine}"],
            "EventStatus": "Scheduled", "NotBefore": "Sun, 22 Nov 2026 14:05:00 GMT"}}"#
    )
}

#[tokio::test]
async fn aws_gives_notice_takes_it_back_and_renews_tokens() {
    let (change, now) = watch::channel((None, "token-1"));
    let server = Loopback::serve(move |asked| {
        let (action, token): (Option<String>, &str) = now.borrow().clone();
        async move { aws(&asked, action.as_deref(), token) }
    });
    let mut kept = keep(&only(&[Source::Aws], &server.url));
    asked_again(&server, 4).await;
    assert_eq!(kept.now(), None);
    let tokens = |server: &Loopback| server.asked.borrow().iter().filter(|asked| asked.method == Method::PUT).count();
    assert_eq!(tokens(&server), 1);

    change.send_replace((Some(terminate()), "token-2"));
    let notice = kept.notice().await;
    assert_eq!((notice.source, notice.kind), (Source::Aws, NoticeKind::Reclaim));
    assert_eq!(notice.deadline, instant(GONE_AT));
    assert_eq!(tokens(&server), 2);

    change.send_replace((None, "token-2"));
    kept.nothing().await;
    kept.end().await;
}

#[tokio::test]
async fn a_cloud_that_no_longer_answers_takes_nothing_back() {
    let (change, works) = watch::channel(true);
    let server = Loopback::serve(move |asked| {
        let works = *works.borrow();
        async move { if works { aws(&asked, Some(&terminate()), "token") } else { reply(503, "") } }
    });
    let mut kept = keep(&only(&[Source::Aws], &server.url));
    let notice = kept.notice().await;
    change.send_replace(false);
    asked_again(&server, 6).await;
    assert_eq!(kept.now(), Some(notice));
}

#[tokio::test]
async fn gcp_is_waited_for_and_knows_no_deadline() {
    let (change, now) = watch::channel(("aa11", "FALSE"));
    let server = Loopback::serve(move |asked: Asked| {
        let mut now = now.clone();
        async move {
            if !asked.target.starts_with("/computeMetadata/v1/instance/preempted") {
                return reply(404, "");
            }
            assert_eq!(asked.header("Metadata-Flavor"), "Google");
            if let Some((_, known)) = asked.target.split_once("?wait_for_change=true&timeout_sec=60&last_etag=") {
                now.wait_for(|(etag, _)| *etag != known).await.unwrap();
            }
            let (etag, value) = *now.borrow();
            google(etag, value)
        }
    });
    let mut kept = keep(&only(&[Source::Gcp], &server.url));
    let mut asked = server.asked.clone();
    let hangs = |asked: &Vec<Asked>| asked.iter().any(|asked| asked.target.ends_with("&last_etag=aa11"));
    timeout(PATIENCE, asked.wait_for(hangs)).await.unwrap().unwrap();
    assert_eq!(kept.now(), None);

    let before = shoal_mesh::clock::now();
    change.send_replace(("bb22", "TRUE"));
    let notice = kept.notice().await;
    assert_eq!((notice.source, notice.kind), (Source::Gcp, NoticeKind::Reclaim));
    let left = notice.deadline.unwrap().since(before);
    assert!(left >= Duration::from_secs(30) && left < Duration::from_secs(30) + PATIENCE, "{left:?}");

    change.send_replace(("cc33", "FALSE"));
    kept.nothing().await;
    kept.end().await;
}

#[tokio::test]
async fn gcp_tells_of_maintenance_that_ends_the_instance() {
    let server = Loopback::serve(|asked| async move {
        match asked.target.split_once('?').map_or(asked.target.as_str(), |(path, _)| path) {
            "/computeMetadata/v1/instance/maintenance-event" => google("", "TERMINATE_ON_HOST_MAINTENANCE"),
            _ => google("", "FALSE"),
        }
    });
    let notice = keep(&only(&[Source::Gcp], &server.url)).notice().await;
    assert_eq!((notice.source, notice.kind, notice.deadline), (Source::Gcp, NoticeKind::Maintenance, None));
}

#[tokio::test]
async fn azure_gives_notice_to_the_machine_that_is_meant() {
    let (change, now) = watch::channel(preempt("gpu-2"));
    let server = Loopback::serve(move |asked| {
        let events = now.borrow().clone();
        async move { azure(&asked, &events) }
    });
    let mut kept = keep(&only(&[Source::Azure], &server.url));
    asked_again(&server, 4).await;
    assert_eq!(kept.now(), None);

    change.send_replace(format!("{}, {}", preempt("gpu-2"), preempt("gpu-1")));
    let notice = kept.notice().await;
    assert_eq!((notice.source, notice.kind, notice.deadline), (Source::Azure, NoticeKind::Reclaim, instant(GONE_AT)));

    change.send_replace(preempt("gpu-2"));
    kept.nothing().await;
    kept.end().await;
}

/// What all clouds are asked at the same address, of which at most one is there.
#[tokio::test]
async fn each_cloud_is_known_from_the_others() {
    type Player = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;
    let players: [(Player, Option<Source>); 5] = [
        (Arc::new(|asked| aws(asked, Some(&terminate()), "token")), Some(Source::Aws)),
        (
            Arc::new(|asked| match asked.target.starts_with("/computeMetadata/v1/instance/preempted") {
                true => google("", "TRUE"),
                false => reply(404, "not found"),
            }),
            Some(Source::Gcp),
        ),
        (Arc::new(|asked| azure(asked, &preempt("gpu-1"))), Some(Source::Azure)),
        (Arc::new(|_| reply(200, "<html>Welcome to the router</html>")), None),
        (Arc::new(|_| (302, vec![("Location", "http://127.0.0.1:1/".to_owned())], String::new())), None),
    ];
    for (player, expected) in players {
        let server = Loopback::serve(move |asked| {
            let answer = player(&asked);
            async move { answer }
        });
        for source in [Source::Aws, Source::Gcp, Source::Azure] {
            let mut kept = keep(&only(&[source], &server.url));
            if expected == Some(source) {
                assert_eq!(kept.notice().await.source, source);
            } else {
                asked_again(&server, 6).await;
                assert_eq!(kept.now(), None, "{source} believes another");
            }
            kept.end().await;
        }
    }
}

#[tokio::test]
async fn a_cloud_may_come_late_and_answers_are_bounded() {
    let (port, url) = closed_port();
    let mut kept = keep(&only(&[Source::Aws], &url));
    let (change, huge) = watch::channel(true);
    let server = Loopback::serve_on(port, move |asked| {
        let action = if *huge.borrow() { format!("{}{}", terminate(), " ".repeat(64 << 10)) } else { terminate() };
        async move { aws(&asked, Some(&action), "token") }
    });
    asked_again(&server, 6).await;
    assert_eq!(kept.now(), None);
    change.send_replace(false);
    kept.notice().await;
}

/// Sends the level of every event of this module.
struct Levels(watch::Sender<Vec<Level>>);

impl<S: Subscriber> Layer<S> for Levels {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().contains("notices") {
            self.0.send_modify(|levels| levels.push(*event.metadata().level()));
        }
    }
}

#[tokio::test]
async fn a_host_that_is_no_cloud_logs_nothing_above_debug() {
    let (sender, mut levels) = watch::channel(Vec::new());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Levels(sender)));
    let (_port, url) = closed_port();
    let kept = keep(&only(&[Source::Aws, Source::Gcp, Source::Azure], &url));
    let seen = timeout(PATIENCE, levels.wait_for(|levels| levels.len() >= 12)).await;
    let seen = seen.expect("it tries again and again").unwrap().clone();
    assert!(seen.iter().all(|level| *level == Level::DEBUG), "{seen:?}");
    kept.end().await;
}

#[tokio::test]
async fn a_cloud_that_falls_silent_is_told_once() {
    let (sender, mut levels) = watch::channel(Vec::new());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Levels(sender)));
    let (change, works) = watch::channel(true);
    let server = Loopback::serve(move |asked| {
        let works = *works.borrow();
        async move { if works { aws(&asked, None, "token") } else { reply(500, "") } }
    });
    let kept = keep(&only(&[Source::Aws], &server.url));
    asked_again(&server, 2).await;
    change.send_replace(false);
    let debug = |levels: &Vec<Level>| levels.iter().filter(|level| **level == Level::DEBUG).count();
    let seen = timeout(PATIENCE, levels.wait_for(|levels| debug(levels) >= 3)).await.unwrap().unwrap().clone();
    assert_eq!(seen.iter().filter(|level| **level == Level::WARN).count(), 1, "{seen:?}");
    kept.end().await;
}

#[tokio::test]
async fn the_earliest_of_all_sources_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notice");
    let server = Loopback::serve(|asked| async move { azure(&asked, &preempt("gpu-1")) });
    let config = NoticesConfig { file: Some(path.clone()), ..only(&[Source::Azure], &server.url) };
    let mut kept = keep(&config);
    assert_eq!(kept.notice().await.source, Source::Azure);

    let write = |text: &str| {
        // In one step, so that no half of it is read.
        std::fs::write(dir.path().join("new"), text).unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
    };
    write(r#"{"deadline": "2026-11-22T14:04:00Z", "reason": "sold"}"#);
    let is_file = |notice: &Option<Notice>| notice.as_ref().is_some_and(|notice| notice.source == Source::File);
    let notice = timeout(PATIENCE, kept.found.wait_for(is_file)).await.unwrap().unwrap().clone().unwrap();
    assert_eq!((notice.detail.as_str(), notice.deadline), ("sold", instant("2026-11-22T14:04:00Z")));

    write(r#"{"reason": "no hurry"}"#);
    let is_azure = |notice: &Option<Notice>| notice.as_ref().is_some_and(|notice| notice.source == Source::Azure);
    timeout(PATIENCE, kept.found.wait_for(is_azure)).await.unwrap().unwrap();
    kept.end().await;
}

#[tokio::test]
async fn a_command_gives_notice_and_takes_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    std::fs::write(&flag, "").unwrap();
    let script = r#"if [ -e "$1" ]; then echo '{"deadline": "60s"}'; exit 10; fi"#;
    let args = ["-c", script, "notice", flag.to_str().unwrap()].map(str::to_owned).to_vec();
    let interval = HumanDuration(FAST);
    let command = NoticeCommandConfig { program: PathBuf::from("/bin/sh"), args, interval };
    let mut kept = keep(&NoticesConfig { command: Some(command), ..nobody() });
    let notice = kept.notice().await;
    assert_eq!((notice.source, notice.kind), (Source::Command, NoticeKind::Reclaim));
    assert!(notice.deadline > Some(UnixMillis::from_millis(0)));
    std::fs::remove_file(flag).unwrap();
    kept.nothing().await;
    kept.end().await;
}

#[tokio::test]
async fn with_nobody_to_ask_it_waits_for_its_end() {
    let mut kept = keep(&nobody());
    tokio::task::yield_now().await;
    assert!(kept.tasks.try_join_next().is_none());
    kept.end().await;
}
