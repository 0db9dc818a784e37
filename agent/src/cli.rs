//! The command line: kubectl's verbs, tables on stdout, progress and errors on stderr, exit codes by name.

mod apply;
mod args;
mod backup;
mod bugreport;
mod client;
mod complete;
mod contexts;
mod describe;
mod doctor;
mod events;
mod export;
mod get;
mod identity;
mod issuer;
mod jsonpath;
mod key;
mod listed;
mod logs;
mod named;
mod node;
mod output;
mod reference;
mod rollout;
mod root;
mod scale;
mod schema;
mod select;
mod table;
mod target;
mod token;
mod top;
mod wait;
mod wait_for;
mod watch;
mod why;
mod why_request;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind};
use clap_complete::CompleteEnv;
use tokio::runtime::{Builder, Runtime};

pub(crate) use args::{AgentArgs, DevArgs, DevGpus, DevVerb, EngineExecArgs, EngineShimArgs, SimEngineArgs};
use args::{Cli, Command, Connection, EngineVerb, NodeVerb, Verb};
pub(crate) use client::Client;
pub(crate) use identity::{IDENTITY_DIR, join_with, read_token};
pub(crate) use named::Named;
pub(crate) use output::{Output, note, out, wants_colours};
pub(crate) use table::Table;
pub(crate) use wait::ready as wait_until_ready;

use crate::{
    admin::{Code, Problem},
    daemon, dev, simulate,
};

/// Parses the arguments, runs the verb, prints what went wrong.
pub(crate) fn main() -> ExitCode {
    // Where a shell asks what could come next, that is all there is to do.
    CompleteEnv::with_factory(Cli::command).var(complete::VARIABLE).complete();
    let cli = match parse() {
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

fn parse() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.connection.settle(&matches);
    Ok(cli)
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
    // Only where it is needed: a daemon must start whatever contexts its user has.
    let client = || connection.client();
    let done = match verb {
        Verb::Plan(args) => return why::plan(&client()?, args).await.map(ExitCode::from),
        Verb::Why(args) => why::why(&client()?, args).await,
        Verb::Rollout(verb) => rollout::run(&client()?, verb).await,
        Verb::Agent(args) => daemon::run(args, connection.socket).await,
        Verb::Init(args) => identity::init(args),
        Verb::Join(args) => identity::join(args).await,
        Verb::Token(verb) => token::run(&client()?, verb).await,
        Verb::Issuer(verb) => issuer::run(&client()?, verb).await,
        Verb::Root(verb) => root::run(client, verb).await,
        Verb::Key(verb) => key::run(&client()?, verb).await,
        Verb::Apply(args) => apply::apply(&client()?, args).await,
        Verb::Get(args) => get::run(&client()?, args).await,
        Verb::Describe(args) => describe::run(&client()?, args).await,
        Verb::Events(args) => events::run(&client()?, args).await,
        Verb::Delete(args) => apply::delete(&client()?, args).await,
        Verb::Export(args) => export::run(&client()?, args).await,
        Verb::Scale(args) => scale::run(&client()?, args).await,
        Verb::Wait(args) => wait_for::run(&client()?, args).await,
        Verb::Logs(args) => logs::run(&client()?, args).await,
        Verb::Drain(args) => node::drain(&client()?, args).await,
        Verb::Undrain(args) => node::undrain(&client()?, args).await,
        Verb::Node(NodeVerb::Revoke(args)) => node::revoke(&client()?, args).await,
        Verb::Status(args) => get::status(&client()?, args).await,
        Verb::Backup(args) => backup::backup(&client()?, args).await,
        Verb::Restore(args) => backup::restore(&client()?, args).await,
        Verb::Config(verb) => schema::run(verb),
        Verb::Reference { of } => reference::run(of),
        Verb::Top(args) => top::run(&client()?, args).await,
        Verb::Doctor(args) => doctor::run(&client()?, args).await,
        Verb::Bugreport(args) => bugreport::run(&client()?, args).await,
        Verb::Explain(args) => schema::explain(&args),
        Verb::Completion { shell } => complete::run(shell),
        Verb::Context(verb) => contexts::run(verb),
        Verb::Dev(args) => dev::run(args).await,
        Verb::Simulate(args) => simulate::run(&args),
        Verb::SimEngine(args) => daemon::sim_engine(args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}
