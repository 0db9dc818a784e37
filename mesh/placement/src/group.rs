//! The claims on one kind of replica: which are kept, how many are missing.

use shoal_types::{ClaimId, Resources};

use crate::{
    order,
    presence::Holder,
    want::{Quota, Want},
};

/// The claims of one revision on one class of capacity that stay, best first.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) want: Want<'a>,
    /// How many of those wanted only stand in for spot capacity.
    standins: usize,
    holders: Vec<Holder<'a>>,
    /// Replicas that could be woken, in the order in which they are.
    sleepers: Vec<Holder<'a>>,
    /// Replicas that may be added now.
    open: usize,
}

impl<'a> Group<'a> {
    pub(crate) const fn new(Quota { want, standins }: Quota<'a>) -> Self {
        Self { want, standins, holders: Vec::new(), sleepers: Vec::new(), open: 0 }
    }

    /// Whether `holder` is of this kind.
    pub(crate) fn takes(&self, holder: &Holder<'a>) -> bool {
        self.want.revision == holder.claim.revision && self.want.class.contains(holder.node)
    }

    pub(crate) fn add(&mut self, holder: Holder<'a>) {
        self.holders.push(holder);
    }

    pub(crate) fn add_sleeper(&mut self, holder: Holder<'a>) {
        self.sleepers.push(holder);
    }

    /// Puts all that were added into the one order, and takes at most `allowance` more; returns what is left of it.
    pub(crate) fn close(&mut self, allowance: usize) -> usize {
        order::sort(&mut self.holders, self.want.record);
        self.open = self.want.count.saturating_sub(self.holders.len()).min(allowance);
        allowance - self.open
    }

    /// All claims that are meant to make it up, best first.
    pub(crate) fn standing(&self) -> &[Holder<'a>] {
        &self.holders
    }

    /// The best `count` of them.
    pub(crate) fn kept(&self) -> &[Holder<'a>] {
        &self.holders[..self.holders.len().min(self.want.count)]
    }

    /// The rest.
    pub(crate) fn surplus(&self) -> &[Holder<'a>] {
        &self.holders[self.kept().len()..]
    }

    pub(crate) fn resources(&self) -> &'a Resources {
        &self.want.spec.resources
    }

    pub(crate) fn is_kept(&self, claim: ClaimId) -> bool {
        self.kept().iter().any(|holder| holder.claim.id == claim)
    }

    /// Whether as many as are wanted are there and serve.
    pub(crate) fn is_complete(&self) -> bool {
        self.kept().len() == self.want.count && self.kept().iter().all(Holder::serves)
    }

    /// How many replicas somebody should claim: what is open and no sleeper makes up for.
    pub(crate) fn missing(&self) -> usize {
        self.open.saturating_sub(self.sleepers.len())
    }

    /// Of what is missing, what only stands in for spot capacity, which therefore goes first. The base comes before it.
    pub(crate) fn missing_standins(&self) -> usize {
        self.standins.min(self.missing())
    }

    /// Whether the sleeping `claim` is one of those that make up for what is missing: sleepers come before new claims.
    pub(crate) fn is_woken(&self, claim: ClaimId) -> bool {
        self.sleepers.iter().take(self.open).any(|holder| holder.claim.id == claim)
    }

    /// Whether enough reachable claims are before this one. They are then at least as far as it is, since the order
    /// puts stage before place and age: what has begun to load is given up only for what loads longer or serves.
    pub(crate) fn is_outranked(&self, claim: ClaimId) -> bool {
        let before = self.holders.iter().take_while(|holder| holder.claim.id != claim);
        before.filter(|holder| holder.node.is_alive()).count() >= self.want.count
    }
}
