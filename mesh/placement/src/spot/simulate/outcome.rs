//! How a policy fared.

use serde::Serialize;

/// How a policy fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Share of time with at least as many replicas ready as wanted, from 0 to 1.
    pub availability: f64,
    /// Of what the same replicas cost on demand, from 0.
    pub cost: f64,
    /// Instances that were taken away.
    pub preemptions: f64,
    /// Those of them after which at least as many replicas as wanted were ready still.
    pub survived: f64,
    /// Instances given back although they were ready and spot: moves, and what was too many.
    pub moves: f64,
    /// Launches that found no capacity.
    pub refused: f64,
    /// Share of the cost that went to instances on demand, from 0 to 1.
    pub on_demand: f64,
}

impl Outcome {
    /// The mean of several runs that differ in their seed; all zero of none.
    pub fn mean(outcomes: &[Self]) -> Self {
        #[allow(clippy::cast_precision_loss)] // a handful
        let count = outcomes.len().max(1) as f64;
        let mean = |field: fn(&Self) -> f64| outcomes.iter().map(field).sum::<f64>() / count;
        Self {
            availability: mean(|outcome| outcome.availability),
            cost: mean(|outcome| outcome.cost),
            preemptions: mean(|outcome| outcome.preemptions),
            survived: mean(|outcome| outcome.survived),
            moves: mean(|outcome| outcome.moves),
            refused: mean(|outcome| outcome.refused),
            on_demand: mean(|outcome| outcome.on_demand),
        }
    }
}
