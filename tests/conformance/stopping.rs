//! The end that is asked for: by SIGTERM where that works, by SIGKILL of the whole group where not.

use std::time::Duration;

use shoal_types::EngineAddress;

use crate::harness::{EngineUnderTest, Group, Node, Stream, address};

conformance! {
    it_goes_without_a_trace: fake, vllm, llama;
    it_goes_while_it_loads: fake, vllm;
    open_streams_do_not_keep_it: fake, vllm, llama;
    an_engine_that_hangs_on_sigterm_goes: fake;
}

/// What the kernel may take to end a group, beside the grace; machines of tests stall.
const KILLED_WITHIN: Duration = Duration::from_secs(15);

async fn it_goes_without_a_trace(engine: EngineUnderTest) {
    let (node, status) = Node::serving(engine).await;
    let group = Group::of(&status);
    assert!(!group.members().is_empty());
    node.stop().await;
    assert_eq!(group.members(), []);
    let EngineAddress::Unix(socket) = address(&status) else { panic!("{status:?}") };
    assert!(!socket.exists(), "a socket that is left makes the next launch fail");
    assert!(!node.log().is_empty(), "one can still read what it did");
}

/// vLLM forgets a SIGTERM that comes while its engine starts, and serves a while later.
async fn it_goes_while_it_loads(engine: EngineUnderTest) {
    if engine.is_scripted() {
        engine.script(r#"{"pace": {"loadMs": 600000}}"#);
    }
    let node = Node::launch(engine).await;
    node.logged("Starting to load model").await;
    let group = Group::of(&node.until("it runs", |status| status.pid.is_some()).await);
    let took = node.stop().await;
    assert!(took < node.engine.grace() + KILLED_WITHIN, "it took {took:?}");
    assert_eq!(group.members(), []);
}

async fn open_streams_do_not_keep_it(engine: EngineUnderTest) {
    let (node, status) = Node::serving(engine).await;
    let group = Group::of(&status);
    let mut stream = Stream::open(&status, 1900).await;
    let (took, rest) = tokio::join!(node.stop(), stream.rest());
    assert!(took < node.engine.grace() + KILLED_WITHIN, "it took {took:?}");
    assert!(!rest.contains(r#""finish_reason":"length""#), "it was not finished: {rest}");
    assert_eq!(group.members(), []);
}

async fn an_engine_that_hangs_on_sigterm_goes(engine: EngineUnderTest) {
    engine.script(r#"{"terminate": "hangs"}"#);
    let (node, status) = Node::serving(engine).await;
    let group = Group::of(&status);
    let mut stream = Stream::open(&status, 1900).await;
    let (took, rest) = tokio::join!(node.stop(), stream.rest());
    assert!(took >= node.engine.grace(), "it had its grace: {took:?}");
    assert!(took < node.engine.grace() + KILLED_WITHIN, "it took {took:?}");
    assert!(!rest.contains("[DONE]"), "nobody told the client: {rest}");
    assert_eq!(group.members(), []);
}
