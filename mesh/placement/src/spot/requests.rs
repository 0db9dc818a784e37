//! What endpoints want and the mesh does not have.

mod places;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_types::{Decimal, EndpointName, EndpointRecord, EndpointSpec, MemorySize, NodeId, NodeView};

pub use self::places::Place;
use self::places::places;
use crate::{
    candidates::admit,
    desired::Desired,
    scene::Scene,
    want::{Class, Want},
};

/// Capacity that somebody should rent, because an endpoint wants it and no node has room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityRequest {
    /// Whose replicas are missing.
    pub endpoint: EndpointName,
    /// How many of them find no room.
    pub replicas: u32,
    /// GPUs that each of them needs, on one node.
    pub gpus: u32,
    /// Text that the GPU's name must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_model: Option<String>,
    /// Least memory of each GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<MemorySize>,
    /// Profile of the MIG slices that `gpus` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<String>,
    /// What the provider may do to it.
    pub capacity: CapacityClass,
    /// Labels that the node must have, and the values that are allowed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<String, Vec<String>>,
    /// Highest price, in USD per GPU-hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<Decimal>,
    /// Where the mesh has, or had, nodes of this kind, the cheapest first, with what losing them costs counted in.
    pub places: Vec<Place>,
}

/// What the provider may do to the capacity that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityClass {
    /// The endpoint takes whatever there is.
    Any,
    /// It may take it back.
    Spot,
    /// It may take it back; where there is none, what stays will do.
    SpotOrOnDemand,
    /// It must leave it: on demand or reserved.
    OnDemand,
}

/// What endpoints want and no candidate has room for, dearest wishes first: by priority, then by name. The room that one
/// takes is not there for the next. The same scene gives the same requests on every node.
pub fn capacity_requests(scene: &Scene<'_>) -> Vec<CapacityRequest> {
    let mut records: Vec<&EndpointRecord> = scene.view.endpoints.values().map(AsRef::as_ref).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.endpoint.spec.placement.priority));
    let mut planned = BTreeMap::new();
    let wants = records.into_iter().flat_map(|record| wants(scene, record));
    wants.filter_map(|want| request(scene, &want, &mut planned)).collect()
}

/// What is missing of `record`, by class of capacity; of the present revision, as that is what will stay.
fn wants<'a>(scene: &Scene<'a>, record: &'a EndpointRecord) -> Vec<Want<'a>> {
    let spec = &record.endpoint.spec;
    let desired = Desired::of(scene, record).total();
    let counts = match &spec.placement.spot {
        None => vec![(Class::Any, desired)],
        Some(spot) => {
            let firm = spot.on_demand_base.min(desired);
            // Nothing is spare where nothing is wanted.
            let spare = if desired > firm { spot.overprovision } else { 0 };
            vec![(Class::Firm, firm), (Class::Spot, (desired - firm).saturating_add(spare))]
        }
    };
    let missing = |(class, wanted): (Class, u32)| {
        let count = (wanted as usize).saturating_sub(held(scene, record, class));
        Want { record, spec, revision: record.revision, class, count }
    };
    counts.into_iter().map(missing).filter(|want| want.count > 0).collect()
}

/// Replicas of `record` on capacity of `class` that are there to stay.
fn held(scene: &Scene<'_>, record: &EndpointRecord, class: Class) -> usize {
    let claims = scene.view.claims_of(&record.endpoint.metadata.name);
    let stays = claims.filter(|(node, claim)| {
        node.is_alive() && node.departure.is_none() && claim.state.counts() && claim.leaving.is_none()
    });
    stays.filter(|(node, _)| class.contains(node)).count()
}

fn request(scene: &Scene<'_>, want: &Want<'_>, planned: &mut BTreeMap<NodeId, usize>) -> Option<CapacityRequest> {
    let mut missing = want.count;
    for node in scene.view.nodes.values().filter(|node| want.class.contains(node)) {
        let taken = room(node, want, scene, planned).min(missing);
        *planned.entry(node.id).or_default() += taken * want.spec.resources.gpus as usize;
        missing -= taken;
    }
    let EndpointSpec { resources, placement, .. } = want.spec;
    (missing > 0).then(|| CapacityRequest {
        endpoint: want.record.endpoint.metadata.name.clone(),
        replicas: u32::try_from(missing).unwrap_or(u32::MAX),
        gpus: resources.gpus,
        gpu_model: resources.gpu_model.clone(),
        gpu_memory: resources.gpu_memory,
        mig: resources.mig.clone(),
        capacity: class_of(want),
        require: placement.require.clone(),
        max_price: placement.max_price,
        places: places(scene, want.spec, class_of(want)),
    })
}

/// Replicas for which `node` has room, once what is `planned` has its GPUs.
fn room(node: &NodeView, want: &Want<'_>, scene: &Scene<'_>, planned: &BTreeMap<NodeId, usize>) -> usize {
    let Ok(room) = admit(node, want, scene.now) else { return 0 };
    let free = room.less(planned.get(&node.id).copied().unwrap_or(0)).fitting;
    // A replica without GPUs fits anywhere.
    free.checked_div(want.spec.resources.gpus as usize).unwrap_or(usize::MAX)
}

fn class_of(want: &Want<'_>) -> CapacityClass {
    match (want.class, &want.spec.placement.spot) {
        (Class::Any, _) => CapacityClass::Any,
        (Class::Firm, _) => CapacityClass::OnDemand,
        (Class::Spot, Some(spot)) if spot.on_demand_fallback => CapacityClass::SpotOrOnDemand,
        (Class::Spot, Some(_) | None) => CapacityClass::Spot,
    }
}

#[cfg(test)]
mod tests;
