//! Which daemon is talked to.

use std::path::PathBuf;

use clap::Args;

use crate::{admin::Problem, cli::client::Client, config::DEFAULT_SOCKET};

/// Which daemon to talk to.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Admin socket of the daemon to talk to, or, for `agent`, to listen on [default: /run/shoal/shoal.sock]
    #[arg(long, global = true, env = "SHOAL_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Admin TCP address of the daemon to talk to, instead of the socket
    #[arg(long, global = true, env = "SHOAL_ADDR", value_name = "HOST:PORT")]
    addr: Option<String>,
    /// File with the admin token for --addr
    #[arg(long, global = true, env = "SHOAL_ADMIN_TOKEN_FILE", requires = "addr", value_name = "PATH")]
    admin_token_file: Option<PathBuf>,
}

impl Connection {
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        match &self.addr {
            None => Ok(Client::unix(self.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into()))),
            Some(addr) => Client::tcp(addr.clone(), self.admin_token_file.as_deref()),
        }
    }
}
