//! What could come next on a command line: shells ask the program itself, which asks the daemon for names.

use std::{env, ffi::OsStr, iter, time::Duration};

use clap::{Args as _, Command, FromArgMatches as _};
use clap_complete::{
    CompletionCandidate,
    env::{EnvCompleter, Shells},
};
use shoal_types::KeyStatus;
use tokio::{runtime::Builder, time::timeout};

use super::{
    args::{Connection, Resource, Shell},
    contexts::Contexts,
    listed::Listed,
    named::Named as _,
    output::{Output, out},
    schema::fields_below,
};
use crate::admin::{Code, EndpointStatus, NodeStatus, Problem, ReplicaStatus};

/// The variable by which shells ask; of its own, so that no other program's makes a daemon answer instead of run.
pub(super) const VARIABLE: &str = "SHOAL_COMPLETE";
/// Longest wait for the daemon: somebody has pressed a key.
const DEADLINE: Duration = Duration::from_millis(500);

/// `shoal completion`: what a shell has to read for that.
pub(super) fn run(shell: Shell) -> Result<(), Problem> {
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let shells = Shells::builtins();
    let unknown = || Problem::new(Code::Failed, format!("nothing is known of the shell {name}"));
    let completer: &dyn EnvCompleter = shells.completer(name).ok_or_else(unknown)?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "shoal", "shoal", "shoal", &mut script)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot write the completion of {name}: {error}")))?;
    out(&String::from_utf8_lossy(&script))
}

type Candidates = Vec<CompletionCandidate>;

/// Kinds of things, and the names of those of the kind that is typed already.
pub(super) fn targets(current: &OsStr) -> Candidates {
    let Some(current) = current.to_str() else { return Vec::new() };
    if let Some((kind, _)) = current.split_once('/') {
        return Resource::of(kind)
            .map(|resource| with_prefix(&format!("{kind}/"), names(resource)))
            .unwrap_or_default();
    }
    let mut before: Vec<String> = words().collect();
    // What is being typed is not yet said.
    before.pop_if(|last| last == current);
    match before.iter().find_map(|word| Resource::of(word)) {
        Some(resource) => starting(current, names(resource)),
        None => starting(current, Resource::ALL.iter().map(|resource| resource.words()[0].to_owned()).collect()),
    }
}

/// Endpoints as `endpoint/NAME`.
pub(super) fn endpoint_targets(current: &OsStr) -> Candidates {
    let prefixed = names(Resource::Endpoints).into_iter().map(|name| format!("endpoint/{name}")).collect();
    current.to_str().map(|current| starting(current, prefixed)).unwrap_or_default()
}

pub(super) fn endpoints(current: &OsStr) -> Candidates {
    current.to_str().map(|current| starting(current, names(Resource::Endpoints))).unwrap_or_default()
}

pub(super) fn nodes(current: &OsStr) -> Candidates {
    current.to_str().map(|current| starting(current, names(Resource::Nodes))).unwrap_or_default()
}

/// Replicas, and the endpoints that they may be of.
pub(super) fn replicas(current: &OsStr) -> Candidates {
    let both = names(Resource::Replicas).into_iter().chain(names(Resource::Endpoints)).collect();
    current.to_str().map(|current| starting(current, both)).unwrap_or_default()
}

pub(super) fn contexts(current: &OsStr) -> Candidates {
    current.to_str().map(|current| starting(current, Contexts::names())).unwrap_or_default()
}

/// Fields of documents, a step at a time.
pub(super) fn fields(current: &OsStr) -> Candidates {
    let Some(current) = current.to_str() else { return Vec::new() };
    let (above, _) = current.rsplit_once('.').unwrap_or_default();
    starting(current, fields_below(above))
}

pub(super) fn formats(current: &OsStr) -> Candidates {
    let formats = Output::FORMATS.map(str::to_owned).into();
    current.to_str().map(|current| starting(current, formats)).unwrap_or_default()
}

fn starting(current: &str, all: Vec<String>) -> Candidates {
    all.into_iter().filter(|one| one.starts_with(current)).map(CompletionCandidate::new).collect()
}

fn with_prefix(prefix: &str, names: Vec<String>) -> Candidates {
    names.into_iter().map(|name| CompletionCandidate::new(format!("{prefix}{name}"))).collect()
}

fn names(resource: Resource) -> Vec<String> {
    match resource {
        Resource::Nodes => ask::<NodeStatus>(),
        Resource::Endpoints => ask::<EndpointStatus>(),
        Resource::Replicas => ask::<ReplicaStatus>(),
        Resource::Keys => ask::<KeyStatus>(),
        // Ids are pasted, and only an issuer knows them.
        Resource::Tokens => Vec::new(),
    }
}

/// The names of all; none without a daemon that answers in time.
fn ask<T: Listed>() -> Vec<String> {
    let answer = || {
        let client = connection()?.client().ok()?;
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let list = runtime.block_on(async { timeout(DEADLINE, client.get::<Vec<T>>(T::PATH)).await });
        // To drop it would be to wait for the resolver of names, which has a patience of its own.
        runtime.shutdown_background();
        list.ok()?.ok()?.names()
    };
    let names: Vec<String> = answer().unwrap_or_default();
    names.into_iter().filter_map(|name| Some(name.split_once('/')?.1.to_owned())).collect()
}

/// The words of the command line that is typed.
fn words() -> impl Iterator<Item = String> {
    let all: Vec<String> = env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let begin = all.iter().position(|word| word == "--").map_or(all.len(), |at| at + 1);
    all.into_iter().skip(begin)
}

/// The daemon that they name.
fn connection() -> Option<Connection> {
    let words = iter::once("shoal".to_owned()).chain(words().skip(1).filter(|word| !word.is_empty()));
    let command = Connection::augment_args(Command::new("shoal").ignore_errors(true));
    let matches = command.try_get_matches_from(words).ok()?;
    let mut connection = Connection::from_arg_matches(&matches).ok()?;
    connection.settle(&matches);
    Some(connection)
}
