//! Traces from a seed.

use std::time::Duration;

use shoal_types::UnixMillis;

use super::{
    dice::Dice,
    trace::{Trace, TraceError},
};

/// Instances that a zone of a made-up trace can hold at most, as in the real one.
const MOST: u64 = 16;

/// Made-up capacity: each zone is up or down, as a Markov chain of two states has it, and while it is up its capacity
/// wanders. Zones differ in how long they stay up, as real ones do, and are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synthetic {
    /// Decides everything.
    pub seed: u64,
    /// Number of zones.
    pub zones: u32,
    /// Number of days.
    pub days: u32,
}

impl Synthetic {
    /// The trace, in rounds of ten minutes from the Unix epoch on.
    pub fn trace(&self) -> Result<Trace, TraceError> {
        let mut dice = Dice::new(self.seed);
        let rounds = self.days as usize * 144;
        let zones: Vec<Vec<u32>> = (0..self.zones).map(|_| Zone::throw(&mut dice).live(rounds, &mut dice)).collect();
        let capacity = (0..rounds).map(|round| zones.iter().map(|zone| zone[round]).collect()).collect();
        let names = (1..=self.zones).map(|zone| format!("zone-{zone}")).collect();
        Trace::new(names, UnixMillis::from_millis(0), Duration::from_secs(600), capacity)
    }
}

/// How one zone behaves.
#[derive(Debug)]
struct Zone {
    /// Probability of going down in a round.
    fails: f64,
    /// Probability of coming up again in a round.
    recovers: f64,
    /// Probability that its capacity changes in a round.
    stirs: f64,
}

impl Zone {
    /// Spells up of 2 to 200 hours and down of 20 minutes to 10 hours, evenly on a logarithmic scale: what the zones of
    /// the real trace show.
    fn throw(dice: &mut Dice) -> Self {
        let up = 12.0 * 100.0_f64.powf(dice.unit());
        let down = 2.0 * 30.0_f64.powf(dice.unit());
        Self { fails: 1.0 / up, recovers: 1.0 / down, stirs: 0.3 * dice.unit() }
    }

    fn live(&self, rounds: usize, dice: &mut Dice) -> Vec<u32> {
        let mut up = dice.unit() < self.recovers / (self.recovers + self.fails);
        let mut room = 1 + dice.below(MOST);
        let mut live = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let turns = dice.unit() < if up { self.fails } else { self.recovers };
            if turns {
                up = !up;
                room = 1 + dice.below(MOST);
            } else if dice.unit() < self.stirs {
                room = (room + dice.below(7)).saturating_sub(3).clamp(1, MOST);
            }
            live.push(if up { u32::try_from(room).unwrap_or(u32::MAX) } else { 0 });
        }
        live
    }
}
