use std::{collections::BTreeSet, sync::Arc};

use shoal_types::{
    GpuSource, Hlc, Host, Labels, Liveness, MemorySize, MeshId, NodeFacts, NodeId, PastRevision, RolloutPhase,
    RoutingPolicy, Share, UnixMillis, parse_endpoints,
};

use super::*;

const LLAMA: &str =
    "apiVersion: shoal/v1\nkind: Endpoint\nmetadata: {name: llama}\nspec: {model: new, engine: {kind: sim}}";

fn id(node: u8) -> NodeId {
    NodeId::from_bytes([node; 16])
}

/// The revision that was made in this second.
fn revision(second: u64) -> Revision {
    Revision(Hlc { time: UnixMillis::from_millis(second * 1_000), counter: 0, node: id(9) })
}

fn node(number: u8) -> NodeView {
    let facts = NodeFacts {
        name: number.to_string(),
        labels: Labels::default(),
        addresses: Vec::new(),
        ingress: None,
        version: "0.1.0".to_owned(),
        protocol: 1,
        host: Host { cpus: 1, memory: MemorySize::from_gib(1), os: "test".to_owned() },
        gpu_source: GpuSource::Simulated,
        issuer: false,
        validities: None,
        root: None,
        requests_capacity: false,
        engines: Vec::new(),
        started: UnixMillis::from_millis(0),
    };
    NodeView {
        id: id(number),
        facts,
        gpus: Vec::new(),
        claims: BTreeMap::new(),
        loads: BTreeMap::new(),
        refusals: Vec::new(),
        departure: None,
        liveness: Liveness::Alive,
        demands: BTreeMap::new(),
        key_uses: BTreeMap::new(),
        mandates: BTreeMap::new(),
        departures: Vec::new(),
        distances: BTreeMap::new(),
        models: BTreeSet::new(),
        specs: String::new(),
        heard: UnixMillis::from_millis(0),
    }
}

/// An endpoint and the nodes that have its replicas.
struct Fixture {
    record: EndpointRecord,
    nodes: [NodeView; 2],
}

impl Fixture {
    /// Endpoint `llama` at revision 2 (`new`), which was `old` at revision 1; seen by node 9, with nodes 1 and 2.
    fn new() -> Self {
        let endpoint = parse_endpoints(LLAMA).unwrap().remove(0);
        let old = EndpointSpec { model: "old".to_owned(), ..endpoint.spec.clone() };
        let record = EndpointRecord {
            endpoint,
            revision: revision(2),
            version: revision(2).0,
            previous: vec![PastRevision { revision: revision(1), spec: old }],
        };
        Self { record, nodes: [node(1), node(2)] }
    }

    /// Node `node` has a replica of that revision.
    fn claim(mut self, node: usize, second: u64, state: ReplicaState) -> Self {
        let claims = &mut self.nodes[node - 1].claims;
        let counter = u32::try_from(claims.len()).unwrap();
        let claim = ClaimId { node: id(u8::try_from(node).unwrap()), generation: UnixMillis::from_millis(1), counter };
        let at = UnixMillis::from_millis(0);
        claims.insert(
            claim,
            Claim {
                id: claim,
                endpoint: "llama".parse().unwrap(),
                revision: revision(second),
                gpus: 1,
                claimed: at,
                state,
                since: at,
                reason: None,
                progress: None,
                crashes: 0,
                leaving: None,
            },
        );
        self
    }

    /// Node `node` says, as a steward, what revisions should have: (second, replicas, weight).
    fn mandate(mut self, node: usize, epoch: u64, shares: &[(u64, u32, u8)]) -> Self {
        let share =
            |&(second, replicas, weight): &(u64, u32, u8)| Share { revision: revision(second), replicas, weight };
        let endpoint: EndpointName = "llama".parse().unwrap();
        let mandate = Mandate {
            endpoint: endpoint.clone(),
            epoch,
            version: revision(2).0,
            shares: shares.iter().map(share).collect(),
            rollout: RolloutPhase::Complete,
            reason: String::new(),
            since: UnixMillis::from_millis(0),
        };
        self.nodes[node - 1].mandates.insert(endpoint, mandate);
        self
    }

    fn view(&self) -> View {
        View {
            me: id(9),
            mesh: MeshId::from_bytes([0; 16]),
            nodes: self.nodes.iter().map(|node| (node.id, Arc::new(node.clone()))).collect(),
            endpoints: BTreeMap::from([("llama".parse().unwrap(), Arc::new(self.record.clone()))]),
        }
    }

    fn route(&self) -> Route {
        self.route_after(&Memory::default())
    }

    fn route_after(&self, memory: &Memory) -> Route {
        route(&self.view(), memory, &Engines::new(), &self.record)
    }

    /// The models that are known, each with its weight.
    fn weights(&self) -> Vec<(String, u8)> {
        self.weights_after(&Memory::default())
    }

    fn weights_after(&self, memory: &Memory) -> Vec<(String, u8)> {
        self.route_after(memory).revisions.into_iter().map(|revision| (revision.model, revision.weight)).collect()
    }
}

fn models(expected: &[(&str, u8)]) -> Vec<(String, u8)> {
    expected.iter().map(|(model, weight)| ((*model).to_owned(), *weight)).collect()
}

