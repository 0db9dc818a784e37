//! TensorRT-LLM 1.3, whose outputs are as its sources write them and its users show them.

use super::*;

fn engine(args: &[&str]) -> EngineSpec {
    EngineSpec::Trtllm(process(args))
}

fn adapter() -> Box<dyn Adapter> {
    make(engine(&[])).unwrap()
}

#[test]
fn it_serves_on_a_port_with_metrics() {
    let engine = engine(&["--max_batch_size", "64"]);
    let models = tempfile::tempdir().unwrap();
    let model = models.path().join("llama");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    let model = model.to_str().unwrap();
    let mut spec = spec(model, engine);
    spec.model_revision = Some("v1".to_owned());
    let adapter = super::adapter(&config(), &inherited(), &spec).unwrap();
    let plan = plan(spec, &["GPU-a", "GPU-b"]);
    let command = adapter.command_line(&plan, &loopback(), &inherited());
    let expected = "--revision v1 --host 127.0.0.1 --port 4711 --tp_size 2 --extra_llm_api_options options.yaml \
                    --max_batch_size 64";
    assert_eq!(args(&command).join(" "), format!("{model} {expected}"));
    assert_eq!(adapter.files()[0].0, "options.yaml", "it is there when the engine reads it");
    assert_eq!(adapter.listed_names(&plan), [model, "llama"]);
    assert_eq!((adapter.listens(), adapter.canary()), (Listens::Loopback, Canary::Completion));
}

#[test]
fn what_loads_code_or_names_files_is_refused() {
    for flag in ["--trust_remote_code", "--custom_module_dirs", "--tokenizer", "--server_role"] {
        let refused = refusal("m", engine(&[flag, "x"]));
        assert_eq!(refused, Some(RefusalReason::Argument { engine: "trtllm", flag: flag.replace('_', "-") }));
    }
    for flag in ["--extra_llm_api_options", "--config", "--tp_size"] {
        let refused = refusal("m", engine(&[flag, "x"]));
        assert_eq!(refused, Some(RefusalReason::ReservedArgument { engine: "trtllm", flag: flag.replace('_', "-") }));
    }
}

#[test]
fn its_metrics_are_a_pulse() {
    let metrics = "# TYPE trtllm_num_requests_running gauge\n\
        trtllm_num_requests_running{engine_type=\"trtllm\",model_name=\"m\"} 3.0\n\
        trtllm_num_requests_waiting{engine_type=\"trtllm\",model_name=\"m\"} 1.0\n\
        trtllm_kv_cache_utilization{engine_type=\"trtllm\",model_name=\"m\"} 0.42\n\
        trtllm_kv_cache_used_blocks{engine_type=\"trtllm\",model_name=\"m\"} 210.0\n\
        trtllm_prompt_tokens_total{engine_type=\"trtllm\",model_name=\"m\"} 3000.0\n\
        trtllm_generation_tokens_total{engine_type=\"trtllm\",model_name=\"m\"} 12345.0\n\
        trtllm_time_to_first_token_seconds_count{model_name=\"m\"} 20.0\n";
    assert_eq!(adapter().metrics().path, "/prometheus/metrics");
    let load = Load { inflight: 0, running: Some(3), waiting: Some(1), kv_cache: Some(40) };
    assert_eq!(pulse(&*adapter(), metrics), Pulse { load, progress: Some(15_555.0) });
}

#[test]
fn its_lines_tell_how_far_it_is() {
    let log = "Loading safetensors weights in parallel: 100%|██████████| 4/4 [00:00<00:00, 55.68it/s]\n\
        Loading weights:  34%|███▍      | 99/291 [00:03<00:07, 25.32it/s]\n\
        Model init total -- 12.68s\n\
        INFO:     Application startup complete.\n";
    assert_eq!(stages(&*adapter(), log), [shards(4, 4), shards(99, 291), Stage::Warming]);
}

#[test]
fn its_ends_are_told_apart() {
    use FailureClass::{Config, Transient};
    let port = "RuntimeError: Failed to bind socket to 127.0.0.1:4711: [Errno 98] Address already in use";
    let usage = "Usage: trtllm-serve serve [OPTIONS] MODEL\n\nError: No such option: --x";
    let oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of";
    for (code, log, class, reason) in [
        (1, port, Transient, "its port is in use: RuntimeError: Failed to bind socket to 127.0.0.1:4711"),
        (2, usage, Config, "it does not take its arguments: Error: No such option: --x"),
        (1, oom, Config, "out of GPU memory while loading: torch.OutOfMemoryError"),
    ] {
        assert_end(&*adapter(), code, log, class, reason);
    }
}
