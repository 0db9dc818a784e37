//! Traces from files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use shoal_placement::spot::simulate::Trace;
use shoal_types::UnixMillis;

use super::{clock, table::Table};
use crate::admin::{Code, Problem};

/// Most rounds of one trace: nineteen years of ten minutes. A typing error in a time must not fill memory.
const ROUNDS_MAX: usize = 1_000_000;

/// Reads a trace: one row for each round and zone. The time between rounds is what it mostly is; of a round that is
/// missing, the one before is taken.
pub(super) fn read(path: &Path) -> Result<Trace, Problem> {
    let table = Table::read(path)?;
    let mut rounds: BTreeMap<UnixMillis, BTreeMap<&str, u32>> = BTreeMap::new();
    for (row, [time, zone, created]) in table.rows(["scheduled_at", "zone", "created"])? {
        let time = clock::parse(time).map_err(|error| table.problem(row, &error))?;
        let created: u32 =
            created.parse().map_err(|_| table.problem(row, &format!("`{created}` is not a number of instances")))?;
        rounds.entry(time).or_default().insert(zone, created);
    }
    let zones: Vec<&str> =
        rounds.values().flat_map(BTreeMap::keys).copied().collect::<BTreeSet<_>>().into_iter().collect();
    let round = usual_gap(&rounds.keys().copied().collect::<Vec<_>>());
    let start = rounds.keys().next().copied().unwrap_or_default();
    let mut capacity: Vec<Vec<u32>> = Vec::new();
    for (time, told) in &rounds {
        let index = nearest(time.since(start), round);
        if index >= ROUNDS_MAX {
            return Err(Problem::new(
                Code::Invalid,
                format!("{}: {time} is too far from the beginning", path.display()),
            ));
        }
        let before = capacity.last().cloned().unwrap_or_else(|| vec![0; zones.len()]);
        capacity.resize(capacity.len().max(index), before.clone());
        let now = zones.iter().zip(before).map(|(zone, before)| told.get(zone).copied().unwrap_or(before));
        capacity.truncate(index);
        capacity.push(now.collect());
    }
    let zones = zones.into_iter().map(str::to_owned).collect();
    let whole = Trace::new(zones, start, round, capacity);
    whole.map_err(|error| Problem::new(Code::Invalid, format!("{}: {error}", path.display())))
}

/// The (lower) median time between two rounds, in whole seconds.
fn usual_gap(times: &[UnixMillis]) -> Duration {
    let mut gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    gaps.sort_unstable();
    let median = gaps.get(gaps.len().saturating_sub(1) / 2).copied().unwrap_or(Duration::from_secs(600));
    Duration::from_secs((median + Duration::from_millis(500)).as_secs().max(1))
}

/// How many rounds `after` is, to the nearest.
fn nearest(after: Duration, round: Duration) -> usize {
    let rounds = (after + round / 2).as_millis() / round.as_millis().max(1);
    usize::try_from(rounds).unwrap_or(usize::MAX)
}
