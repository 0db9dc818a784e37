//! SGLang's server on a port of 127.0.0.1. Behaviour as its sources of 0.5 have it.

use std::ffi::OsString;

use shoal_types::{EngineAddress, ProcessEngine};

use super::{
    Adapter, Canary, Environment, Listens, Stage,
    allow::Rules,
    diagnosis::{self, Cause, Diagnosis, Symptom},
    model, port,
    program::Program,
    progress,
};
use crate::{LaunchPlan, ProgramConfig, RefusalReason, load::MetricNames, process::CommandLine};

/// Not allowed, among others: `--trust-remote-code`, `--custom-*` (code), `--load-format` (pickles), `--chat-template`,
/// `--lora-paths`, `--config` (files), `--disaggregation-*`, `--dp-size` (ports).
const RULES: Rules = Rules {
    engine: "sglang",
    args: &[
        "--allow-auto-truncate",
        "--attention-backend",
        "--chunked-prefill-size",
        "--context-length",
        "--cpu-offload-gb",
        "--cuda-graph-bs",
        "--cuda-graph-max-bs",
        "--decode-log-interval",
        "--disable-cuda-graph",
        "--disable-custom-all-reduce",
        "--disable-overlap-schedule",
        "--disable-radix-cache",
        "--dtype",
        "--enable-cache-report",
        "--enable-mixed-chunk",
        "--enable-multimodal",
        "--enable-torch-compile",
        "--ep",
        "--ep-size",
        "--expert-parallel-size",
        "--grammar-backend",
        "--is-embedding",
        "--kv-cache-dtype",
        "--log-level",
        "--max-prefill-tokens",
        "--max-queued-requests",
        "--max-running-requests",
        "--max-total-tokens",
        "--mem-fraction-static",
        "--page-size",
        "--quantization",
        "--random-seed",
        "--reasoning-parser",
        "--sampling-backend",
        "--schedule-conservativeness",
        "--schedule-policy",
        "--stream-interval",
        "--tool-call-parser",
        "--torch-compile-max-bs",
        "--watchdog-timeout",
    ],
    reserved_args: &[
        "--model-path",
        "--model",
        "--revision",
        "--served-model-name",
        "--host",
        "--port",
        "--nccl-port",
        "--tensor-parallel-size",
        "--tp-size",
        "--tp",
        "--base-gpu-id",
        "--api-key",
        "--admin-api-key",
        "--enable-metrics",
    ],
    env: &[],
    reserved_env: &[HEALTH_GENERATES],
};

/// Whether `/health` generates a token, as `/health_generate` does: a busy engine would miss the deadline of a health
/// check.
const HEALTH_GENERATES: &str = "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION";

/// The counters of tokens count whole requests; the gauges move with each batch that is logged, and stand still with
/// the scheduler.
const METRICS: MetricNames = MetricNames {
    path: "/metrics",
    running: &["sglang:num_running_reqs"],
    waiting: &["sglang:num_queue_reqs"],
    kv_cache: &["sglang:token_usage"],
    progress: &[
        "sglang:prompt_tokens_total",
        "sglang:generation_tokens_total",
        "sglang:realtime_tokens_total",
        "sglang:num_used_tokens",
        "sglang:gen_throughput",
    ],
};

const LOADING: [&str; 3] = ["Load weight begin", "checkpoint shards:", "Multi-thread loading shards:"];
const WARMING: [&str; 4] =
    ["Load weight end", "KV Cache is allocated", "Capture cuda graph", "The server is fired up and ready to roll"];

const SYMPTOMS: &[Symptom] = &[
    (": No module named sglang", Cause::NotInstalled),
    ("Not enough memory. Please try to", Cause::DoesNotFit),
    ("is greater than the derived context_length", Cause::Contradiction),
];

#[derive(Debug)]
pub(super) struct SglangAdapter(Program);

impl SglangAdapter {
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

impl Adapter for SglangAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let mut args: Vec<OsString> = ["-m", "sglang.launch_server", "--model-path"].map(Into::into).to_vec();
        args.push(plan.spec.model.as_str().into());
        if let Some(revision) = &plan.spec.model_revision {
            args.extend(["--revision".into(), revision.into()]);
        }
        // It has one name, and answers requests for any.
        args.extend(["--served-model-name".into(), plan.endpoint.as_str().into()]);
        args.extend(["--host".into(), "127.0.0.1".into(), "--port".into(), port(address)]);
        args.extend(["--tp-size".into(), plan.gpus.len().max(1).to_string().into(), "--enable-metrics".into()]);
        self.0.command_line(args, [(HEALTH_GENERATES, "false")], plan, inherited)
    }

    fn listens(&self) -> Listens {
        Listens::Loopback
    }

    fn metrics(&self) -> &'static MetricNames {
        &METRICS
    }

    /// It makes a token, or says that it makes others: no queue is waited for.
    fn canary(&self) -> Canary {
        Canary::Get("/health_generate")
    }

    fn stage(&self, line: &str) -> Option<Stage> {
        progress::stage(line, &LOADING, &WARMING)
    }

    fn diagnose(&self, code: Option<i32>, lines: &[String]) -> Option<Diagnosis> {
        let tables = [diagnosis::COMMON, SYMPTOMS, diagnosis::PYTHON];
        diagnosis::find(&tables, lines).or_else(|| diagnosis::usage(code, lines))
    }
}
