//! llama.cpp's `llama-server` on a Unix socket. Behaviour as measured on the version in llama-cpp-python 0.3.36.

use std::ffi::OsString;

use shoal_types::{EngineAddress, ProcessEngine};

use super::{
    Adapter, Environment, Stage,
    allow::Rules,
    diagnosis::{self, Cause, Diagnosis, Symptom},
    model,
    program::Program,
    progress, socket,
};
use crate::{LaunchPlan, ProgramConfig, RefusalReason, load::MetricNames, process::CommandLine};

/// Not allowed, among others: `--lora`, `--mmproj`, `--chat-template-file`, `--grammar-file`, `--slot-save-path`,
/// `--log-file`, `--path` (files), `-hf`, `-mu`, `-dr` (downloads), `--rpc`, `--tools` (other processes).
const RULES: Rules = Rules {
    engine: "llamacpp",
    args: &[
        "-b",
        "--batch-size",
        "-c",
        "--ctx-size",
        "--cache-reuse",
        "-cb",
        "--cont-batching",
        "--context-shift",
        "-cmoe",
        "--cpu-moe",
        "-ctk",
        "--cache-type-k",
        "-ctv",
        "--cache-type-v",
        "--embedding",
        "--embeddings",
        "-fa",
        "--flash-attn",
        "-fit",
        "--fit",
        "--jinja",
        "-lm",
        "--load-mode",
        "--min-p",
        "-n",
        "--n-predict",
        "--predict",
        "-ncmoe",
        "--n-cpu-moe",
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        "--no-cont-batching",
        "--no-context-shift",
        "--no-kv-offload",
        "-np",
        "--parallel",
        "--numa",
        "--pooling",
        "--reasoning-budget",
        "--reasoning-format",
        "--repeat-penalty",
        "--reranking",
        "--rope-freq-base",
        "--rope-freq-scale",
        "--rope-scale",
        "--rope-scaling",
        "-s",
        "--seed",
        "-sm",
        "--split-mode",
        "--swa-full",
        "-t",
        "--threads",
        "-tb",
        "--threads-batch",
        "--temp",
        "--top-k",
        "--top-p",
        "-ts",
        "--tensor-split",
        "-ub",
        "--ubatch-size",
    ],
    reserved_args: &[
        "-m",
        "--model",
        "-a",
        "--alias",
        "--host",
        "--port",
        "--api-key",
        "--api-prefix",
        "--metrics",
        "--slots",
        "--no-slots",
    ],
    env: &[],
    reserved_env: &[],
};

/// The counters of tokens count when a request ends; that of decoding steps counts each. There is no gauge of the cache
/// since it is shared by all slots.
const METRICS: MetricNames = MetricNames {
    path: "/metrics",
    running: &["llamacpp:requests_processing"],
    waiting: &["llamacpp:requests_deferred"],
    kv_cache: &["llamacpp:kv_cache_usage_ratio"],
    progress: &["llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total", "llamacpp:n_decode_total"],
};

const LOADING: [&str; 1] = ["load_model: loading model"];
const WARMING: [&str; 2] = ["load_model: initializing", "model loaded"];

const SYMPTOMS: &[Symptom] = &[
    ("couldn't bind HTTP server socket", Cause::PortInUse),
    ("error: invalid argument", Cause::Arguments),
    ("error while handling argument", Cause::Arguments),
    ("failed to open GGUF file", Cause::NoModel),
    ("is corrupted or incomplete", Cause::BadWeights),
    ("invalid magic characters", Cause::BadWeights),
    ("unknown model architecture", Cause::Unsupported),
    ("failed to allocate buffer for kv cache", Cause::DoesNotFit),
    ("failed to load model", Cause::BadWeights),
];

#[derive(Debug)]
pub(super) struct LlamacppAdapter(Program);

impl LlamacppAdapter {
    pub(super) fn new(
        config: &ProgramConfig,
        engine: &ProcessEngine,
        model: &str,
        path: Option<&OsString>,
    ) -> Result<Self, RefusalReason> {
        let program = Program::new(&RULES, config, &engine.args, &engine.env, path)?;
        model::check_file(model)?;
        Ok(Self(program))
    }
}

impl Adapter for LlamacppAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let args: [OsString; 10] = [
            "-m".into(),
            plan.spec.model.as_str().into(),
            // It answers requests for any name.
            "-a".into(),
            plan.endpoint.as_str().into(),
            "-ngl".into(),
            "all".into(),
            "--metrics".into(),
            "--slots".into(),
            // A path that ends in `.sock` is that of a Unix socket.
            "--host".into(),
            socket(address),
        ];
        self.0.command_line(args.to_vec(), [], plan, inherited)
    }

    fn metrics(&self) -> &'static MetricNames {
        &METRICS
    }

    fn stage(&self, line: &str) -> Option<Stage> {
        progress::stage(line, &LOADING, &WARMING)
    }

    fn diagnose(&self, _code: Option<i32>, lines: &[String]) -> Option<Diagnosis> {
        diagnosis::find(&[diagnosis::COMMON, SYMPTOMS], lines)
    }
}
