//! Callers of one class, who take turns.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{COST_MAX, NoPlace};

/// What the caller with the least weight may have served in its turn, in tokens: about one short request, so that turns
/// are short. One that costs more waits for several turns.
pub(super) const QUANTUM: u64 = 1024;

/// What a caller gets per turn and unit of its weight, where the least weight is `least`. Whole, so that shares are exact.
const fn unit(least: u64) -> u64 {
    if least < QUANTUM { QUANTUM / least } else { 1 }
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// Its place among those of its caller.
    pub(super) number: u64,
    pub(super) cost: u64,
    /// It may not go on at this time or later.
    pub(super) until: Instant,
    pub(super) item: T,
}

/// What one caller has waiting.
#[derive(Debug)]
struct Flow<C, T> {
    caller: C,
    weight: u64,
    /// What it may have served.
    deficit: u64,
    /// By number.
    entries: VecDeque<Entry<T>>,
    /// The first of them that may go on, while the next one is looked for.
    next: Option<usize>,
}

/// The callers of one class.
#[derive(Debug)]
pub(super) struct Band<C, T> {
    /// Those with entries; the first one's turn it is.
    flows: VecDeque<Flow<C, T>>,
    /// Whether the first one has been given the quantum of its turn.
    has_begun: bool,
    /// Starts of higher classes since the last one of this, while something waited here.
    pub(super) passed: u32,
}

impl<C, T> Default for Band<C, T> {
    fn default() -> Self {
        Self { flows: VecDeque::new(), has_begun: false, passed: 0 }
    }
}

/// Whose turn is next with something that it can pay for.
struct Turn {
    position: usize,
    /// Whole rounds until then.
    rounds: u64,
}

impl<C, T> Flow<C, T> {
    fn quantum(&self, least: u64) -> u64 {
        self.weight * unit(least)
    }

    fn cost_of_next(&self) -> Option<u64> {
        Some(self.entries.get(self.next?)?.cost)
    }

    /// How much of the queue it takes up is compared by weight: whether it has more than another with `len` and `weight`.
    fn has_more_than(&self, len: usize, weight: u64) -> bool {
        self.entries.len() as u64 * weight > len as u64 * self.weight
    }
}

impl<C: Copy + Eq, T> Band<C, T> {
    pub(super) fn len(&self) -> usize {
        self.flows.iter().map(|flow| flow.entries.len()).sum()
    }

    /// Adds `entry` of `caller`, by its number. `refund` is what it was charged before.
    pub(super) fn insert(&mut self, caller: C, weight: u16, refund: u64, entry: Entry<T>) {
        let position = self.flows.iter().position(|flow| flow.caller == caller).unwrap_or_else(|| {
            // One that comes back is next after the one whose turn it is.
            let back = usize::from(self.has_begun).min(self.flows.len());
            let position = if refund > 0 { back } else { self.flows.len() };
            let flow = Flow { caller, weight: 1, deficit: 0, entries: VecDeque::new(), next: None };
            self.flows.insert(position, flow);
            position
        });
        let flow = &mut self.flows[position];
        flow.weight = u64::from(weight.max(1));
        flow.deficit += refund;
        let place = flow.entries.partition_point(|other| other.number < entry.number);
        flow.entries.insert(place, entry);
    }

    pub(super) fn remove(&mut self, caller: C, number: u64) -> Option<T> {
        let position = self.flows.iter().position(|flow| flow.caller == caller)?;
        let entries = &mut self.flows[position].entries;
        let entry = entries.iter().position(|entry| entry.number == number)?;
        let removed = entries.remove(entry)?;
        self.forget_empty();
        Some(removed.item)
    }

    pub(super) fn remove_all(&mut self, leaves: &mut impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for flow in &mut self.flows {
            for entry in std::mem::take(&mut flow.entries) {
                if leaves(&entry.item) { removed.push(entry.item) } else { flow.entries.push_back(entry) }
            }
        }
        self.forget_empty();
        removed
    }

    /// The next one: the first of the caller whose turn it is that it can pay for.
    pub(super) fn pop(&mut self, now: Instant, may: &mut impl FnMut(&T) -> bool) -> Option<T> {
        let least = self.flows.iter().map(|flow| flow.weight).min()?;
        for flow in &mut self.flows {
            flow.next = flow.entries.iter().position(|entry| entry.until > now && may(&entry.item));
        }
        let turn = self.next_turn(least)?;
        self.go_round(&turn, least);
        let flow = self.flows.front_mut()?;
        let entry = flow.entries.remove(flow.next?)?;
        flow.deficit = flow.deficit.saturating_sub(entry.cost);
        self.forget_empty();
        Some(entry.item)
    }

    /// Whose turn comes first, of those with something that may go on: all rounds until then are made in one step.
    fn next_turn(&self, least: u64) -> Option<Turn> {
        let turns = self.flows.iter().enumerate().filter_map(|(position, flow)| {
            let missing = flow.cost_of_next()?.saturating_sub(flow.deficit);
            let quanta = missing.div_ceil(flow.quantum(least));
            let rounds = if self.is_in_turn(position) { quanta } else { quanta.max(1) - 1 };
            Some(Turn { position, rounds })
        });
        // The first of several equal ones: whose turn it is before theirs.
        turns.reduce(|first, next| if next.rounds < first.rounds { next } else { first })
    }

    /// Gives everybody what they get until `turn`, and makes it the first one's. Who has nothing that may go on gets
    /// nothing: it would save up.
    fn go_round(&mut self, turn: &Turn, least: u64) {
        for position in 0..self.flows.len() {
            let visits = turn.rounds + u64::from(position <= turn.position) - u64::from(self.is_in_turn(position));
            let flow = &mut self.flows[position];
            if flow.next.is_some() {
                let quantum = flow.quantum(least);
                flow.deficit = (flow.deficit + visits * quantum).min(u64::from(COST_MAX) + quantum);
            }
        }
        self.flows.rotate_left(turn.position);
        self.has_begun = true;
    }

    fn is_in_turn(&self, position: usize) -> bool {
        position == 0 && self.has_begun
    }

    /// Callers without an entry leave the round, and what they have not used with them.
    fn forget_empty(&mut self) {
        if self.flows.front().is_none_or(|flow| flow.entries.is_empty()) {
            self.has_begun = false;
        }
        self.flows.retain(|flow| !flow.entries.is_empty());
    }

    /// Takes out the last one of the caller that has most by its weight.
    pub(super) fn pop_last_of_most(&mut self) -> Option<T> {
        let most = self.most()?;
        let removed = self.flows[most].entries.pop_back();
        self.forget_empty();
        removed.map(|entry| entry.item)
    }

    /// The same for one more of `caller`, unless it would then have as much itself.
    pub(super) fn displace(&mut self, caller: C, weight: u16) -> Result<T, NoPlace> {
        let own = self.flows.iter().find(|flow| flow.caller == caller).map_or(0, |flow| flow.entries.len());
        let most = self.most().ok_or(NoPlace::Full)?;
        if !self.flows[most].has_more_than(own + 1, weight.max(1).into()) {
            return Err(if self.flows.len() > 1 && own > 0 { NoPlace::OwnShare } else { NoPlace::Full });
        }
        self.pop_last_of_most().ok_or(NoPlace::Full)
    }

    fn most(&self) -> Option<usize> {
        let more = |most: usize, next: usize| {
            let (a, b) = (&self.flows[most], &self.flows[next]);
            if b.has_more_than(a.entries.len(), a.weight) { next } else { most }
        };
        (0..self.flows.len()).reduce(more)
    }
}
