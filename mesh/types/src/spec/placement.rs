//! Where replicas may and should run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decimal, HumanDuration};

/// Where replicas may and should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Cluster that is filled first; the others take what does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Node labels and the values that are allowed for each; a node must match all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<String, Vec<String>>,
    /// Failure domain over which replicas are spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Run on spot capacity, with so much on demand beside it. Without it, all capacity types are one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot: Option<Spot>,
    /// Highest price of a node, in USD per GPU-hour. A node that does not tell its price is then no candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<Decimal>,
    /// How long a replica whose node has gone quiet is waited for before another is started. Its requests are
    /// rerouted at once; the last replica is replaced at once.
    pub replace_after: HumanDuration,
    /// Let a running replica move, one at a time, to a place that costs clearly less.
    pub rebalance: bool,
    /// Let a running replica move, one at a time, where that makes room for a larger one that finds none.
    pub defragment: bool,
    /// Where GPUs are short, an endpoint of higher priority takes the place of a lower one's surplus, then of its
    /// replicas above `min`, never below.
    pub priority: i32,
    /// How much each term of the score counts; 1 is what the documentation of the term says.
    pub weights: ScoreWeights,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            home: None,
            require: BTreeMap::new(),
            spread: None,
            spot: None,
            max_price: None,
            replace_after: HumanDuration::from_secs(10),
            rebalance: false,
            defragment: false,
            priority: 0,
            weights: ScoreWeights::default(),
        }
    }
}

/// Failure domains over which replicas can be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// The node label `zone`.
    Zone,
}

/// How an endpoint uses spot capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Spot {
    /// Spot replicas beyond those that are wanted, so that losing one is not felt.
    #[schemars(range(max = 1_000))]
    pub overprovision: u32,
    /// Run on demand what spot capacity does not carry at the moment.
    pub on_demand_fallback: bool,
    /// Replicas that always run on demand.
    #[schemars(range(max = 10_000))]
    pub on_demand_base: u32,
}

impl Default for Spot {
    fn default() -> Self {
        Self { overprovision: 1, on_demand_fallback: true, on_demand_base: 0 }
    }
}

/// Factors of the score's terms. All terms are in USD per GPU-hour, so that they can be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScoreWeights {
    /// Of the node's price.
    pub price: Decimal,
    /// Of what a preemption costs, where the capacity is spot and its zone has a history of them.
    pub risk: Decimal,
    /// Of having to fetch the weights first.
    pub cache: Decimal,
    /// Of the distance from where the demand is.
    pub latency: Decimal,
    /// Of leaving a host partly filled.
    pub fit: Decimal,
}

impl Default for ScoreWeights {
    fn default() -> Self {
        let one = Decimal::from_whole(1);
        Self { price: one, risk: one, cache: one, latency: one, fit: one }
    }
}
