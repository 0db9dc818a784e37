use ::http::StatusCode;
use axum::{
    Router,
    response::IntoResponse,
    routing::{MethodRouter, get, post},
};
use tokio::{net::UnixListener, task::JoinSet};

use super::*;

const NAMES: MetricNames =
    MetricNames { path: "/metrics", running: &["running"], waiting: &[], kv_cache: &[], progress: &["tokens"] };

/// An engine that answers what it is told to.
struct Engine {
    _directory: tempfile::TempDir,
    _server: JoinSet<()>,
    probe: Probe,
}

impl Engine {
    fn start(paths: &[(&str, MethodRouter)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let models = r#"{"object": "list", "data": [{"id": "m", "object": "model"}]}"#;
        let router = Router::new().route("/health", get("")).route("/v1/models", get(models));
        let router = paths.iter().fold(router, |router, (path, method)| router.route(path, method.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let probe = Probe {
            address: EngineAddress::Unix(socket),
            health_path: "/health".to_owned(),
            names: vec!["other".to_owned(), "m".to_owned()],
            metrics: &NAMES,
            canary: Canary::Completion,
            timings: Timings { canary: Duration::from_millis(200), ..Timings::default() },
        };
        Self { _directory: directory, _server: server, probe }
    }

    fn chat(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Self {
        Self::start(&[("/v1/chat/completions", post(move || async move { answer }))])
    }
}

/// As llama-server of July 2026 gives it.
const CHAT: &str = r#"{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":"'"}}],
    "created":1795378004,"model":"demo","object":"chat.completion","usage":{"completion_tokens":1,"prompt_tokens":21}}"#;
/// As vLLM 0.32 gives it, in a status of 500 and in one of 200.
const DEAD: &str =
    r#"{"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","code":500}}"#;

#[tokio::test]
async fn a_token_is_a_token_by_any_api() {
    assert_eq!(Engine::chat(CHAT).probe.canary().await, Ok(()));
    let no = || post(async || (StatusCode::BAD_REQUEST, "no chat template"));
    let embeds = Engine::start(&[
        ("/v1/chat/completions", no()),
        ("/v1/completions", no()),
        ("/v1/embeddings", post(r#"{"data": [{"embedding": [0.5]}]}"#)),
    ]);
    assert_eq!(embeds.probe.first_token().await, Ok(()));
    let nothing = Engine::start(&[("/v1/chat/completions", no())]);
    let problem = nothing.probe.first_token().await.unwrap_err();
    assert!(problem.contains("answers 400: no chat template; /v1/completions answers 404"), "{problem}");
}

#[tokio::test]
async fn an_error_in_a_200_is_an_error() {
    for answer in [DEAD, r#"{"choices": []}"#, r#"{"choices": [{}], "error": "x"}"#, "data: [DONE]", ""] {
        let engine = Engine::chat(answer);
        assert!(matches!(engine.probe.canary().await, Err(CanaryError::Wrong(_))), "{answer}");
        assert!(engine.probe.first_token().await.is_err(), "{answer}");
    }
    let engine = Engine::chat((StatusCode::INTERNAL_SERVER_ERROR, DEAD));
    let Err(CanaryError::Wrong(reason)) = engine.probe.canary().await else { panic!("it is wrong") };
    assert!(reason.contains("answers 500") && reason.contains("EngineCore encountered an issue"), "{reason}");
}

#[tokio::test]
async fn a_full_queue_is_told_from_silence() {
    let full = Engine::chat((StatusCode::SERVICE_UNAVAILABLE, "The engine is currently busy"));
    assert!(matches!(full.probe.canary().await, Err(CanaryError::Busy(reason)) if reason.contains("currently busy")));
    let limited = Engine::chat((StatusCode::TOO_MANY_REQUESTS, ""));
    assert!(matches!(limited.probe.canary().await, Err(CanaryError::Busy(_))));
    let hangs = Engine::start(&[("/v1/chat/completions", post(std::future::pending::<()>))]);
    assert_eq!(hangs.probe.canary().await, Err(CanaryError::Silent));
    assert_eq!(hangs.probe.watch().await.0, Ok(()), "its health says nothing of it");
}

#[tokio::test]
async fn a_canary_by_path_is_its_status() {
    for (status, well) in [(200, true), (503, false), (500, false)] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut engine = Engine::start(&[("/health_generate", get(async move || status))]);
        engine.probe.canary = Canary::Get("/health_generate");
        assert_eq!(engine.probe.canary().await.is_ok(), well, "{status}");
    }
}

#[tokio::test]
async fn what_it_says_of_itself_is_read_where_it_says_it() {
    let engine = Engine::start(&[("/metrics", get("running 3\ntokens{a=\"b\"} 17\n"))]);
    let (health, pulse) = engine.probe.watch().await;
    let pulse = pulse.unwrap();
    assert_eq!((health, pulse.load.running, pulse.progress), (Ok(()), Some(3), Some(17.0)));
    let silent = Engine::start(&[]);
    assert_eq!(silent.probe.watch().await, (Ok(()), None));
}

#[tokio::test]
async fn sleep_is_believed_when_it_is_confirmed() {
    let sleeping = |is: bool| get(if is { r#"{"is_sleeping":true}"# } else { r#"{"is_sleeping":false}"# });
    let engine = Engine::start(&[("/sleep", post("")), ("/is_sleeping", sleeping(true)), ("/wake_up", post(""))]);
    assert_eq!(engine.probe.fall_asleep(1).await, Ok(()));
    assert_eq!(engine.probe.wake_up(1).await, Ok(()));
    let problem = engine.probe.wake_up(2).await.unwrap_err();
    assert!(problem.contains("/collective_rpc answers 404"), "its weights are gone: {problem}");

    let insomniac = Engine::start(&[("/sleep", post("")), ("/is_sleeping", sleeping(false))]);
    assert!(insomniac.probe.fall_asleep(1).await.is_err_and(|problem| problem.contains("false")));
    assert!(Engine::start(&[]).probe.fall_asleep(1).await.is_err_and(|problem| problem.contains("404")));
}
