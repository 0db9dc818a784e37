//! Who may ask, for what, and how much.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use shoal_ingress::{Auth, IngressConfig, KeyCounts, Route, RoutingTable};
use shoal_types::{KeyGrant, KeyHash, KeyId, KeyRecord, KeyUse, UnixMillis, key_text};
use tokio::task::JoinSet;

use crate::support::{Answer, CHAT, Client, Engine, Node, PLAIN, REQUEST, SSE, local, route, soon};

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}"#;

fn id(number: u8) -> KeyId {
    KeyId::from_bytes([number; 10])
}

/// Key `number` as clients send it.
fn text(number: u8) -> String {
    key_text(id(number), &[number; 32])
}

fn record(number: u8, grant: KeyGrant) -> (KeyId, Arc<KeyRecord>) {
    let hash: [u8; 32] = digest(&SHA256, text(number).as_bytes()).as_ref().try_into().unwrap();
    let record = KeyRecord {
        name: format!("key-{number}").parse().unwrap(),
        hash: KeyHash::new(hash),
        created: UnixMillis::from_millis(1),
        expires: None,
        grant,
    };
    (id(number), Arc::new(record))
}

async fn node(engine: &Engine, auth: Auth) -> Node {
    Node::start_with(IngressConfig { auth, ..IngressConfig::default() }, [local(1, engine.address(), 0)]).await
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// Asks for a completion by `key`, as OpenAI's SDK would.
async fn ask(client: &mut Client, key: &str) -> Answer {
    client.send(request("POST", CHAT, &[("authorization", &format!("Bearer {key}"))], PLAIN)).await
}

/// The same, answered by `engine`.
async fn served(client: &mut Client, engine: &mut Engine, key: &str) -> Answer {
    let (answer, ()) = tokio::join!(ask(client, key), async {
        let call = engine.call().await;
        assert!(call.request.headers().get("authorization").is_none(), "a key is no business of engines");
        call.answer(200, "application/json", USAGE);
    });
    answer
}

#[tokio::test]
async fn a_key_is_asked_for_and_errors_do_not_repeat_it() {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::Keys).await;
    node.ingress.set_keys([record(1, KeyGrant::default())]);
    let mut client = node.client().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200);
    }
    for answer in [&mut client.chat().await, &mut client.get("/v1/models").await, &mut client.get("/else").await] {
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
        assert_eq!(answer.error().await.0, "invalid_api_key");
    }
    // Of another mesh, with one character changed, of the right id with another secret, and something else.
    let almost = format!("{}a", &text(1)[..text(1).len() - 1]);
    for wrong in [text(2), almost, key_text(id(1), &[2; 32]), "sk-proj-abc".to_owned()] {
        let mut answer = ask(&mut client, &wrong).await;
        let (code, message) = answer.error().await;
        assert_eq!((answer.status.as_u16(), code.as_str()), (401, "invalid_api_key"), "{wrong}");
        assert!(!message.contains(&wrong), "{message}");
    }
    assert!(!engine.has_call());
    assert_eq!(served(&mut client, &mut engine, &text(1)).await.status, 200);
    for header in ["api-key", "x-api-key"] {
        let mut models = client.send(request("GET", "/v1/models", &[(header, &text(1))], "")).await;
        assert_eq!(models.status, 200, "{header}");
        models.rest().await;
    }
    node.ingress.set_keys([]);
    assert_eq!(ask(&mut client, &text(1)).await.status, 401, "revoked");
    node.ingress.set_routes(RoutingTable::default().incomplete());
    let mut early = ask(&mut client, &text(1)).await;
    assert_eq!((early.status.as_u16(), early.error().await.0.as_str()), (503, "not_known_yet"));
}

