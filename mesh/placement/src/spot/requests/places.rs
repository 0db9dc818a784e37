//! Where capacity is cheapest, as far as the mesh knows.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use shoal_types::{CapacityType, DepartureReason, EndpointSpec, Labels, NodeView, UnixMillis};

use super::CapacityClass;
use crate::{capacity::fits, scene::Scene, spot::Tuning};

/// More are of no use to whoever rents.
const PLACES_MAX: usize = 8;

/// A zone in which the mesh has, or had, nodes of the kind that is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Of the nodes there.
    pub cluster: String,
    /// What the provider may do to it.
    pub capacity_type: CapacityType,
    /// The least that a node there costs, in USD per GPU-hour, as far as one says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<f64>,
    /// How often a node there is taken away, per day; 0 for what stays.
    pub losses_per_day: f64,
}

/// Where `spec` could run on capacity of `class`: the cheapest first, those without a price last.
pub(super) fn places(scene: &Scene<'_>, spec: &EndpointSpec, class: CapacityClass) -> Vec<Place> {
    let mut groups: BTreeMap<Key<'_>, Vec<&NodeView>> = BTreeMap::new();
    for node in scene.view.nodes.values().filter(|node| is_of_kind(node, spec)) {
        groups.entry(key(&node.facts.labels)).or_default().push(node);
    }
    let is_allowed = |place: &Place| allows(class, place.capacity_type) && is_affordable(place, spec);
    let places = groups.values().filter_map(|nodes| place(nodes, scene.now));
    let mut places: Vec<Place> = places.filter(is_allowed).collect();
    places.sort_by(|a, b| expected_cost(a).total_cmp(&expected_cost(b)));
    places.truncate(PLACES_MAX);
    places
}

type Key<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a str, CapacityType);

fn key(labels: &Labels) -> Key<'_> {
    let Labels { cloud, region, zone, cluster, capacity_type, .. } = labels;
    (cloud.as_deref(), region.as_deref(), zone.as_deref(), cluster, *capacity_type)
}

/// Whether more nodes such as this one would do, whoever has its GPUs and whether or not it is there now.
fn is_of_kind(node: &NodeView, spec: &EndpointSpec) -> bool {
    let matches = |(key, allowed): (&String, &Vec<String>)| {
        node.facts.labels.get(key).is_some_and(|value| allowed.iter().any(|allowed| *allowed == value))
    };
    let fitting = node.gpus.iter().filter(|gpu| fits(gpu, &spec.resources)).count();
    fitting >= spec.resources.gpus as usize && spec.placement.require.iter().all(matches)
}

const fn allows(class: CapacityClass, capacity: CapacityType) -> bool {
    match class {
        CapacityClass::Any | CapacityClass::SpotOrOnDemand => true,
        CapacityClass::Spot => matches!(capacity, CapacityType::Spot),
        CapacityClass::OnDemand => !matches!(capacity, CapacityType::Spot),
    }
}

fn is_affordable(place: &Place, spec: &EndpointSpec) -> bool {
    let most = spec.placement.max_price;
    most.is_none_or(|most| place.price.is_some_and(|price| price <= most.as_f64()))
}

fn place(nodes: &[&NodeView], now: UnixMillis) -> Option<Place> {
    let labels = &nodes.first()?.facts.labels;
    let prices = nodes.iter().filter_map(|node| node.facts.labels.price);
    Some(Place {
        cloud: labels.cloud.clone(),
        region: labels.region.clone(),
        zone: labels.zone.clone(),
        cluster: labels.cluster.clone(),
        capacity_type: labels.capacity_type,
        price: prices.min_by(f64::total_cmp),
        losses_per_day: if labels.capacity_type == CapacityType::Spot {
            losses_per_hour(nodes, now) * 24.0
        } else {
            0.0
        },
    })
}

/// What the nodes say of their own departures, fading by the half-life, over the time that they can remember; with the
/// prior of the spot policy, so that a zone of one lucky node is not taken for safe.
#[allow(clippy::cast_precision_loss)] // a number of nodes
fn losses_per_hour(nodes: &[&NodeView], now: UnixMillis) -> f64 {
    let tuning = Tuning::default();
    let half_life = tuning.half_life.max(Duration::from_secs(1));
    let departures = nodes.iter().flat_map(|node| &node.departures);
    let taken = departures.filter(|past| matches!(past.reason, DepartureReason::Reclaim | DepartureReason::Terminate));
    let losses: f64 = taken.map(|past| 0.5_f64.powf(now.since(past.at).div_duration_f64(half_life))).sum();
    // The integral of a weight that halves with each half-life.
    let remembered = half_life.as_secs_f64() / 3600.0 / std::f64::consts::LN_2 * nodes.len() as f64;
    (tuning.prior_rate * tuning.prior_hours + losses) / (tuning.prior_hours + remembered)
}

/// USD per GPU-hour, with what losses cost counted in as the spot policy does.
fn expected_cost(place: &Place) -> f64 {
    let losses = place.losses_per_day / 24.0 * Tuning::default().loss_hours;
    place.price.map_or(f64::INFINITY, |price| price * (1.0 + losses))
}
