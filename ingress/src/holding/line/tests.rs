use std::time::Duration;

use futures_util::FutureExt as _;
use shoal_types::{ClaimId, NodeId, Revision, UnixMillis};

use super::*;
use crate::routes::{Place, QueueBounds, Replica};

const HOUR: Duration = Duration::from_secs(3600);

fn claim() -> ClaimId {
    ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 }
}

/// One endpoint with one replica.
fn route() -> Route {
    let revision = Revision(shoal_types::Hlc { time: UnixMillis::from_millis(1), counter: 0, node: claim().node });
    Route {
        endpoint: "llama".parse().unwrap(),
        created: UnixMillis::from_millis(0),
        timeout: HOUR,
        may_wake: true,
        revisions: Vec::new(),
        replicas: vec![Replica {
            claim: claim(),
            revision,
            node: claim().node,
            place: Place::Remote,
            load: None,
            site: Default::default(),
        }],
        policy: Default::default(),
        streams: Default::default(),
        max_inflight: None,
        queue: QueueBounds::default(),
    }
}

fn rooms(room: u32) -> Rooms {
    Rooms::of([(claim(), room)])
}

fn line() -> (Arc<Line>, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    (Arc::new(Line::new("llama", Arc::clone(&bell))), bell)
}

/// One more of `caller` in `line`, which holds at most 100.
fn enter(line: &Arc<Line>, caller: u8, weight: u16, prospect: Prospect) -> Result<(Standing, bool), NoPlace> {
    let caller = (caller > 0).then(|| KeyId::from_bytes([caller; 10]));
    let asker = Asker { caller, priority: Priority::Normal, weight, cost: 500 };
    line.enter(Entrance::New(asker, 100), Wanted::new(&route(), "llama"), prospect, Instant::now() + HOUR)
}

/// The leave that one has been given by now.
fn go(standing: &mut Standing) -> Option<Called> {
    match standing.told().now_or_never()? {
        Call::Go(called) => Some(called),
        Call::Look | Call::Displaced => None,
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_served_by_their_weights_while_there_is_less_room_than_they_ask_for() {
    let (line, _) = line();
    let mut callers: Vec<(u8, Standing)> = (0..80)
        .map(|n| (n % 2 + 1, enter(&line, n % 2 + 1, if n % 2 == 0 { 3 } else { 1 }, Prospect::Busy).unwrap().0))
        .collect();
    let mut served = [0; 3];
    for _ in 0..40 {
        line.call(&route(), rooms(1), Instant::now());
        let (place, called) =
            callers.iter_mut().enumerate().find_map(|(place, (_, standing))| Some((place, go(standing)?))).unwrap();
        called.use_up();
        served[usize::from(callers.remove(place).0)] += 1;
    }
    assert!((29..=32).contains(&served[1]) && served[1] + served[2] == 40, "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn as_many_are_called_as_there_is_room_for_and_leave_that_is_not_used_is_anothers() {
    let (line, bell) = line();
    let mut standing: Vec<_> = (0..4).map(|_| enter(&line, 0, 1, Prospect::Busy).unwrap().0).collect();
    assert!(bell.enter(10));
    line.call(&route(), rooms(2), Instant::now());
    let (first, second) = (go(&mut standing[0]).unwrap(), go(&mut standing[1]).unwrap());
    assert!(go(&mut standing[2]).is_none());
    // They have not come to the replica yet, so it looks as free as before.
    line.call(&route(), rooms(2), Instant::now());
    assert!(go(&mut standing[2]).is_none());
    first.use_up();
    assert!(bell.rung().now_or_never().is_none());
    drop(second);
    bell.rung().await;
    line.call(&route(), rooms(1), Instant::now());
    let third = go(&mut standing[2]).unwrap();
    // One that is called and has gone without a word.
    third.use_up();
    line.call(&route(), rooms(1), Instant::now());
    drop(standing);
    bell.rung().await;
    assert!(line.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_for_which_nothing_serves_is_told_of_and_looks_again_when_that_changes() {
    let (line, _) = line();
    let (mut first, is_first) = enter(&line, 0, 1, Prospect::Cold).unwrap();
    assert!(is_first);
    assert!(!enter(&line, 0, 1, Prospect::Cold).unwrap().1);
    line.tell(|_| Some(Prospect::Cold));
    assert!(first.told().now_or_never().is_none());
    line.tell(|_| Some(Prospect::Busy));
    assert!(matches!(first.told().await, Call::Look));
    drop(first);
    assert!(line.is_empty());
    assert!(enter(&line, 0, 1, Prospect::Cold).unwrap().1, "the first one once more");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_of_another_key_displaces_the_last_of_one_that_has_filled_it() {
    let (line, _) = line();
    let mut standing: Vec<_> = (0..100).map(|_| enter(&line, 1, 1, Prospect::Busy).unwrap().0).collect();
    assert_eq!(enter(&line, 1, 1, Prospect::Busy).err(), Some(NoPlace::Full));
    let _newcomer = enter(&line, 2, 1, Prospect::Busy).unwrap();
    assert!(matches!(standing[99].told().await, Call::Displaced));
    assert!(standing[98].told().now_or_never().is_none());
}
