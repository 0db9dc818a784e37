//! A program that the node's configuration defines by name; a spec says the name and nothing else.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use shoal_types::EngineAddress;

use super::{Adapter, Environment, Listens, port, program, socket};
use crate::{CommandConfig, LaunchPlan, RefusalReason, SupervisorConfig, load::MetricNames, process::CommandLine};

/// Those of all kinds, since it may be any; one that has others tells nothing of its load.
const METRICS: MetricNames = MetricNames {
    path: "/metrics",
    running: &[
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "trtllm_num_requests_running",
        "llamacpp:requests_processing",
    ],
    waiting: &[
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "trtllm_num_requests_waiting",
        "llamacpp:requests_deferred",
    ],
    kv_cache: &["vllm:kv_cache_usage_perc", "sglang:token_usage", "trtllm_kv_cache_utilization"],
    progress: &[
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:kv_cache_usage_perc",
        "sglang:prompt_tokens_total",
        "sglang:generation_tokens_total",
        "sglang:num_used_tokens",
        "trtllm_prompt_tokens_total",
        "trtllm_generation_tokens_total",
        "trtllm_kv_cache_used_blocks",
        "llamacpp:prompt_tokens_total",
        "llamacpp:n_decode_total",
    ],
};

#[derive(Debug)]
pub(super) struct CommandAdapter {
    program: PathBuf,
    config: CommandConfig,
    listens: Listens,
}

impl CommandAdapter {
    pub(super) fn new(config: &CommandConfig, path: Option<&OsString>) -> Result<Self, RefusalReason> {
        let program = program::find(&config.program, path)?;
        // Checked when the supervisor started.
        let listens = check(config).unwrap_or(Listens::Unix);
        Ok(Self { program, config: config.clone(), listens })
    }
}

/// Where the program of `config` listens.
///
/// # Errors
/// What is wrong with it, as a predicate.
pub(crate) fn check(config: &CommandConfig) -> Result<Listens, &'static str> {
    let uses = |placeholder: &str| {
        config.args.iter().chain(config.env.values()).any(|template| template.contains(placeholder))
    };
    if !config.health_path.starts_with('/') {
        return Err("has a health path that does not start with `/`");
    }
    match (uses("{socket}"), uses("{port}")) {
        (true, false) => Ok(Listens::Unix),
        (false, true) => Ok(Listens::Loopback),
        (true, true) => Err("uses both `{socket}` and `{port}`: it can listen on one of them only"),
        (false, false) => Err("uses neither `{socket}` nor `{port}`: it cannot know where to listen"),
    }
}

impl Adapter for CommandAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let name = plan.endpoint.to_string();
        let gpus = plan.gpu_list();
        let values: [(&str, OsString); 5] = [
            ("{model}", plan.spec.model.as_str().into()),
            ("{name}", name.into()),
            ("{socket}", socket(address)),
            ("{port}", port(address)),
            ("{gpus}", gpus.as_str().into()),
        ];
        let mut env = inherited.clone();
        env.extend(self.config.env.iter().map(|(name, template)| (name.into(), fill(template, &values))));
        // Not to be overridden: it would see GPUs that are not its own.
        env.insert("CUDA_VISIBLE_DEVICES".into(), gpus.as_str().into());
        CommandLine {
            program: self.program.clone(),
            args: self.config.args.iter().map(|template| fill(template, &values)).collect(),
            env: env.into_iter().collect(),
        }
    }

    fn listens(&self) -> Listens {
        self.listens
    }

    fn health_path(&self) -> &str {
        &self.config.health_path
    }

    /// What it calls its model is for the configuration to say; any name that clients may send will do.
    fn listed_names(&self, plan: &LaunchPlan) -> Vec<String> {
        plan.served_names().into_iter().map(str::to_owned).collect()
    }

    fn metrics(&self) -> &'static MetricNames {
        &METRICS
    }

    fn start(&self, config: &SupervisorConfig) -> Duration {
        self.config.start.unwrap_or(config.timings.start)
    }
}

/// `template` with all placeholders replaced, in one pass, so that no value is taken for a placeholder. Other braces
/// stay: they may be JSON.
fn fill(template: &str, values: &[(&str, OsString)]) -> OsString {
    let mut filled = OsString::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        filled.push(before);
        let (value, length) = match values.iter().find(|(placeholder, _)| tail.starts_with(placeholder)) {
            Some((placeholder, value)) => (value.as_os_str(), placeholder.len()),
            None => (OsStr::new("{"), 1),
        };
        filled.push(value);
        rest = &tail[length..];
    }
    filled.push(rest);
    filled
}
