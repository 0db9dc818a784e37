//! How often capacity is lost: what every node remembers of the departures that it heard of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_types::{CapacityType, DepartureReason, HlcClock, NodeId, NodeView, UnixMillis, View};

/// Losses that are remembered, the newest.
const LOSSES_MAX: usize = 1_000;
/// Zones of which the size is remembered; of others no rate is known better than by [`PRIOR`].
const ZONES_MAX: usize = 256;
/// Age in hours at which a loss counts half.
const HALF_LIFE: u64 = 6;
/// Age in hours at which it weighs nothing any more: it would count 1/256.
const HORIZON: u64 = 8 * HALF_LIFE;
/// Hours for which what happened is remembered. It weighs nothing in the score by then, but tells the spot policy, whose
/// half-life is four days, which zones to trust.
const REMEMBERED: u64 = 14 * 24;
/// Node-hours without a loss that are taken for granted: one loss alone says little about a zone that is hardly known.
const PRIOR: u64 = 6;
/// 2^(-hours / 6) for each hour of one half-life, in 1/65536. Integers, so that all machines compute the same.
const DECAY: [u64; HALF_LIFE as usize] = [65_536, 58_386, 52_016, 46_341, 41_285, 36_781];
/// Rates are powers of two, per hour, from 2^-10 to 2^4: views that differ by a moment then agree.
const RATES: std::ops::RangeInclusive<i32> = -10..=4;

const HOUR: u64 = 3_600_000;

/// What was heard of lost nodes. Two that heard the same are the same, in whatever order they did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Losses {
    /// In the order of their time and node.
    losses: Vec<Loss>,
    /// Most spot nodes that were in a zone at once, by hour since the epoch.
    exposure: BTreeMap<String, BTreeMap<u64, u32>>,
}

/// One node was lost, or will be in a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Loss {
    at: UnixMillis,
    node: NodeId,
    /// The failure domain that it stood in.
    zone: String,
    cause: Cause,
}

/// What a loss says something about. A drain or a stop, by whomever, says nothing about what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cause {
    /// Spot capacity was taken back: about its zone.
    Preemption,
    /// A GPU fell ill: about the node.
    Fault,
}

impl Losses {
    pub(crate) const NONE: Self = Self { losses: Vec::new(), exposure: BTreeMap::new() };

    /// Takes note of what `view` says. Returns whether anything was new.
    pub(crate) fn observe(&mut self, view: &View, now: UnixMillis) -> bool {
        let mut changed = false;
        for node in view.nodes.values() {
            let present = node.departure.iter().map(|departure| (departure.since, departure.reason));
            let past = node.departures.iter().map(|departure| (departure.at, departure.reason));
            for (at, reason) in present.chain(past) {
                changed |= cause(node, reason).is_some_and(|cause| self.note(node, at, cause, now));
            }
        }
        changed | self.expose(view, now)
    }

    fn note(&mut self, node: &NodeView, at: UnixMillis, cause: Cause, now: UnixMillis) -> bool {
        if hours_between(at, now) >= REMEMBERED || at > now.plus(HlcClock::MAX_AHEAD) {
            return false;
        }
        let Err(place) = self.losses.binary_search_by_key(&(at, node.id), |loss| (loss.at, loss.node)) else {
            return false;
        };
        let full = self.losses.len() >= LOSSES_MAX;
        // Of a full memory the oldest goes, unless this one is older still.
        if full && place == 0 {
            return false;
        }
        self.losses.insert(place, Loss { at, node: node.id, zone: zone(node).to_owned(), cause });
        self.losses.drain(..usize::from(full));
        true
    }

    /// Counts the spot nodes of each zone, by hour. Nodes say since when they run, so a
    /// memory that has just begun knows as much about those that are there as an old one.
    fn expose(&mut self, view: &View, now: UnixMillis) -> bool {
        let hour = now.as_millis() / HOUR;
        let mut starts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for node in view.nodes.values().filter(|node| node.is_alive() && is_spot(node)) {
            let started = node.facts.started.as_millis() / HOUR;
            starts.entry(zone(node)).or_default().push(started.clamp(hour.saturating_sub(HORIZON - 1), hour));
        }
        let mut changed = false;
        for (zone, starts) in &mut starts {
            starts.sort_unstable();
            changed |= self.raise(zone, starts, hour);
        }
        if changed {
            self.forget(now);
        }
        changed
    }

    /// Notes that nodes have been in `zone` since the hours `starts`, in order. Returns whether that was new.
    fn raise(&mut self, zone: &str, starts: &[u64], hour: u64) -> bool {
        if !self.exposure.contains_key(zone) {
            if self.exposure.len() >= ZONES_MAX {
                return false;
            }
            self.exposure.insert(zone.to_owned(), BTreeMap::new());
        }
        let Some(hours) = self.exposure.get_mut(zone) else { return false };
        let mut changed = false;
        for past in starts.first().copied().unwrap_or(hour)..=hour {
            let there = u32::try_from(starts.partition_point(|&started| started <= past)).unwrap_or(u32::MAX);
            let most = hours.entry(past).or_default();
            changed |= *most < there;
            *most = there.max(*most);
        }
        changed
    }

    /// Drops what no longer counts.
    fn forget(&mut self, now: UnixMillis) {
        let oldest = (now.as_millis() / HOUR).saturating_sub(REMEMBERED - 1);
        self.exposure.retain(|_, hours| {
            *hours = hours.split_off(&oldest);
            !hours.is_empty()
        });
        self.losses.retain(|loss| hours_between(loss.at, now) < REMEMBERED);
    }

