//! What an engine that is well does.

use serde_json::{Value, json};
use shoal_engine_supervisor::{EnginePhase, EngineStatus};

use crate::harness::{EngineUnderTest, Node, Stream, post};

conformance! {
    it_answers_by_its_names: fake, vllm, llama;
    it_streams_until_done: fake, vllm, llama;
    its_load_is_what_it_says: fake, vllm, llama;
    loading_is_told_by_shards: fake, vllm;
}

async fn it_answers_by_its_names(engine: EngineUnderTest) {
    let (_node, status) = Node::serving(engine).await;
    for name in ["demo", "alias"] {
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4});
        let (code, answer) = post(&status, "/v1/chat/completions", &body).await;
        assert_eq!(code, 200, "{name}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
        assert_eq!(answer["usage"]["completion_tokens"], 4);
    }
}

async fn it_streams_until_done(engine: EngineUnderTest) {
    let (_node, status) = Node::serving(engine).await;
    let mut stream = Stream::open(&status, 20).await;
    assert_eq!(stream.status, 200);
    let rest = stream.rest().await;
    assert!(rest.contains(r#""finish_reason":"length""#) && rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

async fn its_load_is_what_it_says(engine: EngineUnderTest) {
    let (node, status) = Node::serving(engine).await;
    let running = |count| move |status: &EngineStatus| status.load.running == Some(count);
    node.until("nothing runs", running(0)).await;
    let stream = Stream::open(&status, 1900).await;
    node.until("one runs", running(1)).await;
    drop(stream);
    let idle = node.until("a client that hangs up ends its request", running(0)).await;
    assert_eq!((idle.phase, idle.load.waiting), (EnginePhase::Ready, Some(0)));
}

async fn loading_is_told_by_shards(engine: EngineUnderTest) {
    let node = Node::launch(engine).await;
    let loading = |status: &EngineStatus| matches!(status.phase, EnginePhase::Loading(Some(_)));
    node.until("shards are counted", loading).await;
    node.ready().await;
}
