//! What the node's configuration says about engines, and the times that the supervisor keeps.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{GatewayConfig, GpuWatch, NoGpuWatch, WeightsConfig};

/// What a node offers to run, and where its engines live on disk.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// Directory of the daemon's state; engines use `replicas/` and `run/` below it. Short, because the path of a Unix
    /// socket is: at most 107 bytes with what is appended here.
    pub state_dir: PathBuf,
    /// The program whose `engine-shim` and `engine-exec` verbs engines run under, and whose `sim-engine` verb is the
    /// simulated one.
    pub shoal_binary: PathBuf,
    /// Socket of whoever starts shims, for each connection one; `None`: the daemon does, as its children.
    pub shim_launcher: Option<PathBuf>,
    /// Offer the simulated engine.
    pub sim: bool,
    /// Offer vLLM: the program is `vllm`.
    pub vllm: Option<ProgramConfig>,
    /// Offer SGLang: the program is a Python that has its package.
    pub sglang: Option<ProgramConfig>,
    /// Offer TensorRT-LLM: the program is `trtllm-serve`.
    pub trtllm: Option<ProgramConfig>,
    /// Offer llama.cpp: the program is `llama-server`.
    pub llamacpp: Option<ProgramConfig>,
    /// Stand for services that run elsewhere.
    pub gateway: Option<GatewayConfig>,
    /// Programs that specs may refer to by name.
    pub commands: BTreeMap<String, CommandConfig>,
    /// Variables of the daemon's environment that engines get too; a `*` at the end matches the rest of the name.
    pub inherited_env: Vec<String>,
    /// How long engines run on without a daemon before their shims end them.
    pub orphan_grace: Duration,
    /// Deadlines and intervals.
    pub timings: Timings,
    /// Who knows which GPUs are in use and ill.
    pub gpus: Arc<dyn GpuWatch>,
    /// Models on this node's disk; `None`: engines fetch for themselves what they are given by name.
    pub weights: Option<WeightsConfig>,
}

impl SupervisorConfig {
    /// Offers nothing yet.
    pub fn new(state_dir: PathBuf, shoal_binary: PathBuf) -> Self {
        Self {
            state_dir,
            shoal_binary,
            shim_launcher: None,
            sim: false,
            vllm: None,
            sglang: None,
            trtllm: None,
            llamacpp: None,
            gateway: None,
            commands: BTreeMap::new(),
            inherited_env: INHERITED_ENV.map(str::to_owned).to_vec(),
            orphan_grace: ORPHAN_GRACE,
            timings: Timings::default(),
            gpus: Arc::new(NoGpuWatch),
            weights: None,
        }
    }
}

/// Enough for an upgrade that goes wrong and is taken back by hand.
const ORPHAN_GRACE: Duration = Duration::from_secs(10 * 60);

/// Everything else is dropped: each `VLLM_*` of the daemon would change the engine, and so would its Python settings.
const INHERITED_ENV: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_*",
    "TZ",
    "TMPDIR",
    "HF_*",
    "CUDA_HOME",
    "LD_LIBRARY_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
];

/// How the program of one engine kind is run on this node.
#[derive(Debug, Clone, Default)]
pub struct ProgramConfig {
    /// The program; one without a `/` is looked up on the PATH.
    pub binary: PathBuf,
    /// Flags that specs may use beside the built-in list, such as `--trust-remote-code`.
    pub allowed_args: Vec<String>,
    /// Variables that specs may set beside the built-in list.
    pub allowed_env: Vec<String>,
    /// Variables for every such process of this node.
    pub env: BTreeMap<String, String>,
}

/// A program that serves the OpenAI API. In `args` and in the values of `env`, `{model}`, `{name}`, `{socket}`,
/// `{port}` and `{gpus}` (UUIDs, separated by commas) are replaced. Exactly one of `{socket}` and `{port}` must occur:
/// it says whether the program listens on a Unix socket or on a port of 127.0.0.1.
#[derive(Debug, Clone)]
pub struct CommandConfig {
    /// The program; one without a `/` is looked up on the PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside what is inherited.
    pub env: BTreeMap<String, String>,
    /// Path that answers 200 once it can serve.
    pub health_path: String,
    /// How long it may take until it serves; [`Timings::start`] unless set.
    pub start: Option<Duration>,
}

impl CommandConfig {
    /// `program` with `args`, and the usual health path.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            health_path: "/health".to_owned(),
            start: None,
        }
    }
}

/// Deadlines and intervals of the life of an engine.
#[derive(Debug, Clone)]
pub struct Timings {
    /// From launch to ready: large models take their time from slow storage.
    pub start: Duration,
    /// The same for the simulated engine, beside the load time that its spec asks for.
    pub sim_start: Duration,
    /// Between two questions whether a starting engine answers.
    pub start_poll: Duration,
    /// From its first answer to its first token: what hangs there must not pass for something that loads.
    pub warm: Duration,
    /// For the first token, which may compile kernels.
    pub first_token: Duration,
    /// Between two looks at a ready engine.
    pub watch: Duration,
    /// For one answer of a ready engine's health path.
    pub health: Duration,
    /// So many health checks missed in a row are a crash, and so are as many one-token requests that go wrong.
    pub misses: u32,
    /// A ready engine that has made no token for so long is asked for one.
    pub idle: Duration,
    /// For that token; an engine that makes none at all for so long does not live. Longer than one step of the largest
    /// models over the longest prompts.
    pub canary: Duration,
    /// For falling asleep and for waking up: vLLM moves all weights between the GPU and main memory.
    pub sleep: Duration,
    /// Between two looks whether the GPUs of the next launch are free.
    pub gpu_poll: Duration,
    /// How long they may be held by others before the replica has failed.
    pub gpus_free: Duration,
    /// Backoff after the first crash; doubles with each that follows.
    pub backoff: Duration,
    /// Longest backoff.
    pub backoff_max: Duration,
    /// So many crashes in a row make an engine [`Failed`](crate::EnginePhase::Failed).
    pub crashes: u32,
    /// An engine that was ready for so long starts counting its crashes anew.
    pub stable: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(30 * 60),
            sim_start: Duration::from_secs(30),
            start_poll: Duration::from_millis(100),
            warm: Duration::from_secs(150),
            first_token: Duration::from_secs(60),
            watch: Duration::from_secs(1),
            health: Duration::from_secs(2),
            misses: 3,
            idle: Duration::from_secs(15),
            canary: Duration::from_secs(30),
            sleep: Duration::from_secs(120),
            gpu_poll: Duration::from_secs(1),
            gpus_free: Duration::from_secs(120),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5 * 60),
            crashes: 3,
            stable: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}
