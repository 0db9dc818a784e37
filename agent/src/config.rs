//! The node's configuration: a YAML file, then `SHOAL_*` variables, then flags; each overrides the one before.
//!
//! Strings end here: what leaves this module are addresses, durations, sizes and paths.

mod capacity;
mod engines;
mod error;
mod gpus;
mod telemetry;
mod weights;

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_mesh::identity::{NODE_LIFE, NODE_LIFE_MAX};
use shoal_types::{
    HumanDuration, Labels, MemorySize, parse_documents,
    wire::{PROTOCOL, PROTOCOL_MIN},
};

pub(crate) use self::{
    capacity::{CapacityCommand, CapacityConfig, CapacityWebhook},
    engines::{CommandConfig, EnginesConfig, GatewayConfig, ProgramConfig},
    error::ConfigError,
    gpus::{FaultConfig, FaultVerdict, GpuConfig, SimulatedGpus},
    telemetry::{AccessLogConfig, OtlpConfig, TelemetryConfig},
    weights::{HubConfig, WeightsConfig},
};
use crate::notices::{COMMAND_INTERVAL_MIN, NoticesConfig};

/// Where the packages put the file.
const DEFAULT_FILE: &str = "/etc/shoal/shoal.yaml";
/// Default of `stateDir`.
pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/shoal";
/// Least `capacity.interval`: whoever rents needs longer, and must not be flooded.
const CAPACITY_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Least `mesh.certificateLife`: what is shorter is not renewed in time where a machine is busy.
const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(10);
/// Most simulated GPUs of one node.
const SIMULATED_MAX: u64 = 64;
/// Default of `admin.socket`.
pub(crate) const DEFAULT_SOCKET: &str = "/run/shoal/shoal.sock";

/// Configuration of one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    /// Who this node is.
    pub(crate) node: NodeConfig,
    /// Directory of keys, specs and replica logs; default /var/lib/shoal.
    pub(crate) state_dir: Option<PathBuf>,
    /// The port that nodes talk over.
    pub(crate) mesh: MeshConfig,
    /// The OpenAI-compatible listener.
    pub(crate) ingress: IngressConfig,
    /// The listener of the command line.
    pub(crate) admin: AdminConfig,
    /// GPUs.
    pub(crate) gpus: GpuConfig,
    /// Engines that this node offers to run.
    pub(crate) engines: EnginesConfig,
    /// Models on this node's disk; without it engines fetch for themselves what they are given by name.
    pub(crate) weights: Option<WeightsConfig>,
    /// Timing of elections; the same on all nodes of a mesh.
    pub(crate) placement: PlacementConfig,
    /// Who says that this host will be taken away.
    pub(crate) notices: NoticesConfig,
    /// Who is told that the mesh needs more capacity.
    pub(crate) capacity: CapacityConfig,
    /// Logs of the daemon.
    pub(crate) log: LogConfig,
    /// Who is told of single requests.
    pub(crate) telemetry: TelemetryConfig,
}

/// Who this node is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeConfig {
    /// What people call it; default the host name.
    pub(crate) name: Option<String>,
    /// Where it stands and what it costs.
    pub(crate) labels: Labels,
}

/// The port that nodes talk over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct MeshConfig {
    /// UDP address to listen on.
    pub(crate) listen: SocketAddr,
    /// Addresses under which other nodes can reach it; default the listen address, or this host's addresses.
    pub(crate) advertise: Vec<SocketAddr>,
    /// Time between gossip rounds; shorter spreads faster and costs more.
    pub(crate) gossip_interval: HumanDuration,
    /// The newest frame version to speak, 1 to 3; default the newest that there is. To try what a mesh of mixed versions does.
    pub(crate) protocol: Option<u8>,
    /// How long the certificates live that this node gives to others and itself, if it is an issuer: 10 s to 7 days. They
    /// are renewed at half of it, so it is also how long a mesh can be without an issuer.
    pub(crate) certificate_life: HumanDuration,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7700)),
            advertise: Vec::new(),
            gossip_interval: HumanDuration::from_millis(500),
            protocol: None,
            certificate_life: HumanDuration(NODE_LIFE),
        }
    }
}

/// The OpenAI-compatible listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct IngressConfig {
    /// TCP address to listen on.
    pub(crate) listen: SocketAddr,
    /// Whether clients must show a key; without it they must unless the address is a loopback one.
    pub(crate) auth: Option<AuthMode>,
    /// Largest request body.
    pub(crate) max_body: MemorySize,
    /// A line of JSON for each request; off unless written out.
    pub(crate) access_log: Option<AccessLogConfig>,
    /// The certificate for clients; without it they are spoken to in plain text.
    pub(crate) tls: Option<TlsConfig>,
}

