//! What tests of whole meshes have in common.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use shoal_types::{
    Endpoint, GpuSource, Host, Labels, Liveness, MemorySize, NodeFacts, NodeId, NodeView, UnixMillis, parse_endpoints,
};
use tokio::{sync::watch, time::timeout};

use crate::{
    clock,
    identity::{Identity, TokenLimits, testing},
};

/// Longest wait for anything in a test, on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A new mesh whose first node lives in `dir`.
pub(crate) fn first_node(dir: &Path) -> Arc<Identity> {
    Arc::new(testing::first_node(dir, clock::now()))
}

/// A node that joined through `issuer` and lives in `dir`.
pub(crate) fn joined_node(issuer: &Identity, dir: &Path, write: bool) -> Arc<Identity> {
    let limits = TokenLimits { write, ..testing::limits(1) };
    Arc::new(testing::member(issuer, dir, "joined", &limits, clock::now()))
}

pub(crate) fn facts(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        labels: Labels::default(),
        addresses: Vec::new(),
        ingress: None,
        version: "0.0.0".to_owned(),
        protocol: 1,
        host: Host { cpus: 1, memory: MemorySize::from_gib(1), os: "test".to_owned() },
        gpu_source: GpuSource::None,
        issuer: false,
        validities: None,
        root: None,
        requests_capacity: false,
        engines: Vec::new(),
        started: UnixMillis::default(),
    }
}

/// A node that says who it is, and nothing else.
pub(crate) fn node_view(id: NodeId, facts: NodeFacts) -> NodeView {
    NodeView {
        id,
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
        heard: UnixMillis::default(),
    }
}

/// An endpoint of `min` replicas of `model`.
pub(crate) fn endpoint(name: &str, model: &str, min: u32) -> Endpoint {
    let text = format!(
        "apiVersion: shoal/v1\nkind: Endpoint\nmetadata: {{name: {name}}}\n\
         spec: {{model: {model}, engine: {{kind: sim}}, replicas: {{min: {min}}}}}\n"
    );
    parse_endpoints(&text).unwrap().remove(0)
}

/// Waits until `holds` of what is watched.
pub(crate) async fn eventually<T: std::fmt::Debug>(
    watched: &mut watch::Receiver<T>,
    what: &str,
    holds: impl FnMut(&T) -> bool,
) {
    let outcome = timeout(PATIENCE, watched.wait_for(holds)).await.map(drop);
    assert!(outcome.is_ok(), "{what}: not within {PATIENCE:?}; last seen: {:#?}", watched.borrow());
}
