//! SGLang 0.5, whose outputs are as its sources write them and its documentation shows them.

use super::*;

fn engine(args: &[&str]) -> EngineSpec {
    EngineSpec::Sglang(process(args))
}

fn adapter() -> Box<dyn Adapter> {
    make(engine(&[])).unwrap()
}

#[test]
fn it_serves_on_a_port_with_metrics_and_without_a_token_for_each_health_check() {
    let engine = engine(&["--context-length", "8192"]);
    let mut spec = spec("org/m", engine.clone());
    spec.model_revision = Some("v1".to_owned());
    let adapter = make(engine).unwrap();
    let command = adapter.command_line(&plan(spec, &["GPU-a", "GPU-b"]), &loopback(), &inherited());
    let expected = "-m sglang.launch_server --model-path org/m --revision v1 --served-model-name llama \
                    --host 127.0.0.1 --port 4711 --tp-size 2 --enable-metrics --context-length 8192";
    assert_eq!(args(&command).join(" "), expected);
    assert_eq!(variable(&command, "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"), Some("false"));
    assert_eq!(variable(&command, "CUDA_VISIBLE_DEVICES"), Some("GPU-a,GPU-b"));
    assert_eq!((adapter.listens(), adapter.canary()), (Listens::Loopback, Canary::Get("/health_generate")));
}

#[test]
fn what_loads_code_or_opens_ports_is_refused() {
    for flag in ["--trust-remote-code", "--load-format", "--dist-init-addr", "--chat-template"] {
        let refused = refusal("m", engine(&[flag, "x"]));
        assert_eq!(refused, Some(RefusalReason::Argument { engine: "sglang", flag: flag.to_owned() }));
    }
    for flag in ["--port", "--tp", "--model-path"] {
        let refused = refusal("m", engine(&[flag, "x"]));
        assert_eq!(refused, Some(RefusalReason::ReservedArgument { engine: "sglang", flag: flag.to_owned() }));
    }
    assert_eq!(refusal("./m", engine(&[])), Some(RefusalReason::NotAModel("./m".to_owned())));
}

#[test]
fn its_metrics_are_a_pulse() {
    let metrics = "# TYPE sglang:num_running_reqs gauge\n\
        sglang:num_running_reqs{engine_type=\"unified\",model_name=\"m\",pp_rank=\"0\",priority=\"\",tp_rank=\"0\"} 3.0\n\
        sglang:num_running_reqs{engine_type=\"unified\",model_name=\"m\",pp_rank=\"0\",priority=\"5\",tp_rank=\"0\"} 1.0\n\
        sglang:num_queue_reqs{model_name=\"m\",tp_rank=\"0\"} 7.0\n\
        sglang:token_usage{model_name=\"m\",tp_rank=\"0\"} 0.28\n\
        sglang:num_used_tokens{model_name=\"m\",tp_rank=\"0\"} 123859.0\n\
        sglang:gen_throughput{model_name=\"m\",tp_rank=\"0\"} 86.5\n\
        sglang:prompt_tokens_total{model_name=\"m\"} 8.128902e+06\n\
        sglang:generation_tokens_total{model_name=\"m\"} 7.557572e+06\n";
    let load = Load { inflight: 0, running: Some(3), waiting: Some(7), kv_cache: Some(30) };
    let progress = Some(8_128_902.0 + 7_557_572.0 + 123_859.0 + 86.5);
    assert_eq!(pulse(&*adapter(), metrics), Pulse { load, progress });
}

#[test]
fn its_lines_tell_how_far_it_is() {
    let log = "[2026-03-11 13:53:00 TP0] Load weight begin. avail mem=60.81 GB\n\
        Loading safetensors checkpoint shards:   0% Completed | 0/5 [00:00<?, ?it/s]\n\
        Multi-thread loading shards:  60% Completed | 3/5 [00:02<00:01,  1.03it/s]\n\
        [2026-03-11 13:53:21 TP0] Load weight end. elapsed=23.18 s, avail mem=32.02 GB, mem usage=28.79 GB.\n\
        [2026-03-11 13:53:23 TP0] KV Cache is allocated. #tokens: 383872, KV size: 19.36 GB\n\
        [2026-03-11 13:53:24 TP0] Capture cuda graph begin. This can take up to several minutes.\n\
        [2026-03-11 13:53:33] The server is fired up and ready to roll!\n";
    let expected = [Stage::Loading(None), shards(0, 5), shards(3, 5), Stage::Warming];
    assert_eq!(stages(&*adapter(), log), expected);
}

#[test]
fn its_ends_are_told_apart() {
    use FailureClass::{Config, Transient};
    let usage = "usage: launch_server.py [-h]\nlaunch_server.py: error: unrecognized arguments: --x";
    let port = "[Errno 98] error while attempting to bind on address ('127.0.0.1', 30000): address already in use";
    let memory = "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.";
    let length =
        "ValueError: User-specified context_length (65536) is greater than the derived context_length (32768).";
    for (code, log, class, reason) in [
        (1, "/usr/bin/python3: No module named sglang", Config, "a part of its program is missing: /usr/bin/python3"),
        (2, usage, Config, "it does not take its arguments: launch_server.py: error: unrecognized arguments: --x"),
        (1, memory, Config, "the model does not fit into its memory: RuntimeError: Not enough memory."),
        (
            1,
            length,
            Config,
            "its arguments do not go with its model: ValueError: User-specified context_length (65536)",
        ),
        (1, port, Transient, "its port is in use: [Errno 98] error while attempting to bind on address"),
    ] {
        assert_end(&*adapter(), code, log, class, reason);
    }
    let ignored =
        "[2026-03-13 21:30:53] Ignore import error when loading sglang.srt.models.glm_ocr: No module named 'x'";
    let warning = "[2026-02-14 02:07:50] Warning: Target model's context_length (8192) is greater than the derived \
                   context_length (2048). This may lead to incorrect model outputs or CUDA errors.";
    for harmless in [ignored, warning] {
        assert_eq!(adapter().diagnose(Some(1), &lines(harmless)), None, "{harmless}");
    }
}
