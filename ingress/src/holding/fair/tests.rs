use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{band::QUANTUM, *};

type Queue = FairQueue<u8, u32>;

const HOUR: Duration = Duration::from_secs(3600);

fn asker(caller: u8, priority: Priority, weight: u16, cost: u32) -> Asker<u8> {
    Asker { caller, priority, weight, cost }
}

/// One that asks as most do.
fn plain(caller: u8) -> Asker<u8> {
    asker(caller, Priority::Normal, 1, 100)
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn askers() -> impl Strategy<Value = Vec<Asker<u8>>> {
    let asker = (0..5_u8, priority(), 1..5_u16, 0..20_000_u32)
        .prop_map(|(caller, priority, weight, cost)| asker(caller, priority, weight, cost));
    prop::collection::vec(asker, 0..60)
}

/// A queue with one entry for each of `askers`, whose item is its index, and their tickets.
fn filled(askers: &[Asker<u8>], until: Instant) -> (Queue, Vec<Ticket<u8>>) {
    let mut queue = Queue::default();
    let push = |(index, asker): (usize, &Asker<u8>)| {
        queue.push(*asker, usize::MAX, until, u32::try_from(index).unwrap()).unwrap().0
    };
    let tickets = askers.iter().enumerate().map(push).collect();
    (queue, tickets)
}

fn drain(queue: &mut Queue, now: Instant) -> Vec<usize> {
    std::iter::from_fn(|| queue.pop(now, |_| true)).map(|item| item as usize).collect()
}

proptest! {
    #[test]
    fn it_is_work_conserving(askers in askers(), able in prop::collection::vec(any::<bool>(), 60)) {
        let now = Instant::now();
        let (mut queue, _) = filled(&askers, now + HOUR);
        let may = |item: &u32| able[*item as usize];
        let mut served: Vec<u32> = std::iter::from_fn(|| queue.pop(now, may)).collect();
        served.sort_unstable();
        let expected: Vec<u32> = (0..u32::try_from(askers.len()).unwrap()).filter(may).collect();
        prop_assert_eq!(served, expected);
        prop_assert_eq!(queue.len(), able.iter().take(askers.len()).filter(|able| !**able).count());
    }

    #[test]
    fn requests_of_one_caller_and_class_keep_their_order(askers in askers()) {
        let now = Instant::now();
        let (mut queue, _) = filled(&askers, now + HOUR);
        let mut last = BTreeMap::new();
        for item in drain(&mut queue, now) {
            let before = last.insert((askers[item].caller, askers[item].priority), item);
            prop_assert!(before.is_none_or(|before| before < item));
        }
    }

    /// Callers that always have something waiting get work by their weights, to within one turn and one request of each.
    #[test]
    fn shares_are_those_of_the_weights(
        callers in prop::collection::vec((1..10_u16, 1..8_000_u32), 2..6),
        seed in prop::collection::vec(0..1_000_u32, 32),
    ) {
        let now = Instant::now();
        let cost = |caller: usize, nth: usize| callers[caller].1 + seed[(caller * 7 + nth) % seed.len()];
        let (mut queue, mut pushed) = (Queue::default(), vec![0; callers.len()]);
        let mut push = |queue: &mut Queue, caller: usize| {
            let cost = cost(caller, pushed[caller]);
            pushed[caller] += 1;
            let asker = asker(u8::try_from(caller).unwrap(), Priority::Normal, callers[caller].0, cost);
            queue.push(asker, usize::MAX, now + HOUR, u32::try_from(caller).unwrap()).unwrap();
        };
        for caller in (0..callers.len()).chain(0..callers.len()) {
            push(&mut queue, caller);
        }
        let least = f64::from(callers.iter().map(|(weight, _)| *weight).min().unwrap());
        let (mut work, mut starts) = (vec![0_u64; callers.len()], vec![0; callers.len()]);
        for _ in 0..500 {
            let caller = queue.pop(now, |_| true).unwrap() as usize;
            work[caller] += u64::from(cost(caller, starts[caller]));
            starts[caller] += 1;
            push(&mut queue, caller);
            for a in 0..callers.len() {
                for b in 0..a {
                    let per_weight = |caller: usize| work[caller] as f64 / f64::from(callers[caller].0);
                    let request = |caller: usize| f64::from(callers[caller].1 + 1_000) / f64::from(callers[caller].0);
                    let bound = QUANTUM as f64 / least + request(a) + request(b);
                    prop_assert!((per_weight(a) - per_weight(b)).abs() <= bound, "{work:?} of {callers:?}");
                }
            }
        }
    }

    /// A class that waits gets one start in sixteen, whatever comes before it.
    #[test]
    fn no_class_waits_for_ever(askers in askers()) {
        let now = Instant::now();
        let (mut queue, _) = filled(&askers, now + HOUR);
        let mut passed = [0; 3];
        while let Some(item) = queue.pop(now, |_| true) {
            let served = askers[item as usize].priority as usize;
            passed[served] = 0;
            for (passed, lower) in passed.iter_mut().zip(Priority::ALL).skip(served + 1) {
                *passed = if queue.len_of(lower) > 0 { *passed + 1 } else { 0 };
                prop_assert!(*passed < SHARE, "{lower} was passed over {passed} times");
            }
        }
    }

    #[test]
    fn no_more_wait_than_may_and_no_caller_fills_it(askers in askers(), size in 1..20_usize) {
        let now = Instant::now();
        let mut queue = Queue::default();
        let mut waiting: BTreeMap<u32, Asker<u8>> = BTreeMap::new();
        for (item, asker) in (0..).zip(&askers) {
            let of = |waiting: &BTreeMap<u32, Asker<u8>>, caller, priority| {
                waiting.values().filter(|other| (other.caller, other.priority) == (caller, priority)).count()
            };
            let lowest = waiting.values().map(|asker| asker.priority).max();
            match queue.push(*asker, size, now + HOUR, item) {
                Ok((_, displaced)) => {
                    if let Some(displaced) = displaced {
                        let gone = waiting.remove(&displaced).unwrap();
                        prop_assert_eq!(waiting.len(), size - 1);
                        prop_assert!(gone.priority >= asker.priority && Some(gone.priority) == lowest);
                        prop_assert!(!waiting.iter().any(|(other, of)| *other > displaced
                            && (of.caller, of.priority) == (gone.caller, gone.priority)), "the last of its caller");
                    }
                    waiting.insert(item, *asker);
                }
                Err(_) => {
                    prop_assert_eq!(waiting.len(), size);
                    prop_assert!(lowest <= Some(asker.priority), "what is urgent displaces what is not");
                    if lowest == Some(asker.priority) && asker.weight == 4 {
                        // Nobody has two more than one of the greatest weight that is refused.
                        let own = of(&waiting, asker.caller, asker.priority);
                        let most = (0..5).map(|caller| of(&waiting, caller, asker.priority)).max();
                        prop_assert!(most.unwrap() <= own + 1);
                    }
                }
            }
            prop_assert!(queue.len() <= size && queue.len() == waiting.len());
        }
    }

    #[test]
    fn none_goes_on_at_its_deadline_or_later(deadlines in prop::collection::vec(0..100_u64, 1..40), at in 0..100_u64) {
        let start = Instant::now();
        let mut queue = Queue::default();
        for (item, deadline) in (0..).zip(&deadlines) {
            let caller = u8::try_from(item % 3).unwrap();
            queue.push(plain(caller), usize::MAX, start + Duration::from_secs(*deadline), item).unwrap();
        }
        let mut served = drain(&mut queue, start + Duration::from_secs(at));
        served.sort_unstable();
        let expected: Vec<usize> = (0..deadlines.len()).filter(|item| deadlines[*item] > at).collect();
        prop_assert_eq!(served, expected);
    }

    /// What comes back from where it could not be served has lost nothing by it.
    #[test]
    fn what_comes_back_is_next(askers in askers(), skip in 0..60_usize) {
        let now = Instant::now();
        let askers: Vec<_> = askers.into_iter().map(|asker| Asker { priority: Priority::Normal, ..asker }).collect();
        let (mut queue, tickets) = filled(&askers, now + HOUR);
        for _ in 0..skip {
            queue.pop(now, |_| true);
        }
        if let Some(item) = queue.pop(now, |_| true) {
            let ticket = tickets[item as usize].gone_on();
            prop_assert!(!queue.come_back(ticket, now + HOUR, item).charged);
            prop_assert_eq!(queue.pop(now, |_| true), Some(item));
        }
    }

    /// Callers differ by what they ask for, and by nothing else.
    #[test]
    fn other_ids_change_nothing(askers in askers(), size in 1..60_usize, new in Just([3_u8, 4, 0, 2, 1]).prop_shuffle()) {
        let now = Instant::now();
        let story = |id: &dyn Fn(u8) -> u8| {
            let mut queue = Queue::default();
            let push = |(item, asker): (usize, &Asker<u8>)| {
                let asker = Asker { caller: id(asker.caller), ..*asker };
                let item = u32::try_from(item).unwrap();
                queue.push(asker, size, now + HOUR, item).map(|(_, displaced)| displaced)
            };
            let pushed: Vec<_> = askers.iter().enumerate().map(push).collect();
            (pushed, drain(&mut queue, now))
        };
        prop_assert_eq!(story(&|id| id), story(&|id| new[usize::from(id)]));
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_is_not(askers in askers(), out in prop::collection::vec(any::<bool>(), 60)) {
        let now = Instant::now();
        let (mut queue, tickets) = filled(&askers, now + HOUR);
        for (item, ticket) in tickets.iter().enumerate().filter(|(item, _)| out[*item] && item % 2 == 0) {
            prop_assert_eq!(queue.remove(ticket), Some(u32::try_from(item).unwrap()));
            prop_assert_eq!(queue.remove(ticket), None);
        }
        queue.remove_all(|item| out[*item as usize]);
        let mut left = drain(&mut queue, now);
        left.sort_unstable();
        prop_assert_eq!(left, (0..askers.len()).filter(|item| !out[*item]).collect::<Vec<_>>());
    }
}

#[test]
fn a_large_request_counts_as_many_small_ones() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for _ in 0..20 {
        queue.push(asker(1, Priority::Normal, 1, 10_000), 100, now + HOUR, 1).unwrap();
    }
    for _ in 0..60 {
        queue.push(asker(2, Priority::Normal, 1, 1_000), 100, now + HOUR, 2).unwrap();
    }
    let starts: Vec<u32> = (0..44).map(|_| queue.pop(now, |_| true).unwrap()).collect();
    assert_eq!(starts.iter().filter(|caller| **caller == 1).count(), 4, "{starts:?}");
}

#[test]
fn a_newcomer_takes_the_last_place_of_the_caller_with_most() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for item in 0..4 {
        queue.push(plain(1), 4, now + HOUR, item).unwrap();
    }
    assert_eq!(queue.push(plain(1), 4, now + HOUR, 4).unwrap_err(), NoPlace::Full);
    let displaced = |queue: &mut Queue, item| queue.push(plain(2), 4, now + HOUR, item).map(|(_, displaced)| displaced);
    assert_eq!(displaced(&mut queue, 5), Ok(Some(3)));
    assert_eq!(displaced(&mut queue, 6), Ok(Some(2)));
    assert_eq!(displaced(&mut queue, 7), Err(NoPlace::OwnShare), "both have two");
    let urgent = asker(2, Priority::High, 1, 1);
    assert_eq!(queue.push(urgent, 4, now + HOUR, 8).unwrap().1, Some(1), "the first of those with most");
    assert_eq!(queue.push(asker(3, Priority::Low, 1, 1), 4, now + HOUR, 9).unwrap_err(), NoPlace::Full);
}
