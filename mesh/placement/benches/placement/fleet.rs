//! Large fleets, always the same ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shoal_types::{
    ApiVersion, CapacityType, Claim, ClaimId, Endpoint, EndpointName, EndpointRecord, EndpointSpec, EngineOffer,
    EngineSpec, Gpu, GpuId, GpuSource, GpuUse, Hlc, Host, Kind, Labels, Liveness, MemorySize, MeshId, Metadata,
    NodeFacts, NodeId, NodeView, Placement, ReplicaState, Replicas, Resources, Revision, Rollout, Routing, Scaling,
    SimEngine, Spread, UnixMillis, View,
};

const GPUS: usize = 8;
/// Share of the GPUs that are wanted.
const FILL: f64 = 0.6;

pub(crate) fn at(seconds: u64) -> UnixMillis {
    UnixMillis::from_millis(1_000_000 + seconds * 1_000)
}

fn node_id(index: usize) -> NodeId {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// A fleet of `nodes` hosts with eight GPUs each in nine zones of three clusters, and `endpoints` of all sizes that want
/// six tenths of the GPUs. If `is_placed`, all replicas serve.
pub(crate) fn crowd(nodes: usize, endpoints: usize, is_placed: bool) -> View {
    let mut hosts: Vec<NodeView> = (0..nodes).map(host).collect();
    let mut records = BTreeMap::new();
    let mut cursor = 0;
    for index in 0..endpoints {
        let gpus = [8, 4, 2, 1][index % 4];
        let share = (nodes * GPUS) as f64 * FILL / endpoints as f64;
        let replicas = ((share / f64::from(gpus)).round() as u32).max(1);
        let record = record(index, gpus, replicas);
        for _ in 0..if is_placed { replicas } else { 0 } {
            cursor = place(&mut hosts, cursor, &record);
        }
        records.insert(record.endpoint.metadata.name.clone(), Arc::new(record));
    }
    View {
        me: node_id(nodes / 2),
        mesh: MeshId::from_bytes([0; 16]),
        nodes: hosts.into_iter().map(|host| (host.id, Arc::new(host))).collect(),
        endpoints: records,
    }
}

/// The same with all replicas placed but those of one more endpoint, which needs a whole host, and none is whole.
pub(crate) fn crowd_without_room(nodes: usize, endpoints: usize) -> View {
    let mut view = crowd(nodes, endpoints, true);
    for host in view.nodes.values_mut().filter(|host| host.claims.is_empty()) {
        Arc::make_mut(host).gpus[0].used_by = GpuUse::Foreign("python 4711".to_owned());
    }
    let record = record(endpoints * 4, 8, 1);
    view.endpoints.insert(record.endpoint.metadata.name.clone(), Arc::new(record));
    view
}

/// Changes what one node says about one of its claims, another node each time.
pub(crate) fn touch(view: &mut View, second: u64) {
    let index = second as usize * 7 % view.nodes.len();
    let node = (0..view.nodes.len()).map(|step| node_id((index + step) % view.nodes.len()));
    let node = node.into_iter().find(|node| !view.nodes[node].claims.is_empty()).unwrap();
    let node = Arc::make_mut(view.nodes.get_mut(&node).unwrap());
    let claim = node.claims.values_mut().next().unwrap();
    claim.since = at(second);
}

/// Puts a replica of `record` on the first host from `cursor` on that has room; returns where that was.
fn place(hosts: &mut [NodeView], cursor: usize, record: &EndpointRecord) -> usize {
    let gpus = record.endpoint.spec.resources.gpus as usize;
    let free = |host: &NodeView| host.gpus.iter().filter(|gpu| gpu.used_by == GpuUse::Free).count();
    let count = hosts.len();
    let Some(index) = (0..count).map(|step| (cursor + step) % count).find(|&index| free(&hosts[index]) >= gpus) else {
        return cursor;
    };
    let host = &mut hosts[index];
    let id = ClaimId { node: host.id, generation: at(0), counter: host.claims.len() as u32 + 1 };
    for gpu in host.gpus.iter_mut().filter(|gpu| gpu.used_by == GpuUse::Free).take(gpus) {
        gpu.used_by = GpuUse::Replica(id);
    }
    let claim = Claim {
        id,
        endpoint: record.endpoint.metadata.name.clone(),
        revision: record.revision,
        gpus: gpus as u32,
        claimed: at(0),
        state: ReplicaState::Ready,
        since: at(0),
        reason: None,
        progress: None,
        crashes: 0,
        leaving: None,
    };
    host.claims.insert(id, claim);
    index
}

fn record(index: usize, gpus: u32, replicas: u32) -> EndpointRecord {
    let name: EndpointName = format!("endpoint-{index}").parse().unwrap();
    let version = Hlc { time: at(0), counter: 0, node: node_id(0) };
    let home = index.is_multiple_of(5).then(|| format!("cluster-{}", index % 3));
    let spec = EndpointSpec {
        model: format!("test/model-{index}"),
        model_revision: None,
        aliases: BTreeSet::new(),
        adapters: Default::default(),
        engine: EngineSpec::Sim(SimEngine::default()),
        resources: Resources { gpus, gpu_model: Some("H100".to_owned()), gpu_memory: None, mig: None },
        replicas: Replicas { min: replicas, max: None },
        scaling: Scaling::default(),
        placement: Placement { home, spread: index.is_multiple_of(3).then_some(Spread::Zone), ..Placement::default() },
        rollout: Rollout::default(),
        routing: Routing::default(),
    };
    let metadata = Metadata { name, labels: BTreeMap::new() };
    let endpoint = Endpoint { api_version: ApiVersion::V1, kind: Kind::Endpoint, metadata, spec };
    EndpointRecord { endpoint, revision: Revision(version), version, previous: Vec::new() }
}

fn host(index: usize) -> NodeView {
    let id = node_id(index);
    let labels = Labels {
        cluster: format!("cluster-{}", index % 3),
        zone: Some(format!("zone-{}", index % 9)),
        capacity_type: [CapacityType::Spot, CapacityType::OnDemand][index % 2],
        price: Some([1.5, 3.0][index % 2]),
        ..Labels::default()
    };
    let facts = NodeFacts {
        name: id.short(),
        labels,
        addresses: Vec::new(),
        ingress: None,
        version: "0.1.0".to_owned(),
        protocol: 1,
        host: Host { cpus: 64, memory: MemorySize::from_gib(1_024), os: "Linux".to_owned() },
        gpu_source: GpuSource::Simulated,
        issuer: false,
        validities: None,
        root: None,
        requests_capacity: false,
        engines: vec![EngineOffer("sim".to_owned()), EngineOffer("vllm".to_owned())],
        started: at(0),
    };
    let gpu = |number: usize| Gpu {
        id: GpuId(format!("SIM-{index}-{number}")),
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        memory: MemorySize::from_gib(80),
        memory_used: None,
        utilization: None,
        temperature: None,
        mig: None,
        numa: None,
        used_by: GpuUse::Free,
        fault: None,
    };
    NodeView {
        id,
        facts,
        gpus: (0..GPUS).map(gpu).collect(),
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
