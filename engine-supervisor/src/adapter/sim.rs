//! The simulated engine: the daemon's own program under another verb.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use shoal_types::{EngineAddress, SimEngine, Sleep};

use super::{Adapter, Environment, program, vllm};
use crate::{LaunchPlan, RefusalReason, SimOptions, SupervisorConfig, load::MetricNames, process::CommandLine};

#[derive(Debug)]
pub(super) struct SimAdapter {
    program: PathBuf,
    engine: SimEngine,
}

impl SimAdapter {
    pub(super) fn new(config: &SupervisorConfig, engine: &SimEngine) -> Result<Self, RefusalReason> {
        Ok(Self { program: program::find(&config.shoal_binary, None)?, engine: engine.clone() })
    }
}

impl Adapter for SimAdapter {
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine {
        let options = SimOptions {
            models: plan.served_names().into_iter().map(str::to_owned).collect(),
            adapters: plan.spec.adapters.keys().cloned().collect(),
            load_time: self.engine.load_time.0,
            time_to_first_token: self.engine.time_to_first_token.0,
            inter_token_latency: self.engine.inter_token_latency.0,
            max_num_seqs: self.engine.max_num_seqs,
            sleep_mode: self.engine.sleep.is_some(),
            ..SimOptions::new(address.clone())
        };
        CommandLine {
            program: self.program.clone(),
            args: [OsString::from("sim-engine")].into_iter().chain(options.args()).collect(),
            env: inherited.clone().into_iter().collect(),
        }
    }

    fn start(&self, config: &SupervisorConfig) -> Duration {
        config.timings.sim_start.saturating_add(self.engine.load_time.0)
    }

    fn metrics(&self) -> &'static MetricNames {
        &vllm::METRICS
    }

    fn sleep(&self) -> Option<&Sleep> {
        self.engine.sleep.as_ref()
    }
}