    /// Preemptions per hour that a spot node of `zone` has to expect.
    pub(crate) fn preemption_rate(&self, zone: &str, now: UnixMillis) -> f64 {
        let losses = self.losses.iter().filter(|loss| loss.cause == Cause::Preemption && loss.zone == zone);
        self.rate(zone, losses.map(|loss| weight(hours_between(loss.at, now))).sum(), now)
    }

    /// What `zone` went through, by hours since the epoch. Losses of before it is known how many nodes it had are left out:
    /// they say nothing without.
    pub(crate) fn past(&self, zone: &str) -> BTreeMap<u64, Hour> {
        let hours = self.exposure.get(zone).into_iter().flatten();
        let mut past: BTreeMap<u64, Hour> =
            hours.map(|(&hour, &nodes)| (hour, Hour { nodes: nodes as usize, lost: 0 })).collect();
        let Some((&first, _)) = past.first_key_value() else { return past };
        for loss in self.losses.iter().filter(|loss| loss.cause == Cause::Preemption && loss.zone == zone) {
            let hour = loss.at.as_millis() / HOUR;
            if hour >= first {
                past.entry(hour).or_default().lost += 1;
            }
        }
        past
    }

    /// The rates of all zones and nodes at once.
    pub(crate) fn risks(&self, now: UnixMillis) -> Risks<'_> {
        let (mut zones, mut nodes): (BTreeMap<&str, u64>, BTreeMap<NodeId, u64>) = Default::default();
        for loss in &self.losses {
            let weight = weight(hours_between(loss.at, now));
            match loss.cause {
                Cause::Preemption => *zones.entry(&loss.zone).or_default() += weight,
                Cause::Fault => *nodes.entry(loss.node).or_default() += weight,
            }
        }
        let zones = zones.into_iter().map(|(zone, weight)| (zone, self.rate(zone, weight, now))).collect();
        // A node has been there for as long as it is remembered, as far as anybody knows.
        let seen = (0..HORIZON).map(weight).sum();
        let nodes = nodes.into_iter().map(|(node, weight)| (node, power_of_two(weight, seen))).collect();
        Risks { zones, nodes }
    }

    fn rate(&self, zone: &str, losses: u64, now: UnixMillis) -> f64 {
        let hour = now.as_millis() / HOUR;
        let oldest = hour.saturating_sub(HORIZON);
        let hours = self.exposure.get(zone).into_iter().flat_map(|hours| hours.range(oldest..));
        let seen: u64 = hours.map(|(&past, &nodes)| weight(hour.saturating_sub(past)) * u64::from(nodes)).sum();
        power_of_two(losses, seen + PRIOR * weight(0))
    }
}

/// What a zone went through in one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hour {
    /// Most spot nodes that it had at once.
    pub(crate) nodes: usize,
    /// How many were taken back.
    pub(crate) lost: usize,
}

/// How often nodes are lost, per hour.
#[derive(Debug)]
pub(crate) struct Risks<'a> {
    zones: BTreeMap<&'a str, f64>,
    nodes: BTreeMap<NodeId, f64>,
}

impl Risks<'_> {
    /// How often `node` has to be expected to be lost: its own faults, and if it is spot, what its zone does.
    pub(crate) fn of_node(&self, node: &NodeView) -> f64 {
        let zone = if is_spot(node) { self.zones.get(zone(node)).copied().unwrap_or(0.0) } else { 0.0 };
        zone + self.nodes.get(&node.id).copied().unwrap_or(0.0)
    }
}

/// What is taken back together: the zone, or the cluster of a node that does not tell its zone.
pub(crate) fn zone(node: &NodeView) -> &str {
    node.facts.labels.zone.as_deref().unwrap_or(&node.facts.labels.cluster)
}

fn is_spot(node: &NodeView) -> bool {
    node.facts.labels.capacity_type == CapacityType::Spot
}

fn cause(node: &NodeView, reason: DepartureReason) -> Option<Cause> {
    match reason {
        DepartureReason::Reclaim => is_spot(node).then_some(Cause::Preemption),
        DepartureReason::GpuFault => Some(Cause::Fault),
        DepartureReason::Drain | DepartureReason::Shutdown | DepartureReason::Terminate => None,
    }
}

/// Full hours of the clock between two instants: they pass on all nodes at the same moment.
const fn hours_between(earlier: UnixMillis, later: UnixMillis) -> u64 {
    (later.as_millis() / HOUR).saturating_sub(earlier.as_millis() / HOUR)
}

/// What counts after so many hours, in 1/65536.
const fn weight(hours: u64) -> u64 {
    if hours >= HORIZON { 0 } else { DECAY[(hours % HALF_LIFE) as usize] >> (hours / HALF_LIFE) }
}

/// `events` per `seen`, rounded down to a power of two; zero below the least of [`RATES`].
fn power_of_two(events: u64, seen: u64) -> f64 {
    let reaches = |exponent: &i32| {
        let (up, down) = (u64::from(exponent.unsigned_abs()), exponent.signum());
        if down < 0 { events << up >= seen } else { events >= seen << up }
    };
    RATES.rev().find(reaches).map_or(0.0, |exponent| 2_f64.powi(exponent))
}

#[cfg(test)]
mod tests;
