//! The end that nobody asked for: always a crash, whatever the exit code, and never a process left on the GPU.

use rustix::process::Signal;
use shoal_engine_supervisor::{EnginePhase, EngineStatus};

use crate::harness::{EngineUnderTest, Group, Node, Stream};

conformance! {
    a_killed_server_leaves_nobody_and_is_replaced: fake, vllm, llama;
    a_killed_core_is_replaced_though_the_exit_code_is_0: fake, vllm;
    a_killed_worker_is_replaced: fake, vllm;
    a_core_that_dies_again_and_again_is_given_up: fake;
}

fn has_crashed(status: &EngineStatus) -> bool {
    matches!(status.phase, EnginePhase::Backoff { .. })
}

/// vLLM's core and workers outlive it, and hold the GPU.
async fn a_killed_server_leaves_nobody_and_is_replaced(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    let group = Group::of(&before);
    assert!(!node.engine.is_vllm() || group.members().len() >= 3, "server, core, worker: {:?}", group.members());
    group.signal_leader(Signal::KILL);
    let crashed = node.until("it has crashed", has_crashed).await;
    assert!(crashed.phase.to_string().contains("signal: 9"), "{}", crashed.phase);
    assert_eq!(crashed.load.running, None, "unknown is not zero");
    // The same socket, which the killed one left behind.
    let after = node.replaced(&before).await;
    assert_eq!(Stream::open(&after, 2).await.status, 200);
}

/// A CUDA error looks the same.
async fn a_killed_core_is_replaced_though_the_exit_code_is_0(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    let mut stream = Stream::open(&before, 1900).await;
    Group::of(&before).signal("VLLM::EngineCor", Signal::KILL);
    let rest = stream.rest().await;
    assert!(
        rest.contains(r#"data: {"error": {"#) && rest.ends_with("data: [DONE]\n\n"),
        "an error inside of a 200: {rest}"
    );
    node.until("it has crashed", has_crashed).await;
    node.replaced(&before).await;
    let ends: Vec<String> = node.log().into_iter().filter(|line| line.starts_with("ended with")).collect();
    assert!(ends.iter().any(|end| end.contains("status: 0") || end.contains("signal: 9")), "{ends:?}");
}

async fn a_killed_worker_is_replaced(engine: EngineUnderTest) {
    let (node, before) = Node::serving(engine).await;
    Group::of(&before).signal("VLLM::Worker", Signal::KILL);
    node.until("it has crashed", has_crashed).await;
    node.replaced(&before).await;
}

async fn a_core_that_dies_again_and_again_is_given_up(engine: EngineUnderTest) {
    let (node, _) = Node::serving(engine).await;
    node.engine.script(r#"{"serving": "coreDies", "pace": {"deathMs": 10}}"#);
    let (_, reason) = node.failed().await;
    assert!(reason.contains("crashes in a row"), "{reason}");
    assert!(node.launches() >= 3, "it was tried again");
}
