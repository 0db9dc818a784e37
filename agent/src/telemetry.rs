//! Logs of the daemon, to standard error, for people or for machines.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    admin::{Code, Problem},
    cli::wants_colours,
    config::{LogConfig, LogFormat},
};

/// What is logged unless told otherwise. chitchat and quinn say at `info` what only their authors need.
const DEFAULT_FILTER: &str = "info,chitchat=warn,quinn=warn,quinn_proto=warn";

/// Sets up logging for the process.
///
/// # Errors
/// If the filter cannot be read.
pub(crate) fn init(config: &LogConfig) -> Result<(), Problem> {
    let filter = config.filter.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Problem::new(Code::Invalid, format!("the log filter `{filter}` cannot be read: {error}"))
            .hint("write a level, or levels per module, such as `info,shoal_mesh=debug`")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let initialised = match config.format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(has_colours())).try_init(),
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    initialised.map_err(|error| Problem::new(Code::Failed, format!("cannot set up logging: {error}")))
}

fn has_colours() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && wants_colours()
}
