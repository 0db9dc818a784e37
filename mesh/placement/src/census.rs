//! Who holds an endpoint: which claims are kept, how many are missing, who can stand in for whom.

use shoal_types::{
    Claim, ClaimId, EndpointName, EndpointRecord, NodeId, NodeView, Placement, ReplicaState, UnixMillis,
};

use crate::{
    desired::Desired,
    group::Group,
    memory::Heard,
    order,
    presence::{Holder, Patience, Present, present},
    scene::Scene,
    want::{Class, Want, wants},
};

/// The claims on one endpoint that count, by kind of replica.
#[derive(Debug)]
pub(crate) struct Census<'a> {
    pub(crate) record: &'a EndpointRecord,
    desired: Desired,
    /// What is wanted, and who holds it: the revision that is rolled out first.
    pub(crate) groups: Vec<Group<'a>>,
    /// Claims of revisions that should have nothing, best first.
    unwanted: Vec<Holder<'a>>,
    /// Claims that leave, drain, or are of nodes that leave.
    pub(crate) going: Vec<Holder<'a>>,
    /// When a quiet node's claim stops to count.
    pub(crate) until: Option<UnixMillis>,
}

impl<'a> Census<'a> {
    /// The census of `record`, on which nodes have `claims`.
    ///
    /// New replicas are limited by the surge of the rollout: all claims that stay are together at most what is wanted
    /// and `rollout.maxSurge` more. None are missing while this node's store is behind: what it misses then is what
    /// others are replacing.
    pub(crate) fn new(
        scene: &Scene<'a>,
        record: &'a EndpointRecord,
        claims: &[(&'a NodeView, &'a Claim)],
        patience: &Patience,
    ) -> Self {
        let desired = Desired::given(scene, record, claims);
        let Present { holders, sleepers, until } = present(claims, record, &desired, patience);
        let is_behind = is_behind(scene, record, &holders);
        let (staying, going): (Vec<Holder<'a>>, Vec<Holder<'a>>) = holders.into_iter().partition(Holder::stays);
        let groups = wants(record, &desired, &staying).into_iter().map(Group::new).collect();
        let mut census = Self { record, desired, groups, unwanted: Vec::new(), going, until };
        let count = staying.len();
        staying.into_iter().for_each(|holder| census.sort_in(holder));
        for sleeper in sleepers {
            if let Some(group) = census.groups.iter_mut().find(|group| group.takes(&sleeper)) {
                group.add_sleeper(sleeper);
            }
        }
        order::sort(&mut census.unwanted, record);
        let mut allowance = if is_behind { 0 } else { census.most().saturating_sub(count) };
        for group in &mut census.groups {
            allowance = group.close(allowance);
        }
        census
    }

    fn sort_in(&mut self, holder: Holder<'a>) {
        match self.groups.iter_mut().find(|group| group.takes(&holder)) {
            Some(group) => group.add(holder),
            None => self.unwanted.push(holder),
        }
    }

