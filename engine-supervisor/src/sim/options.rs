//! What a simulated engine is told, and why it cannot start.

use std::{ffi::OsString, io, net::SocketAddr, time::Duration};

use shoal_types::{EngineAddress, HumanDuration, SimEngine};

/// Options of one simulated engine. `shoal sim-engine` takes them as the flags that [`SimOptions::args`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimOptions {
    /// Where it listens: `--uds PATH` or `--listen 127.0.0.1:PORT`.
    pub listen: EngineAddress,
    /// Names that it serves, the first one its own, the others aliases of it: `--model NAME`, once for each.
    pub models: Vec<String>,
    /// Further names whose texts are their own, as LoRA adapters of the first model: `--adapter NAME`, once for each.
    pub adapters: Vec<String>,
    /// Time until it is healthy: `--load-time 200ms`.
    pub load_time: Duration,
    /// From the start of a request that does not wait to its first token: `--time-to-first-token 40ms`.
    pub time_to_first_token: Duration,
    /// From each token to the next: `--inter-token-latency 15ms`.
    pub inter_token_latency: Duration,
    /// Requests served at once; the others wait in order of arrival: `--max-num-seqs 64`. 0 counts as 1.
    pub max_num_seqs: u32,
    /// Most tokens of a prompt and its answer together: `--max-model-len 8192`.
    pub max_model_len: u32,
    /// Whether it can be put to sleep: `--enable-sleep-mode`.
    pub sleep_mode: bool,
}

impl SimOptions {
    /// The default latencies, and no name yet.
    pub fn new(listen: EngineAddress) -> Self {
        let engine = SimEngine::default();
        Self {
            listen,
            models: Vec::new(),
            adapters: Vec::new(),
            load_time: engine.load_time.0,
            time_to_first_token: engine.time_to_first_token.0,
            inter_token_latency: engine.inter_token_latency.0,
            max_num_seqs: engine.max_num_seqs,
            max_model_len: 8192,
            sleep_mode: false,
        }
    }

    /// The flags of `shoal sim-engine` for these options.
    pub fn args(&self) -> Vec<OsString> {
        let duration = |duration: Duration| OsString::from(HumanDuration(duration).to_string());
        let mut args: Vec<OsString> = match &self.listen {
            EngineAddress::Unix(path) => vec!["--uds".into(), path.into()],
            EngineAddress::Loopback(address) => vec!["--listen".into(), address.to_string().into()],
        };
        // With `=`, because a model's name is free text.
        args.extend(self.models.iter().map(|model| format!("--model={model}").into()));
        args.extend(self.adapters.iter().map(|adapter| format!("--adapter={adapter}").into()));
        args.extend(["--load-time".into(), duration(self.load_time)]);
        args.extend(["--time-to-first-token".into(), duration(self.time_to_first_token)]);
        args.extend(["--inter-token-latency".into(), duration(self.inter_token_latency)]);
        args.extend(["--max-num-seqs".into(), self.max_num_seqs.to_string().into()]);
        args.extend(["--max-model-len".into(), self.max_model_len.to_string().into()]);
        if self.sleep_mode {
            args.push("--enable-sleep-mode".into());
        }
        args
    }
}

/// Why a simulated engine does not run.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// It has no name.
    #[error("a simulated engine needs the name of at least one model")]
    NoModel,
    /// Engines are reached through shoal only.
    #[error("a simulated engine listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// It cannot listen.
    #[error("the simulated engine cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: EngineAddress,
        /// Why not.
        source: io::Error,
    },
    /// It stopped serving.
    #[error("the simulated engine cannot serve on {address}: {source}")]
    Serve {
        /// Where.
        address: EngineAddress,
        /// Why not.
        source: io::Error,
    },
}
