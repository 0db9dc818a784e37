//! The probability of falling short.

/// Losses that are told apart; more are one. Spares beyond this are never needed in practice.
const LOSSES_MAX: usize = 15;

/// How many instances are lost together within a cold start, over zones that fail independently of each other: in the
/// one long trace of H100 capacity that is public, counts of zones in different regions correlate by 0.09 on average.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    /// By number of losses, the last one standing for all more.
    probability: Vec<f64>,
}

impl Losses {
    /// Of nothing. Up to `spare` losses are told apart.
    pub(super) fn none(spare: usize) -> Self {
        let mut probability = vec![0.0; spare.min(LOSSES_MAX) + 2];
        probability[0] = 1.0;
        Self { probability }
    }

    /// Adds a zone with one instance for each of `lost`: the probability that it is lost, which never falls with depth,
    /// as the last ones go first.
    pub(super) fn with_zone(&mut self, lost: &[f64]) {
        let last = self.probability.len() - 1;
        let before = self.probability.clone();
        // At least j of n are lost if the (n-j+1)-th is.
        let at_least = |losses: usize| match losses {
            0 => 1.0,
            losses if losses > lost.len() => 0.0,
            losses => lost[lost.len() - losses],
        };
        for (total, probability) in self.probability.iter_mut().enumerate().take(last) {
            *probability = (0..=total).map(|j| before[total - j] * (at_least(j) - at_least(j + 1))).sum();
        }
        let told: f64 = self.probability[..last].iter().sum();
        self.probability[last] = (1.0 - told).max(0.0);
    }

    /// The probability that more are lost than were to be told apart.
    pub(super) fn beyond(&self) -> f64 {
        self.probability.last().copied().unwrap_or_default()
    }
}
