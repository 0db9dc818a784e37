use std::{net::Ipv4Addr, time::Duration};

use shoal_types::{ClaimId, Hlc, NodeId, Revision, UnixMillis};
use tokio::time::Instant;

use super::*;
use crate::metrics::Operation;

/// A request with this id, and otherwise as dull as can be.
pub(crate) fn record(id: &str) -> RequestRecord {
    RequestRecord {
        id: id.to_owned(),
        arrived: UnixMillis::from_millis(1_700_000_000_000),
        key: None,
        resumes: 0,
        client: Ipv4Addr::LOCALHOST.into(),
        path: "/v1/chat/completions".to_owned(),
        operation: Operation::Chat,
        endpoint: "llama".parse().ok(),
        model: None,
        stream: true,
        status: Some(200),
        outcome: Outcome::Finished,
        error: None,
        queued_us: Some(10),
        first_byte_us: Some(30_000),
        first_token_us: Some(31_000),
        took_us: 500_000,
        tokens: Tokens { input: 7, output: 4, cached: 2, exact: true },
        received: 100,
        sent: 900,
        decisions: vec![Decision {
            considered: vec![considered(1)],
            chosen: Some(0),
            ended_us: Some(30_000),
            ..Decision::default()
        }],
        trace: None,
    }
}

pub(crate) fn considered(counter: u32) -> Considered {
    let node = NodeId::from_bytes([7; 16]);
    let time = UnixMillis::from_millis(1);
    Considered {
        claim: ClaimId { node, generation: time, counter },
        revision: Revision(Hlc { time, counter: 0, node }),
        weight: 100,
        local: false,
        suspect: false,
        tried: false,
        own: 0,
        load: None,
        load_age_us: None,
        cost_us: None,
    }
}

fn evidence(considered: impl Iterator<Item = Considered>, chosen: Option<u32>) -> Evidence {
    Evidence { considered: considered.collect(), chosen, ..Evidence::default() }
}

#[tokio::test(start_paused = true)]
async fn a_trail_tells_each_choice_and_what_came_of_it() {
    let start = Instant::now();
    let after = |millis| start + Duration::from_millis(millis);
    let trail = Trail::new(start, None);
    assert_eq!(trail.decided(Evidence::default(), after(1), after(1)), None);
    trail.decided(Evidence::default(), after(5), after(5));
    trail.decided(evidence((1..4).map(considered), Some(2)), after(10), after(11));
    trail.failed(considered(3).claim, "engine", "it broke".to_owned(), after(12));
    trail.decided(evidence((1..3).map(considered), Some(1)), after(13), after(13));
    trail.answered(considered(2).claim, after(20));
    let decisions = trail.take();
    assert_eq!(decisions.len(), 3, "looking again while it waits is no choice of its own");
    assert_eq!((decisions[0].chosen, decisions[0].after_us), (None, 5_000));
    let first = &decisions[1];
    assert_eq!((first.after_us, first.took_us, first.ended_us), (10_000, 1_000, Some(12_000)));
    assert_eq!(first.chosen().map(|chosen| chosen.claim.counter), Some(3));
    assert_eq!(first.failed.as_ref().map(|failed| failed.reason.as_str()), Some("engine"));
    assert_eq!((decisions[2].chosen, decisions[2].ended_us, &decisions[2].failed), (Some(1), Some(20_000), &None));
}

/// Rule 9: everything is bounded.
#[tokio::test(start_paused = true)]
async fn the_first_choices_and_the_last_are_kept() {
    let start = Instant::now();
    let trail = Trail::new(start, None);
    for number in 1..=50 {
        trail.decided(evidence([considered(number)].into_iter(), Some(0)), start, start);
    }
    let kept: Vec<_> =
        trail.take().iter().filter_map(|made| made.chosen().map(|chosen| chosen.claim.counter)).collect();
    assert_eq!(kept, [1, 2, 3, 4, 5, 6, 7, 8, 50]);
}

#[test]
fn a_record_survives_the_way_between_nodes() {
    let record = record("a");
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<RequestRecord>(&json).unwrap(), record);
}
