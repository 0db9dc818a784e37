//! Engines that say that they are well and are not: `/health` and `/metrics` answer 200, and no token comes.

use rustix::process::Signal;
use serde_json::json;
use shoal_engine_supervisor::{EnginePhase, EngineStatus};

use crate::harness::{EngineUnderTest, Group, Node, Stream, post};

conformance! {
    a_server_that_hangs_is_replaced: fake, vllm, llama;
    a_worker_that_hangs_is_replaced: fake, vllm;
    an_idle_worker_that_hangs_is_replaced: fake, vllm;
    a_paused_engine_is_not_called_ready: fake, vllm;
    an_engine_that_hangs_and_recovers_is_served_by_the_next: fake;
}

fn is_not_ready(status: &EngineStatus) -> bool {
    status.phase != EnginePhase::Ready
}

async fn a_server_that_hangs_is_replaced(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    Group::of(&before).signal_leader(Signal::STOP);
    let crashed = node.until("it has crashed", is_not_ready).await;
    assert!(crashed.phase.to_string().contains("health"), "{}", crashed.phase);
    node.replaced(&before).await;
}

async fn a_worker_that_hangs_is_replaced(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    let _stream = Stream::open(&before, 1900).await;
    Group::of(&before).signal("VLLM::Worker", Signal::STOP);
    node.until("that is noticed", is_not_ready).await;
    node.replaced(&before).await;
}

/// Nothing runs, so that no count of tokens stands still: only a question shows it.
async fn an_idle_worker_that_hangs_is_replaced(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    Group::of(&before).signal("VLLM::Worker", Signal::STOP);
    node.until("that is noticed", is_not_ready).await;
    node.replaced(&before).await;
}

async fn a_paused_engine_is_not_called_ready(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    let (code, answer) = post(&before, "/pause", &json!({})).await;
    assert_eq!(code, 200, "{answer}");
    node.until("that is noticed", is_not_ready).await;
}

async fn an_engine_that_hangs_and_recovers_is_served_by_the_next(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    node.engine.script(r#"{"serving": "hangs"}"#);
    node.until("that is noticed", is_not_ready).await;
    node.engine.script("{}");
    let after = node.replaced(&before).await;
    assert_eq!(Stream::open(&after, 2).await.status, 200);
}