/// The certificate for clients, in PEM. The files are looked at every few seconds: a new certificate needs no restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TlsConfig {
    /// File of the certificate, and after it those that it was issued by.
    pub(crate) cert: PathBuf,
    /// File of its private key.
    pub(crate) key: PathBuf,
    /// Where neither file is there when the daemon starts, clients are spoken to in plain text, instead of the start going
    /// wrong.
    #[serde(default)]
    pub(crate) optional: bool,
}

impl TlsConfig {
    /// Whether it may be done without and has to be.
    pub(crate) fn is_left_out(&self) -> bool {
        self.optional && !self.cert.exists() && !self.key.exists()
    }
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            auth: None,
            max_body: MemorySize::from_bytes(32 << 20),
            access_log: None,
            tls: None,
        }
    }
}

/// Whether clients must show a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuthMode {
    /// All must.
    Keys,
    /// Nobody must: whoever reaches the address can use all endpoints.
    None,
}

impl IngressConfig {
    /// Whether clients must show a key. Where it is not written out, the address decides and not the client's: behind a
    /// proxy on the same host, which is what listens for others then, all clients look like local ones.
    pub(crate) fn auth(&self) -> AuthMode {
        let by_address = if self.listen.ip().is_loopback() { AuthMode::None } else { AuthMode::Keys };
        self.auth.unwrap_or(by_address)
    }
}

/// The listener of the command line.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AdminConfig {
    /// Unix socket, mode 0600; default /run/shoal/shoal.sock.
    pub(crate) socket: Option<PathBuf>,
    /// TCP address for metrics, health and, with a token, everything else; `null` turns it off.
    pub(crate) listen: Option<SocketAddr>,
    /// File with a bearer token that may do everything, called `admin`. Without any token TCP serves only metrics and health.
    pub(crate) token_file: Option<PathBuf>,
    /// Further tokens, each with a name, which events tell, and a role.
    pub(crate) tokens: Vec<AdminToken>,
}

/// A token of the admin API over TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminToken {
    /// Whose it is.
    pub(crate) name: String,
    /// What it may.
    pub(crate) role: Role,
    /// File with the token: at least 32 characters.
    pub(crate) file: PathBuf,
}

/// What an admin token may; each may also what the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// See everything but secrets.
    View,
    /// Change endpoints, steer rollouts, drain nodes.
    Operate,
    /// Make and revoke keys, tokens and nodes.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7701)));
        Self { socket: None, listen, token_file: None, tokens: Vec::new() }
    }
}

/// Timing of elections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PlacementConfig {
    /// How long a claim waits for competing ones before its engine starts; longer than news takes to reach all nodes.
    pub(crate) settle: HumanDuration,
    /// How much longer each lower-ranked candidate waits before it claims.
    pub(crate) step: HumanDuration,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        // Slowest propagation measured over 400 nodes was 2.65 s.
        Self { settle: HumanDuration::from_secs(3), step: HumanDuration::from_millis(1500) }
    }
}

/// Logs of the daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LogConfig {
    /// For people or for machines.
    pub(crate) format: LogFormat,
    /// Filter such as `info` or `info,shoal_mesh=debug`; default `info`.
    pub(crate) filter: Option<String>,
}

