//! Where capacity can be had, as far as the mesh knows.

use serde::{Deserialize, Serialize};
use shoal_types::{CapacityType, Labels};

/// Places where nothing is to be rented that are told, in case that the others have nothing.
const RESERVES_MAX: usize = 8;

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
    /// How often another node there has to be expected to be taken away, per day; 0 for what stays.
    pub losses_per_day: f64,
    /// For how many replicas capacity should be rented there now; 0 for a place to turn to if others have none.
    pub replicas: u32,
}

/// What tells one place from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Locality {
    pub(super) cloud: Option<String>,
    pub(super) region: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) cluster: String,
    pub(super) capacity_type: CapacityType,
}

impl Locality {
    pub(super) fn of(Labels { cloud, region, zone, cluster, capacity_type, .. }: &Labels) -> Self {
        let (cloud, region, zone, cluster) = (cloud.clone(), region.clone(), zone.clone(), cluster.clone());
        Self { cloud, region, zone, cluster, capacity_type: *capacity_type }
    }

    pub(super) fn of_place(Place { cloud, region, zone, cluster, capacity_type, .. }: &Place) -> Self {
        let (cloud, region, zone, cluster) = (cloud.clone(), region.clone(), zone.clone(), cluster.clone());
        Self { cloud, region, zone, cluster, capacity_type: *capacity_type }
    }

    pub(super) fn is_of(&self, labels: &Labels) -> bool {
        self.capacity_type == labels.capacity_type
            && self.cluster == labels.cluster
            && self.zone == labels.zone
            && self.region == labels.region
            && self.cloud == labels.cloud
    }

    pub(super) fn is_spot(&self) -> bool {
        self.capacity_type == CapacityType::Spot
    }

    /// What is taken back together, as the memory calls it.
    pub(super) fn domain(&self) -> &str {
        self.zone.as_deref().unwrap_or(&self.cluster)
    }
}

/// Of `places`, the best first, those where something is to be rented, then some of the others.
pub(super) fn foremost(places: Vec<Place>) -> Vec<Place> {
    let (mut foremost, others): (Vec<Place>, Vec<Place>) = places.into_iter().partition(|place| place.replicas > 0);
    foremost.extend(others.into_iter().take(RESERVES_MAX));
    foremost
}
