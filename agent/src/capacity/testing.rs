//! A request, for tests.

use std::collections::BTreeMap;

use shoal_placement::spot::{CapacityClass, CapacityRequest};

/// A replica of `endpoint` that finds no room.
pub(super) fn request(endpoint: &str) -> CapacityRequest {
    CapacityRequest {
        endpoint: endpoint.parse().unwrap(),
        replicas: 1,
        gpus: 8,
        gpu_model: Some("H100".to_owned()),
        gpu_memory: None,
        mig: None,
        capacity: CapacityClass::Spot,
        require: BTreeMap::new(),
        max_price: None,
        places: Vec::new(),
    }
}
