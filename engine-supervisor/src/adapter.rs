//! What differs between engine kinds, behind one contract; each kind is a file.
//!
//! An adapter is made from the node's configuration and a spec together, and only if the one allows the other: whoever
//! holds an adapter can launch.

mod allow;
mod command;
mod diagnosis;
mod llamacpp;
mod model;
mod program;
mod progress;
mod sglang;
mod sim;
mod trtllm;
mod vllm;

use std::{collections::BTreeMap, ffi::OsString, fmt, time::Duration};

use shoal_types::{EndpointSpec, EngineAddress, EngineOffer, EngineSpec, Sleep};

use self::{
    command::CommandAdapter, llamacpp::LlamacppAdapter, sglang::SglangAdapter, sim::SimAdapter, trtllm::TrtllmAdapter,
    vllm::VllmAdapter,
};
pub(crate) use self::{command::check as check_command, diagnosis::Diagnosis, progress::Stage};
use crate::{LaunchPlan, ProgramConfig, RefusalReason, SupervisorConfig, load::MetricNames, process::CommandLine};

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

/// How an engine is asked for a token when it has made none for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Canary {
    /// As its clients ask for one.
    Completion,
    /// By a path that answers 200 once it has made one.
    Get(&'static str),
}

/// One engine kind.
pub(crate) trait Adapter: fmt::Debug + Send + Sync {
    /// What to execute so that `plan` is served at `address`; its environment is `inherited` and more.
    fn command_line(&self, plan: &LaunchPlan, address: &EngineAddress, inherited: &Environment) -> CommandLine;

    /// Names and contents of files that it reads in its directory.
    fn files(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn listens(&self) -> Listens {
        Listens::Unix
    }

    /// Path that answers 200 once it can serve, at once even under load.
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

    /// What its metrics are called.
    fn metrics(&self) -> &'static MetricNames;

    fn canary(&self) -> Canary {
        Canary::Completion
    }

    /// How it sleeps, if it can.
    fn sleep(&self) -> Option<&Sleep> {
        None
    }

    /// What a line of a starting engine is the sign of.
    fn stage(&self, _line: &str) -> Option<Stage> {
        None
    }

    /// What an engine died of that ended with `code` after `lines`.
    fn diagnose(&self, _code: Option<i32>, lines: &[String]) -> Option<Diagnosis> {
        diagnosis::find(&[diagnosis::COMMON], lines)
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
    check_adapters(spec)?;
    let (path, model) = (inherited.get(&OsString::from("PATH")), spec.model.as_str());
    let not_offered = RefusalReason::NotOffered(spec.engine.kind());
    let offered = |program: &Option<ProgramConfig>| program.clone().ok_or_else(|| not_offered.clone());
    Ok(match &spec.engine {
        EngineSpec::Sim(engine) if config.sim => Box::new(SimAdapter::new(config, engine)?),
        EngineSpec::Vllm(engine) => Box::new(VllmAdapter::new(&offered(&config.vllm)?, engine, model, path)?),
        EngineSpec::Sglang(engine) => Box::new(SglangAdapter::new(&offered(&config.sglang)?, engine, model, path)?),
        EngineSpec::Trtllm(engine) => Box::new(TrtllmAdapter::new(&offered(&config.trtllm)?, engine, model, path)?),
        EngineSpec::Llamacpp(engine) => {
            Box::new(LlamacppAdapter::new(&offered(&config.llamacpp)?, engine, model, path)?)
        }
        EngineSpec::Command(engine) => {
            let command = config.commands.get(&engine.name);
            let command = command.ok_or_else(|| RefusalReason::UnknownCommand(engine.name.clone()))?;
            Box::new(CommandAdapter::new(command, path)?)
        }
        EngineSpec::Sim(_) | EngineSpec::Gateway(_) => return Err(not_offered),
    })
}

/// The engines that this node's configuration allows and whose programs are there.
pub(crate) fn offers(config: &SupervisorConfig, inherited: &Environment) -> Vec<EngineOffer> {
    let path = inherited.get(&OsString::from("PATH"));
    let sim = config.sim.then(|| ("sim".to_owned(), &config.shoal_binary));
    let programs = [
        ("vllm", &config.vllm),
        ("sglang", &config.sglang),
        ("trtllm", &config.trtllm),
        ("llamacpp", &config.llamacpp),
    ];
    let programs = programs
        .into_iter()
        .filter_map(|(kind, program)| program.as_ref().map(|program| (kind.to_owned(), &program.binary)));
    let commands = config.commands.iter().map(|(name, command)| (format!("command/{name}"), &command.program));
    let offered = sim.into_iter().chain(programs).chain(commands).filter_map(|(offer, binary)| {
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
    for name in spec.aliases.iter().chain([&spec.model]).chain(&spec.model_revision) {
        if name.starts_with('-') {
            return Err(RefusalReason::ModelIsFlag(name.clone()));
        }
        check_nul(name)?;
    }
    Ok(())
}

/// Whether the engine knows adapters by name, and these can be there. They go onto its command line as `NAME=SOURCE`.
fn check_adapters(spec: &EndpointSpec) -> Result<(), RefusalReason> {
    if !spec.adapters.is_empty() && !spec.engine.serves_adapters() {
        return Err(RefusalReason::NoAdapters(spec.engine.kind()));
    }
    for (name, source) in &spec.adapters {
        for text in [name, source] {
            if text.starts_with('-') || text.contains(['=', ',', '{']) {
                return Err(RefusalReason::AdapterText(text.clone()));
            }
            check_nul(text)?;
        }
        if !matches!(spec.engine, EngineSpec::Sim(_)) {
            model::check_adapter(source)?;
        }
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

/// The port of `address`, as text for a command line.
fn port(address: &EngineAddress) -> OsString {
    match address {
        EngineAddress::Unix(_) => OsString::new(),
        EngineAddress::Loopback(address) => address.port().to_string().into(),
    }
}

#[cfg(test)]
mod tests;
