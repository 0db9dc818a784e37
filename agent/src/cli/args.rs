//! Verbs and flags.

use std::{collections::BTreeMap, ffi::OsString, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use shoal_types::{EndpointName, Hlc, HumanDuration};

use super::{client::Client, output::Output};
use crate::{
    admin::Problem,
    config::{DEFAULT_SOCKET, DEFAULT_STATE_DIR, LogFormat},
    simulate::SimulateArgs,
};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, or degraded (status); 2 accepted, but not ready; \
3 daemon or node not reachable; 4 not allowed; 5 not found; 6 changed by somebody else meanwhile; \
64 wrong usage or document; 124 time-out.";

/// Serve LLMs from GPU hosts in many clusters, with no controller.
#[derive(Debug, Parser)]
#[command(name = "shoal", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one per process
pub(super) enum Command {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Engine(EngineVerb),
}

/// Which daemon to talk to.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Admin socket of the daemon to talk to, or, for `agent`, to listen on [default: /run/shoal/shoal.sock]
    #[arg(long, global = true, env = "SHOAL_SOCKET", value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Admin TCP address of the daemon to talk to, instead of the socket
    #[arg(long, global = true, env = "SHOAL_ADDR", value_name = "HOST:PORT")]
    addr: Option<String>,
    /// File with the admin token for --addr
    #[arg(long, global = true, env = "SHOAL_ADMIN_TOKEN_FILE", requires = "addr", value_name = "PATH")]
    admin_token_file: Option<PathBuf>,
}

