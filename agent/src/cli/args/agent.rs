//! `shoal agent`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::values::key_value;
use crate::config::{AuthMode, LogFormat};

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
    /// Name of the Kubernetes node that this pod is on: zone and region are its labels, unless they are given
    #[arg(long, env = "SHOAL_KUBERNETES_NODE", value_name = "NAME")]
    pub(crate) kubernetes_node: Option<String>,
    /// UDP address for the mesh
    #[arg(long, env = "SHOAL_MESH_LISTEN", value_name = "ADDRESS")]
    pub(crate) mesh_listen: Option<SocketAddr>,
    /// UDP address under which other nodes reach this one; may be repeated
    #[arg(long, env = "SHOAL_MESH_ADVERTISE", value_delimiter = ',', value_name = "ADDRESS")]
    pub(crate) mesh_advertise: Vec<SocketAddr>,
    /// TCP address for the OpenAI API
    #[arg(long, env = "SHOAL_INGRESS_LISTEN", value_name = "ADDRESS")]
    pub(crate) ingress_listen: Option<SocketAddr>,
    /// Whether clients must show a key; default yes, unless the address is a loopback one
    #[arg(long, env = "SHOAL_INGRESS_AUTH", value_enum)]
    pub(crate) ingress_auth: Option<AuthMode>,
    /// TCP address for metrics and health
    #[arg(long, env = "SHOAL_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// File with a join token, used if this host is not a node yet; default the credential `join-token` of a systemd unit
    #[arg(long, env = "SHOAL_JOIN_TOKEN_FILE", value_name = "PATH")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Socket of whoever starts processes for engines, which then outlive the service; the packages' unit sets it
    #[arg(long, env = "SHOAL_SHIM_LAUNCHER", value_name = "PATH")]
    pub(crate) shim_launcher: Option<PathBuf>,
    /// How logs are written
    #[arg(long, env = "SHOAL_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, such as info or info,shoal_mesh=debug
    #[arg(long, env = "SHOAL_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}
