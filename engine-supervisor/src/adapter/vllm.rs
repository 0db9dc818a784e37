//! vLLM's OpenAI server on a Unix socket. Behaviour as measured on 0.32.

use std::ffi::OsString;

use shoal_types::{EngineAddress, Sleep, VllmEngine};

use super::{
    Adapter, Environment, Stage,
    allow::Rules,
    diagnosis::{self, Cause, Diagnosis, Symptom},
    model,
    program::Program,
    progress, socket,
};
use crate::{LaunchPlan, ProgramConfig, RefusalReason, load::MetricNames, process::CommandLine};

/// Not allowed, among others: `--trust-remote-code`, `--tool-parser-plugin`, `--middleware` (code), `--load-format`
/// (pickles), `--chat-template`, `--config` (files), `--kv-transfer-config` (ports).
const RULES: Rules = Rules {
    engine: "vllm",
    args: &[
        "--async-scheduling",
        "--block-size",
        "--calculate-kv-scales",
        "--convert",
        "--cpu-offload-gb",
        "--cudagraph-capture-sizes",
        "--disable-cascade-attn",
        "--disable-custom-all-reduce",
        "--disable-sliding-window",
        "--dtype",
        "--enable-auto-tool-choice",
        "--enable-chunked-prefill",
        "--enable-expert-parallel",
        "--enable-prefix-caching",
        "--enable-prompt-tokens-details",
        "--enforce-eager",
        "--fully-sharded-loras",
        "--gpu-memory-utilization",
        "--kv-cache-dtype",
        "--kv-cache-memory-bytes",
        "--limit-mm-per-prompt",
        "--long-prefill-token-threshold",
        "--max-cpu-loras",
        "--max-cudagraph-capture-size",
        "--max-logprobs",
        "--max-long-partial-prefills",
        "--max-lora-rank",
        "--max-loras",
        "--max-model-len",
        "--max-num-active-seqs",
        "--max-num-batched-tokens",
        "--max-num-partial-prefills",
        "--max-num-queued-reqs",
        "--max-num-queued-tokens",
        "--max-num-seqs",
        "--no-async-scheduling",
        "--no-enable-chunked-prefill",
        "--no-enable-prefix-caching",
        "--override-generation-config",
        "--quantization",
        "--reasoning-parser",
        "--runner",
        "--safetensors-load-strategy",
        "--scheduling-policy",
        "--seed",
        "--tokenizer-mode",
        "--tokenizer-revision",
        "--tool-call-parser",
    ],
    reserved_args: &[
        "--uds",
        "--host",
        "--port",
        "--model",
        "--revision",
        "--served-model-name",
        "--tensor-parallel-size",
        "-tp",
        "--device-ids",
        "--api-key",
        "--root-path",
        "--enable-sleep-mode",
        "--enable-lora",
        "--lora-modules",
    ],
    env: &[
        "VLLM_ATTENTION_BACKEND",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_DISABLE_COMPILE_CACHE",
        "VLLM_ENGINE_READY_TIMEOUT_S",
        "VLLM_LOGGING_LEVEL",
        "VLLM_LOG_STATS_INTERVAL",
    ],
    reserved_env: &["DO_NOT_TRACK", "VLLM_NO_USAGE_STATS", "VLLM_SERVER_DEV_MODE", "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"],
};

/// The counters of tokens count prompts that are done; the use of the cache also moves with each piece of a long one.
/// `gpu_cache_usage_perc` is what 0.9 and before call it.
pub(super) const METRICS: MetricNames = MetricNames {
    path: "/metrics",
    running: &["vllm:num_requests_running"],
    waiting: &["vllm:num_requests_waiting"],
    kv_cache: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
    progress: &["vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:kv_cache_usage_perc"],
};

const LOADING: [&str; 4] =
    ["Starting to load model", "checkpoint shards:", "Multi-thread loading shards:", "Loading model weights took"];
const WARMING: [&str; 6] = [
    "Loading weights took",
    "KV cache size:",
    "Capturing CUDA graphs",
    "Graph capturing finished",
    "init engine (",
    "Application startup complete",
];

/// What vLLM says when the model, its arguments and this host do not go together. Its last word for any failure of its
/// core (`Engine core initialization failed`) stands below them.
const SYMPTOMS: &[Symptom] = &[
    ("User-specified max_model_len", Cause::Contradiction),
    ("is less than desired GPU memory utilization", Cause::DoesNotFit),
    ("No available memory for the cache blocks", Cause::DoesNotFit),
    ("KV cache is needed", Cause::DoesNotFit),
    ("is less than requested", Cause::DoesNotFit),
    ("is not supported on current platform", Cause::Unsupported),
    ("are not supported for now", Cause::Unsupported),
];

#[derive(Debug)]
pub(super) struct VllmAdapter {
    program: Program,
    sleep: Option<Sleep>,
}

impl VllmAdapter {
    pub(super) fn new(
        config: &ProgramConfig,
        engine: &VllmEngine,
        model: &str,
        path: Option<&OsString>,
    ) -> Result<Self, RefusalReason> {
        let program = Program::new(&RULES, config, &engine.args, &engine.env, path)?;
        model::check_hub(model)?;
        Ok(Self { program, sleep: engine.sleep.clone() })
    }
}

impl Adapter for VllmAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let mut args: Vec<OsString> = vec!["serve".into(), plan.spec.model.as_str().into()];
        if let Some(revision) = &plan.spec.model_revision {
            args.extend(["--revision".into(), revision.into()]);
        }
        args.push("--served-model-name".into());
        args.extend(plan.served_names().into_iter().map(OsString::from));
        args.extend(["--uds".into(), socket(address)]);
        args.extend(["--tensor-parallel-size".into(), plan.gpus.len().max(1).to_string().into()]);
        if !plan.spec.adapters.is_empty() {
            args.extend(["--enable-lora".into(), "--lora-modules".into()]);
            args.extend(plan.spec.adapters.iter().map(|(name, source)| format!("{name}={source}").into()));
        }
        // Without the first two it reports to stats.vllm.ai. The last opens the paths of sleeping, and others that
        // nobody but this user reaches: the directory of the socket is closed.
        let mut env = vec![("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1")];
        if self.sleep.is_some() {
            args.push("--enable-sleep-mode".into());
            env.push(("VLLM_SERVER_DEV_MODE", "1"));
        }
        self.program.command_line(args, env, plan, inherited)
    }

    fn metrics(&self) -> &'static MetricNames {
        &METRICS
    }

    fn sleep(&self) -> Option<&Sleep> {
        self.sleep.as_ref()
    }

    fn stage(&self, line: &str) -> Option<Stage> {
        progress::stage(line, &LOADING, &WARMING)
    }

    fn diagnose(&self, code: Option<i32>, lines: &[String]) -> Option<Diagnosis> {
        let tables = [diagnosis::COMMON, SYMPTOMS, diagnosis::PYTHON];
        diagnosis::find(&tables, lines).or_else(|| diagnosis::usage(code, lines))
    }
}
