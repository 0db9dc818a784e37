//! Who has the GPUs that others are missing.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use shoal_types::{Claim, EndpointName, EndpointRecord, GpuUse, NodeId, NodeView, ReplicaState, View};

use crate::{
    ground::{Ground, Site},
    need::Need,
    presence::Holder,
};

/// Endpoints that are told by name.
const TENANTS_MAX: usize = 10;

/// Who has the GPUs of some nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenants {
    /// Endpoints, lowest priority first.
    pub endpoints: Vec<Tenant>,
    /// Further endpoints, that are not told.
    pub more: usize,
    /// GPUs that processes hold which are not shoal's, or of which nothing is known.
    pub foreign: usize,
    /// GPUs that are ill.
    pub ill: usize,
}

/// An endpoint that has GPUs of these nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// Its priority; none once it is deleted.
    pub priority: Option<i32>,
    /// Replicas on these nodes.
    pub replicas: usize,
    /// GPUs that these hold.
    pub gpus: usize,
    /// Replicas that it has above its `min`, in the whole mesh: what may have to give way to a higher priority.
    pub spare: usize,
}

/// Replicas of one node whose end makes room there.
#[derive(Debug, Clone)]
pub(crate) struct Eviction<'a> {
    pub(crate) node: &'a NodeView,
    /// The highest priority among them.
    pub(crate) priority: i32,
    pub(crate) claims: Vec<&'a Claim>,
}

impl Eviction<'_> {
    /// Of several the least one is chosen: those of low priority first, then few, then small ones.
    pub(crate) fn rank(&self) -> (i32, usize, u32, NodeId) {
        (self.priority, self.claims.len(), self.claims.iter().map(|claim| claim.gpus).sum(), self.node.id)
    }
}

/// What each endpoint could give up.
#[derive(Debug, Clone)]
pub(crate) struct Tenancies<'a> {
    endpoints: BTreeMap<&'a EndpointName, Tenancy>,
}

#[derive(Debug, Clone, Copy)]
struct Tenancy {
    priority: i32,
    spare: usize,
    defragment: bool,
}

impl<'a> Tenancies<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        let mut standing: BTreeMap<&EndpointName, usize> = BTreeMap::new();
        for (node, claim) in view.claims() {
            if claim.state.counts() && node.is_alive() && (Holder { node, claim }).stays() {
                *standing.entry(&claim.endpoint).or_default() += 1;
            }
        }
        let tenancy = |(name, record): (&'a EndpointName, &Arc<EndpointRecord>)| {
            let spec = &record.endpoint.spec;
            let spare = standing.get(name).copied().unwrap_or(0).saturating_sub(spec.replicas.min as usize);
            let placement = &spec.placement;
            (name, Tenancy { priority: placement.priority, spare, defragment: placement.defragment })
        };
        Self { endpoints: view.endpoints.iter().map(tenancy).collect() }
    }

    /// Who has the GPUs of `nodes`.
    pub(crate) fn of_nodes<'s>(&self, sites: impl Iterator<Item = &'s Site<'a>>) -> Tenants
    where
        'a: 's,
    {
        let mut tenants = Tenants::default();
        let mut endpoints: BTreeMap<&EndpointName, Tenant> = BTreeMap::new();
        for node in sites.map(|site| site.node) {
            for claim in node.claims.values().filter(|claim| holds(claim)) {
                let tenant = endpoints.entry(&claim.endpoint).or_insert_with(|| self.tenant(&claim.endpoint));
                tenant.replicas += 1;
                tenant.gpus += claim.gpus as usize;
            }
            let foreign = node.gpus.iter().filter(|gpu| matches!(gpu.used_by, GpuUse::Foreign(_) | GpuUse::Unknown));
            tenants.foreign += foreign.count();
            tenants.ill += node.gpus.iter().filter(|gpu| gpu.fault.is_some()).count();
        }
        tenants.endpoints = endpoints.into_values().collect();
        tenants.endpoints.sort_by(|a, b| (a.priority, &a.endpoint).cmp(&(b.priority, &b.endpoint)));
        tenants.more = tenants.endpoints.len().saturating_sub(TENANTS_MAX);
        tenants.endpoints.truncate(TENANTS_MAX);
        tenants
    }

    fn tenant(&self, endpoint: &EndpointName) -> Tenant {
        let tenancy = self.endpoints.get(endpoint);
        Tenant {
            endpoint: endpoint.clone(),
            priority: tenancy.map(|tenancy| tenancy.priority),
            replicas: 0,
            gpus: 0,
            spare: tenancy.map_or(0, |tenancy| tenancy.spare),
        }
    }

    /// Whether replicas of `endpoint` may move to make room for larger ones.
    pub(crate) fn moves(&self, endpoint: &EndpointName) -> bool {
        self.endpoints.get(endpoint).is_some_and(|tenancy| tenancy.defragment)
    }

    /// The claims of `node` whose end makes room for a replica as `need` says, if those of endpoints below `priority`
    /// that are above their `min` suffice: the lowest priority first, then the largest. No endpoint takes its own place.
    pub(crate) fn evictable(
        &self,
        ground: &Ground<'a>,
        need: &Need<'a>,
        site: &Site<'a>,
        priority: Option<i32>,
    ) -> Option<Eviction<'a>> {
        let own = &need.want.record.endpoint.metadata.name;
        let others = site.node.claims.values().filter(|claim| claim.endpoint != *own);
        let mut claims: Vec<(i32, &Claim)> = others.filter_map(|claim| self.below(claim, priority)).collect();
        claims.sort_by_key(|(of, claim)| (*of, Reverse(claim.gpus), claim.id));
        let (mut gone, mut evicted) = (BTreeSet::new(), Vec::new());
        let mut taken: BTreeMap<&EndpointName, usize> = BTreeMap::new();
        for (of, claim) in claims {
            let spare = self.endpoints.get(&claim.endpoint).map_or(0, |tenancy| tenancy.spare);
            let used = taken.entry(&claim.endpoint).or_default();
            if *used >= spare || site.is_gone(claim.id) {
                continue;
            }
            *used += 1;
            gone.insert(claim.id);
            evicted.push(claim);
            if ground.room_without(site, &gone, need).fitting >= need.gpus() {
                return Some(Eviction { node: site.node, priority: of, claims: evicted });
            }
        }
        None
    }

    fn below(&self, claim: &'a Claim, priority: Option<i32>) -> Option<(i32, &'a Claim)> {
        let tenancy = self.endpoints.get(&claim.endpoint)?;
        let lower = priority.is_none_or(|priority| tenancy.priority < priority);
        (lower && holds(claim) && claim.leaving.is_none()).then_some((tenancy.priority, claim))
    }

    /// Whether anybody below `priority` could give way.
    pub(crate) fn any_spare_below(&self, priority: i32) -> bool {
        self.endpoints.values().any(|tenancy| tenancy.spare > 0 && tenancy.priority < priority)
    }

    /// Notes that a replica of `endpoint` has given way.
    pub(crate) fn give_up(&mut self, endpoint: &EndpointName) {
        if let Some(tenancy) = self.endpoints.get_mut(endpoint) {
            tenancy.spare = tenancy.spare.saturating_sub(1);
        }
    }
}

/// Whether a new replica cannot have what `claim` has.
fn holds(claim: &Claim) -> bool {
    claim.gpus > 0 && !matches!(claim.state, ReplicaState::Asleep | ReplicaState::Failed)
}
