//! The claims on one endpoint, each with what it is good for.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use shoal_types::{Claim, ClaimId, EndpointRecord, NodeView, ReplicaState};

use crate::{
    census::Census,
    group::Group,
    presence::{Holder, Patience},
    scene::Scene,
    want::{Class, Want},
};

/// What one claim is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is one of those that are wanted.
    Kept,
    /// It sleeps, and is woken for one that is missing.
    Woken,
    /// It sleeps until it is needed.
    Asleep,
    /// Enough others are before it.
    Surplus,
    /// Nothing of its revision is wanted.
    Superseded,
    /// It, or its node, is on its way out.
    Leaving,
    /// Nothing was heard of its node for so long that it no longer counts.
    Lost,
    /// It has failed and holds nothing.
    Failed,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Woken => "to be woken",
            Self::Asleep => "asleep until it is needed",
            Self::Surplus => "surplus: enough others are before it",
            Self::Superseded => "superseded: nothing of its revision is wanted",
            Self::Leaving => "leaving",
            Self::Lost => "no longer counted: its node is silent",
            Self::Failed => "failed",
        })
    }
}

/// All claims on one endpoint.
#[derive(Debug)]
pub(crate) struct Muster<'a> {
    /// Replicas that should serve. What is wanted can be more: spot replicas to spare, and what stands in for them.
    pub(crate) desired: usize,
    /// One for each kind of replica that is wanted: none while the endpoint wants no replicas.
    pub(crate) posts: Vec<Post<'a>>,
    /// Claims that fill no post, in the order of their ids.
    pub(crate) others: Vec<(Holder<'a>, Standing)>,
}

/// One want and what there is of it.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    pub(crate) want: Want<'a>,
    /// The best ones, at most as many as are wanted.
    pub(crate) kept: Vec<Holder<'a>>,
    /// Sleeping ones that are woken for what is missing.
    pub(crate) woken: Vec<Holder<'a>>,
    /// Nodes of all of the revision, one for each: new ones keep away from them.
    beside: Vec<&'a NodeView>,
}

impl<'a> Post<'a> {
    pub(crate) fn missing(&self) -> usize {
        self.want.count.saturating_sub(self.kept.len() + self.woken.len())
    }

    /// Nodes of all that there are of the revision, on whatever capacity, one for each.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a NodeView> {
        self.beside.iter().copied()
    }

    /// How many of those wanted only stand in for spot capacity.
    pub(crate) fn standins(&self) -> usize {
        let spot = self.want.record.endpoint.spec.placement.spot.as_ref().filter(|_| self.want.class == Class::Firm);
        spot.map_or(0, |spot| self.want.count.saturating_sub(spot.on_demand_base as usize))
    }
}

/// What the claims on `record` are good for at this moment. `claims` are all of them.
pub(crate) fn muster<'a>(
    scene: &Scene<'a>,
    record: &'a EndpointRecord,
    claims: &[(&'a NodeView, &'a Claim)],
) -> Muster<'a> {
    let census = Census::new(scene, record, claims, &Patience { now: scene.now, guard: None });
    let holders = || claims.iter().map(|&(node, claim)| Holder { node, claim });
    let posts: Vec<Post<'a>> = census.groups.iter().map(|group| post(&census, group, holders())).collect();
    let filled = posts.iter().flat_map(|post| post.kept.iter().chain(&post.woken));
    let filled: BTreeSet<ClaimId> = filled.map(|holder| holder.claim.id).collect();
    let counted: BTreeSet<ClaimId> = census.staying().map(|holder| holder.claim.id).collect();
    let others = holders().filter(|holder| !filled.contains(&holder.claim.id));
    let others = others.map(|holder| (holder, standing(&census, &holder, counted.contains(&holder.claim.id))));
    Muster { desired: census.desired(), others: others.collect(), posts }
}

fn post<'a>(census: &Census<'a>, group: &Group<'a>, holders: impl Iterator<Item = Holder<'a>>) -> Post<'a> {
    let want = group.want;
    let kept = group.kept().to_vec();
    let asleep = holders.filter(|holder| group.takes(holder) && group.is_woken(holder.claim.id));
    let woken: Vec<Holder<'a>> = asleep.take(want.count - kept.len()).collect();
    let beside = census.kept_beside(&want).chain(woken.iter().map(|holder| holder.node)).collect();
    Post { want, kept, woken, beside }
}

fn standing<'a>(census: &Census<'a>, holder: &Holder<'a>, counted: bool) -> Standing {
    let wanted = census.group_of(holder.node, holder.claim).is_some();
    match holder.claim.state {
        ReplicaState::Failed => Standing::Failed,
        _ if !holder.stays() => Standing::Leaving,
        ReplicaState::Asleep if wanted => Standing::Asleep,
        ReplicaState::Asleep => Standing::Superseded,
        _ if !counted => Standing::Lost,
        _ if wanted => Standing::Surplus,
        _ => Standing::Superseded,
    }
}
