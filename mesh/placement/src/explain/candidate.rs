//! A candidate and its score, term by term.

use std::fmt;

use serde::{Deserialize, Serialize};
use shoal_types::{Decimal, NodeId};

use crate::rank::Ranked;

/// A node that could run a replica. Of two, the one with the lesser tiers is better, then the one that costs less.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Which node.
    pub id: NodeId,
    /// What people call it.
    pub node: String,
    /// First tier: outside the home cluster.
    pub overflow: bool,
    /// Second tier: replicas of the endpoint in its zone, where it is spread.
    pub in_zone: usize,
    /// Third tier: quarters of the endpoint that it has already.
    pub crowding: usize,
    /// All terms together, in USD per GPU-hour.
    pub cost: Decimal,
    /// What that is made of.
    pub terms: Vec<Term>,
}

/// A part of what a place costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// Which part.
    pub name: TermName,
    /// USD per GPU-hour, with the spec's weight.
    pub usd: Decimal,
    /// Where the number comes from.
    pub because: String,
}

/// The parts of what a place costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TermName {
    /// What the node costs.
    Price,
    /// What it costs to lose it, as often as that has to be expected.
    Risk,
    /// What it costs to fetch the weights.
    Cache,
    /// What it costs to be far from the clients.
    Latency,
    /// What it costs to leave a host partly filled.
    Fit,
}

impl fmt::Display for TermName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Price => "price",
            Self::Risk => "risk",
            Self::Cache => "cache",
            Self::Latency => "latency",
            Self::Fit => "fit",
        })
    }
}

impl Candidate {
    pub(super) fn new(ranked: &Ranked<'_>) -> Self {
        let Ranked { node, tiers, terms, fit, .. } = ranked;
        Self {
            id: node.id,
            node: node.facts.name.clone(),
            overflow: tiers.overflow,
            in_zone: tiers.in_zone,
            crowding: tiers.crowding,
            cost: Decimal::from_millionths(terms.total().saturating_add(*fit)),
            terms: self::terms(ranked),
        }
    }
}

fn terms(ranked: &Ranked<'_>) -> Vec<Term> {
    let Ranked { merits, terms, left_over, fit, .. } = ranked;
    let price = if merits.price.is_some() { "its label" } else { "not told: the dearest of the candidates" };
    let cache = if merits.fetches { "the weights are not on its disk" } else { "nothing to fetch" };
    let term = |name, micros, because| Term { name, usd: Decimal::from_millionths(micros), because };
    vec![
        term(TermName::Price, terms.price, price.to_owned()),
        term(TermName::Risk, terms.risk, format!("lost {} times an hour", merits.risk)),
        term(TermName::Cache, terms.cache, cache.to_owned()),
        term(TermName::Latency, terms.latency, format!("{} ms from the clients", merits.distance)),
        term(TermName::Fit, *fit, format!("{left_over} GPUs left over")),
    ]
}
