//! What differs between engine kinds, behind one contract; each kind is a file.
//!
//! An adapter is made from the node's configuration and a spec together, and only if the one allows the other: whoever
//! holds an adapter can launch.

mod allow;
mod command;
mod program;
mod sim;
mod vllm;

use std::{collections::BTreeMap, ffi::OsString, fmt, time::Duration};

use shoal_types::{EndpointSpec, EngineAddress, EngineOffer, EngineSpec};

pub(crate) use self::command::check as check_command;
use self::{command::CommandAdapter, sim::SimAdapter, vllm::VllmAdapter};
use crate::{LaunchPlan, RefusalReason, SupervisorConfig, process::CommandLine};

/// The variables that engines inherit.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// Where an engine listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listens {
    /// On a Unix socket that it makes.
    Unix,
    /// On a port of 127.0.0.1 that it is given.
    Loopback,
}

/// One engine kind.
pub(crate) trait Adapter: fmt::Debug + Send + Sync {
    /// What to execute so that `plan` is served at `address`; its environment is `inherited` and more.
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine;

    fn listens(&self) -> Listens {
        Listens::Unix
    }

    /// Path that answers 200 once it can serve.
    fn health_path(&self) -> &str {
        "/health"
    }

    /// Names one of which the engine must list among its models: the endpoint's own, where the engine takes names.
    fn listed_names(&self, plan: &LaunchPlan) -> Vec<String> {
        vec![plan.endpoint.to_string()]
    }

    /// How long it may take from launch to ready.
    fn start(&self, config: &SupervisorConfig) -> Duration {
        config.timings.start
    }

    /// Whether an engine that ended with `code` and wrote `line` would do the same again.
    fn is_permanent(&self, _code: Option<i32>, _line: &str) -> bool {
        false
    }
}

/// The adapter that runs `spec` on a node with this configuration.
///
/// # Errors
/// Why this node does not run it.
pub(crate) fn adapter(
    config: &SupervisorConfig,
    inherited: &Environment,
    spec: &EndpointSpec,
) -> Result<Box<dyn Adapter>, RefusalReason> {
    check_names(spec)?;
    let path = inherited.get(&OsString::from("PATH"));
    match &spec.engine {
        EngineSpec::Sim(engine) if config.sim => Ok(Box::new(SimAdapter::new(config, engine)?)),
        EngineSpec::Vllm(engine) => {
            let vllm = config.vllm.as_ref().ok_or(RefusalReason::NotOffered("vllm"))?;
            Ok(Box::new(VllmAdapter::new(vllm, engine, &spec.model, path)?))
        }
        EngineSpec::Command(engine) => {
            let command = config.commands.get(&engine.name);
            let command = command.ok_or_else(|| RefusalReason::UnknownCommand(engine.name.clone()))?;
            Ok(Box::new(CommandAdapter::new(command, path)?))
        }
        EngineSpec::Sim(_) => Err(RefusalReason::NotOffered("sim")),
        EngineSpec::Sglang(_) | EngineSpec::Trtllm(_) | EngineSpec::Llamacpp(_) | EngineSpec::Gateway(_) => {
            Err(RefusalReason::NotOffered(spec.engine.kind()))
        }
    }
}

/// The engines that this node's configuration allows and whose programs are there.
pub(crate) fn offers(config: &SupervisorConfig, inherited: &Environment) -> Vec<EngineOffer> {
    let path = inherited.get(&OsString::from("PATH"));
    let sim = config.sim.then(|| ("sim".to_owned(), &config.shoal_binary));
    let vllm = config.vllm.as_ref().map(|vllm| ("vllm".to_owned(), &vllm.binary));
    let commands = config.commands.iter().map(|(name, command)| (format!("command/{name}"), &command.program));
    let offered = sim.into_iter().chain(vllm).chain(commands).filter_map(|(offer, binary)| {
        program::find(binary, path)
            .inspect_err(|reason| tracing::warn!(engine = offer, "not offered: {reason}"))
            .ok()
            .map(|_| EngineOffer(offer))
    });
    let gateway = config.gateway.as_ref().filter(|gateway| !gateway.allow.is_empty());
    offered.chain(gateway.map(|_| EngineOffer("gateway".to_owned()))).collect()
}

/// Names go onto command lines: none may pass for a flag there.
fn check_names(spec: &EndpointSpec) -> Result<(), RefusalReason> {
    for name in spec.aliases.iter().chain([&spec.model]) {
        if name.starts_with('-') {
            return Err(RefusalReason::ModelIsFlag(name.clone()));
        }
        check_nul(name)?;
    }
    Ok(())
}

fn check_nul(text: &str) -> Result<(), RefusalReason> {
    if text.contains('\0') { Err(RefusalReason::Nul(text.replace('\0', "\\0"))) } else { Ok(()) }
}

/// The socket or the port of `address`, as text for a command line.
fn socket(address: &EngineAddress) -> OsString {
    match address {
        EngineAddress::Unix(path) => path.into(),
        EngineAddress::Loopback(address) => address.to_string().into(),
    }
}

#[cfg(test)]
mod tests;