/// For whom logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads `path`, or the default file if that exists, or takes the defaults.
    ///
    /// # Errors
    /// If a file that was named is not there, or any file is not right.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let Some(path) = path.or_else(|| default.exists().then_some(default)) else { return Ok(Self::default()) };
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let documents: Vec<Self> =
            parse_documents(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        if documents.len() > 1 {
            return Err(ConfigError::SeveralDocuments(path.to_owned()));
        }
        Ok(documents.into_iter().next().unwrap_or_default())
    }

    /// Whether the values can work together.
    ///
    /// # Errors
    /// Naming the first that cannot.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, message: String| Err(ConfigError::Value { field, message });
        let gossip = self.mesh.gossip_interval.0;
        if !(Duration::from_millis(20)..=Duration::from_secs(10)).contains(&gossip) {
            return wrong("mesh.gossipInterval", format!("{} is not between 20ms and 10s", self.mesh.gossip_interval));
        }
        if let Some(protocol) = self.mesh.protocol.filter(|it| !(PROTOCOL_MIN..=PROTOCOL).contains(it)) {
            return wrong("mesh.protocol", format!("{protocol} is not between {PROTOCOL_MIN} and {PROTOCOL}"));
        }
        let life = self.mesh.certificate_life;
        if life.0 < CERTIFICATE_LIFE_MIN || life.0 > NODE_LIFE_MAX {
            return wrong("mesh.certificateLife", format!("{life} is not between 10s and 7d"));
        }
        // News reaches all within some rounds; a claim that does not wait for it starts engines twice.
        if self.placement.settle.0 < gossip * 4 {
            let least = HumanDuration(gossip * 4);
            return wrong("placement.settle", format!("must be at least four gossip intervals, that is {least}"));
        }
        if self.placement.step.0.is_zero() {
            return wrong("placement.step", "must be more than zero".to_owned());
        }
        let interval = self.notices.command.as_ref().map(|command| command.interval.0);
        if interval.is_some_and(|interval| interval < COMMAND_INTERVAL_MIN) {
            return wrong("notices.command.interval", format!("must be at least {COMMAND_INTERVAL_MIN:?}"));
        }
        let url = self.weights.as_ref().and_then(|weights| weights.hub.as_ref()?.url.as_deref());
        if let Some(url) = url.filter(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            return wrong("weights.hub.url", format!("`{url}` does not start with https:// or http://"));
        }
        if self.capacity.interval.0 < CAPACITY_INTERVAL_MIN {
            return wrong("capacity.interval", format!("must be at least {CAPACITY_INTERVAL_MIN:?}"));
        }
        let webhook = self.capacity.webhook.as_ref().map(|webhook| &webhook.url);
        if let Some(url) = webhook.filter(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            return wrong("capacity.webhook.url", format!("`{url}` does not start with https:// or http://"));
        }
        let simulated: u64 = self.gpus.simulated.iter().map(|gpus| u64::from(gpus.count)).sum();
        if simulated > SIMULATED_MAX {
            return wrong(
                "gpus.simulated",
                format!("{simulated} GPUs are more than a host has; at most {SIMULATED_MAX}"),
            );
        }
        if let Some(otlp) = &self.telemetry.otlp {
            otlp.check()?;
        }
        if let Some(gateway) = &self.engines.gateway {
            gateway.allowed()?;
        }
        Ok(())
    }

    /// Directory of keys, specs and replica logs.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| DEFAULT_STATE_DIR.into())
    }

    /// The admin socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.admin.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into())
    }
}

