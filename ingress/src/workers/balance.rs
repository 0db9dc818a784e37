//! Which worker serves whom: as few as have the time, since each that wakes up for little finds its caches cold.

/// What a worker did since it was last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Thousandths of the time in which it did not wait.
    pub(super) busy: u32,
    /// Connections that it has.
    pub(super) seated: usize,
    /// Of those, the ones that rested since, and could be served by another worker.
    pub(super) movable: usize,
}

impl Work {
    /// What it is to be taken for: what its connections wait for may come all at once.
    fn share(&self) -> u32 {
        share(self.busy, self.seated)
    }
}

fn share(busy: u32, seated: usize) -> u32 {
    busy.max(u32::try_from(seated).unwrap_or(u32::MAX).saturating_mul(CONNECTION))
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
/// What a connection is taken for at least, some 80 tokens a second: a stream that waits for its first token costs nothing yet, and is not
/// moved later.
const CONNECTION: u32 = 2;

/// The worker for a new connection, by how busy each was, and how many connections it has.
pub(super) fn seat(workers: impl Iterator<Item = (u32, usize)>) -> Option<usize> {
    let mut least: Option<(u32, usize)> = None;
    for (index, (busy, seated)) in workers.enumerate() {
        let share = share(busy, seated);
        if share < FULL {
            return Some(index);
        }
        if least.is_none_or(|(other, _)| share < other) {
            least = Some((share, index));
        }
    }
    least.map(|(_, index)| index)
}

/// So many looks in a row have to find that there is little to do before anything is brought together.
pub(super) const CALM: u32 = 10;

/// What is decided look after look.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    /// Looks in a row by which something could have been brought together.
    calm: u32,
}

impl Balancer {
    /// What is to be moved, by the `work` since the last look: at once away from a worker that has too much to do, and to the others of one
    /// that has had little for a while.
    pub(super) fn next_move(&mut self, work: &[Work]) -> Option<Move> {
        let gathered = gathering(work);
        self.calm = if gathered.is_some() { self.calm.saturating_add(1) } else { 0 };
        relief(work).or_else(|| gathered.filter(|_| self.calm >= CALM))
    }
}

/// Away from a worker that has too much to do: half of what the busiest has more than the least busy.
fn relief(work: &[Work]) -> Option<Move> {
    let (from, most) = work.iter().enumerate().max_by_key(|(_, work)| work.busy)?;
    let (to, least) = work.iter().enumerate().min_by_key(|(_, work)| work.busy)?;
    let gap = most.busy - least.busy;
    if most.busy <= CROWDED || gap < GAP || most.seated < 2 {
        return None;
    }
    let share = f64::from(gap) / f64::from(2 * most.busy);
    // A share of what is there fits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let count = (most.movable as f64 * share) as usize;
    // Of many long streams, few rest.
    Some(Move { from, to, count: count.max(1) })
}

/// To the first worker that has the time: all of the last one that has any.
fn gathering(work: &[Work]) -> Option<Move> {
    let from = work.iter().rposition(|work| work.seated > 0)?;
    let to = work[..from].iter().position(|before| before.share().saturating_add(work[from].share()) < LITTLE)?;
    Some(Move { from, to, count: work[from].seated })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn next_move(work: &[Work]) -> Option<Move> {
        relief(work).or_else(|| gathering(work))
    }

    /// Connections, each with what it costs in thousandths, and the worker of each.
    struct Served(Vec<(u32, usize)>);

    impl Served {
        fn work(&self, workers: usize) -> Vec<Work> {
            let mut work = vec![Work::default(); workers];
            for (cost, worker) in &self.0 {
                // Nobody is busier than all the time.
                work[*worker].busy = (work[*worker].busy + cost).min(1000);
                work[*worker].seated += 1;
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
        let seats = |workers: &[(u32, usize)]| seat(workers.iter().copied());
        assert_eq!(seats(&[]), None);
        assert_eq!(seats(&[(0, 0), (0, 0)]), Some(0));
        assert_eq!(seats(&[(0, 249), (0, 0)]), Some(0));
        assert_eq!(seats(&[(0, 250), (0, 0)]), Some(1), "though they do nothing yet");
        assert_eq!(seats(&[(600, 0), (499, 0), (0, 0)]), Some(1));
        assert_eq!(seats(&[(900, 0), (800, 0), (700, 380)]), Some(2));
        assert_eq!(seats(&[(1000, usize::MAX), (1000, usize::MAX)]), Some(0));
    }

    #[test]
    fn one_connection_that_fills_a_worker_stays_where_it_is() {
        let alone = [Work { busy: 1000, seated: 1, movable: 1 }, Work::default()];
        assert_eq!(relief(&alone), None);
        assert_eq!(relief(&[]), None);
    }

    #[test]
    fn a_crowd_of_long_streams_gives_away_whichever_ends() {
        let crowd = [Work { busy: 1000, seated: 900, movable: 0 }, Work::default()];
        assert_eq!(relief(&crowd), Some(Move { from: 0, to: 1, count: 1 }));
    }

    #[test]
    fn a_moment_without_work_brings_nothing_together_and_a_crowd_does_not_wait() {
        let work = |busy| Work { busy, seated: 2, movable: 2 };
        let (quiet, burst, crowd) = ([work(50), work(50)], [work(300), work(300)], [work(1000), work(50)]);
        let mut balancer = Balancer::default();
        for _ in 0..3 {
            for _ in 1..CALM {
                assert_eq!(balancer.next_move(&quiet), None);
            }
            assert_eq!(balancer.next_move(&burst), None);
        }
        assert_eq!(balancer.next_move(&crowd), Some(Move { from: 0, to: 1, count: 1 }));
        let moves: Vec<_> = (0..=CALM).map(|_| balancer.next_move(&quiet)).collect();
        assert_eq!(moves.iter().position(Option::is_some), Some(9));
        assert_eq!(moves[10], Some(Move { from: 1, to: 0, count: 2 }), "and on, until they have rested");
    }

    #[test]
    fn many_connections_are_not_brought_together_though_they_do_little() {
        let work = |seated| Work { busy: 10, seated, movable: 0 };
        assert_eq!(gathering(&[work(150), work(150)]), None);
        assert_eq!(gathering(&[work(150), work(40)]), Some(Move { from: 1, to: 0, count: 40 }));
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
            if work.iter().map(Work::share).sum::<u32>() < LITTLE {
                prop_assert!(work[1..].iter().all(|work| work.seated == 0), "{work:?}");
            }
        }
    }
}
