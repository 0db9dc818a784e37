//! Which daemon is talked to.

use std::path::PathBuf;

use clap::{ArgMatches, Args, parser::ValueSource};
use clap_complete::ArgValueCompleter;

use super::values::host_port;
use crate::{
    admin::Problem,
    cli::{client::Client, complete, contexts::Contexts},
    config::DEFAULT_SOCKET,
};

/// Which daemon to talk to.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Admin socket of the daemon to talk to, or, for `agent`, to listen on [default: /run/shoal/shoal.sock]
    #[arg(long, global = true, env = "SHOAL_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Admin TCP address of the daemon to talk to, instead of the socket; several by commas are tried in turn
    #[arg(long, global = true, env = "SHOAL_ADDR", value_delimiter = ',', value_parser = host_port, value_name = "HOST:PORT")]
    addr: Vec<String>,
    /// File with the admin token for --addr
    #[arg(long, global = true, env = "SHOAL_ADMIN_TOKEN_FILE", requires = "addr", value_name = "PATH")]
    admin_token_file: Option<PathBuf>,
    /// Context of the mesh to talk to, as `shoal context list` shows it
    #[arg(long, global = true, env = "SHOAL_CONTEXT", value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    context: Option<String>,
}

impl Connection {
    /// Leaves only what counts: what was typed rather than what the environment says, and of that an address rather than
    /// the name of one.
    pub(crate) fn settle(&mut self, matches: &ArgMatches) {
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if typed("addr") && !typed("socket") {
            self.socket = None;
        } else if typed("socket") && !typed("addr") {
            self.addr.clear();
        } else if typed("context") {
            (self.socket, self.addr) = (None, Vec::new());
        }
    }

    pub(crate) fn client(&self) -> Result<Client, Problem> {
        if !self.addr.is_empty() {
            return Client::tcp(self.addr.clone(), self.admin_token_file.as_deref());
        }
        if let Some(socket) = &self.socket {
            return Ok(Client::unix(socket.clone()));
        }
        let context = Contexts::find(self.context.as_deref())?;
        context.map_or_else(|| Ok(Client::unix(DEFAULT_SOCKET.into())), |context| context.client())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use crate::cli::args::Cli;

    /// What is left of `--socket`, `--addr` and `--context`, none of which the tests' environment may set.
    fn settled(words: &[&str]) -> (bool, usize, bool) {
        let matches = Cli::command().get_matches_from([&["shoal"], words, &["status"]].concat());
        let mut connection = Cli::from_arg_matches(&matches).unwrap().connection;
        // As if the environment named both.
        connection.socket.get_or_insert_with(|| "/env.sock".into());
        if connection.addr.is_empty() {
            connection.addr.push("env:1".to_owned());
        }
        connection.settle(&matches);
        (connection.socket.is_some(), connection.addr.len(), connection.context.is_some())
    }

    #[test]
    fn what_is_typed_overrides_what_the_environment_says() {
        assert_eq!(settled(&["--socket", "/s"]), (true, 0, false));
        assert_eq!(settled(&["--addr", "a:1,b:2"]), (false, 2, false));
        assert_eq!(settled(&["--context", "lab"]), (false, 0, true));
        assert_eq!(settled(&["--context", "lab", "--addr", "a:1"]), (false, 1, true));
        assert_eq!(settled(&[]), (true, 1, false));
    }
}
