//! Views made by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shoal_types::{
    ApiVersion, CapacityType, Claim, ClaimId, Demand, Endpoint, EndpointName, EndpointRecord, EndpointSpec,
    EngineOffer, EngineSpec, Gpu, GpuId, GpuSource, GpuUse, Hlc, Host, Kind, Labels, Liveness, Mandate, MemorySize,
    MeshId, Metadata, NodeFacts, NodeId, NodeView, PastRevision, Placement, ReplicaState, Replicas, Resources,
    Revision, Rollout, RolloutPhase, Routing, Scaling, Share, SimEngine, UnixMillis, View,
};

/// Seconds after the start of the test.
pub(crate) fn at(seconds: u64) -> UnixMillis {
    UnixMillis::from_millis(1_000_000 + seconds * 1_000)
}

pub(crate) fn id(node: u8) -> NodeId {
    NodeId::from_bytes([node; 16])
}

pub(crate) fn name(endpoint: &str) -> EndpointName {
    endpoint.parse().unwrap()
}

pub(crate) fn gpu(index: usize) -> Gpu {
    Gpu {
        id: GpuId(format!("SIM-{index}")),
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        memory: MemorySize::from_gib(80),
        memory_used: None,
        utilization: None,
        temperature: None,
        mig: None,
        numa: None,
        used_by: GpuUse::Free,
        fault: None,
    }
}

pub(crate) fn node_view(id: NodeId, gpus: usize) -> NodeView {
    let facts = NodeFacts {
        name: id.short(),
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
        engines: vec![EngineOffer("sim".to_owned())],
        started: at(0),
    };
    NodeView {
        id,
        facts,
        gpus: (0..gpus).map(gpu).collect(),
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
        heard: at(0),
    }
}

pub(crate) fn record(endpoint: &str, gpus: u32, replicas: u32) -> EndpointRecord {
    let version = Hlc { time: at(0), counter: 0, node: id(0) };
    let spec = EndpointSpec {
        model: "test/model".to_owned(),
        model_revision: None,
        aliases: Default::default(),
        adapters: Default::default(),
        engine: EngineSpec::Sim(SimEngine::default()),
        resources: Resources { gpus, gpu_model: None, gpu_memory: None, mig: None },
        replicas: Replicas { min: replicas, max: None },
        scaling: Scaling::default(),
        placement: Placement::default(),
        rollout: Rollout::default(),
        routing: Routing::default(),
    };
    let metadata = Metadata { name: name(endpoint), labels: BTreeMap::new() };
    let endpoint = Endpoint { api_version: ApiVersion::V1, kind: Kind::Endpoint, metadata, spec };
    EndpointRecord { endpoint, revision: Revision(version), version, previous: Vec::new() }
}

