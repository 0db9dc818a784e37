//! Who goes next of those that wait for one endpoint. Pure: the time is an argument.
//!
//! A higher class goes before a lower one, but for one start in [`SHARE`], which a lower class that waits gets. Within a
//! class, callers get shares of the work by their weights (deficit round robin, Shreedhar and Varghese 1995): what counts
//! is what requests cost, not how many there are. Requests of one caller and class go in the order in which they came.

mod band;
#[cfg(test)]
mod tests;

use shoal_types::Priority;
use tokio::time::Instant;

use self::band::{Band, Entry};

/// Of so many starts while a lower class waits, it gets one: what is urgent loses a sixteenth, and nothing waits for ever.
pub(super) const SHARE: u32 = 16;
/// What one request costs at most, in tokens: more than any context holds.
const COST_MAX: u32 = 1 << 20;

/// Who asks for a place in the queue, and for how much work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker<C> {
    pub(crate) caller: C,
    pub(crate) priority: Priority,
    /// Compared with the weights of other callers of the same class; 0 counts as 1.
    pub(crate) weight: u16,
    /// In tokens, estimated.
    pub(crate) cost: u32,
}

/// A place in the queue, and that a request has had it: it can come back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket<C> {
    asker: Asker<C>,
    number: u64,
    /// It has gone on from this place, and been charged for it.
    charged: bool,
}

impl<C> Ticket<C> {
    /// The place that it has gone on from.
    pub(super) fn gone_on(self) -> Self {
        Self { charged: true, ..self }
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// So many wait already.
    Full,
    /// And of them as many of this caller as is its share.
    OwnShare,
}

/// Requests that wait, each with a `T`.
#[derive(Debug)]
pub(crate) struct FairQueue<C, T> {
    /// In the order of [`Priority::ALL`].
    bands: [Band<C, T>; 3],
    /// The next ticket's.
    number: u64,
}

impl<C, T> Default for FairQueue<C, T> {
    fn default() -> Self {
        Self { bands: std::array::from_fn(|_| Band::default()), number: 0 }
    }
}

impl<C: Copy + Eq, T> FairQueue<C, T> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.bands.iter().map(Band::len).sum()
    }

    /// How many of `priority` wait.
    #[cfg(test)]
    pub(crate) fn len_of(&self, priority: Priority) -> usize {
        self.bands[priority as usize].len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A new place for `item`, which may go on before `until`; at most `size` wait.
    ///
    /// Where the queue is full, a newcomer takes the last place of the caller that has most by its weight: in the lowest
    /// class if that is below its own, and in its own if it has less itself. What stood there is given back.
    pub(crate) fn push(
        &mut self,
        asker: Asker<C>,
        size: usize,
        until: Instant,
        item: T,
    ) -> Result<(Ticket<C>, Option<T>), NoPlace> {
        let displaced = if self.len() < size { None } else { Some(self.displace(&asker)?) };
        let asker = Asker { cost: asker.cost.clamp(1, COST_MAX), ..asker };
        let ticket = Ticket { asker, number: self.number, charged: false };
        self.number += 1;
        self.insert(&ticket, until, item);
        Ok((ticket, displaced))
    }

    /// Puts what has had a place there again, before all that came later, and takes back what it was charged. Never
    /// refused: it has waited longer than whoever has come meanwhile.
    pub(crate) fn come_back(&mut self, ticket: Ticket<C>, until: Instant, item: T) -> Ticket<C> {
        let back = Ticket { charged: false, ..ticket };
        self.insert(&ticket, until, item);
        back
    }

    fn insert(&mut self, ticket: &Ticket<C>, until: Instant, item: T) {
        let Asker { caller, priority, weight, cost } = ticket.asker;
        let refund = if ticket.charged { cost } else { 0 };
        let entry = Entry { number: ticket.number, cost: cost.into(), until, item };
        self.bands[priority as usize].insert(caller, weight, refund.into(), entry);
    }

    /// Takes out what stands at `ticket`, if it still does.
    pub(crate) fn remove(&mut self, ticket: &Ticket<C>) -> Option<T> {
        self.bands[ticket.asker.priority as usize].remove(ticket.asker.caller, ticket.number)
    }

    /// Takes out all that `leaves` says so of.
    pub(crate) fn remove_all(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Vec<T> {
        self.bands.iter_mut().flat_map(|band| band.remove_all(&mut leaves)).collect()
    }

    /// What goes on next, of those whose time is not over at `now` and that `may`.
    pub(crate) fn pop(&mut self, now: Instant, mut may: impl FnMut(&T) -> bool) -> Option<T> {
        let turns = self.turns();
        let (band, item) = turns.into_iter().find_map(|band| Some((band, self.bands[band].pop(now, &mut may)?)))?;
        self.bands[band].passed = 0;
        for lower in self.bands.iter_mut().skip(band + 1) {
            // One that is empty waits for nothing.
            lower.passed = if lower.len() == 0 { 0 } else { lower.passed + 1 };
        }
        Some(item)
    }

    /// The classes in the order in which they are asked: first those that have been passed over as often as they may be.
    fn turns(&self) -> [usize; 3] {
        let mut turns = [0, 1, 2];
        turns.sort_by_key(|&band| {
            let is_due = self.bands[band].passed >= SHARE - 1;
            (!is_due, if is_due { 2 - band } else { band })
        });
        turns
    }

    /// Makes room for `asker` in a full queue.
    fn displace(&mut self, asker: &Asker<C>) -> Result<T, NoPlace> {
        let own = asker.priority as usize;
        let lowest = self.bands.iter().rposition(|band| band.len() > 0).ok_or(NoPlace::Full)?;
        match lowest.cmp(&own) {
            std::cmp::Ordering::Greater => self.bands[lowest].pop_last_of_most().ok_or(NoPlace::Full),
            std::cmp::Ordering::Equal => self.bands[own].displace(asker.caller, asker.weight),
            std::cmp::Ordering::Less => Err(NoPlace::Full),
        }
    }
}
