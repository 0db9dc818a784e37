mod names;
mod sleep;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};
use shoal_types::EngineAddress;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    SimError, SimOptions,
    generation::{Engine, Finish, Generation, Piece},
    request::{ChatRequest, Job, Limits},
    sim_engine,
};
use crate::http::{Answer, get, post};

const DEADLINE: Duration = Duration::from_secs(20);

/// A simulated engine on a socket of its own.
struct Sim {
    directory: tempfile::TempDir,
    address: EngineAddress,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), SimError>>,
}

impl Sim {
    async fn start(change: impl FnOnce(&mut SimOptions)) -> Self {
        let sim = Self::start_unready(change);
        let is_ok = |answer: Answer| answer.status == StatusCode::OK;
        while !get(&sim.address, "/health", DEADLINE).await.is_ok_and(is_ok) {
            tokio::task::yield_now().await;
        }
        sim
    }

    fn start_unready(change: impl FnOnce(&mut SimOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = EngineAddress::Unix(directory.path().join("sim.sock"));
        let mut options = options(address.clone());
        change(&mut options);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(sim_engine(options, stop.clone()));
        Self { directory, address, stop, tasks }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        post(&self.address, path, &body, DEADLINE).await.unwrap()
    }

    async fn chat(&self, body: Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }

    /// The text of a chat's whole answer.
    async fn text(&self, body: Value) -> String {
        let answer = json_of(&self.chat(body).await);
        answer["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn metric(&self, name: &str) -> f64 {
        let answer = get(&self.address, "/metrics", DEADLINE).await.unwrap();
        let page = String::from_utf8(answer.body.to_vec()).unwrap();
        let line =
            page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in {page}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// Sends a streaming chat and reads nothing.
    async fn open_stream(&self, prompt: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.directory.path().join("sim.sock")).await.unwrap();
        let body = json!({"model": "m", "messages": user(prompt), "stream": true, "ignore_eos": true}).to_string();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream
    }

    /// Asks for the metric until it has that value.
    async fn becomes(&self, name: &str, value: f64) {
        let reached = async { while self.metric(name).await != value {} };
        timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("{name} does not become {value}"));
    }
}

fn options(address: EngineAddress) -> SimOptions {
    SimOptions {
        models: vec!["m".to_owned(), "alias".to_owned()],
        load_time: Duration::ZERO,
        time_to_first_token: Duration::ZERO,
        inter_token_latency: Duration::ZERO,
        ..SimOptions::new(address)
    }
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// The data of all events, the last of which is `[DONE]`.
fn events(answer: &Answer) -> Vec<Value> {
    let text = std::str::from_utf8(&answer.body).unwrap();
    let mut data: Vec<&str> =
        text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_streams_in_the_shape_of_vllm() {
    let sim = Sim::start(|_| {}).await;
    let body = json!({
        "model": "alias", "messages": user("Hello"), "max_tokens": 3, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let events = events(&sim.chat(body.clone()).await);
    assert_eq!(events.len(), 6, "{events:#?}");
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "[simulated]");
    assert_eq!(events[3]["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(events[4]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[5]["choices"], json!([]));
    assert_eq!(events[5]["usage"], json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}));
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["system_fingerprint"], "shoal-sim");
        assert_eq!((&event["id"], &event["model"]), (&events[0]["id"], &json!("m")));
    }
    let streamed: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    let mut whole = body;
    whole["stream"] = json!(false);
    assert_eq!(streamed, sim.text(whole).await, "the same text, streamed or not");
}

#[tokio::test]
async fn an_answer_ends_by_itself_and_at_a_stop_string() {
    let sim = Sim::start(|_| {}).await;
    let answer = json_of(&sim.chat(json!({"messages": user("Hello")})).await);
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert!((32..129).contains(&tokens));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();

    let stop: Vec<&str> = text.split(' ').skip(3).take(2).collect();
    let stop = stop.join(" ");
    let body = json!({"messages": user("Hello"), "stop": [stop]});
    let stopped = json_of(&sim.chat(body).await);
    assert_eq!(stopped["choices"][0]["message"]["content"], text.split_once(&stop).unwrap().0);
    assert_eq!(stopped["choices"][0]["stop_reason"], json!(stop));

    let longer = json!({"messages": user("Hello"), "ignore_eos": true, "max_completion_tokens": 300});
    assert_eq!(json_of(&sim.chat(longer).await)["usage"]["completion_tokens"], 300);
}

#[tokio::test]
async fn a_continued_chat_equals_an_uninterrupted_one() {
    let (one, other) = tokio::join!(Sim::start(|_| {}), Sim::start(|_| {}));
    let whole = one.text(json!({"messages": user("Hello"), "max_tokens": 30})).await;
    let first = one.text(json!({"messages": user("Hello"), "max_tokens": 11})).await;
    let messages = json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": first}]);
    let mut body = json!({
        "messages": messages, "max_tokens": 19, "continue_final_message": true, "add_generation_prompt": false,
    });
    let rest = other.text(body.clone()).await;
    assert_eq!(format!("{first}{rest}"), whole);

    body["echo"] = json!(true);
    assert_eq!(other.text(body.clone()).await, whole, "echo gives the beginning too");
    body["add_generation_prompt"] = json!(true);
    assert_eq!(other.chat(body).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_continued_completion_equals_an_uninterrupted_one() {
    let sim = Sim::start(|_| {}).await;
    let complete = async |prompt: &str, tokens: u32| {
        let body = json!({"model": "m", "prompt": prompt, "max_tokens": tokens});
        json_of(&sim.post("/v1/completions", body).await)["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let whole = complete("Once upon", 25).await;
    let first = complete("Once upon", 9).await;
    assert_eq!(format!("{first}{}", complete(&format!("Once upon{first}"), 16).await), whole);

    let body = json!({"prompt": ["Once upon"], "max_tokens": 25, "echo": true, "stream": true});
    let events = events(&sim.post("/v1/completions", body).await);
    let echoed: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(echoed, format!("Once upon{whole}"));
    assert_eq!(events[0]["object"], "text_completion");
}

#[tokio::test]
async fn bad_requests_get_the_errors_of_vllm() {
    let sim = Sim::start(|options| options.max_model_len = 100).await;
    let hello = user("Hello");
    for (body, status, param) in [
        (json!({"model": "other", "messages": hello}), 404, json!("model")),
        (json!({"messages": hello, "n": 2}), 400, json!("n")),
        (json!({"messages": hello, "max_tokens": 0}), 400, json!("max_tokens")),
        (json!({"messages": hello, "max_tokens": 96}), 400, json!("messages")),
        (json!({"messages": user(&"long ".repeat(100))}), 400, json!("messages")),
        (json!({"messages": []}), 400, json!("messages")),
        (json!({"messages": "Hello"}), 400, Value::Null),
        (json!({"model": "m"}), 400, Value::Null),
    ] {
        let answer = sim.chat(body.clone()).await;
        let error = json_of(&answer)["error"].clone();
        assert_eq!((answer.status.as_u16(), &error["param"]), (status, &param), "{body}: {error}");
        assert_eq!(error["code"], status);
    }
    let fits = sim.chat(json!({"messages": hello, "max_tokens": 95})).await;
    assert_eq!(fits.status, StatusCode::OK);
    let raw = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{\"prompt\"";
    let mut stream = UnixStream::connect(sim.directory.path().join("sim.sock")).await.unwrap();
    stream.write_all(raw).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("BadRequestError"), "{answer}");
}

#[tokio::test]
async fn nothing_is_served_while_it_loads() {
    let sim = Sim::start_unready(|options| options.load_time = Duration::from_secs(300));
    let health = loop {
        if let Ok(answer) = get(&sim.address, "/health", DEADLINE).await {
            break answer.status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(health, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sim.chat(json!({"messages": user("Hello")})).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sim.metric("vllm:num_requests_running").await, 0.0);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot_or_its_place_in_the_queue() {
    let sim = Sim::start(|options| {
        options.max_num_seqs = 1;
        options.inter_token_latency = Duration::from_secs(300);
    })
    .await;
    let running = sim.open_stream("first").await;
    sim.becomes("vllm:num_requests_running", 1.0).await;
    let waiting = sim.open_stream("second").await;
    sim.becomes("vllm:num_requests_waiting", 1.0).await;
    let last = sim.open_stream("third").await;
    sim.becomes("vllm:num_requests_waiting", 2.0).await;
    drop(waiting);
    sim.becomes("vllm:num_requests_waiting", 1.0).await;
    drop(running);
    sim.becomes("vllm:num_requests_waiting", 0.0).await;
    assert_eq!(sim.metric("vllm:num_requests_running").await, 1.0);
    drop(last);
    sim.becomes("vllm:num_requests_running", 0.0).await;
    assert_eq!(sim.metric("vllm:kv_cache_usage_perc").await, 0.0);
    let aborted = "vllm:request_success_total{engine=\"0\",model_name=\"m\",finished_reason=\"abort\"}";
    assert_eq!(sim.metric(aborted).await, 3.0);
}

#[tokio::test]
async fn metrics_have_the_names_of_vllm() {
    let sim = Sim::start(|_| {}).await;
    sim.chat(json!({"messages": user("Hello"), "max_tokens": 4})).await;
    for (name, value) in [
        ("vllm:prompt_tokens_total", 5.0),
        ("vllm:generation_tokens_total", 4.0),
        ("vllm:time_to_first_token_seconds_count", 1.0),
        ("vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"+Inf\"}", 1.0),
        ("vllm:request_success_total{engine=\"0\",model_name=\"m\",finished_reason=\"length\"}", 1.0),
        ("vllm:num_requests_waiting", 0.0),
    ] {
        assert_eq!(sim.metric(name).await, value, "{name}");
    }
}

#[tokio::test]
async fn embeddings_are_unit_vectors_of_their_input() {
    let sim = Sim::start(|_| {}).await;
    let embed = async |body: Value| json_of(&sim.post("/v1/embeddings", body).await);
    let two = embed(json!({"model": "m", "input": ["one", "two"]})).await;
    let vector: Vec<f64> = serde_json::from_value(two["data"][0]["embedding"].clone()).unwrap();
    assert!((vector.iter().map(|number| number * number).sum::<f64>() - 1.0).abs() < 1e-5);
    assert_ne!(two["data"][0]["embedding"], two["data"][1]["embedding"]);
    assert_eq!(embed(json!({"input": "two"})).await["data"][0]["embedding"], two["data"][1]["embedding"]);
    let base64 = embed(json!({"input": "one", "encoding_format": "base64"})).await;
    let bytes = data_encoding::BASE64.decode(base64["data"][0]["embedding"].as_str().unwrap().as_bytes()).unwrap();
    let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert!((f64::from(first) - vector[0]).abs() < 1e-6);
}

#[tokio::test]
async fn a_stopped_engine_says_so_in_its_streams_and_ends() {
    let mut sim = Sim::start(|options| options.inter_token_latency = Duration::from_secs(300)).await;
    let mut stream = sim.open_stream("Hello").await;
    sim.becomes("vllm:generation_tokens_total", 1.0).await;
    sim.stop.cancel();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains("\"code\":500") && answer.contains("data: [DONE]"), "{answer}");
    timeout(DEADLINE, sim.tasks.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    assert!(!sim.directory.path().join("sim.sock").exists());
}

#[tokio::test]
async fn it_listens_on_loopback_only_and_needs_a_name() {
    let everywhere = EngineAddress::Loopback("0.0.0.0:0".parse().unwrap());
    let refused = sim_engine(options(everywhere.clone()), CancellationToken::new()).await;
    assert!(matches!(refused, Err(SimError::NotLoopback(_))));
    let refused = sim_engine(SimOptions::new(everywhere), CancellationToken::new()).await;
    assert!(matches!(refused, Err(SimError::NoModel)));
}

fn engine(change: impl FnOnce(&mut SimOptions)) -> Arc<Engine> {
    let mut options = options(EngineAddress::Unix("/none".into()));
    options.time_to_first_token = Duration::from_millis(40);
    options.inter_token_latency = Duration::from_millis(15);
    change(&mut options);
    Arc::new(Engine::new(options, CancellationToken::new()))
}

fn job(max_tokens: u32) -> Job {
    let body = json!({"messages": user("Hello"), "max_tokens": max_tokens});
    let request: ChatRequest = serde_json::from_value(body).unwrap();
    request.into_job(Limits { model: "m", max_model_len: 1000 }).unwrap()
}

async fn run(mut generation: Generation) -> Instant {
    while !matches!(generation.next().await, Piece::Finished(_)) {}
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn tokens_come_at_their_time() {
    let start = Instant::now();
    let mut generation = Generation::new(engine(|_| {}), job(3));
    let mut times = Vec::new();
    loop {
        let piece = generation.next().await;
        times.push(start.elapsed().as_millis());
        if piece == Piece::Finished(Finish::Length) {
            break;
        }
    }
    assert_eq!(times, [40, 55, 70, 70]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_served_in_order_of_arrival() {
    let engine = engine(|options| options.max_num_seqs = 2);
    let generation = |tokens| run(Generation::new(engine.clone(), job(tokens)));
    let start = Instant::now();
    let (first, second, third, fourth) = tokio::join!(generation(5), generation(2), generation(1), generation(1));
    let times = [first, second, third, fourth].map(|end| (end - start).as_millis());
    assert_eq!(times, [100, 55, 95, 135], "the third takes the second's slot, the fourth the third's");
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_holds_up_nobody() {
    let engine = engine(|options| options.max_num_seqs = 1);
    let start = Instant::now();
    let (first, cancelled, third) = tokio::join!(
        run(Generation::new(engine.clone(), job(3))),
        timeout(Duration::from_millis(10), run(Generation::new(engine.clone(), job(100)))),
        run(Generation::new(engine.clone(), job(1))),
    );
    assert!(cancelled.is_err());
    assert_eq!([first, third].map(|end| (end - start).as_millis()), [70, 110]);
}
