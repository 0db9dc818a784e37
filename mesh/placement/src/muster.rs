//! The claims on one endpoint, each with what it is good for.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use shoal_types::{Claim, ClaimId, EndpointRecord, NodeView, ReplicaState, Revision};

use crate::{
    desired::Desired,
    order,
    presence::{Holder, Patience, present},
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
    /// One for each want.
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
}

impl<'a> Post<'a> {
    pub(crate) fn missing(&self) -> usize {
        self.want.count.saturating_sub(self.kept.len() + self.woken.len())
    }

    /// The nodes of those that there are, one for each.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a NodeView> {
        self.kept.iter().chain(&self.woken).map(|holder| holder.node)
    }
}

/// The kinds of replicas that `record` should have now.
pub(crate) fn wants<'a>(scene: &Scene<'_>, record: &'a EndpointRecord) -> Vec<Want<'a>> {
    wants_of(&Desired::of(scene, record).shares, record)
}

/// The kinds of replicas that `record` has where each revision has its share.
pub(crate) fn wants_of<'a>(shares: &[(Revision, u32)], record: &'a EndpointRecord) -> Vec<Want<'a>> {
    let want = |&(revision, count): &(Revision, u32)| {
        let spec = record.spec_of(revision)?;
        Some(Want { record, spec, revision, class: Class::Any, count: count as usize })
    };
    shares.iter().filter_map(want).collect()
}

/// What `claims`, all of `record`, are good for at this moment.
pub(crate) fn muster<'a>(
    scene: &Scene<'_>,
    record: &'a EndpointRecord,
    claims: impl IntoIterator<Item = (&'a NodeView, &'a Claim)>,
) -> Muster<'a> {
    fill(wants(scene, record), scene, record, claims)
}

/// The posts of `wants`, filled with `claims`.
pub(crate) fn fill<'a>(
    wants: Vec<Want<'a>>,
    scene: &Scene<'_>,
    record: &'a EndpointRecord,
    claims: impl IntoIterator<Item = (&'a NodeView, &'a Claim)>,
) -> Muster<'a> {
    let all: Vec<(&NodeView, &Claim)> = claims.into_iter().collect();
    let desired = Desired::given(scene, record, &all);
    let present = present(&all, record, &desired, &Patience { now: scene.now, guard: None });
    let mut holders = present.holders;
    order::sort(&mut holders, record);
    let posts: Vec<Post<'a>> = wants.into_iter().map(|want| post(want, &holders, &present.sleepers)).collect();
    let filled = posts.iter().flat_map(|post| post.kept.iter().chain(&post.woken));
    let filled: BTreeSet<ClaimId> = filled.map(|holder| holder.claim.id).collect();
    let counted: BTreeSet<ClaimId> = holders.iter().map(|holder| holder.claim.id).collect();
    let others = all.into_iter().filter(|(_, claim)| !filled.contains(&claim.id));
    let others = others.map(|(node, claim)| {
        let holder = Holder { node, claim };
        (holder, standing(&holder, &posts, counted.contains(&claim.id)))
    });
    Muster { others: others.collect(), posts }
}

fn post<'a>(want: Want<'a>, holders: &[Holder<'a>], sleepers: &[Holder<'a>]) -> Post<'a> {
    let wanted = |holder: &&Holder<'a>| holder.claim.revision == want.revision && want.class.contains(holder.node);
    let staying = holders.iter().filter(|holder| holder.stays());
    let kept: Vec<Holder<'a>> = staying.filter(wanted).take(want.count).copied().collect();
    let lacking = want.count - kept.len();
    Post { want, kept, woken: sleepers.iter().filter(wanted).take(lacking).copied().collect() }
}

fn standing(holder: &Holder<'_>, posts: &[Post<'_>], counted: bool) -> Standing {
    let wanted = posts.iter().any(|post| post.want.revision == holder.claim.revision);
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