/// A view, seen by node 1 unless said otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) view: View,
    counter: u32,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let mesh = MeshId::from_bytes([0; 16]);
        let view = View { me: id(1), mesh, nodes: BTreeMap::new(), endpoints: BTreeMap::new() };
        Self { view, counter: 0 }
    }

    pub(crate) fn node(mut self, node: u8, gpus: usize) -> Self {
        self.view.nodes.insert(id(node), Arc::new(node_view(id(node), gpus)));
        self
    }

    pub(crate) fn zone(mut self, node: u8, zone: &str) -> Self {
        self.node_mut(node).facts.labels.zone = Some(zone.to_owned());
        self
    }

    pub(crate) fn cluster(mut self, node: u8, cluster: &str) -> Self {
        cluster.clone_into(&mut self.node_mut(node).facts.labels.cluster);
        self
    }

    pub(crate) fn liveness(mut self, node: u8, liveness: Liveness) -> Self {
        self.node_mut(node).liveness = liveness;
        self
    }

    pub(crate) fn node_mut(&mut self, node: u8) -> &mut NodeView {
        Arc::make_mut(self.view.nodes.get_mut(&id(node)).unwrap())
    }

    pub(crate) fn endpoint(mut self, endpoint: &str, gpus: u32, replicas: u32) -> Self {
        self.view.endpoints.insert(name(endpoint), Arc::new(record(endpoint, gpus, replicas)));
        self
    }

    pub(crate) fn spec(mut self, endpoint: &str, change: impl FnOnce(&mut EndpointSpec)) -> Self {
        change(&mut self.record_mut(endpoint).endpoint.spec);
        self
    }

    pub(crate) fn capacity(mut self, node: u8, capacity_type: CapacityType) -> Self {
        self.node_mut(node).facts.labels.capacity_type = capacity_type;
        self
    }

    /// Lets node 1 say what each revision of `endpoint` should have.
    pub(crate) fn mandate(mut self, endpoint: &str, epoch: u64, shares: &[(Revision, u32)]) -> Self {
        let share = |&(revision, replicas): &(Revision, u32)| Share { revision, replicas, weight: 0 };
        let mandate = Mandate {
            endpoint: name(endpoint),
            epoch,
            version: self.record(endpoint).version,
            shares: shares.iter().map(share).collect(),
            rollout: RolloutPhase::Complete,
            reason: String::new(),
            since: at(0),
        };
        self.node_mut(1).mandates.insert(name(endpoint), mandate);
        self
    }

    /// Gives `endpoint` a new revision.
    pub(crate) fn revise(mut self, endpoint: &str) -> Self {
        self.record_mut(endpoint).revision.0.counter += 1;
        self
    }

    /// Gives `endpoint` a revision that was before.
    pub(crate) fn past(mut self, endpoint: &str, past: PastRevision) -> Self {
        self.record_mut(endpoint).previous.push(past);
        self
    }

    pub(crate) fn record(&self, endpoint: &str) -> &EndpointRecord {
        &self.view.endpoints[&name(endpoint)]
    }

    fn record_mut(&mut self, endpoint: &str) -> &mut EndpointRecord {
        Arc::make_mut(self.view.endpoints.get_mut(&name(endpoint)).unwrap())
    }

    /// Adds a claim of `node` on the present revision of `endpoint`, made and last changed `claimed` seconds after the
    /// start.
    pub(crate) fn claim(&mut self, node: u8, endpoint: &str, state: ReplicaState, claimed: u64) -> ClaimId {
        self.counter += 1;
        let record = self.record(endpoint);
        let claim = Claim {
            id: ClaimId { node: id(node), generation: at(0), counter: self.counter },
            endpoint: name(endpoint),
            revision: record.revision,
            gpus: record.endpoint.spec.resources.gpus,
            claimed: at(claimed),
            state,
            since: at(claimed),
            reason: None,
            progress: None,
            crashes: 0,
            leaving: None,
        };
        let claim_id = claim.id;
        self.node_mut(node).claims.insert(claim_id, claim);
        claim_id
    }

    /// The same for any revision.
    pub(crate) fn claim_of(
        &mut self,
        node: u8,
        endpoint: &str,
        revision: Revision,
        state: ReplicaState,
        claimed: u64,
    ) -> ClaimId {
        let claim = self.claim(node, endpoint, state, claimed);
        self.node_mut(node).claims.entry(claim).and_modify(|claim| claim.revision = revision);
        claim
    }

    pub(crate) fn set_state(&mut self, claim: ClaimId, state: ReplicaState) {
        Arc::make_mut(self.view.nodes.get_mut(&claim.node).unwrap()).claims.get_mut(&claim).unwrap().state = state;
    }
}

impl Fleet {
    pub(crate) fn spot(mut self, node: u8) -> Self {
        self.node_mut(node).facts.labels.capacity_type = CapacityType::Spot;
        self
    }

    pub(crate) fn price(mut self, node: u8, price: f64) -> Self {
        self.node_mut(node).facts.labels.price = Some(price);
        self
    }

    /// Lets `node` know the round trip to `cluster` in milliseconds.
    pub(crate) fn distance(mut self, node: u8, cluster: &str, millis: u32) -> Self {
        self.node_mut(node).distances.insert(cluster.to_owned(), millis);
        self
    }

    /// Lets clients of `node` have sent `hourly` requests to `endpoint` in the last hour.
    pub(crate) fn demand(mut self, node: u8, endpoint: &str, hourly: u32) -> Self {
        let demand = Demand {
            endpoint: name(endpoint),
            inflight: 0,
            held: 0,
            arrivals: 0,
            tokens: 0,
            hourly,
            outcomes: Vec::new(),
        };
        self.node_mut(node).demands.insert(name(endpoint), demand);
        self
    }
}

impl Fleet {
    /// Gives `node` a name for people.
    pub(crate) fn called(mut self, node: u8, name: &str) -> Self {
        name.clone_into(&mut self.node_mut(node).facts.name);
        self
    }

    pub(crate) fn node_mut_of(&mut self, claim: ClaimId) -> &mut NodeView {
        Arc::make_mut(self.view.nodes.get_mut(&claim.node).unwrap())
    }
}