    pub(crate) fn name(&self) -> &'a EndpointName {
        &self.record.endpoint.metadata.name
    }

    pub(crate) fn placement(&self) -> &'a Placement {
        &self.record.endpoint.spec.placement
    }

    /// Replicas that should serve, of all revisions together.
    pub(crate) fn desired(&self) -> usize {
        self.desired.total() as usize
    }

    /// Replicas below which nothing may push the endpoint.
    pub(crate) fn min(&self) -> usize {
        self.record.endpoint.spec.replicas.min as usize
    }

    /// Whether the engine of `claim`, which is only claimed, may start: it is kept, and what runs and what is claimed
    /// before it leave room for it. Several nodes can claim what the surge allows once.
    pub(crate) fn may_start(&self, claim: ClaimId) -> bool {
        let is_claimed = |holder: &&Holder<'a>| holder.claim.state == ReplicaState::Claimed;
        let running = self.staying().filter(|holder| !is_claimed(holder)).count();
        let claimed = self.groups.iter().flat_map(Group::kept).filter(is_claimed);
        claimed.take(self.most().saturating_sub(running)).any(|holder| holder.claim.id == claim)
    }

    /// Claims beyond which no new ones are made while others stay.
    pub(crate) fn most(&self) -> usize {
        self.wanted() + self.record.endpoint.spec.rollout.surge(self.desired.total()) as usize
    }

    /// All that is wanted, overprovision and stand-ins included.
    pub(crate) fn wanted(&self) -> usize {
        self.groups.iter().map(|group| group.want.count).sum()
    }

    /// All claims that stay: what is kept first, then what is surplus, then what nobody wants.
    pub(crate) fn staying(&self) -> impl Iterator<Item = &Holder<'a>> {
        self.groups.iter().flat_map(Group::kept).chain(self.dispensable())
    }

    /// All that serve, whether they stay or not.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Holder<'a>> {
        self.staying().chain(&self.going).filter(|holder| holder.serves())
    }

    /// Of those that stay, what is not kept.
    pub(crate) fn dispensable(&self) -> impl Iterator<Item = &Holder<'a>> {
        self.groups.iter().flat_map(Group::surplus).chain(&self.unwanted)
    }

    /// Replicas by which it falls short of all that is wanted, whatever their kind. A surge is not counted in.
    pub(crate) fn short(&self) -> usize {
        self.wanted().saturating_sub(self.staying().count())
    }

    /// Whether it has all that it wants, all of that serves, and nothing is on its way out.
    pub(crate) fn is_settled(&self) -> bool {
        self.going.is_empty() && self.unwanted.is_empty() && self.groups.iter().all(Group::is_complete)
    }

    /// The group that `claim` of `node` belongs to; `None` if its revision should have nothing.
    pub(crate) fn group_of(&self, node: &'a NodeView, claim: &'a Claim) -> Option<&Group<'a>> {
        self.groups.iter().find(|group| group.takes(&Holder { node, claim }))
    }

    /// Whether `group` is of the revision that is rolled out, or the only one.
    pub(crate) fn is_leading(&self, group: &Group<'_>) -> bool {
        self.groups.first().is_some_and(|first| first.want.revision == group.want.revision)
    }

    /// Nodes of the replicas of the same revision that are kept, one for each.
    pub(crate) fn kept_beside(&self, want: &Want<'_>) -> impl Iterator<Item = &'a NodeView> {
        let revision = want.revision;
        let groups = self.groups.iter().filter(move |group| group.want.revision == revision);
        groups.flat_map(Group::kept).map(|holder| holder.node)
    }

    /// What another replica should be: of what is missing first, else of what there is first.
    pub(crate) fn want(&self) -> Want<'a> {
        let group = self.groups.iter().find(|group| group.missing() > 0).or_else(|| self.groups.first());
        group.map_or_else(|| idle_want(self.record), |group| group.want)
    }

    /// The best `size` replicas that serve and stay, of whatever kind, without those that `goes` says must go; `None`
    /// if there are fewer.
    ///
    /// Whoever serves and is not among them may drain (rule 4): in one view none of them can drain itself, whether as
    /// surplus, in a rollout or for a departure, because all three look at the same ones.
    pub(crate) fn cover(&self, size: usize, goes: impl Fn(ClaimId) -> bool) -> Option<Vec<(NodeId, ClaimId)>> {
        let serving = self.staying().filter(|holder| holder.serves() && !goes(holder.claim.id));
        let cover: Vec<_> = serving.map(|holder| (holder.node.id, holder.claim.id)).take(size).collect();
        (cover.len() == size).then_some(cover)
    }
}

/// What a replica of an endpoint would be that wants none now.
fn idle_want(record: &EndpointRecord) -> Want<'_> {
    Want { record, spec: &record.endpoint.spec, revision: record.revision, class: Class::Any, count: 0 }
}

/// Whether others know a later revision than this node's store does. After an undo the present revision can be older
/// than ones that were before it, so those that the store remembers say nothing.
fn is_behind(scene: &Scene<'_>, record: &EndpointRecord, holders: &[Holder<'_>]) -> bool {
    let claimed = holders.iter().map(|holder| holder.claim.revision);
    let heard = scene.memory.mandate(&record.endpoint.metadata.name);
    let mandated =
        heard.into_iter().flat_map(|Heard { mandate, .. }| mandate.shares.iter().map(|share| share.revision));
    claimed.chain(mandated).any(|revision| revision > record.revision && record.spec_of(revision).is_none())
}
