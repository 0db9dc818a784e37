//! Where a replica is, as far as that costs something.

use std::time::Duration;

use super::cost::{Cost, TO_CLUSTER, TO_NODE, TO_SERVICE, UNMEASURED};
use crate::routes::Place;

/// Where a replica is, seen from this node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Site {
    /// The round trip to its cluster, where that is not this node's own; see [`Self::other_cluster`].
    pub round_trip: Option<Duration>,
    /// Whether its node is of another cluster. Then a round trip that is not known is taken for a long one.
    pub other_cluster: bool,
    /// Whether it stands for a service that is no engine of the mesh.
    pub service: bool,
    /// What its node costs, in USD per GPU-hour; one that does not say so is taken for the dearest.
    pub price: Option<f64>,
}

impl Site {
    /// What the way to it costs.
    pub(super) fn distance(&self, place: &Place) -> Cost {
        let service = if self.service { TO_SERVICE } else { Cost::ZERO };
        let node = match place {
            Place::Local(_) => Cost::ZERO,
            Place::Remote if self.other_cluster => TO_CLUSTER + self.round_trip.map_or(UNMEASURED, Cost::from),
            Place::Remote => TO_NODE,
        };
        node + service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule 1: unknown is never zero.
    #[test]
    fn rule_1_what_is_not_measured_is_far() {
        let of = |site: Site| site.distance(&Place::Remote);
        let own = of(Site::default());
        let cluster = |round_trip| of(Site { other_cluster: true, round_trip, ..Site::default() });
        let [zero, far] = [0, 200].map(|millis| cluster(Some(Duration::from_millis(millis))));
        assert!(own < zero && zero < cluster(None) && cluster(None) < far);
        assert!(of(Site { service: true, ..Site::default() }) > own);
    }
}
