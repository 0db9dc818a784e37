//! What kinds of replicas an endpoint wants.

use shoal_types::{CapacityType, EndpointRecord, EndpointSpec, NodeView, Revision};

/// One kind of replica that an endpoint wants: of one revision, on one class of capacity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) record: &'a EndpointRecord,
    /// What a replica of this revision runs.
    pub(crate) spec: &'a EndpointSpec,
    pub(crate) revision: Revision,
    pub(crate) class: Class,
    /// How many.
    pub(crate) count: usize,
}

/// Classes of capacity that replicas of an endpoint are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// All capacity types are one: the endpoint does not speak of spot.
    Any,
    /// What may be taken back.
    Spot,
    /// What stays: on demand or reserved.
    Firm,
}

impl Class {
    /// Whether `node` is of this class.
    pub(crate) const fn contains(self, node: &NodeView) -> bool {
        match (self, node.facts.labels.capacity_type) {
            (Self::Any, _) | (Self::Spot, CapacityType::Spot) => true,
            (Self::Firm, CapacityType::OnDemand | CapacityType::Reserved) => true,
            (Self::Spot, CapacityType::OnDemand | CapacityType::Reserved) | (Self::Firm, CapacityType::Spot) => false,
        }
    }
}
