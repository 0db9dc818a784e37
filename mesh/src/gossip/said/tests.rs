use shoal_types::{DepartureReason, Hlc, ReplicaState, Revision, RolloutPhase, Share};

use super::*;

const NODE: NodeId = NodeId::from_bytes([1; 16]);
const VERSION: Hlc = Hlc { time: UnixMillis::from_millis(1), counter: 0, node: NodeId::from_bytes([2; 16]) };

fn claim(node: NodeId, counter: u32) -> String {
    let id = ClaimId { node, generation: UnixMillis::from_millis(5), counter };
    serde_json::to_string(&Claim {
        id,
        endpoint: "e".parse().unwrap(),
        revision: Revision(VERSION),
        gpus: 1,
        claimed: UnixMillis::from_millis(9),
        state: ReplicaState::Ready,
        since: UnixMillis::from_millis(9),
        reason: None,
        progress: None,
        crashes: 0,
        leaving: None,
    })
    .unwrap()
}

#[test]
fn a_malformed_value_keeps_the_previous_one_and_harms_no_other() {
    let mut said = Said::default();
    let load = r#"{"inflight":3}"#.to_owned();
    assert!(said.replace(NODE, &[(Key::Claim(1), claim(NODE, 1)), (Key::Load(1), load)]).is_empty());
    let values = [
        (Key::Claim(1), "{".to_owned()),
        (Key::Load(1), r#"{"inflight":4}"#.to_owned()),
        (Key::Specs, r#""1:00""#.to_owned()),
    ];
    let errors = said.replace(NODE, &values);
    assert!(matches!(errors[..], [(Key::Claim(1), ValueError::Malformed(_))]));
    assert_eq!(said.claims.len(), 1);
    assert_eq!(said.loads_by_claim().values().next().unwrap().inflight, 4);
    assert_eq!(said.specs, "1:00");
}

#[test]
fn rule_1_what_is_no_longer_said_is_gone() {
    let mut said = Said::default();
    said.replace(NODE, &[(Key::Claim(1), claim(NODE, 1)), (Key::Left, "true".to_owned())]);
    assert!(said.left);
    said.replace(NODE, &[]);
    assert_eq!(said, Said::default());
}

#[test]
fn rule_1_nobody_claims_for_another() {
    let mut said = Said::default();
    let foreign = claim(NodeId::from_bytes([3; 16]), 1);
    assert!(matches!(said.set(NODE, Key::Claim(1), &foreign), Err(ValueError::ForeignClaim(_))));
    assert!(matches!(said.set(NODE, Key::Claim(2), &claim(NODE, 1)), Err(ValueError::ForeignClaim(_))));
    assert!(said.claims.is_empty());
}

#[test]
fn an_oversized_value_is_refused() {
    let text = serde_json::to_string(&"x".repeat(2000)).unwrap();
    assert!(matches!(Said::default().set(NODE, Key::Specs, &text), Err(ValueError::TooLarge(..))));
}

fn mandate(endpoint: &str, epoch: u64) -> Mandate {
    Mandate {
        endpoint: endpoint.parse().unwrap(),
        epoch,
        version: VERSION,
        shares: vec![Share { revision: Revision(VERSION), replicas: 3, weight: 100 }],
        rollout: RolloutPhase::Complete,
        reason: "r".to_owned(),
        since: UnixMillis::from_millis(9),
    }
}

fn demand(endpoint: &str) -> Demand {
    let endpoint = endpoint.parse().unwrap();
    Demand { endpoint, inflight: 1, held: 2, arrivals: 3, tokens: 4, hourly: 5, outcomes: Vec::new() }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn shown(said: &Said) -> NodeView {
    let facts = crate::fixture::facts("n");
    said.view(NODE, &facts, Liveness::Alive, UnixMillis::default())
}

#[test]
fn all_that_is_said_is_in_the_view() {
    let (mandate, demand) = (mandate("e", 1), demand("e"));
    let departures = vec![PastDeparture { at: UnixMillis::from_millis(7), reason: DepartureReason::Reclaim }];
    let (distances, models) =
        (BTreeMap::from([("west".to_owned(), 70)]), BTreeSet::from(["a/b".to_owned(), "c/d".to_owned()]));
    let values = [
        (Key::mandate(&mandate.endpoint), text(&mandate)),
        (Key::demand(&demand.endpoint), text(&demand)),
        (Key::Departures, text(&departures)),
        (Key::Distances, text(&distances)),
        (Key::Models, text(&models)),
    ];
    let mut said = Said::default();
    assert!(said.replace(NODE, &values).is_empty());
    let view = shown(&said);
    assert_eq!(view.mandates[&mandate.endpoint], mandate);
    assert_eq!(view.demands[&demand.endpoint], demand);
    assert_eq!((view.departures, view.distances, view.models), (departures, distances, models));
    said.replace(NODE, &[]);
    assert_eq!(said, Said::default());
}

#[test]
fn what_a_newer_program_says_of_a_known_key_keeps_the_previous_value() {
    let (mut said, name) = (Said::default(), "e".parse().unwrap());
    said.set(NODE, Key::mandate(&name), &text(&mandate("e", 1))).unwrap();
    let newer = text(&mandate("e", 2)).replace("complete", "levitating");
    assert!(matches!(said.set(NODE, Key::mandate(&name), &newer), Err(ValueError::Malformed(_))));
    assert_eq!(shown(&said).mandates[&name].epoch, 1);
    let newer = text(&mandate("e", 3)).replacen('{', "{\"more\":[1],", 1);
    said.set(NODE, Key::mandate(&name), &newer).unwrap();
    assert_eq!(shown(&said).mandates[&name].epoch, 3);
}

#[test]
fn what_is_said_of_an_endpoint_stands_under_its_key_alone() {
    let (mut said, other) = (Said::default(), "f".parse().unwrap());
    let misplaced = [
        said.set(NODE, Key::mandate(&other), &text(&mandate("e", 1))),
        said.set(NODE, Key::demand(&other), &text(&demand("e"))),
    ];
    for outcome in misplaced {
        assert!(matches!(outcome, Err(ValueError::ForeignEndpoint(name)) if name.as_str() == "e"));
    }
    assert_eq!(said, Said::default());
}
