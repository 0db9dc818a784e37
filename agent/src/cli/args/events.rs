//! `shoal events`.

use std::time::Duration;

use clap::Args;

use super::{OutputArgs, values::duration};

/// Events that are shown if it is not said how many.
const LATEST: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct EventArgs {
    /// Only what concerns this: endpoint/NAME, replica/NAME, node/NAME, gpu/UUID, key/NAME, token/ID or mesh
    #[arg(long = "for", value_name = "KIND/NAME")]
    pub(crate) about: Option<String>,
    /// Only what happened within this time, such as 30m; events are kept for a day
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) since: Option<Duration>,
    /// Only warnings
    #[arg(long)]
    pub(crate) warnings: bool,
    /// At most so many, the latest
    #[arg(long, default_value_t = LATEST, value_name = "N")]
    pub(crate) limit: usize,
    /// Go on with new ones
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl EventArgs {
    /// The latest of all.
    pub(crate) const fn latest(watch: bool, output: OutputArgs) -> Self {
        Self { about: None, since: None, warnings: false, limit: LATEST, watch, output }
    }
}
