//! TensorRT-LLM's server on a port of 127.0.0.1. Behaviour as its sources of 1.3 have it.

use std::{ffi::OsString, path::Path};

use shoal_types::{EngineAddress, ProcessEngine};

use super::{
    Adapter, Environment, Listens, Stage,
    allow::Rules,
    diagnosis::{self, Cause, Diagnosis, Symptom},
    model, port,
    program::Program,
    progress,
};
use crate::{LaunchPlan, ProgramConfig, RefusalReason, load::MetricNames, process::CommandLine};

/// Not allowed, among others: `--trust_remote_code`, `--custom_module_dirs`, `--custom_tokenizer` (code), `--tokenizer`,
/// `--chat_template` (files), `--metadata_server_config_file`, `--server_role` (ports).
const RULES: Rules = Rules {
    engine: "trtllm",
    args: &[
        "--backend",
        "--enable-chunked-prefill",
        "--ep-size",
        "--fail-fast-on-attention-window-too-large",
        "--free-gpu-memory-fraction",
        "--kv-cache-dtype",
        "--kv-cache-free-gpu-memory-fraction",
        "--log-level",
        "--max-batch-size",
        "--max-beam-width",
        "--max-num-tokens",
        "--max-seq-len",
        "--moe-expert-parallel-size",
        "--num-postprocess-workers",
        "--reasoning-parser",
        "--tool-parser",
    ],
    reserved_args: &[
        "--host",
        "--port",
        "--revision",
        "--tp-size",
        "--tensor-parallel-size",
        "--gpus-per-node",
        "--config",
        "--extra-llm-api-options",
    ],
    env: &["TLLM_LOG_LEVEL"],
    reserved_env: &[],
};

/// `/metrics` is something else: statistics of each iteration, as JSON, once.
const METRICS: MetricNames = MetricNames {
    path: "/prometheus/metrics",
    running: &["trtllm_num_requests_running"],
    waiting: &["trtllm_num_requests_waiting"],
    kv_cache: &["trtllm_kv_cache_utilization"],
    progress: &[
        "trtllm_prompt_tokens_total",
        "trtllm_generation_tokens_total",
        "trtllm_kv_cache_used_blocks",
        "trtllm_iteration_latency_seconds",
    ],
};

/// Without these options the metrics of the load are not there.
const OPTIONS: (&str, &str) = ("options.yaml", "return_perf_metrics: true\nenable_iter_perf_stats: true\n");

const LOADING: [&str; 3] = ["Loading safetensors weights", "Loading weights", "checkpoint shards:"];
const WARMING: [&str; 4] =
    ["Model init total", "Max KV cache blocks per sequence", "Capturing CUDA graph", "Application startup complete"];

const SYMPTOMS: &[Symptom] = &[
    ("Failed to bind socket to", Cause::PortInUse),
    ("Error: No such option", Cause::Arguments),
    ("Error: Invalid value for", Cause::Arguments),
    ("Impossible to fit in any sequence in kvCache", Cause::DoesNotFit),
];

#[derive(Debug)]
pub(super) struct TrtllmAdapter(Program);

impl TrtllmAdapter {
    pub(super) fn new(
        config: &ProgramConfig,
        engine: &ProcessEngine,
        model: &str,
        path: Option<&OsString>,
    ) -> Result<Self, RefusalReason> {
        let program = Program::new(&RULES, config, &engine.args, &engine.env, path)?;
        model::check_hub(model)?;
        Ok(Self(program))
    }
}

impl Adapter for TrtllmAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let mut args: Vec<OsString> = vec![plan.spec.model.as_str().into()];
        if let Some(revision) = &plan.spec.model_revision {
            args.extend(["--revision".into(), revision.into()]);
        }
        args.extend(["--host".into(), "127.0.0.1".into(), "--port".into(), port(address)]);
        args.extend(["--tp_size".into(), plan.gpus.len().max(1).to_string().into()]);
        args.extend(["--extra_llm_api_options".into(), OPTIONS.0.into()]);
        self.0.command_line(args, [], plan, inherited)
    }

    fn files(&self) -> &'static [(&'static str, &'static str)] {
        &[OPTIONS]
    }

    fn listens(&self) -> Listens {
        Listens::Loopback
    }

    /// It takes no name: it has that of the model, or of its directory, and answers requests for any.
    fn listed_names(&self, plan: &LaunchPlan) -> Vec<String> {
        let model = &plan.spec.model;
        let directory = Path::new(model).file_name().map(|name| name.to_string_lossy().into_owned());
        [model.clone()].into_iter().chain(directory).collect()
    }

    fn metrics(&self) -> &'static MetricNames {
        &METRICS
    }

    fn stage(&self, line: &str) -> Option<Stage> {
        progress::stage(line, &LOADING, &WARMING)
    }

    fn diagnose(&self, code: Option<i32>, lines: &[String]) -> Option<Diagnosis> {
        let tables = [diagnosis::COMMON, SYMPTOMS, diagnosis::PYTHON];
        diagnosis::find(&tables, lines).or_else(|| diagnosis::usage(code, lines))
    }
}
