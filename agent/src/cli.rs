//! The command line: kubectl's verbs, tables on stdout, progress and errors on stderr, exit codes by name.

mod apply;
mod args;
mod backup;
mod client;
mod describe;
mod events;
mod get;
mod identity;
mod issuer;
mod key;
mod logs;
mod node;
mod output;
mod rollout;
mod schema;
mod table;
mod token;
mod wait;
mod why;
mod why_request;

use std::process::ExitCode;

use clap::{Parser as _, error::ErrorKind};
use tokio::runtime::{Builder, Runtime};

pub(crate) use args::{AgentArgs, DevArgs, DevGpus, DevVerb, EngineExecArgs, EngineShimArgs, SimEngineArgs};
use args::{Cli, Command, Connection, EngineVerb, Verb};
pub(crate) use client::Client;
pub(crate) use identity::{IDENTITY_DIR, join_with, read_token};
pub(crate) use output::{Output, note, out};
pub(crate) use table::Table;
pub(crate) use wait::ready as wait_until_ready;

use crate::{
    admin::{Code, Problem},
    daemon, dev, simulate,
};

/// Parses the arguments, runs the verb, prints what went wrong.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => Code::Invalid.exit_code(),
            };
            // Nowhere to say so if even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let ended = match cli.command {
        Command::Engine(EngineVerb::EngineShim(args)) => daemon::engine_shim(args).map(|()| ExitCode::SUCCESS),
        Command::Engine(EngineVerb::EngineExec(args)) => Err(daemon::engine_exec(args)),
        Command::Verb(verb) => runtime().and_then(|runtime| runtime.block_on(run(cli.connection, verb))),
    };
    match ended {
        Ok(code) => code,
        Err(problem) => fail(&problem),
    }
}

fn runtime() -> Result<Runtime, Problem> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(Code::Failed, format!("cannot start the async runtime: {error}")))
}

fn fail(problem: &Problem) -> ExitCode {
    note(&problem.to_string());
    ExitCode::from(problem.code.exit_code())
}

async fn run(connection: Connection, verb: Verb) -> Result<ExitCode, Problem> {
    let client = connection.client()?;
    let done = match verb {
        Verb::Plan(args) => return why::plan(&client, args).await.map(ExitCode::from),
        Verb::Why(args) => why::why(&client, args).await,
        Verb::Rollout(verb) => rollout::run(&client, verb).await,
        Verb::Agent(args) => daemon::run(args, connection.socket).await,
        Verb::Init(args) => identity::init(args),
        Verb::Join(args) => identity::join(args).await,
        Verb::Token(verb) => token::run(&client, verb).await,
        Verb::Issuer(verb) => issuer::run(&client, verb).await,
        Verb::Key(verb) => key::run(&client, verb).await,
        Verb::Apply(args) => apply::apply(&client, args).await,
        Verb::Get(args) => get::run(&client, args).await,
        Verb::Describe(args) => describe::run(&client, args).await,
        Verb::Events(args) => events::run(&client, args).await,
        Verb::Delete(args) => apply::delete(&client, args).await,
        Verb::Logs(args) => logs::run(&client, args).await,
        Verb::Drain(args) => node::drain(&client, args).await,
        Verb::Undrain(args) => node::undrain(&client, args).await,
        Verb::Revoke(args) => node::revoke(&client, args).await,
        Verb::Status(args) => get::status(&client, args).await,
        Verb::Backup(args) => backup::backup(&client, args).await,
        Verb::Restore(args) => backup::restore(&client, args).await,
        Verb::Config(verb) => schema::run(verb),
        Verb::Dev(args) => dev::run(args).await,
        Verb::Simulate(args) => simulate::run(&args),
        Verb::SimEngine(args) => daemon::sim_engine(args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}
