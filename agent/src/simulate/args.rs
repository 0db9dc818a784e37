//! Flags.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;
use shoal_placement::spot::{Market, Tuning, simulate::Synthetic};
use shoal_types::{HumanDuration, UnixMillis};

use super::clock;
use crate::cli::Output;

/// Flags of `shoal simulate`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("capacity").args(["trace", "synthetic"]).required(true))]
#[command(after_help = "docs/spot.md explains the policies, the columns, and how their numbers are to be read.")]
pub(crate) struct SimulateArgs {
    /// CSV file, gzipped or not, with the columns scheduled_at, zone and created: how many instances could be launched
    #[arg(long, value_name = "PATH")]
    trace: Option<PathBuf>,
    /// Made-up capacity instead: its seed, number of zones and of days
    #[arg(long, value_name = "SEED[,ZONES[,DAYS]]", value_parser = synthetic)]
    synthetic: Option<Synthetic>,
    /// What decides
    #[arg(long = "policy", value_enum, value_delimiter = ',', default_values_t = PolicyName::ALL)]
    pub(super) policies: Vec<PolicyName>,
    /// Replicas that should be ready, of one instance each
    #[arg(long, value_delimiter = ',', default_values_t = [4, 8, 16], value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) replicas: Vec<u32>,
    /// Spot replicas beyond those, at most
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100))]
    pub(super) overprovision: u32,
    /// Do without capacity on demand
    #[arg(long)]
    pub(super) no_fallback: bool,
    /// Probability of falling short within a cold start up to which `ours` overprovisions less
    #[arg(long, default_value_t = Tuning::default().epsilon, value_parser = probability, value_name = "SHARE")]
    pub(super) epsilon: f64,
    /// Many settings instead of these three, for a curve of each policy
    #[arg(long, conflicts_with_all = ["overprovision", "no_fallback", "epsilon"])]
    pub(super) sweep: bool,
    /// From launch to ready
    #[arg(long, default_value = "6m", value_parser = duration)]
    pub(super) cold_start: Duration,
    /// Time between two decisions
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub(super) step: Duration,
    /// Price on demand, by a spot price that is the same everywhere
    #[arg(long, default_value_t = Market::ON_DEMAND_RATIO, value_parser = ratio, conflicts_with = "prices", value_name = "RATIO")]
    pub(super) on_demand_ratio: f64,
    /// CSV file with the columns region, spot_usd_per_gpu_hour and ondemand_usd_per_gpu_hour instead
    #[arg(long, value_name = "PATH")]
    pub(super) prices: Option<PathBuf>,
    /// Beginning of what is counted, such as 2025-10-11T00:00-07:00; default that of the trace
    #[arg(long, value_parser = clock::parse, value_name = "TIME")]
    pub(super) from: Option<UnixMillis>,
    /// End of it; default that of the trace
    #[arg(long, value_parser = clock::parse, value_name = "TIME")]
    pub(super) until: Option<UnixMillis>,
    /// Let the policies live from then on, uncounted, so that they know the zones when it begins
    #[arg(long, value_parser = clock::parse, requires = "from", value_name = "TIME")]
    pub(super) learn_from: Option<UnixMillis>,
    /// Of the random choices; the same seed gives the same numbers
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Runs with one seed after the other, of which the mean is shown
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) runs: u32,
    /// Draw availability against cost into this SVG file
    #[arg(long, value_name = "PATH.svg", value_parser = svg)]
    pub(super) plot: Option<PathBuf>,
    /// How to print: table, wide, json, yaml or jsonpath=TEMPLATE
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    pub(super) output: Output,
}

/// Where capacity comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    File(&'a Path),
    Synthetic(Synthetic),
}

impl SimulateArgs {
    pub(super) fn source(&self) -> Source<'_> {
        match (&self.trace, self.synthetic) {
            (Some(path), _) => Source::File(path),
            // clap asks for one of the two; a seed is as good as any.
            (None, synthetic) => Source::Synthetic(synthetic.unwrap_or(Synthetic { seed: 1, zones: 12, days: 14 })),
        }
    }
}

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PolicyName {
    /// The same number in every zone
    EvenSpread,
    /// One zone after the other
    RoundRobin,
    /// SkyServe's
    Spothedge,
    /// shoal's
    Ours,
    /// A bound: the least cost with everything known beforehand
    Optimum,
}

impl PolicyName {
    pub(super) const ALL: [Self; 5] = [Self::EvenSpread, Self::RoundRobin, Self::Spothedge, Self::Ours, Self::Optimum];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::EvenSpread => "even-spread",
            Self::RoundRobin => "round-robin",
            Self::Spothedge => "spothedge",
            Self::Ours => "ours",
            Self::Optimum => "optimum",
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<HumanDuration>() {
        Ok(HumanDuration(duration)) if duration >= Duration::from_secs(1) => Ok(duration),
        Ok(_) => Err(format!("`{text}` is too short: a second is the least")),
        Err(error) => Err(error.to_string()),
    }
}

fn synthetic(text: &str) -> Result<Synthetic, String> {
    let error = || format!("`{text}` is not SEED[,ZONES[,DAYS]] with at most 1000 zones and 1000 days");
    let mut parts = text.split(',');
    let mut next = |default: u32| {
        parts.next().map_or_else(|| Ok(u64::from(default)), |part| u64::from_str(part).map_err(|_| error()))
    };
    let (seed, zones, days) = (next(1)?, next(12)?, next(14)?);
    let bounded =
        |number: u64| u32::try_from(number).ok().filter(|number| (1..=1_000).contains(number)).ok_or_else(error);
    let synthetic = Synthetic { seed, zones: bounded(zones)?, days: bounded(days)? };
    parts.next().map_or(Ok(synthetic), |_| Err(error()))
}

fn svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg")) {
        return Ok(path);
    }
    Err("the plot is drawn as SVG, so the file's name has to end in .svg".to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|ratio| (0.01..=1000.0).contains(ratio));
    number.ok_or_else(|| format!("`{text}` is not a ratio from 0.01 to 1000"))
}

fn probability(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    number.ok_or_else(|| format!("`{text}` is not a share from 0 to 1"))
}
