//! Why a supervisor cannot start, and why it will not run a spec.

use std::{io, path::PathBuf};

use shoal_types::ClaimId;

use crate::{GatewayRefusal, KeyError, WeightsError};

/// Why the supervisor cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its directories cannot be used.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Directory {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Linux allows 107 bytes.
    #[error(
        "engine sockets would be {path}: {len} bytes, and a Unix socket's path has at most {max}; use a shorter state \
         directory", path = .path.display()
    )]
    SocketPathTooLong {
        /// Such a path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
        /// The longest possible.
        max: usize,
    },
    /// A command of the node's configuration cannot be run as it is written.
    #[error("the engine command `{name}` of this node's configuration {problem}")]
    Command {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A claim is launched once.
    #[error("replica {0} runs already")]
    AlreadyRunning(ClaimId),
    /// It is being shut down.
    #[error("the engine supervisor is shutting down and starts nothing")]
    ShuttingDown,
    /// No port is left on loopback.
    #[error("cannot reserve a port on 127.0.0.1 for the engine: {0}")]
    NoPort(io::Error),
    /// The directory or the hub of models cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A defect.
    #[error("looking at the models on this node's disk broke off: {0}")]
    WeightsPanic(String),
    /// This node does not run such a spec.
    #[error(transparent)]
    Refused(#[from] RefusalReason),
}

/// Why this node does not run a spec: each a sentence for the one who wrote the spec or the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The kind is not configured.
    #[error("this node does not offer the engine kind `{0}`")]
    NotOffered(&'static str),
    /// No command has that name.
    #[error("this node's configuration defines no engine command `{0}`")]
    UnknownCommand(String),
    /// The engine's program is not there.
    #[error("the engine's program `{0}` is not an executable file on this node")]
    NoProgram(String),
    /// A model, alias or revision that the engine would take for a flag.
    #[error("`{0}` cannot be the name of a model or of its revision: it starts with `-`")]
    ModelIsFlag(String),
    /// A model path that does not exist.
    #[error("the model path `{0}` does not exist on this node")]
    NoModel(String),
    /// A directory that is no model.
    #[error("the model directory `{0}` holds no `config.json` or `params.json`")]
    EmptyModel(String),
    /// No file, where the engine takes nothing else.
    #[error("llama.cpp serves one file in GGUF format, by its absolute path on this node, which `{0}` is not")]
    NotAFile(String),
    /// Neither a path nor a name of the hub.
    #[error("`{0}` is neither an absolute path nor a hub id such as `organisation/model`")]
    NotAModel(String),
    /// An engine that does not serve adapters by name.
    #[error(
        "engines of kind `{0}` do not serve LoRA adapters by the names that clients send as `model`: a request for one would \
         be answered by the model itself"
    )]
    NoAdapters(&'static str),
    /// A name or source of an adapter that the engine would misread.
    #[error("`{0}` cannot be the name or the source of an adapter: it begins with `-`, or holds `=`, `,` or `{{`")]
    AdapterText(String),
    /// A directory that is no adapter, or is not there.
    #[error("`{0}` on this node is no directory with `adapter_config.json` and `adapter_model.safetensors`")]
    NoAdapter(String),
    /// A flag that is not allowed here.
    #[error(
        "this node does not allow the argument `{flag}` of {engine}; its configuration can (`engines.{engine}.allowedArgs`)"
    )]
    Argument {
        /// The kind.
        engine: &'static str,
        /// Which.
        flag: String,
    },
    /// A flag that the supervisor needs for itself.
    #[error("the argument `{flag}` of {engine} is set by shoal and cannot be in a spec's arguments")]
    ReservedArgument {
        /// The kind.
        engine: &'static str,
        /// Which.
        flag: String,
    },
    /// A value with no flag before it.
    #[error("`{value}` among the arguments of {engine} follows no flag")]
    StrayArgument {
        /// The kind.
        engine: &'static str,
        /// Which.
        value: String,
    },
    /// A variable that is not allowed here.
    #[error(
        "this node does not allow the variable `{name}` for {engine}; its configuration can (`engines.{engine}.allowedEnv`)"
    )]
    Variable {
        /// The kind.
        engine: &'static str,
        /// Which.
        name: String,
    },
    /// A variable that the supervisor needs for itself.
    #[error("the variable `{0}` is set by shoal and cannot be in a spec")]
    ReservedVariable(String),
    /// A service that it does not stand for.
    #[error(transparent)]
    Gateway(#[from] GatewayRefusal),
    /// A NUL byte, which no argument or variable can hold.
    #[error("`{0}` holds a NUL byte, which no argument or variable of a process can")]
    Nul(String),
}

impl From<KeyError> for RefusalReason {
    fn from(error: KeyError) -> Self {
        Self::Gateway(error.into())
    }
}