impl MeshConfig {
    /// Addresses to give to others when the socket is bound to `bound`.
    pub(crate) fn advertised(&self, bound: SocketAddr, host_addresses: &[IpAddr]) -> Vec<SocketAddr> {
        if !self.advertise.is_empty() {
            return self.advertise.clone();
        }
        if !bound.ip().is_unspecified() {
            return vec![bound];
        }
        let same_family = |address: &&IpAddr| bound.is_ipv6() || address.is_ipv4();
        let mut addresses: Vec<SocketAddr> =
            host_addresses.iter().filter(same_family).map(|&ip| SocketAddr::new(ip, bound.port())).collect();
        if addresses.is_empty() {
            addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())));
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::SpecError;

    use super::*;

    fn parse(text: &str) -> Result<Config, SpecError> {
        parse_documents(text).map(|mut documents| documents.remove(0))
    }

    #[test]
    fn the_file_is_read_strictly() {
        let config = parse(
            "node: {name: a, labels: {cluster: x, zone: z, price: 2.5, rack: '7'}}\nmesh: {gossipInterval: 200ms}\n\
             gpus: {simulated: [{count: 2, name: H100, memory: 80GiB}]}\nengines: {sim: true}",
        )
        .unwrap();
        assert_eq!(config.node.labels.get("rack").as_deref(), Some("7"));
        assert_eq!(config.mesh.gossip_interval, HumanDuration::from_millis(200));
        let tls = TlsConfig { cert: "/a.pem".into(), key: "/b.pem".into(), optional: false };
        assert_eq!(parse("ingress: {tls: {cert: /a.pem, key: /b.pem}}").unwrap().ingress.tls, Some(tls));
        assert!(parse("ingress: {tls: {cert: /a.pem}}").is_err());
        let error = parse("mesh: {listenn: 1.2.3.4:1}").unwrap_err().to_string();
        assert_eq!(error, "unknown field `mesh.listenn`: did you mean `listen`?");
    }

    #[test]
    fn a_certificate_is_done_without_only_where_that_is_written_and_all_of_it_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        let tls = |optional| TlsConfig { cert: cert.clone(), key: key.clone(), optional };
        assert!(tls(true).is_left_out());
        assert!(!tls(false).is_left_out());
        fs::write(&cert, "").unwrap();
        assert!(!tls(true).is_left_out(), "a key that is missing is a mistake");
    }

    /// What the packages install.
    #[test]
    fn the_packages_template_listens_for_all_and_asks_for_a_key() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/shoal.yaml");
        let config = Config::load(Some(&file)).unwrap();
        config.check().unwrap();
        assert!(config.ingress.listen.ip().is_unspecified());
        assert_eq!(config.ingress.auth(), AuthMode::Keys);
        assert!(config.ingress.tls.is_some_and(|tls| tls.optional));
    }

    #[test]
    fn a_key_is_asked_for_unless_the_address_is_loopback_or_the_file_says_otherwise() {
        let auth = |text: &str| parse(&format!("ingress: {{{text}}}")).unwrap().ingress.auth();
        assert_eq!(Config::default().ingress.auth(), AuthMode::None);
        for open in ["'0.0.0.0:80'", "'[::]:80'", "'10.0.0.1:80'"] {
            assert_eq!(auth(&format!("listen: {open}")), AuthMode::Keys, "{open}");
            assert_eq!(auth(&format!("listen: {open}, auth: none")), AuthMode::None);
        }
        for own in ["'127.0.0.1:80'", "'[::1]:80'"] {
            assert_eq!(auth(&format!("listen: {own}")), AuthMode::None, "{own}");
            assert_eq!(auth(&format!("listen: {own}, auth: keys")), AuthMode::Keys);
        }
    }

    #[test]
    fn verdicts_on_faults_are_by_number() {
        let config = parse("gpus: {faults: {xid: {'48': drain-gpu, 31: ignore}}}").unwrap();
        let expected = [(31, FaultVerdict::Ignore), (48, FaultVerdict::DrainGpu)];
        assert_eq!(config.gpus.faults.xid, expected.into());
        assert!(parse("gpus: {faults: {xid: {'48': drain}}}").is_err());
        assert!(parse("gpus: {faults: {xid: {ecc: cordon}}}").is_err());
        let error = parse("gpus: {faults: {xids: {}}}").unwrap_err().to_string();
        assert_eq!(error, "unknown field `gpus.faults.xids`: did you mean `xid`?");
    }

    #[test]
    fn programs_of_engines_are_written_alike() {
        let config = parse("engines: {sglang: {binary: /opt/sglang/bin/python}, trtllm: {}, llamacpp: {env: {A: b}}}");
        let engines = config.unwrap().engines;
        assert_eq!(engines.sglang.unwrap().binary, Some("/opt/sglang/bin/python".into()));
        assert!(engines.trtllm.is_some() && engines.vllm.is_none());
        assert_eq!(engines.llamacpp.unwrap().env["A"], "b");
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        assert!(Config::default().check().is_ok());
        let field = |text| match parse(text).unwrap().check() {
            Err(ConfigError::Value { field, .. }) => Some(field),
            _ => None,
        };
        assert_eq!(field("mesh: {gossipInterval: 0s}"), Some("mesh.gossipInterval"));
        assert_eq!(field("mesh: {certificateLife: 9s}"), Some("mesh.certificateLife"));
        assert_eq!(field("mesh: {certificateLife: 8d}"), Some("mesh.certificateLife"));
        assert_eq!(field("mesh: {certificateLife: 7d}"), None);
        assert_eq!(field("placement: {settle: 1s}"), Some("placement.settle"));
        assert_eq!(field("placement: {step: 0s}"), Some("placement.step"));
        let command = "notices: {command: {program: /bin/true, interval: 10ms}}";
        assert_eq!(field(command), Some("notices.command.interval"));
        assert_eq!(field("weights: {hub: {url: huggingface.co}}"), Some("weights.hub.url"));
        assert_eq!(field("weights: {budget: 2TiB, hub: {}}"), None);
        let gpus = "gpus: {simulated: [{count: 4000000000, name: a, memory: 1GiB}]}";
        assert_eq!(field(gpus), Some("gpus.simulated"));
        assert_eq!(field("engines: {gateway: {allow: [https://a.example, b.example]}}"), Some("engines.gateway.allow"));
        assert_eq!(field("engines: {gateway: {allow: ['https://a.example/x', 'http://10.0.0.1:8000']}}"), None);
        assert_eq!(field("telemetry: {otlp: {endpoint: 'localhost:4317'}}"), Some("telemetry.otlp.endpoint"));
        let ratio = "telemetry: {otlp: {endpoint: 'http://localhost:4318', sampleRatio: 2}}";
        assert_eq!(field(ratio), Some("telemetry.otlp.sampleRatio"));
    }

    #[test]
    fn a_wildcard_listener_advertises_the_hosts_addresses() {
        let config = MeshConfig::default();
        let bound: SocketAddr = "0.0.0.0:7700".parse().unwrap();
        let host: IpAddr = "10.1.2.3".parse().unwrap();
        assert_eq!(config.advertised(bound, &[host]), vec!["10.1.2.3:7700".parse().unwrap()]);
        assert_eq!(config.advertised(bound, &[]), vec!["127.0.0.1:7700".parse().unwrap()]);
        let loopback: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(config.advertised(loopback, &[host]), vec![loopback]);
    }
}
