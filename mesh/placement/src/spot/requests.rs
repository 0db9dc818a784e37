//! What endpoints want and the mesh does not have.

mod asked;
mod offers;
mod places;
mod renting;
mod rooms;

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use shoal_types::{Decimal, EndpointName, EndpointRecord, EndpointSpec, MemorySize};

pub use self::{asked::Asked, places::Place};
use self::{offers::Offers, renting::rent, rooms::Rooms};
use crate::{desired::Desired, scene::Scene, want::Class};

/// Capacity that somebody should rent, because an endpoint wants it and no node has room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityRequest {
    /// Whose replicas are missing.
    pub endpoint: EndpointName,
    /// How many of them find no room. Spares are among them only as far as the spot policy takes them for necessary.
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
    /// Where the mesh has, or had, nodes of this kind, and how many replicas to rent there: those where some should be
    /// rented first, then the cheapest, with what losing them costs counted in. All together can be more than `replicas`:
    /// what spot zones did not give lately is asked for on demand too.
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

/// What endpoints want and the mesh neither has room for nor makes it, the most important first: by priority, then larger
/// replicas, then by name. The room that one takes is not there for the next.
///
/// Where it should be rented follows from the scene and from what came of what was `asked` before: of endpoints with
/// `placement.spot`, [`Portfolio`](super::Portfolio) decides, of others, the price with what losses cost. The same scene
/// gives the same requests on every node that has asked for the same.
pub fn capacity_requests(scene: &Scene<'_>, asked: &Asked) -> Vec<CapacityRequest> {
    let mut records: Vec<&EndpointRecord> = scene.view.endpoints.values().map(AsRef::as_ref).collect();
    records.sort_by_key(|record| {
        let spec = &record.endpoint.spec;
        (Reverse(spec.placement.priority), Reverse(spec.resources.gpus))
    });
    let mut rooms = Rooms::new(scene);
    records.into_iter().flat_map(|record| requests(scene, asked, record, &mut rooms)).collect()
}

fn requests<'a>(
    scene: &Scene<'a>,
    asked: &Asked,
    record: &'a EndpointRecord,
    rooms: &mut Rooms<'a>,
) -> Vec<CapacityRequest> {
    let spec = &record.endpoint.spec;
    let desired = Desired::of(scene, record).total();
    let Some(spot) = &spec.placement.spot else {
        let short = rooms.short(record, Class::Any, desired as usize);
        return if short > 0 { vec![anywhere(scene, asked, record, short)] } else { Vec::new() };
    };
    let base = spot.on_demand_base.min(desired);
    // Nothing is spare where nothing is wanted.
    let spare = if desired > base { spot.overprovision } else { 0 };
    let firm = rooms.short(record, Class::Firm, base as usize);
    let hedged = rooms.short(record, Class::Spot, (desired - base).saturating_add(spare) as usize);
    if firm == 0 && hedged == 0 {
        return Vec::new();
    }
    let rented = rent(scene, asked, record, (desired, firm), &rooms.of(record));
    let class = if spot.on_demand_fallback { CapacityClass::SpotOrOnDemand } else { CapacityClass::Spot };
    let firm = (firm > 0).then(|| request(record, CapacityClass::OnDemand, firm, rented.firm));
    let hedged = (rented.missing > 0).then(|| request(record, class, rented.missing as usize, rented.hedged));
    firm.into_iter().chain(hedged).collect()
}

/// The request of an endpoint that does not speak of spot: all in the cheapest place, of those that gave what was asked
/// of them.
fn anywhere(scene: &Scene<'_>, asked: &Asked, record: &EndpointRecord, short: usize) -> CapacityRequest {
    let spec = &record.endpoint.spec;
    let offers = Offers::new(scene, asked, spec, |_| true).places();
    let mut places: Vec<Place> = offers.into_iter().map(|(_, place)| place).collect();
    let willing = places.iter().position(|place| asked.may_ask(place, scene.now)).unwrap_or(0);
    if let Some(place) = places.get_mut(willing) {
        place.replicas = u32::try_from(short).unwrap_or(u32::MAX);
    }
    request(record, CapacityClass::Any, short, places)
}

fn request(record: &EndpointRecord, capacity: CapacityClass, replicas: usize, places: Vec<Place>) -> CapacityRequest {
    let EndpointSpec { resources, placement, .. } = &record.endpoint.spec;
    CapacityRequest {
        endpoint: record.endpoint.metadata.name.clone(),
        replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
        gpus: resources.gpus,
        gpu_model: resources.gpu_model.clone(),
        gpu_memory: resources.gpu_memory,
        mig: resources.mig.clone(),
        capacity,
        require: placement.require.clone(),
        max_price: placement.max_price,
        places: places::foremost(places),
    }
}

#[cfg(test)]
mod tests;
