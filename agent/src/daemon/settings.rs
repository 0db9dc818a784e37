//! From arguments and configuration to the settings of the parts.

use std::{collections::BTreeMap, path::PathBuf};

use shoal_engine_supervisor::{CommandConfig, SupervisorConfig, VllmConfig};
use shoal_types::Labels;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::own_binary;
use crate::{
    admin::Problem,
    cli::AgentArgs,
    config::{Config, ConfigError},
};

/// The file, overridden by flags and environment.
pub(super) fn load(args: &AgentArgs, socket: Option<PathBuf>) -> Result<Config, ConfigError> {
    let mut config = Config::load(args.config.as_deref())?;
    let AgentArgs { name, labels, mesh_listen, mesh_advertise, ingress_listen, admin_listen, .. } = args;
    config.state_dir = args.state_dir.clone().or(config.state_dir);
    config.node.name = name.clone().or(config.node.name);
    for (key, value) in labels {
        set_label(&mut config.node.labels, key, value)?;
    }
    config.mesh.listen = mesh_listen.unwrap_or(config.mesh.listen);
    if !mesh_advertise.is_empty() {
        config.mesh.advertise.clone_from(mesh_advertise);
    }
    config.ingress.listen = ingress_listen.unwrap_or(config.ingress.listen);
    config.admin.listen = admin_listen.or(config.admin.listen);
    config.log.format = args.log_format.unwrap_or(config.log.format);
    config.log.filter = args.log.clone().or(config.log.filter);
    config.admin.socket = socket.or(config.admin.socket);
    config.check()?;
    Ok(config)
}

fn set_label(labels: &mut Labels, key: &str, value: &str) -> Result<(), ConfigError> {
    let error = |message: String| ConfigError::Label { key: key.to_owned(), message };
    match key {
        "cluster" => value.clone_into(&mut labels.cluster),
        "cloud" => labels.cloud = Some(value.to_owned()),
        "region" => labels.region = Some(value.to_owned()),
        "zone" => labels.zone = Some(value.to_owned()),
        "capacityType" => labels.capacity_type = value.parse().map_err(error)?,
        "price" => {
            let price = value.parse::<f64>().ok().filter(|price| price.is_finite() && *price >= 0.0);
            labels.price = Some(price.ok_or_else(|| error(format!("`{value}` is not a price in USD per GPU-hour")))?);
        }
        other => {
            labels.other.insert(other.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// The configured labels, overridden by those that the node's token gave it: an issuer has vouched for them.
pub(super) fn with_token_labels(mut labels: Labels, token: &BTreeMap<String, String>) -> Labels {
    for (key, value) in token {
        if let Err(error) = set_label(&mut labels, key, value) {
            warn!(%error, "a label of the join token is left out");
        }
    }
    labels
}

/// What the supervisor may run.
pub(super) fn supervisor(config: &Config) -> Result<SupervisorConfig, Problem> {
    let mut supervisor = SupervisorConfig::new(config.state_dir(), own_binary()?);
    supervisor.orphan_grace = config.engines.orphan_grace.0;
    supervisor.sim = config.engines.sim;
    supervisor.vllm = config.engines.vllm.clone().map(|vllm| VllmConfig {
        binary: vllm.binary.unwrap_or_else(|| PathBuf::from("vllm")),
        allowed_args: vllm.allowed_args,
        allowed_env: vllm.allowed_env,
        env: vllm.env,
    });
    let command = |command: crate::config::CommandConfig| {
        let mut engine = CommandConfig::new(command.program, command.args);
        engine.env = command.env;
        engine.health_path = command.health.unwrap_or(engine.health_path);
        engine
    };
    supervisor.commands =
        config.engines.commands.clone().into_iter().map(|(name, config)| (name, command(config))).collect();
    Ok(supervisor)
}

/// Returns on SIGTERM or SIGINT.
pub(crate) async fn signalled() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the default applies: the signal ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
