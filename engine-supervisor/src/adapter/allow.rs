//! What a spec may pass to an engine. Whoever can write a spec can start processes on every node: by default nothing is
//! allowed that loads code, names files, or opens ports.

use std::collections::BTreeMap;

use super::check_nul;
use crate::{ProgramConfig, RefusalReason};

/// The lists of one engine kind.
#[derive(Debug)]
pub(super) struct Rules {
    /// The kind, as specs and configurations write it.
    pub(super) engine: &'static str,
    /// Flags that size, schedule and parse.
    pub(super) args: &'static [&'static str],
    /// Flags that the supervisor sets, or that would move the engine to where it is not looked for.
    pub(super) reserved_args: &'static [&'static str],
    /// Variables that switch nothing on, beside [`ENV`].
    pub(super) env: &'static [&'static str],
    /// Variables that the supervisor sets, beside [`RESERVED_ENV`].
    pub(super) reserved_env: &'static [&'static str],
}

/// Variables of the libraries below all engines that switch nothing on.
const ENV: [&str; 7] = [
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "NCCL_DEBUG",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TOKENIZERS_PARALLELISM",
    "TRANSFORMERS_OFFLINE",
];

/// Variables that the supervisor sets for all engines.
const RESERVED_ENV: [&str; 1] = ["CUDA_VISIBLE_DEVICES"];

impl Rules {
    /// Whether every flag of `args` and every name of `env` is on the built-in lists or allowed by `config`. Flags count
    /// by their whole name: argparse would take a shortened one too.
    pub(super) fn check(
        &self,
        args: &[String],
        env: &BTreeMap<String, String>,
        config: &ProgramConfig,
    ) -> Result<(), RefusalReason> {
        self.check_args(args, &config.allowed_args)?;
        self.check_env(env, &config.allowed_env)
    }

    fn check_args(&self, args: &[String], allowed: &[String]) -> Result<(), RefusalReason> {
        let engine = self.engine;
        let mut after_flag = false;
        for arg in args {
            check_nul(arg)?;
            if !is_flag(arg) {
                if !after_flag {
                    return Err(RefusalReason::StrayArgument { engine, value: arg.clone() });
                }
                continue;
            }
            after_flag = true;
            let flag = flag_name(arg);
            if self.reserved_args.contains(&flag.as_str()) {
                return Err(RefusalReason::ReservedArgument { engine, flag });
            }
            if !self.args.contains(&flag.as_str()) && !allowed.contains(&flag) {
                return Err(RefusalReason::Argument { engine, flag });
            }
        }
        Ok(())
    }

    fn check_env(&self, env: &BTreeMap<String, String>, allowed: &[String]) -> Result<(), RefusalReason> {
        for (name, value) in env {
            check_nul(value)?;
            let is_in = |lists: [&[&str]; 2]| lists.iter().any(|list| list.contains(&name.as_str()));
            if is_in([&RESERVED_ENV, self.reserved_env]) {
                return Err(RefusalReason::ReservedVariable(name.clone()));
            }
            if !is_in([&ENV, self.env]) && !allowed.contains(name) {
                return Err(RefusalReason::Variable { engine: self.engine, name: name.clone() });
            }
        }
        Ok(())
    }
}

/// `-1` is a value (`--max-model-len -1` means as long as fits).
fn is_flag(arg: &str) -> bool {
    arg.starts_with('-') && arg.parse::<f64>().is_err()
}

/// Without its value, and with `-` for `_`, as argparse reads it and as the lists write it.
fn flag_name(arg: &str) -> String {
    arg.split_once('=').map_or(arg, |(flag, _)| flag).replace('_', "-")
}
