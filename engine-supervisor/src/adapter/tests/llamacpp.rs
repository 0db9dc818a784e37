//! `llama-server` of llama-cpp-python 0.3.36 on a CPU: `tests/recorded/llamacpp*` is what it wrote, with other paths.

use super::*;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/llamacpp", $name))
    };
}

fn engine(args: &[&str]) -> EngineSpec {
    EngineSpec::Llamacpp(process(args))
}

/// A file that is there; what it holds, the real program finds out quickly enough.
fn model() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

fn made(args: &[&str]) -> Box<dyn Adapter> {
    adapter(&config(), &inherited(), &spec(&model(), engine(args))).unwrap()
}

#[test]
fn it_serves_a_file_on_a_socket() {
    let plan = plan(spec(&model(), engine(&["-c", "4096"])), &["GPU-a"]);
    let command = made(&["-c", "4096"]).command_line(&plan, &unix(), &inherited());
    let expected = "-a llama -ngl all --metrics --slots --host /state/run/1.sock -c 4096";
    assert_eq!(args(&command).join(" "), format!("-m {} {expected}", model()));
    assert_eq!(variable(&command, "CUDA_VISIBLE_DEVICES"), Some("GPU-a"));
}

#[test]
fn what_is_no_file_or_names_one_is_refused() {
    assert_eq!(refusal("org/model", engine(&[])), Some(RefusalReason::NotAFile("org/model".to_owned())));
    assert_eq!(refusal("/", engine(&[])), Some(RefusalReason::NotAFile("/".to_owned())));
    assert_eq!(refusal("/none.gguf", engine(&[])), Some(RefusalReason::NoModel("/none.gguf".to_owned())));
    for flag in ["--lora", "-hf", "--rpc", "--chat-template-file", "--slot-save-path", "--tools"] {
        let refused = refusal(&model(), engine(&[flag, "x"]));
        assert_eq!(refused, Some(RefusalReason::Argument { engine: "llamacpp", flag: flag.to_owned() }));
    }
}

#[test]
fn its_metrics_are_a_pulse() {
    let pulse = pulse(&*made(&[]), recorded!(".metrics"));
    let load = Load { inflight: 0, running: Some(0), waiting: Some(0), kv_cache: None };
    assert_eq!(pulse, Pulse { load, progress: Some(31.0) }, "21 tokens in, 5 out, in 5 steps");
}

#[test]
fn its_lines_tell_how_far_it_is() {
    assert_eq!(stages(&*made(&[]), recorded!("-start.log")), [Stage::Loading(None), Stage::Warming]);
}

#[test]
fn its_ends_are_told_apart() {
    use FailureClass::{Config, Transient};
    let oom = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4403.49 MiB on device 0: cudaMalloc failed: out of \
               memory\nllama_model_load: error loading model: unable to allocate CUDA0 buffer\n\
               srv    load_model: failed to load model, '/models/big.gguf'";
    for (log, class, reason) in [
        (recorded!("-unknown-flag.log"), Config, "it does not take its arguments: error: invalid argument: --bogus"),
        (recorded!("-port-in-use.log"), Transient, "its port is in use: srv         start: couldn't bind HTTP"),
        (recorded!("-no-model.log"), Config, "it cannot find its model: gguf_init_from_file: failed to open"),
        (recorded!("-not-a-model.log"), Config, "its weights are damaged: gguf_init_from_reader: invalid magic"),
        (recorded!("-truncated.log"), Config, "its weights are damaged: llama_model_load: error loading model: t"),
        (oom, Config, "out of GPU memory while loading: ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4403"),
    ] {
        assert_end(&*made(&[]), 1, log, class, reason);
    }
    assert_eq!(made(&[]).diagnose(Some(0), &lines(recorded!("-start.log"))), None);
}
