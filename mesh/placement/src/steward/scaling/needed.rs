//! How many replicas the present load needs, by each target of the spec.

use std::time::Duration;

use shoal_types::{Decimal, EndpointSpec, HumanDuration};

use crate::steward::facts::Facts;

/// A load this near to what the present replicas should have is what they should have: without it, a load at the edge
/// would want one more and one less in turn. As Kubernetes' horizontal autoscaler has it.
const TOLERANCE: f64 = 0.1;
/// Of the error that floats make, so that 96 of 32 is 3 and not 4.
const ROUNDING: f64 = 1e-9;
/// The quantile of times to first token that a target speaks of.
const QUANTILE: f64 = 0.95;

/// How many replicas are needed, and by which target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Need {
    pub(super) count: u32,
    pub(super) what: What,
}

/// What the number comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    /// No target is given.
    NoTarget,
    /// The target named so: its load, of so much per replica.
    Load { name: &'static str, load: f64, target: Decimal },
    /// Times to first token.
    Ttft { p95: Duration, target: HumanDuration },
    /// The target named so; nothing is known of its load.
    Unknown { name: &'static str },
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present {
    /// Replicas that are wanted now.
    pub(super) wanted: u32,
    /// Whether the times to first token were all measured with that many.
    pub(super) measured: bool,
}

/// What `facts` need by the targets of `spec`: by the one that asks for most.
pub(super) fn need(facts: &Facts, spec: &EndpointSpec, present: Present) -> Need {
    let targets = &spec.scaling.targets;
    let inflight = Some(f64::from(facts.inflight) + f64::from(facts.held));
    // Nodes keep back what engines could only let wait.
    let waiting = facts.waiting.map(|waiting| waiting + f64::from(facts.held));
    let loads = [
        ("inflight", targets.inflight, inflight),
        ("waiting", targets.waiting, waiting),
        ("kvCache", targets.kv_cache, facts.kv_cache),
        ("qps", targets.qps, Some(f64::from(facts.arrivals) / 60.0)),
    ];
    let loads = loads.into_iter().filter_map(|(name, target, load)| Some(by_load(name, target?, load, present)));
    let ttft = targets.ttft_p95.map(|target| by_ttft(facts, target, present));
    // Of several that ask for as many, the first: its name is in the reason.
    let most = ttft.into_iter().chain(loads).reduce(|most, next| if next.count > most.count { next } else { most });
    let floor = spec.replicas.min.max(1);
    let need = most.unwrap_or(Need { count: floor, what: What::NoTarget });
    Need { count: need.count.max(floor), ..need }
}

fn by_load(name: &'static str, target: Decimal, load: Option<f64>, present: Present) -> Need {
    // What is not known neither raises nor lowers.
    let Some(load) = load else { return Need { count: present.wanted, what: What::Unknown { name } } };
    let needed = load / target.as_f64().max(1e-6);
    let near = (needed - f64::from(present.wanted)).abs() <= f64::from(present.wanted) * TOLERANCE + ROUNDING;
    let count = if near && present.wanted > 0 { present.wanted } else { ceil(needed) };
    Need { count, what: What::Load { name, load, target } }
}

fn by_ttft(facts: &Facts, target: HumanDuration, present: Present) -> Need {
    let wanted = present.wanted;
    let Some(p95) = facts.ttft().quantile(QUANTILE) else {
        return Need { count: wanted, what: What::Unknown { name: "ttftP95" } };
    };
    let ratio = p95.as_secs_f64() / target.0.as_secs_f64().max(1e-6);
    let count = if ratio > 1.0 + TOLERANCE {
        // While replicas are still loading, and while older requests are counted in, slow answers say nothing about
        // whether so many are enough.
        let more = ceil(f64::from(wanted) * ratio).min(wanted.saturating_mul(2));
        if present.measured { more.max(wanted) } else { wanted }
    } else if ratio < 0.5 {
        wanted.saturating_sub(1).max(1)
    } else {
        wanted
    };
    Need { count, what: What::Ttft { p95, target } }
}

fn ceil(number: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is not negative
    let whole = (number - ROUNDING).ceil().max(0.0) as u32;
    whole
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTarget => f.write_str("no target is set"),
            Self::Load { name, load, target } => {
                write!(f, "{name} {} of {target} per replica", (load * 10.0).round() / 10.0)
            }
            Self::Ttft { p95, target } => {
                let p95 = u64::try_from(p95.as_millis()).unwrap_or(u64::MAX);
                write!(f, "ttftP95 {} of {target}", HumanDuration::from_millis(p95))
            }
            Self::Unknown { name } => write!(f, "{name} is not known"),
        }
    }
}
