//! How often something happened lately, in a few words of memory and without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counts of the last `SLOTS` spans of time, the present one included; what is older is forgotten as it is overwritten, or
/// passed over.
#[derive(Debug)]
pub(crate) struct Ring<const SLOTS: usize> {
    span: Duration,
    /// Which span it is about in the upper half, counted from the beginning; the count in the lower one.
    slots: [AtomicU64; SLOTS],
}

/// The number of the span of length `span` that lies `age` after the beginning.
pub(super) fn span_at(age: Duration, span: Duration) -> u32 {
    u32::try_from(age.as_millis() / span.as_millis().max(1)).unwrap_or(u32::MAX)
}

impl<const SLOTS: usize> Ring<SLOTS> {
    /// Nothing yet, in spans of `span`.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts `count`, `age` after the beginning.
    pub(crate) fn add(&self, age: Duration, count: u32) {
        let now = span_at(age, self.span);
        let Some(slot) = self.slots.get(now as usize % SLOTS) else { return };
        // Whoever comes too late for its span has nowhere to be counted.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (of, counted) = unpack(word);
            (of <= now).then(|| pack(now, if of == now { counted.saturating_add(count) } else { count }))
        });
    }

    /// What was counted in the time that the ring covers, `age` after the beginning.
    pub(crate) fn sum(&self, age: Duration) -> u32 {
        self.sum_of_last(age, SLOTS)
    }

    /// What was counted in the last `spans` of it, the present one included.
    pub(crate) fn sum_of_last(&self, age: Duration, spans: usize) -> u32 {
        let now = span_at(age, self.span);
        let recent = |of: u32| of <= now && ((now - of) as usize) < spans;
        let counts = self.slots.iter().map(|slot| unpack(slot.load(Ordering::Relaxed)));
        counts.filter(|(of, _)| recent(*of)).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

fn pack(span: u32, count: u32) -> u64 {
    u64::from(span) << 32 | u64::from(count)
}

#[allow(clippy::cast_possible_truncation)] // the two halves
const fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_slides_and_ends_in_nothing() {
        let ring = Ring::<60>::new(Duration::from_secs(1));
        let at = Duration::from_secs;
        ring.add(at(0), 1);
        ring.add(at(30), 2);
        ring.add(at(30), 3);
        assert_eq!((ring.sum(at(30)), ring.sum(at(59)), ring.sum(at(60)), ring.sum(at(89))), (6, 6, 5, 5));
        assert_eq!((ring.sum(at(90)), ring.sum(at(1_000))), (0, 0));
        ring.add(at(120), 7);
        assert_eq!(ring.sum(at(120)), 7, "the slot of second 0 is used again");
        ring.add(at(60), 9);
        assert_eq!(ring.sum(at(120)), 7, "too late");
    }

    proptest! {
        #[test]
        fn it_counts_what_a_list_would(mut events in prop::collection::vec((0..300_u64, 0..9_u32), 0..50), later in 0..90_u64) {
            events.sort_by_key(|(at, _)| *at);
            let ring = Ring::<60>::new(Duration::from_secs(1));
            events.iter().for_each(|&(at, count)| ring.add(Duration::from_secs(at), count));
            let now = events.last().map_or(0, |(at, _)| *at) + later;
            let expected: u32 = events.iter().filter(|(at, _)| now - at < 60).map(|(_, count)| count).sum();
            prop_assert_eq!(ring.sum(Duration::from_secs(now)), expected);
        }
    }
}
