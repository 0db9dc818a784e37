//! Who holds an endpoint: which claims are kept, how many are missing, who can stand in for whom.

use shoal_types::{ClaimId, EndpointName, EndpointRecord, NodeId, NodeView, Resources, UnixMillis};

use crate::{
    order,
    presence::{Holder, Present},
    want::{Class, Want},
};

/// The claims on one endpoint that count, best first.
#[derive(Debug)]
pub(crate) struct Census<'a> {
    pub(crate) record: &'a EndpointRecord,
    holders: Vec<Holder<'a>>,
    /// Replicas that could be woken, in the order in which they are.
    sleepers: Vec<Holder<'a>>,
    /// When a quiet node's claim stops to count.
    pub(crate) until: Option<UnixMillis>,
}

impl<'a> Census<'a> {
    pub(crate) fn new(record: &'a EndpointRecord, present: Present<'a>) -> Self {
        let Present { mut holders, sleepers, until } = present;
        order::sort(&mut holders, record);
        Self { record, holders, sleepers, until }
    }

    pub(crate) fn name(&self) -> &'a EndpointName {
        &self.record.endpoint.metadata.name
    }

    pub(crate) fn resources(&self) -> &'a Resources {
        &self.record.endpoint.spec.resources
    }

    pub(crate) fn desired(&self) -> usize {
        self.record.endpoint.spec.replicas.min as usize
    }

    /// Claims that are meant to make up the endpoint: staying, of its revision. They are the first of the order.
    fn standing(&self) -> impl Iterator<Item = &Holder<'a>> {
        self.holders.iter().take_while(|holder| holder.stays() && holder.claim.revision == self.record.revision)
    }

    /// The best `desired` of them; the rest are surplus.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Holder<'a>> {
        self.standing().take(self.desired())
    }

    /// Their nodes, one for each.
    pub(crate) fn kept_nodes(&self) -> impl Iterator<Item = &'a NodeView> {
        self.kept().map(|holder| holder.node)
    }

    /// What a missing replica should be.
    pub(crate) fn want(&self) -> Want<'a> {
        let (record, count) = (self.record, self.desired());
        Want { record, spec: &record.endpoint.spec, revision: record.revision, class: Class::Any, count }
    }

    pub(crate) fn is_kept(&self, claim: ClaimId) -> bool {
        self.kept().any(|holder| holder.claim.id == claim)
    }

    /// How many replicas somebody should claim.
    ///
    /// None while a claim has a later revision than the record, and one that the record does not know: then this node's
    /// store is behind, and what it misses of the old revision is what others are replacing. A later one that it knows
    /// was undone.
    pub(crate) fn missing(&self) -> usize {
        let is_ahead = |revision| revision > self.record.revision && self.record.spec_of(revision).is_none();
        if self.holders.iter().any(|holder| is_ahead(holder.claim.revision)) {
            return 0;
        }
        self.lacking().saturating_sub(self.sleepers.len())
    }

    /// Whether the sleeping `claim` is one of those that make up for what is missing: sleepers come before new claims.
    pub(crate) fn is_woken(&self, claim: ClaimId) -> bool {
        self.sleepers.iter().take(self.lacking()).any(|holder| holder.claim.id == claim)
    }

    fn lacking(&self) -> usize {
        self.desired().saturating_sub(self.standing().count())
    }

    /// Whether `desired` reachable claims are before this one. They are then at least as far as it is, since the order
    /// puts stage before place and age: what has begun to load is given up only for what loads longer or serves.
    pub(crate) fn is_outranked(&self, claim: ClaimId) -> bool {
        let before = self.standing().take_while(|holder| holder.claim.id != claim);
        before.filter(|holder| holder.node.is_alive()).count() >= self.desired()
    }

    /// The best `desired` replicas that serve and stay, of whatever revision; `None` if there are fewer.
    ///
    /// Whoever serves and is not among them may drain (rule 4): in one view none of them can drain itself, whether as
    /// surplus, in a rollout or for a departure, because all three look at the same ones.
    pub(crate) fn cover(&self) -> Option<Vec<(NodeId, ClaimId)>> {
        let serving = self.holders.iter().filter(|holder| holder.stays() && holder.serves());
        let cover: Vec<_> = serving.map(|holder| (holder.node.id, holder.claim.id)).take(self.desired()).collect();
        (!cover.is_empty() && cover.len() == self.desired()).then_some(cover)
    }
}
