//! Which worker serves whom: as few as have the time, since each that wakes up for little finds its caches cold.

/// What a worker did since it was last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Thousandths of the time in which it did not wait.
    pub(super) busy: u32,
    /// Connections that had an answer, and could be served by another one.
    pub(super) movable: usize,
}

/// So many of one worker's connections are to be served by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) count: usize,
}

/// A worker with more to do gets no new connections while another one has less: what comes meanwhile waits for half as long
/// again as it takes.
const FULL: u32 = 500;
/// A worker with more to do gives some away.
const CROWDED: u32 = 750;
/// To whom has so much less to do.
const GAP: u32 = 100;
/// Two workers with less to do together are one too many. Far enough from [`CROWDED`] that what is brought together is not parted again.
const LITTLE: u32 = 400;
/// What a connection is taken for before its worker was looked at: some 40 tokens a second.
const NEW: u32 = 2;

/// The worker for a new connection, by how `busy` each was, and how many connections it got since.
pub(super) fn seat(workers: impl Iterator<Item = (u32, u32)>) -> Option<usize> {
    let mut least: Option<(u32, usize)> = None;
    for (index, (busy, new)) in workers.enumerate() {
        let busy = busy.saturating_add(new.saturating_mul(NEW));
        if busy < FULL {
            return Some(index);
        }
        if least.is_none_or(|(other, _)| busy < other) {
            least = Some((busy, index));
        }
    }
    least.map(|(_, index)| index)
}

/// What is to be moved next: away from a worker that has too much to do, or to the others of one that has little.
pub(super) fn next_move(work: &[Work]) -> Option<Move> {
    relief(work).or_else(|| gathering(work))
}

/// Half of what the busiest worker has more than the least busy.
fn relief(work: &[Work]) -> Option<Move> {
    let (from, most) = work.iter().enumerate().max_by_key(|(_, work)| work.busy)?;
    let (to, least) = work.iter().enumerate().min_by_key(|(_, work)| work.busy)?;
    let gap = most.busy - least.busy;
    if most.busy <= CROWDED || gap < GAP {
        return None;
    }
    let share = f64::from(gap) / f64::from(2 * most.busy);
    // A share of what is there fits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let count = (most.movable as f64 * share) as usize;
    (count > 0).then_some(Move { from, to, count })
}

/// All of the last worker that has any, to the first one that has the time.
fn gathering(work: &[Work]) -> Option<Move> {
    let from = work.iter().rposition(|work| work.movable > 0)?;
    let to = work[..from].iter().position(|work_before| work_before.busy + work[from].busy < LITTLE)?;
    Some(Move { from, to, count: work[from].movable })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Connections, each with what it costs in thousandths, and the worker of each.
    struct Served(Vec<(u32, usize)>);

    impl Served {
        fn work(&self, workers: usize) -> Vec<Work> {
            let mut work = vec![Work::default(); workers];
            for (cost, worker) in &self.0 {
                // Nobody is busier than all the time.
                work[*worker].busy = (work[*worker].busy + cost).min(1000);
                work[*worker].movable += 1;
            }
            work
        }

        fn carry_out(&mut self, Move { from, to, count }: Move) {
            self.0.iter_mut().filter(|(_, worker)| *worker == from).take(count).for_each(|(_, worker)| *worker = to);
        }
    }

    #[test]
    fn new_connections_fill_one_worker_before_the_next_and_then_the_least_busy() {
        let seats = |workers: &[(u32, u32)]| seat(workers.iter().copied());
        assert_eq!(seats(&[]), None);
        assert_eq!(seats(&[(0, 0), (0, 0)]), Some(0));
        assert_eq!(seats(&[(0, 249), (0, 0)]), Some(0));
        assert_eq!(seats(&[(0, 250), (0, 0)]), Some(1), "those that came since count");
        assert_eq!(seats(&[(600, 0), (499, 0), (0, 0)]), Some(1));
        assert_eq!(seats(&[(900, 0), (800, 0), (700, 100)]), Some(1));
        assert_eq!(seats(&[(1000, u32::MAX), (1000, u32::MAX)]), Some(0));
    }

    #[test]
    fn one_connection_that_fills_a_worker_stays_where_it_is() {
        let work = [Work { busy: 1000, movable: 1 }, Work::default()];
        assert_eq!(next_move(&work), None);
    }

    #[test]
    fn what_cannot_be_moved_is_not() {
        assert_eq!(next_move(&[Work { busy: 1000, movable: 0 }, Work::default()]), None);
        assert_eq!(next_move(&[]), None);
    }

    proptest! {
        /// Whatever was where, some moves later all have the time, or share the shortage, and nothing is moved any more.
        #[test]
        fn moves_come_to_an_end_and_leave_nobody_crowded_beside_who_is_not(
            workers in 1usize..17, costs in vec((1u32..40, 0usize..16), 0..120),
        ) {
            let mut served = Served(costs.into_iter().map(|(cost, worker)| (cost, worker % workers)).collect());
            let mut left = 200;
            while let Some(next) = next_move(&served.work(workers)) {
                prop_assert!(next.count > 0 && next.from != next.to);
                served.carry_out(next);
                left -= 1;
                prop_assert!(left > 0, "it goes on: {next:?} of {:?}", served.work(workers));
            }
            let work = served.work(workers);
            let (most, least) = (work.iter().map(|work| work.busy).max(), work.iter().map(|work| work.busy).min());
            prop_assert!(most <= Some(CROWDED) || most < least.map(|least| least + GAP), "{work:?}");
            if work.iter().map(|work| work.busy).sum::<u32>() < LITTLE {
                prop_assert!(work[1..].iter().all(|work| work.movable == 0), "{work:?}");
            }
        }
    }
}
