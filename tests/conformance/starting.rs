//! Launches that come to nothing: the engine's own reason is told, and what would fail again is not tried again.

use std::fs::File;

use shoal_engine_supervisor::FailureClass;

use crate::harness::{EngineUnderTest, Node};

conformance! {
    a_flag_that_it_does_not_know_is_not_tried_again: fake, vllm;
    a_context_that_the_model_does_not_have_is_not_tried_again: fake, vllm;
    a_cache_that_does_not_fit_is_not_tried_again: fake, vllm;
    weights_that_were_cut_short_are_not_tried_again: fake, vllm;
    weights_that_were_cut_short_are_given_up: llama;
    a_model_that_is_not_there_is_refused: fake, vllm;
    a_directory_without_a_model_is_refused: fake, vllm;
    a_context_that_the_gpu_has_no_memory_for_is_not_tried_again: fake;
    a_gpu_without_memory_for_the_weights_is_named: fake;
    a_gpu_whose_memory_others_use_is_named: fake;
    a_core_that_ends_without_a_word_is_tried_again: fake;
}

/// It fails by itself, once, as its own configuration error that says `words`.
async fn fails_once(engine: EngineUnderTest, words: &str) {
    let node = Node::launch(engine).await;
    let (class, reason) = node.failed().await;
    assert!(reason.contains(words), "{reason}");
    assert_eq!(class, FailureClass::Config, "{reason}");
    assert!(node.launches() <= 1, "{:#?}", node.log());
    node.stop().await;
}

async fn a_flag_that_it_does_not_know_is_not_tried_again(engine: EngineUnderTest) {
    fails_once(engine.with_args(&["--no-such-flag"]), "unrecognized arguments: --no-such-flag").await;
}

async fn a_context_that_the_model_does_not_have_is_not_tried_again(engine: EngineUnderTest) {
    fails_once(engine.with_args(&["--max-model-len", "999999"]), "max_model_len (999999)").await;
}

async fn a_cache_that_does_not_fit_is_not_tried_again(engine: EngineUnderTest) {
    fails_once(engine.with_args(&["--kv-cache-memory-bytes", "500G"]), "is less than requested").await;
}

fn cut_weights(engine: &EngineUnderTest) {
    let weights = File::options().write(true).open(engine.weights()).unwrap();
    let length = weights.metadata().unwrap().len();
    weights.set_len(length / 2).unwrap();
}

/// A look at the file's size tells it before the engine does.
async fn weights_that_were_cut_short_are_not_tried_again(engine: EngineUnderTest) {
    cut_weights(&engine);
    let node = Node::idle(engine).await;
    if let Err(refused) = node.try_launch() {
        assert!(refused.to_string().contains("safetensors"), "{refused}");
        return;
    }
    let (class, reason) = node.failed().await;
    assert!(reason.contains("safetensors"), "{reason}");
    assert_eq!(class, FailureClass::Config, "{reason}");
    assert!(node.launches() <= 1, "{:#?}", node.log());
}

async fn weights_that_were_cut_short_are_given_up(engine: EngineUnderTest) {
    cut_weights(&engine);
    let node = Node::launch(engine).await;
    let (_, reason) = node.failed().await;
    assert!(!reason.is_empty());
}

async fn a_model_that_is_not_there_is_refused(engine: EngineUnderTest) {
    std::fs::remove_dir_all(engine.model()).unwrap();
    let node = Node::idle(engine).await;
    let refused = node.try_launch().unwrap_err().to_string();
    assert!(refused.contains(&node.engine.model().display().to_string()), "{refused}");
}

async fn a_directory_without_a_model_is_refused(engine: EngineUnderTest) {
    std::fs::remove_file(engine.model().join("config.json")).unwrap();
    let node = Node::idle(engine).await;
    let refused = node.try_launch().unwrap_err().to_string();
    assert!(refused.contains("config.json"), "{refused}");
}

async fn a_context_that_the_gpu_has_no_memory_for_is_not_tried_again(engine: EngineUnderTest) {
    engine.script(r#"{"start": "kvCacheTooSmall"}"#);
    fails_once(engine, "KV cache is needed").await;
}

async fn a_gpu_without_memory_for_the_weights_is_named(engine: EngineUnderTest) {
    engine.script(r#"{"start": "outOfMemory"}"#);
    let node = Node::launch(engine).await;
    let (_, reason) = node.failed().await;
    assert!(reason.contains("CUDA out of memory"), "{reason}");
}

async fn a_gpu_whose_memory_others_use_is_named(engine: EngineUnderTest) {
    engine.script(r#"{"start": "gpuMemoryInUse"}"#);
    let node = Node::launch(engine).await;
    let (_, reason) = node.failed().await;
    assert!(reason.contains("Free memory on device"), "{reason}");
}

async fn a_core_that_ends_without_a_word_is_tried_again(engine: EngineUnderTest) {
    engine.script(r#"{"start": "coreExits"}"#);
    let node = Node::launch(engine).await;
    let (class, reason) = node.failed().await;
    assert_eq!(class, FailureClass::Transient, "{reason}");
    assert!(reason.contains("crashes in a row") && node.launches() == 3, "{reason}");
}
