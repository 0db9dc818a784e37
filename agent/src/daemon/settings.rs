//! From arguments and configuration to the settings of the parts.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZero, path::PathBuf, sync::Arc, thread};

use rustls::ClientConfig;
use shoal_engine_supervisor::{
    CommandConfig, GatewayConfig, GatewayTimings, HubConfig, ProgramConfig, SupervisorConfig, WeightsConfig,
};
use shoal_ingress::{Auth, IngressConfig, Limits, ServerTls, Telling, TlsFiles};
use shoal_types::Labels;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{own_binary, roots};
use crate::{
    admin::{Code, Problem},
    cli::AgentArgs,
    config::{self, AuthMode, Config, ConfigError},
    inventory::host_name,
};

/// The file, overridden by flags and environment.
pub(super) fn load(args: &AgentArgs, socket: Option<PathBuf>) -> Result<Config, ConfigError> {
    let mut config = Config::load(args.config.as_deref())?;
    let AgentArgs { name, labels, mesh_listen, mesh_advertise, ingress_listen, ingress_auth, admin_listen, .. } = args;
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
    config.ingress.auth = ingress_auth.or(config.ingress.auth);
    config.admin.listen = admin_listen.or(config.admin.listen);
    config.engines.shim_launcher = args.shim_launcher.clone().or(config.engines.shim_launcher);
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
    supervisor.shim_launcher = config.engines.shim_launcher.clone();
    supervisor.gateway = config.engines.gateway.as_ref().map(gateway).transpose()?;
    let engines = &config.engines;
    supervisor.sim = engines.sim;
    supervisor.vllm = engines.vllm.clone().map(|vllm| program(vllm, "vllm"));
    supervisor.sglang = engines.sglang.clone().map(|sglang| program(sglang, "python3"));
    supervisor.trtllm = engines.trtllm.clone().map(|trtllm| program(trtllm, "trtllm-serve"));
    supervisor.llamacpp = engines.llamacpp.clone().map(|llamacpp| program(llamacpp, "llama-server"));
    let command = |command: config::CommandConfig| {
        let mut engine = CommandConfig::new(command.program, command.args);
        engine.env = command.env;
        engine.health_path = command.health.unwrap_or(engine.health_path);
        engine
    };
    supervisor.commands = engines.commands.clone().into_iter().map(|(name, config)| (name, command(config))).collect();
    let weights = config.weights.clone().map(weights).transpose();
    supervisor.weights = weights.map_err(|error| Problem::new(Code::Invalid, error))?;
    Ok(supervisor)
}

/// Signals that ask a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndSignal {
    /// Of whoever runs services: systemd, a container runtime.
    Terminate,
    /// Ctrl-C.
    Interrupt,
}

/// What is run for one engine kind: `default` on the PATH unless the configuration says otherwise.
fn program(config: config::ProgramConfig, default: &str) -> ProgramConfig {
    ProgramConfig {
        binary: config.binary.unwrap_or_else(|| PathBuf::from(default)),
        allowed_args: config.allowed_args,
        allowed_env: config.allowed_env,
        env: config.env,
    }
}

/// Below which clients find the API on `address`; by the host's name where that is any address of it.
pub(super) fn ingress_url(over_tls: bool, address: SocketAddr) -> String {
    let scheme = if over_tls { "https" } else { "http" };
    if address.ip().is_unspecified() {
        format!("{scheme}://{}:{}", host_name(), address.port())
    } else {
        format!("{scheme}://{address}")
    }
}

/// What clients are shown, if they are spoken to over TLS.
pub(super) async fn ingress_tls(config: &config::IngressConfig) -> Result<Option<Arc<ServerTls>>, Problem> {
    let Some(files) = config.tls.clone() else { return Ok(None) };
    if files.is_left_out() {
        info!(cert = %files.cert.display(), "There is no certificate for clients: they are spoken to in plain text");
        return Ok(None);
    }
    let config::TlsConfig { cert, key, .. } = files;
    match ServerTls::open(TlsFiles { cert, key }).await {
        Ok(tls) => Ok(Some(tls)),
        Err(error) => Err(Problem::new(Code::Invalid, format!("`ingress.tls` of the configuration: {error}"))),
    }
}

/// Which services may be stood for.
fn gateway(config: &config::GatewayConfig) -> Result<GatewayConfig, Problem> {
    Ok(GatewayConfig {
        allow: config.allowed().map_err(|error| Problem::new(Code::Invalid, error))?,
        key_directory: config.key_directory.clone(),
        tls: roots::client_tls(config.ca_file.as_deref()).map_err(|error| Problem::new(Code::Invalid, error))?,
        timings: GatewayTimings::default(),
    })
}

/// Where models are kept. A cache that is nowhere is an error of the configuration.
fn weights(config: config::WeightsConfig) -> Result<WeightsConfig, ConfigError> {
    let cache = config.cache.or_else(WeightsConfig::default_cache).ok_or_else(|| ConfigError::Value {
        field: "weights.cache",
        message: "must name a directory, since the environment names no home directory".to_owned(),
    })?;
    let hub = |hub: config::HubConfig| HubConfig {
        url: hub.url.unwrap_or_else(|| HubConfig::URL.to_owned()),
        token_file: hub.token_file,
    };
    Ok(WeightsConfig { cache, budget: config.budget, reserve: config.reserve, hub: config.hub.map(hub) })
}

/// Threads for clients at most. One forwards 30,000 requests or 300,000 tokens a second, which is more than the engines of a
/// host answer.
const WORKERS_MAX: usize = 16;

/// How clients are treated.
pub(super) fn ingress(
    config: &Config,
    gateway_tls: Option<Arc<ClientConfig>>,
    tls: Option<Arc<ServerTls>>,
    telling: Telling,
) -> IngressConfig {
    let config = &config.ingress;
    let limits =
        Limits { body: usize::try_from(config.max_body.as_bytes()).unwrap_or(usize::MAX), ..Limits::default() };
    let auth = match config.auth() {
        AuthMode::Keys => Auth::Keys,
        AuthMode::None => Auth::None,
    };
    if auth == Auth::None && !config.listen.ip().is_loopback() {
        warn!(listen = %config.listen, "Whoever reaches the ingress can use all endpoints: `ingress.auth` is `none`");
    }
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
    IngressConfig { workers, limits, gateway_tls, tls, telling, auth, ..IngressConfig::default() }
}

/// Passes each SIGHUP on to `files_moved`, until `stop`: whoever turns log files over has moved one away.
pub(super) async fn hear_hangups(files_moved: watch::Sender<()>, stop: CancellationToken) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return warn!(%error, "SIGHUP cannot be heard, and ends the daemon"),
    };
    while let Some(Some(())) = stop.run_until_cancelled(hangups.recv()).await {
        files_moved.send_replace(());
        info!("SIGHUP: the access log is opened anew, if it is a file; nothing else is read again");
    }
}

/// Returns on SIGTERM or SIGINT.
pub(crate) async fn signalled() -> EndSignal {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the default applies: the signal ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => EndSignal::Terminate,
        _ = interrupt.recv() => EndSignal::Interrupt,
    }
}
