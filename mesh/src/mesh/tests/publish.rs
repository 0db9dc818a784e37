//! What one node says, and the others hear.

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::{Demand, DepartureReason, EndpointName, Mandate, PastDeparture, RolloutPhase, Share};

use super::*;

fn mandate(member: &Member, endpoint: &str, epoch: u64) -> Mandate {
    let version = Hlc { time: member.mesh.generation(), counter: 0, node: member.me() };
    Mandate {
        endpoint: endpoint.parse().unwrap(),
        epoch,
        version,
        shares: vec![Share { revision: Revision(version), replicas: 2, weight: 100 }],
        rollout: RolloutPhase::Complete,
        reason: "inflight is 3 per replica".to_owned(),
        since: version.time,
    }
}

fn demand(endpoint: &str, inflight: u32) -> Demand {
    let endpoint = endpoint.parse().unwrap();
    Demand { endpoint, inflight, held: 0, arrivals: 0, tokens: 0, hourly: 0, outcomes: Vec::new() }
}

#[tokio::test]
async fn mandates_and_demands_are_said_whole() {
    let (_hosts, mut members) = three().await;
    let [a, b, _] = &mut members;
    let id = a.me();
    a.mesh.publish_mandates(&[mandate(a, "e", 1), mandate(a, "f", 1)]).await;
    a.mesh.publish_demands(&[demand("e", 7), demand("f", 7)]).await;
    b.sees(id, "both", |node| node.mandates.len() == 2 && node.demands.len() == 2).await;
    a.mesh.publish_mandates(&[mandate(a, "f", 2), mandate(a, "g", 1)]).await;
    a.mesh.publish_demands(&[]).await;
    let now = |node: &NodeView| {
        let epochs: Vec<_> = node.mandates.values().map(|mandate| (mandate.endpoint.as_str(), mandate.epoch)).collect();
        node.demands.is_empty() && epochs == [("f", 2), ("g", 1)]
    };
    assert!(now(&a.view.borrow().nodes[&id]), "the own view shows it at once");
    b.sees(id, "what is said now", now).await;
    let f: EndpointName = "f".parse().unwrap();
    assert_eq!(b.view.borrow().nodes[&id].mandates[&f], mandate(a, "f", 2));
}

#[tokio::test]
async fn what_is_said_again_is_no_news() {
    let host = Host::first();
    let mut a = host.start().await;
    a.mesh.publish_mandates(&[mandate(&a, "e", 1)]).await;
    a.mesh.publish_demands(&[demand("e", 1)]).await;
    let id = a.me();
    let before = a.view.borrow_and_update().nodes[&id].clone();
    a.mesh.publish_mandates(&[mandate(&a, "e", 1)]).await;
    a.mesh.publish_demands(&[demand("e", 1)]).await;
    assert!(!a.view.has_changed().unwrap());
    a.mesh.publish_demands(&[demand("e", 2)]).await;
    assert!(!Arc::ptr_eq(&a.view.borrow().nodes[&id], &before));
}

#[tokio::test]
async fn departures_distances_and_models_are_heard() {
    let (_hosts, mut members) = three().await;
    let [a, b, _] = &mut members;
    let id = a.me();
    let departures = [PastDeparture { at: UnixMillis::from_millis(5), reason: DepartureReason::Reclaim }];
    let (distances, models) = (BTreeMap::from([("west".to_owned(), 70)]), BTreeSet::from(["org/m".to_owned()]));
    a.mesh.publish_departures(&departures).await;
    a.mesh.publish_distances(&distances).await;
    a.mesh.publish_models(&models).await;
    b.sees(id, "all of it", |node| {
        node.departures == departures && node.distances == distances && node.models == models
    })
    .await;
    a.mesh.publish_models(&BTreeSet::new()).await;
    b.sees(id, "that it has none any more", |node| node.models.is_empty()).await;
    assert!(a.mesh.distances().is_empty(), "all nodes are of one cluster");
}

#[tokio::test]
async fn a_node_measures_how_far_other_clusters_are() {
    let (_hosts, mut members) = three().await;
    let [a, b, _] = &mut members;
    let labels = shoal_types::Labels { cluster: "west".to_owned(), ..shoal_types::Labels::default() };
    b.mesh.publish_facts(NodeFacts { labels, ..facts("test") }).await;
    a.sees(b.me(), "where b is", |node| node.facts.labels.cluster == "west").await;
    let measured = timeout(Duration::from_secs(20), async {
        let mut every = tokio::time::interval(INTERVAL);
        while a.mesh.distances().is_empty() {
            every.tick().await;
        }
    });
    measured.await.unwrap();
    assert_eq!(a.mesh.distances().into_keys().collect::<Vec<_>>(), ["west"]);
}
