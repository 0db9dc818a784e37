//! Which daemon is talked to.

use std::path::PathBuf;

use clap::{ArgMatches, Args, parser::ValueSource};
use clap_complete::ArgValueCompleter;

use super::values::host_port;
use crate::{
    admin::{Code, Problem},
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
    /// File with the admin token for --addr or --context
    #[arg(long, global = true, env = "SHOAL_ADMIN_TOKEN_FILE", value_name = "PATH")]
    admin_token_file: Option<PathBuf>,
    /// Context of the mesh to talk to, as `shoal context list` shows it
    #[arg(long, global = true, env = "SHOAL_CONTEXT", value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    context: Option<String>,
}

impl Connection {
    /// Leaves only what counts: what was typed rather than what the environment says, and of that an address rather than
    /// the name of one. The environment's token is for an address: without one it is nobody's.
    pub(crate) fn settle(&mut self, matches: &ArgMatches) {
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if typed("addr") && !typed("socket") {
            self.socket = None;
        } else if typed("socket") && !typed("addr") {
            self.addr.clear();
        } else if typed("context") {
            (self.socket, self.addr) = (None, Vec::new());
        }
        if self.addr.is_empty() && !typed("admin_token_file") {
            self.admin_token_file = None;
        }
    }

    pub(crate) fn client(&self) -> Result<Client, Problem> {
        let token_file = self.admin_token_file.as_deref();
        if !self.addr.is_empty() {
            return Client::tcp(self.addr.clone(), token_file);
        }
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => match Contexts::find(self.context.as_deref())? {
                Some(context) => return context.client(token_file),
                None => DEFAULT_SOCKET.into(),
            },
        };
        if token_file.is_some() {
            let message = format!("--admin-token-file is for an address, and {} is a socket", socket.display());
            return Err(Problem::new(Code::Invalid, message).hint("--addr HOST:PORT, or --context NAME"));
        }
        Ok(Client::unix(socket))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use crate::{admin::Code, cli::args::Cli};

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
    fn a_token_without_an_address_is_wrong_if_it_was_typed_and_nobodys_if_not() {
        let client = |words: &[&str], of_environment: bool| {
            let matches = Cli::command().get_matches_from([&["shoal"], words, &["status"]].concat());
            let mut connection = Cli::from_arg_matches(&matches).unwrap().connection;
            if of_environment {
                connection.admin_token_file = Some("/dev/null".into());
            }
            connection.settle(&matches);
            connection.client().map(drop).map_err(|problem| problem.code)
        };
        assert_eq!(client(&["--socket", "/s"], true), Ok(()));
        assert_eq!(client(&["--addr", "a:1"], true), Ok(()));
        assert_eq!(client(&["--admin-token-file", "/dev/null", "--addr", "a:1"], false), Ok(()));
        assert_eq!(client(&["--admin-token-file", "/dev/null", "--socket", "/s"], false), Err(Code::Invalid));
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