/// Eight requests by `key`, with this `body`, that wait at `node`, where `held` wait then.
async fn eight_wait(node: &Node, tasks: &mut JoinSet<u16>, (key, body): (u8, &'static str), held: u32) {
    for _ in 0..8 {
        let (mut client, bearer, name) = (node.client().await, format!("Bearer {}", text(key)), key.to_string());
        tasks.spawn(async move {
            let headers = [("authorization", bearer.as_str()), ("x-request-id", name.as_str())];
            let mut answer = client.send(request("POST", CHAT, &headers, body)).await;
            answer.rest().await;
            answer.status.as_u16()
        });
    }
    node.until_held(held).await;
}

/// The first eight that an engine is given of eight requests each of two keys with these weights and bodies, all of which
/// wait: by which key they are.
async fn first_eight(one: (u8, u16, &'static str), other: (u8, u16, &'static str)) -> Vec<String> {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::Keys).await;
    let replicas = [local(1, engine.address(), 0)];
    node.ingress.set_routes(RoutingTable::new([Route { max_inflight: Some(1), ..route(replicas) }]));
    let weighs = |weight: u16| KeyGrant { weight, ..KeyGrant::default() };
    node.ingress.set_keys([one, other].map(|(key, weight, _)| record(key, weighs(weight))));
    let mut client = node.client().await;
    let wait = async {
        let first = engine.call().await;
        let mut tasks = JoinSet::new();
        eight_wait(&node, &mut tasks, (one.0, one.2), 8).await;
        eight_wait(&node, &mut tasks, (other.0, other.2), 16).await;
        first.answer(200, "application/json", USAGE);
        tasks
    };
    let key = text(one.0);
    let (first, mut tasks) = tokio::join!(ask(&mut client, &key), wait);
    assert_eq!(first.status, 200);
    let mut asked = Vec::new();
    for _ in 0..16 {
        let call = engine.call().await;
        asked.push(call.request.headers()["x-request-id"].to_str().unwrap().to_owned());
        call.answer(200, "application/json", USAGE);
        assert_eq!(soon("an answer", tasks.join_next()).await.unwrap().unwrap(), 200);
    }
    asked.truncate(8);
    asked
}

#[tokio::test]
async fn of_a_busy_endpoint_keys_get_shares_by_weight() {
    let asked = first_eight((1, 1, PLAIN), (3, 3, PLAIN)).await;
    let heavy = asked.iter().filter(|key| *key == "3").count();
    assert!((5..=7).contains(&heavy), "{asked:?}");
}

#[tokio::test]
async fn who_says_that_answers_are_short_gets_more_of_them() {
    const LONG: &str = r#"{"model":"llama","messages":[],"max_completion_tokens":16000}"#;
    const SHORT: &str = r#"{"model":"llama","messages":[],"max_tokens":16}"#;
    let asked = first_eight((1, 1, LONG), (2, 1, SHORT)).await;
    let short = asked.iter().filter(|key| *key == "2").count();
    assert!(short >= 5, "the long ones were there first: {asked:?}");
}

#[tokio::test]
async fn where_no_key_is_asked_for_any_text_will_do_but_a_revoked_key_will_not() {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::None).await;
    node.ingress.set_keys([record(1, KeyGrant { concurrency: Some(1), ..KeyGrant::default() })]);
    let mut client = node.client().await;
    assert_eq!(served(&mut client, &mut engine, "unused").await.status, 200);
    assert_eq!(ask(&mut client, &text(2)).await.status, 401);
    assert_eq!(served(&mut client, &mut engine, &text(1)).await.status, 200);
    let usage = node.ingress.take_key_usage();
    assert_eq!(usage.len(), 1, "who shows a key is accounted for: {usage:?}");
}

#[tokio::test]
async fn a_key_is_good_for_its_endpoints_and_sees_no_others() {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::Keys).await;
    let only = |name: &str| KeyGrant { endpoints: [name.parse().unwrap()].into(), ..KeyGrant::default() };
    node.ingress.set_keys([record(1, only("llama")), record(2, only("other"))]);
    let mut client = node.client().await;
    assert_eq!(served(&mut client, &mut engine, &text(1)).await.status, 200);

    let mut denied = ask(&mut client, &text(2)).await;
    let (code, message) = denied.error().await;
    assert_eq!((denied.status.as_u16(), code.as_str()), (403, "endpoint_not_allowed"), "{message}");
    let bearer = format!("Bearer {}", text(2));
    let headers = [("authorization", bearer.as_str())];
    let (models, _) = client.send(request("GET", "/v1/models", &headers, "")).await.rest().await;
    assert!(!models.contains("llama"), "{models}");
    assert_eq!(client.send(request("GET", "/v1/models/llama", &headers, "")).await.status, 403);
    let near = r#"{"model":"lama"}"#;
    let mut unknown = client.send(request("POST", CHAT, &headers, near)).await;
    let (code, message) = unknown.error().await;
    assert_eq!(code, "model_not_found");
    assert!(!message.contains("llama"), "{message}");
}

