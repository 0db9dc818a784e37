//! vLLM's OpenAI server on a Unix socket. Behaviour as measured on 0.32.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use shoal_types::{EngineAddress, VllmEngine};

use super::{Adapter, Environment, allow, program, socket};
use crate::{LaunchPlan, RefusalReason, VllmConfig, process::CommandLine};

#[derive(Debug)]
pub(super) struct VllmAdapter {
    program: PathBuf,
    config: VllmConfig,
    engine: VllmEngine,
}

impl VllmAdapter {
    pub(super) fn new(
        config: &VllmConfig,
        engine: &VllmEngine,
        model: &str,
        path: Option<&OsString>,
    ) -> Result<Self, RefusalReason> {
        allow::check_args(&engine.args, &config.allowed_args)?;
        allow::check_env(&engine.env, &config.allowed_env)?;
        check_model(model)?;
        let program = program::find(&config.binary, path)?;
        Ok(Self { program, config: config.clone(), engine: engine.clone() })
    }
}

/// What vLLM would take most of a minute to say.
fn check_model(model: &str) -> Result<(), RefusalReason> {
    let path = Path::new(model);
    if !path.is_absolute() {
        return if is_hub_id(model) { Ok(()) } else { Err(RefusalReason::NotAModel(model.to_owned())) };
    }
    if !path.exists() {
        return Err(RefusalReason::NoModel(model.to_owned()));
    }
    // A file is one in GGUF format. Mistral's own format has `params.json`.
    if path.is_dir() && !["config.json", "params.json"].iter().any(|file| path.join(file).exists()) {
        return Err(RefusalReason::EmptyModel(model.to_owned()));
    }
    Ok(())
}

/// `organisation/name` or `name`, as the hub allows them.
fn is_hub_id(model: &str) -> bool {
    let valid = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let mut parts = model.split('/');
    parts.by_ref().take(2).all(valid) && parts.next().is_none()
}

impl Adapter for VllmAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let mut args: Vec<OsString> = vec!["serve".into(), plan.spec.model.as_str().into()];
        args.push("--served-model-name".into());
        args.extend(plan.served_names().into_iter().map(OsString::from));
        args.extend(["--uds".into(), socket(address)]);
        args.extend(["--tensor-parallel-size".into(), plan.gpus.len().max(1).to_string().into()]);
        args.extend(self.engine.args.iter().map(OsString::from));

        let mut env = inherited.clone();
        for (name, value) in self.config.env.iter().chain(&self.engine.env) {
            env.insert(name.into(), value.into());
        }
        // Without these two it reports to stats.vllm.ai.
        env.insert("VLLM_NO_USAGE_STATS".into(), "1".into());
        env.insert("DO_NOT_TRACK".into(), "1".into());
        env.insert("CUDA_VISIBLE_DEVICES".into(), plan.gpu_list().into());
        CommandLine { program: self.program.clone(), args, env: env.into_iter().collect() }
    }

    fn is_permanent(&self, code: Option<i32>, line: &str) -> bool {
        // argparse ends with 2. Some of the texts are warnings, too, where vLLM can go on without.
        code == Some(2) || !line.contains("WARNING") && PERMANENT.iter().any(|text| line.contains(text))
    }
}

/// What vLLM says when the model, its arguments and this host do not go together, whatever is tried again.
const PERMANENT: [&str; 9] = [
    "error: unrecognized arguments",
    "Repo id must be in the form",
    "User-specified max_model_len",
    "is less than desired GPU memory utilization",
    "No available memory for the cache blocks",
    "KV cache is needed",
    "is less than requested",
    "is not supported on current platform",
    "are not supported for now",
];