#[test]
fn the_word_of_the_highest_epoch_gives_the_weights() {
    let fixture = Fixture::new().claim(1, 1, ReplicaState::Ready).claim(2, 2, ReplicaState::Ready);
    let fixture = fixture.mandate(1, 7, &[(2, 1, 10), (1, 1, 90)]).mandate(2, 6, &[(2, 1, 100)]);
    assert_eq!(fixture.weights(), models(&[("new", 10), ("old", 90)]));
    let tied = fixture.mandate(2, 7, &[(2, 1, 100)]);
    assert_eq!(tied.weights(), models(&[("new", 100), ("old", 0)]), "of two, the greater node's");
}

#[test]
fn rule_5_with_no_steward_heard_its_last_word_gives_the_weights() {
    let there = || Fixture::new().claim(1, 1, ReplicaState::Ready).claim(2, 2, ReplicaState::Ready);
    let rolled_back = there().mandate(1, 7, &[(2, 0, 0), (1, 1, 100)]);
    let mut memory = Memory::default();
    memory.observe(&rolled_back.view(), UnixMillis::from_millis(1));
    assert_eq!(there().weights_after(&memory), models(&[("new", 0), ("old", 100)]));
    let newer = there().mandate(2, 8, &[(2, 1, 100)]);
    assert_eq!(newer.weights_after(&memory), models(&[("new", 100), ("old", 0)]));
    let older = there().mandate(2, 6, &[(2, 1, 100)]);
    assert_eq!(older.weights_after(&memory), models(&[("new", 0), ("old", 100)]));
}

#[test]
fn without_a_word_each_ready_replica_gets_as_much() {
    let fixture = Fixture::new().claim(1, 1, ReplicaState::Ready).claim(1, 1, ReplicaState::Ready);
    let fixture = fixture.claim(2, 2, ReplicaState::Ready).claim(2, 2, ReplicaState::Loading);
    assert_eq!(fixture.weights(), models(&[("new", 1), ("old", 2)]));
    let route = fixture.route();
    let of: Vec<Revision> = route.replicas.iter().map(|replica| replica.revision).collect();
    assert_eq!(of, [revision(1), revision(1), revision(2)]);
}

/// Rule 10: a model that is still served does not become unknown, and one that is not served any more does.
#[test]
fn rule_10_an_old_model_is_known_until_its_last_replica_is_gone() {
    for state in [ReplicaState::Ready, ReplicaState::Backoff, ReplicaState::Draining, ReplicaState::Asleep] {
        assert_eq!(Fixture::new().claim(1, 1, state).weights().len(), 2, "{state}");
    }
    assert_eq!(Fixture::new().claim(1, 1, ReplicaState::Failed).weights(), models(&[("new", 0)]));
    let rolled_back = Fixture::new().mandate(1, 1, &[(1, 1, 100)]);
    assert_eq!(rolled_back.weights(), models(&[("new", 0), ("old", 100)]), "one is to come back");
}

#[test]
fn an_endpoint_that_may_have_no_replicas_is_not_waited_for() {
    let mut fixture = Fixture::new();
    assert!(fixture.route().may_wake);
    fixture.record.endpoint.spec.replicas.min = 0;
    assert!(!fixture.route().may_wake);
    fixture.record.endpoint.spec.replicas.max = Some(1);
    assert!(fixture.route().may_wake, "it may be woken");
}

#[test]
fn a_replica_is_where_its_node_is_and_the_policy_is_the_specs() {
    let mut fixture = Fixture::new().claim(1, 2, ReplicaState::Ready).claim(2, 2, ReplicaState::Ready);
    fixture.record.endpoint.spec.routing.policy = RoutingPolicy::Session;
    let labels = &mut fixture.nodes[1].facts.labels;
    (labels.cluster, labels.price) = ("west".to_owned(), Some(2.5));
    let mut view = fixture.view();
    let mut own = node(9);
    own.distances.insert("west".to_owned(), 70);
    view.nodes.insert(own.id, Arc::new(own));
    let route = route(&view, &Memory::default(), &Engines::new(), &fixture.record);
    assert_eq!(route.policy, RoutingPolicy::Session);
    let west =
        Site { round_trip: Some(Duration::from_millis(70)), other_cluster: true, service: false, price: Some(2.5) };
    let sites: Vec<Site> = route.replicas.into_iter().map(|replica| replica.site).collect();
    assert_eq!(sites, [Site::default(), west]);
}

#[test]
fn the_spec_says_what_is_done_for_streams() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.route().streams, StreamPolicy::default());
    let routing = &mut fixture.record.endpoint.spec.routing;
    (routing.resume, routing.hedge, routing.stall) = (false, true, shoal_types::HumanDuration::from_secs(5));
    let streams = StreamPolicy { resume: false, hedge: true, stall: Duration::from_secs(5) };
    assert_eq!(fixture.route().streams, streams);
    assert!(fixture.route().revisions[0].continues_messages);
    let gateway = LLAMA.replace("kind: sim", "kind: gateway, url: 'https://x'");
    fixture.record.endpoint = parse_endpoints(&gateway).unwrap().remove(0);
    assert!(!fixture.route().revisions[0].continues_messages);
}