impl Connection {
    pub(super) fn client(&self) -> Result<Client, Problem> {
        match &self.addr {
            None => Ok(Client::unix(self.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into()))),
            Some(addr) => Client::tcp(addr.clone(), self.admin_token_file.as_deref()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the daemon of this host
    Agent(AgentArgs),
    /// Make a new mesh, with this host as its first node
    Init(InitArgs),
    /// Make this host a node of a mesh
    Join(JoinArgs),
    /// Make, list and revoke the tokens that nodes join with
    #[command(subcommand)]
    Token(TokenVerb),
    /// Create or change endpoints from YAML
    Apply(ApplyArgs),
    /// Show nodes, endpoints or replicas
    Get(GetArgs),
    /// Show all about one node, endpoint or replica, and why it is as it is
    Describe(DescribeArgs),
    /// Delete endpoints
    Delete(DeleteArgs),
    /// Show what a replica's engine prints
    Logs(LogsArgs),
    /// Move everything off a node, replacements first
    Drain(DrainArgs),
    /// Take a drained node, or a GPU of it that had a fault, back into use
    Undrain(UndrainArgs),
    /// Shut a node out of the mesh for good
    Revoke(NodeArgs),
    /// Show why replicas of an endpoint are where they are, and what would change that
    Why(WhyArgs),
    /// Show what applying a file would do; exit 0 nothing, 1 changes, 2 something finds no place
    Plan(PlanArgs),
    /// Watch and steer how a new revision takes the place of the one before
    #[command(subcommand)]
    Rollout(RolloutVerb),
    /// Show the mesh in one screen; exit 1 if it needs attention
    Status(OutputArgs),
    /// Print JSON Schemas for editors
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Run a whole mesh of real daemons on this host, to try shoal
    Dev(DevArgs),
    /// Run the spot policy, and others, against a trace of capacity
    Simulate(SimulateArgs),
    /// The simulated engine, as the daemon starts it
    #[command(hide = true)]
    SimEngine(SimEngineArgs),
}

/// Verbs of processes that are not to have more threads than they need.
#[derive(Debug, Subcommand)]
pub(super) enum EngineVerb {
    /// Keeps one engine, with a daemon or without
    #[command(hide = true)]
    EngineShim(EngineShimArgs),
    /// Becomes an engine that ends with its shim
    #[command(hide = true)]
    EngineExec(EngineExecArgs),
}

/// Flags override the environment, which overrides the file.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentArgs {
    /// Configuration file; default /etc/shoal/shoal.yaml if it exists
    #[arg(long, env = "SHOAL_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of keys, specs and replica logs
    #[arg(long, env = "SHOAL_STATE_DIR", value_name = "PATH")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Name of this node; default the host name
    #[arg(long, env = "SHOAL_NODE_NAME")]
    pub(crate) name: Option<String>,
    /// Label of this node, such as zone=eu-1a; may be repeated
    #[arg(long = "label", env = "SHOAL_LABELS", value_delimiter = ',', value_parser = key_value, value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<(String, String)>,
    /// UDP address for the mesh
    #[arg(long, env = "SHOAL_MESH_LISTEN", value_name = "ADDRESS")]
    pub(crate) mesh_listen: Option<SocketAddr>,
    /// UDP address under which other nodes reach this one; may be repeated
    #[arg(long, env = "SHOAL_MESH_ADVERTISE", value_delimiter = ',', value_name = "ADDRESS")]
    pub(crate) mesh_advertise: Vec<SocketAddr>,
    /// TCP address for the OpenAI API
    #[arg(long, env = "SHOAL_INGRESS_LISTEN", value_name = "ADDRESS")]
    pub(crate) ingress_listen: Option<SocketAddr>,
    /// TCP address for metrics and health
    #[arg(long, env = "SHOAL_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// File with a join token, used if this host is not a node yet
    #[arg(long, env = "SHOAL_JOIN_TOKEN_FILE", value_name = "PATH")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// How logs are written
    #[arg(long, env = "SHOAL_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, such as info or info,shoal_mesh=debug
    #[arg(long, env = "SHOAL_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Directory of keys, specs and replica logs
    #[arg(long, env = "SHOAL_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "PATH")]
    pub(super) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// File with the token; `-` reads it from standard input
    #[arg(value_name = "TOKEN-FILE", env = "SHOAL_JOIN_TOKEN_FILE")]
    pub(super) token_file: PathBuf,
    /// Directory of keys, specs and replica logs
    #[arg(long, env = "SHOAL_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "PATH")]
    pub(super) state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Make a token; it is printed once, to standard output
    Create(TokenCreateArgs),
    /// List tokens
    List(OutputArgs),
    /// Make a token useless
    Revoke {
        /// Its id, as listed
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenCreateArgs {
    /// How long it can be used
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub(super) ttl: Duration,
    /// By how many nodes it can be used
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) uses: u32,
    /// The node may admit others and make tokens
    #[arg(long, conflicts_with = "no_write")]
    pub(super) issuer: bool,
    /// The node may not write specs: for hosts that are trusted less
    #[arg(long)]
    pub(super) no_write: bool,
    /// Label that the node gets; may be repeated
    #[arg(long = "label", value_parser = key_value, value_name = "KEY=VALUE")]
    pub(super) labels: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// YAML file; `-` reads standard input
    #[arg(short, long, value_name = "PATH")]
    pub(super) filename: PathBuf,
    /// Apply only if the endpoint still is at this version, as `get endpoints -o wide` shows it
    #[arg(long, value_name = "VERSION")]
    pub(super) expect: Option<Hlc>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// Wait until it is so
    #[arg(long)]
    pub(super) wait: bool,
    /// Longest wait
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(super) timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Resource {
    #[value(name = "nodes", aliases = ["node", "no"])]
    Nodes,
    #[value(name = "endpoints", aliases = ["endpoint", "ep"])]
    Endpoints,
    #[value(name = "replicas", aliases = ["replica", "rep"])]
    Replicas,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// What to show
    pub(super) resource: Resource,
    /// Only this one
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct DescribeArgs {
    /// What to show
    pub(super) resource: Resource,
    /// Which one
    pub(super) name: String,
}

#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// `endpoint NAME`
    #[arg(num_args = 2, value_names = ["RESOURCE", "NAME"], required_unless_present = "filename")]
    pub(super) target: Vec<String>,
    /// Delete the endpoints of this YAML file
    #[arg(short, long, value_name = "PATH", conflicts_with = "target")]
    pub(super) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// `endpoint/NAME`
    #[arg(value_name = "endpoint/NAME")]
    pub(super) target: String,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// YAML file; `-` reads standard input
    #[arg(short, long, value_name = "PATH")]
    pub(super) filename: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum RolloutVerb {
    /// Show how far the rollout has come, and how both revisions do
    Status(RolloutTarget),
    /// Let both revisions stand as they are
    Pause(RolloutEndpoint),
    /// Go on, or try again what was rolled back
    Resume(RolloutEndpoint),
    /// Go back to the revision before, or to another
    Undo(RolloutUndo),
    /// List the revisions that can be gone back to
    History(RolloutTarget),
}

#[derive(Debug, Args)]
pub(super) struct RolloutEndpoint {
    /// Name of the endpoint
    pub(super) endpoint: EndpointName,
}

#[derive(Debug, Args)]
pub(super) struct RolloutTarget {
    /// Name of the endpoint
    pub(super) endpoint: EndpointName,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct RolloutUndo {
    /// Name of the endpoint
    pub(super) endpoint: EndpointName,
    /// Revision to go back to, as `history` shows it; default the one before
    #[arg(long, value_name = "REVISION")]
    pub(super) to: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// A replica, or an endpoint, of which the newest replica is shown
    pub(super) name: String,
    /// Go on with new lines
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Of the launch before the present one, which crashed
    #[arg(short, long, conflicts_with = "follow")]
    pub(super) previous: bool,
    /// Lines from the end
    #[arg(long, default_value_t = 200)]
    pub(super) tail: usize,
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// Name or id of the node
    pub(super) node: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    /// Name or id of the node
    pub(super) node: String,
    /// Forget what this GPU of the node has reported; it stays out of use while it still shows it
    #[arg(long, value_name = "UUID")]
    pub(super) gpu: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// Name or id of the node
    pub(super) node: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print a JSON Schema
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = SchemaOf::Endpoint)]
        of: SchemaOf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    /// What is applied
    Endpoint,
    /// The node's configuration file
    Node,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<DevVerb>,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: u16,
    /// Port of the first node's OpenAI API; node i listens on this plus i
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub(crate) http_base: u16,
    /// GPUs of each node: so many simulated ones, or `mock` for eight of a stand-in for NVIDIA's library, which are as a
    /// file says that can be edited
    #[arg(long, default_value = "2", value_name = "N|mock")]
    pub(crate) gpus: DevGpus,
    /// The stand-in, for `--gpus mock`; default libmock_nvml.so beside this program
    #[arg(long, value_name = "PATH")]
    pub(crate) mock_nvml: Option<PathBuf>,
    /// Directory for the nodes' state; default a temporary one, removed in the end
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object when ready, and no progress
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave the mesh running and return; `shoal dev stop` ends it
    #[arg(long)]
    pub(crate) detach: bool,
}

/// GPUs of each node of `shoal dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DevGpus {
    /// So many that do not exist.
    Simulated(u32),
    /// Those of a library that stands in for NVIDIA's.
    Mock,
}

impl FromStr for DevGpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(count @ 0..=64) => Ok(Self::Simulated(count)),
            Err(_) if text == "mock" => Ok(Self::Mock),
            Ok(_) | Err(_) => Err("neither a number up to 64 nor `mock`".to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum DevVerb {
    /// Stop a detached mesh
    Stop,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SimEngineArgs {
    /// Unix socket to listen on
    #[arg(long)]
    pub(crate) uds: PathBuf,
    /// Name that it serves; may be repeated, the first is its own
    #[arg(long = "model", required = true)]
    pub(crate) models: Vec<String>,
    /// Time that pretends to be loading weights
    #[arg(long, value_parser = duration)]
    pub(crate) load_time: Duration,
    /// Time to the first token
    #[arg(long, value_parser = duration)]
    pub(crate) time_to_first_token: Duration,
    /// Time between two tokens
    #[arg(long, value_parser = duration)]
    pub(crate) inter_token_latency: Duration,
    /// Sequences served at once
    #[arg(long)]
    pub(crate) max_num_seqs: u32,
    /// Most tokens of a prompt and its answer together
    #[arg(long)]
    pub(crate) max_model_len: u32,
    /// Take `/sleep` and `/wake_up`
    #[arg(long)]
    pub(crate) enable_sleep_mode: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EngineShimArgs {
    /// Directory of the replica
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EngineExecArgs {
    /// The shim, with which the engine ends
    #[arg(long)]
    pub(crate) parent: u32,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<HumanDuration>().map(|duration| duration.0).map_err(|error| error.to_string())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// Labels as flags gave them; the last of equal keys wins.
pub(super) fn label_map(labels: Vec<(String, String)>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}