#[tokio::test]
async fn a_rate_is_exact_at_one_ingress_and_told_in_openais_headers() {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::Keys).await;
    let grant = KeyGrant { requests_per_minute: Some(3), tokens_per_minute: Some(1_000), ..KeyGrant::default() };
    node.ingress.set_keys([record(1, grant)]);
    let mut client = node.client().await;
    // Tokens are known when an answer has ended, so its own are not among those that it tells.
    for (left, tokens) in [("2", "1000"), ("1", "982"), ("0", "964")] {
        let answer = served(&mut client, &mut engine, &text(1)).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-remaining-requests")), (200, left));
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "3");
        assert_eq!(answer.header("x-ratelimit-remaining-tokens"), tokens);
    }
    let mut over = ask(&mut client, &text(1)).await;
    assert_eq!((over.status.as_u16(), over.header("x-shoal-reason")), (429, "key-requests-per-minute"));
    let seconds: u16 = over.header("retry-after").parse().unwrap();
    assert!((50..=60).contains(&seconds), "{seconds}");
    let (code, message) = over.error().await;
    assert_eq!(code, "rate_limit_exceeded");
    assert!(message.contains("`key-1`") && message.contains("3 requests per minute"), "{message}");
    assert!(!engine.has_call());
}

#[tokio::test]
async fn what_other_nodes_let_through_counts_and_so_does_what_runs() {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::Keys).await;
    node.ingress
        .set_keys([record(1, KeyGrant { concurrency: Some(2), tokens_per_day: Some(100), ..KeyGrant::default() })]);
    let mut client = node.client().await;
    let elsewhere = |inflight| [(id(1), KeyUse { inflight, ..KeyUse::default() })].into();
    node.ingress.set_key_uses(&elsewhere(2), &Default::default());
    assert_eq!(ask(&mut client, &text(1)).await.header("x-shoal-reason"), "key-concurrency");
    node.ingress.set_key_uses(&elsewhere(1), &Default::default());

    let mut second = node.client().await;
    let key = text(1);
    let running = ask(&mut second, &key);
    let checked = async {
        let call = engine.call().await;
        assert_eq!(node.ingress.key_uses()[&id(1)].inflight, 1);
        assert_eq!(ask(&mut client, &text(1)).await.header("x-shoal-reason"), "key-concurrency");
        call.answer(200, "application/json", USAGE);
    };
    let (mut answer, ()) = tokio::join!(running, checked);
    answer.rest().await;
    soon("the request to be over", async {
        while node.ingress.key_uses()[&id(1)].inflight != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    node.ingress.set_key_uses(&Default::default(), &[(id(1), 100)].into());
    assert_eq!(ask(&mut client, &text(1)).await.header("x-shoal-reason"), "key-tokens-per-day");
    node.ingress.set_key_uses(&Default::default(), &Default::default());
    assert_eq!(served(&mut client, &mut engine, &text(1)).await.status, 200);
}

#[tokio::test]
async fn tokens_are_accounted_by_key_and_endpoint_also_of_a_stream_that_its_client_leaves() {
    let mut engine = Engine::start();
    let node = node(&engine, Auth::Keys).await;
    node.ingress.set_keys([record(1, KeyGrant { tokens_per_minute: Some(15), ..KeyGrant::default() })]);
    let bearer = format!("Bearer {}", text(1));
    let headers = [("authorization", bearer.as_str())];
    let mut client = node.client().await;
    let (mut answer, reply) = tokio::join!(client.send(request("POST", CHAT, &headers, REQUEST)), async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send("data: {\"a\":1}\n\ndata: {\"b\":2}\n\n").await;
        reply
    });
    answer.text().await;
    drop((answer, client));
    reply.gone().await;
    let taken = soon("the account to be closed", async {
        loop {
            let taken = node.ingress.take_key_usage();
            if !taken.is_empty() {
                return taken;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let prompt = REQUEST.len() as u64 / 4;
    assert_eq!((taken[0].key, taken[0].endpoint.as_str()), (id(1), "llama"));
    assert_eq!(taken[0].counts, KeyCounts { requests: 1, prompt, completion: 2, cached: 0 });

    let mut client = node.client().await;
    assert_eq!(served(&mut client, &mut engine, &text(1)).await.status, 200, "13 of 15");
    let over = ask(&mut client, &text(1)).await;
    assert_eq!((over.status.as_u16(), over.header("x-shoal-reason")), (429, "key-tokens-per-minute"));
}
