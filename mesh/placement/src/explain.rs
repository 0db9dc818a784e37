//! Why an endpoint's replicas are where they are, why others are missing, and what would change that.

mod candidate;
mod counterfactual;
mod obstacles;
mod remedy;
mod replica;
mod room;
mod text;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, EndpointRecord, NodeId, NodeView, Revision};

pub(crate) use self::text::list;
pub use self::{
    candidate::{Candidate, Term, TermName},
    obstacles::{ExcludedNode, ExcludedNodes},
    remedy::{NodeNames, Remedy},
    replica::ReplicaStanding,
    room::RoomBeingMade,
};
use self::{counterfactual::remedies, obstacles::Obstacles};
use crate::{
    clearing::MakesRoom,
    exclusion::Capacity,
    ground::Ground,
    muster::{Post, muster},
    presence::Holder,
    rank::Ranking,
    scene::Scene,
    tenancy::{Tenancies, Tenants},
};

/// Candidates that are told with their score.
const CANDIDATES_MAX: usize = 20;

/// All that placement says about one endpoint. Its [`Display`](std::fmt::Display) is the text for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// Its priority.
    pub priority: i32,
    /// Why so many are wanted, in the words of its steward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each kind of replica that is wanted.
    pub wants: Vec<WantExplanation>,
    /// Claims that are none of those that are wanted.
    pub others: Vec<ReplicaStanding>,
}

/// All that placement says about one kind of replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WantExplanation {
    /// Which processes.
    pub revision: Revision,
    /// On which capacity.
    pub capacity: Capacity,
    /// What a replica needs of its node, in words.
    pub needs: String,
    /// How many there should be.
    pub wanted: usize,
    /// Those that there are.
    pub kept: Vec<ReplicaStanding>,
    /// How many more there should be.
    pub missing: usize,
    /// Nodes where the missing ones would go, one for each as far as there is room.
    pub next: Vec<String>,
    /// Nodes where others go so that further ones find room, one for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub room: Vec<RoomBeingMade>,
    /// Nodes that could run one, best first.
    pub candidates: Vec<Candidate>,
    /// Further candidates, that are not told.
    pub more_candidates: usize,
    /// The other nodes, by what is against them.
    pub excluded: Vec<ExcludedNodes>,
    /// Who has the GPUs of nodes where nothing else is against a replica. Only told where some find no room.
    pub tenants: Tenants,
    /// What would make room, each by itself. Only told where some find no room.
    pub remedies: Vec<Remedy>,
}

impl WantExplanation {
    /// How many of the missing ones have no place to go, not even one that is being made.
    pub const fn unplaced(&self) -> usize {
        self.missing.saturating_sub(self.next.len() + self.room.len())
    }
}

/// Explains `record`, an endpoint of the scene's view. `making` is where [room is being made](crate::making_room), for all
/// endpoints: it costs as much as a whole decision, and is the same for all that are explained in one view.
pub fn explain<'a>(scene: &Scene<'a>, record: &'a EndpointRecord, making: &[MakesRoom]) -> Explanation {
    let name = &record.endpoint.metadata.name;
    let claims: Vec<_> = scene.view.claims_of(name).collect();
    let muster = muster(scene, record, &claims);
    let ground = Ground::new(scene);
    let tenancies = Tenancies::new(scene.view);
    let standing = |holder: &Holder<'_>, standing| ReplicaStanding::new(holder, standing).beside(making);
    let explain_post = |post: &Post<'a>| {
        let rooms = room::rooms(scene.view, &post.want, making);
        let want = explain_post(&ground, post, post.missing(), &[], &tenancies, rooms);
        let kept = want.kept.into_iter().map(|replica| replica.beside(making)).collect();
        WantExplanation { kept, ..want }
    };
    Explanation {
        endpoint: name.clone(),
        priority: record.endpoint.spec.placement.priority,
        reason: scene
            .memory
            .mandate(name)
            .map(|heard| heard.mandate.reason.clone())
            .filter(|reason| !reason.is_empty()),
        wants: muster.posts.iter().map(explain_post).collect(),
        others: muster.others.iter().map(|(holder, is)| standing(holder, *is)).collect(),
    }
}

/// Explains one post of which `missing` are missing, and have got as far as the nodes `placed`: what `ground` offers is what
/// they left. For some of the others there will be `rooms`.
pub(crate) fn explain_post<'a>(
    ground: &Ground<'a>,
    post: &Post<'a>,
    missing: usize,
    placed: &[NodeId],
    tenancies: &Tenancies<'a>,
    mut rooms: Vec<RoomBeingMade>,
) -> WantExplanation {
    let want = &post.want;
    let need = ground.need(want);
    let ranking = Ranking::on(ground, want, post.nodes().chain(ground.nodes(placed)));
    let ranked = ranking.ranked();
    let slots = ranking.slots(missing.saturating_sub(placed.len()));
    rooms.truncate(missing.saturating_sub(placed.len() + slots.len()));
    let stuck = placed.len() + slots.len() + rooms.len() < missing;
    let obstacles = Obstacles::new(ground, &need);
    let name = |node: &NodeView| node.facts.name.clone();
    WantExplanation {
        revision: want.revision,
        capacity: want.class.into(),
        needs: text::needs(want.spec),
        wanted: want.count,
        kept: replica::of_post(post),
        missing,
        next: ground.nodes(placed).chain(ground.nodes(&slots)).map(name).collect(),
        room: rooms,
        more_candidates: ranked.len().saturating_sub(CANDIDATES_MAX),
        candidates: ranked.iter().take(CANDIDATES_MAX).map(Candidate::new).collect(),
        excluded: obstacles.groups(),
        tenants: if stuck { tenancies.of_nodes(obstacles.full()) } else { Tenants::default() },
        remedies: if stuck { remedies(ground, &need, &obstacles, tenancies) } else { Vec::new() },
    }
}

#[cfg(test)]
mod tests;
