//! `shoal simulate`: the spot policy, and others, against a trace of capacity.
//!
//! The policies and the simulator are `shoal_placement::spot`; here are its files, its flags and its figures.

mod args;
mod campaign;
mod clock;
mod plot;
mod prices;
mod report;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod trace;

use std::{fs, path::Path};

use shoal_placement::spot::{Market, simulate::Trace};

pub(crate) use self::args::SimulateArgs;
use self::{
    args::Source,
    campaign::{Campaign, Span},
    report::Report,
};
use crate::admin::{Code, Problem};

/// Runs the simulation that `args` describes and prints what came of it.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Problem> {
    let (trace, span) = span(args, &read_trace(args)?)?;
    let market = market(args, &trace)?;
    let rows = Campaign::new(args, &trace, &market, span).rows();
    let report = Report::new(&trace, &market, span, args, rows);
    if let Some(path) = &args.plot {
        write(path, &plot::draw(&report))?;
    }
    args.output.print(&report, |wide| report.table(wide))
}

fn read_trace(args: &SimulateArgs) -> Result<Trace, Problem> {
    match args.source() {
        Source::File(path) => trace::read(path),
        Source::Synthetic(synthetic) => synthetic.trace().map_err(|error| Problem::new(Code::Invalid, error)),
    }
}

/// The part of `trace` that policies live through, and from when on it is counted. Before the first cold start is over,
/// nobody can have anything ready, so that is never counted.
fn span(args: &SimulateArgs, trace: &Trace) -> Result<(Trace, Span), Problem> {
    let from = args.from.unwrap_or_else(|| trace.start());
    let until = args.until.unwrap_or_else(|| trace.end());
    let learn_from = args.learn_from.unwrap_or(from);
    let part = trace.between(learn_from.min(from), until).ok_or_else(|| {
        let message =
            format!("the trace, from {} to {}, has no round from {from} to {until}", trace.start(), trace.end());
        Problem::new(Code::Invalid, message)
    })?;
    let count_from = from.max(part.start().plus(args.cold_start));
    if count_from >= part.end() {
        return Err(Problem::new(Code::Invalid, "the trace ends before the first cold start is over"));
    }
    let span = Span { count_from, until: part.end() };
    Ok((part, span))
}

fn market(args: &SimulateArgs, trace: &Trace) -> Result<Market, Problem> {
    match &args.prices {
        Some(path) => prices::read(path, trace.zones()),
        None => Ok(Market::of_zones(trace.zones().iter().map(|zone| (zone.clone(), 1.0)), args.on_demand_ratio)),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    fs::write(path, text)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot write the plot to {}: {error}", path.display())))
}
