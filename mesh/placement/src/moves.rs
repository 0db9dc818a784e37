//! Running replicas that go elsewhere (DESIGN rule 7): to make room for a larger one, or to cost less.

use std::{collections::BTreeSet, time::Duration};

use shoal_types::{Claim, ClaimId, NodeId, NodeView, ReplicaState};

use crate::{
    candidates::admit,
    census::Census,
    clearing::{Clearing, Place, Site},
    ground::Ground,
    group::Group,
    opening::Given,
    order::is_overflow,
    presence::Holder,
    rank::Ranking,
    scene::Scene,
    want::Want,
};

/// How long a replica must have served before it moves for a saving: longer than prices and risks jitter, and than any
/// load takes.
const RESIDENCY: Duration = Duration::from_secs(10 * 60);
/// What a place may cost at most, as a share of the present one, to be worth a load.
const CLEARLY_LESS: f64 = 0.8;
/// Nodes for which it is looked at whether what would have to move has another place; nodes with less to move first.
const SITES: usize = 16;

/// A claim that could move, with its endpoint and what it is.
#[derive(Debug, Clone, Copy)]
struct Mover<'c, 'a> {
    holder: Holder<'a>,
    group: &'c Group<'a>,
    census: &'c Census<'a>,
}

impl Mover<'_, '_> {
    const fn id(&self) -> ClaimId {
        self.holder.claim.id
    }

    /// Whether it has been told to move, and serves until it is replaced.
    fn is_moving(&self) -> bool {
        self.holder.claim.leaving.is_some() && self.holder.claim.state.serves()
    }
}

/// Where a replica of `group` finds room if smaller ones whose specs allow it move away, and which one of them moves
/// now: one at a time in the whole mesh, from the node where fewest GPUs have to move.
///
/// Replicas of a higher priority do not move for one of a lower. All that would have to move must have another place.
pub(crate) fn defragment<'a>(
    ground: &Ground<'a>,
    (census, group): (&Census<'a>, &Group<'a>),
    censuses: &[Census<'a>],
    given: &Given,
    clearing: &Clearing,
) -> Option<Place> {
    let scene = &ground.scene;
    let movers: Vec<Mover<'_, 'a>> = censuses
        .iter()
        .filter(|other| other.placement().defragment && other.placement().priority <= census.placement().priority)
        .flat_map(movers)
        .filter(|mover| mover.holder.claim.gpus > 0 && mover.holder.claim.gpus < group.resources().gpus)
        .collect();
    let mut sites: Vec<(usize, usize, NodeId, Vec<Mover<'_, 'a>>)> = Vec::new();
    let nodes: BTreeSet<NodeId> = movers.iter().map(|mover| mover.holder.node.id).collect();
    for node in nodes.iter().filter_map(|id| scene.view.nodes.get(id)) {
        let planned = given.planned.get(&node.id).copied().unwrap_or(0);
        let mut here: Vec<Mover<'_, 'a>> =
            movers.iter().filter(|mover| mover.holder.node.id == node.id).copied().collect();
        here.sort_by_key(|mover| (!mover.is_moving(), mover.holder.claim.gpus, mover.id()));
        let ending = clearing.ending_on(node);
        let goes = |claim| ending.contains(&claim) || here.iter().any(|mover| mover.id() == claim);
        let Some(site) = Site::new(node, &group.want, planned, scene.now, goes) else { continue };
        if let Some(least) = site.least_of(&ending, &here, Mover::id) {
            let least: Vec<Mover<'_, 'a>> = least.into_iter().copied().collect();
            let gpus = |mover: &&Mover<'_, '_>| mover.holder.claim.gpus as usize;
            let still = least.iter().filter(|mover| !mover.is_moving()).map(|mover| gpus(&mover)).sum();
            let moving = usize::from(!least.iter().any(Mover::is_moving));
            sites.push((moving, still, node.id, least));
        }
    }
    sites.sort_by_key(|(moving, still, node, _)| (*moving, *still, *node));
    let has_places =
        |(_, _, node, least): &(usize, usize, NodeId, Vec<Mover<'_, 'a>>)| have_places(ground, *node, least, given);
    let (_, _, node, least) = sites.into_iter().take(SITES).find(has_places)?;
    Some(Place { node, goers: movers_now(&least, census, censuses) })
}

/// All that stay and all that have been told to move, of one endpoint.
fn movers<'c, 'a>(census: &'c Census<'a>) -> Vec<Mover<'c, 'a>> {
    let mover = |holder: &Holder<'a>| {
        let group = census.group_of(holder.node, holder.claim)?;
        Some(Mover { holder: *holder, group, census })
    };
    let told = census.going.iter().filter(|holder| holder.node.departure.is_none() && is_told(holder.claim));
    census.staying().chain(told).filter(|holder| holder.node.is_alive()).filter_map(mover).collect()
}

fn is_told(claim: &Claim) -> bool {
    claim.leaving.is_some() && claim.state != ReplicaState::Draining
}

/// Whether each of `movers` has a place on another node than `from`, all of them together. One that is replaced
/// already needs none.
fn have_places<'a>(ground: &Ground<'a>, from: NodeId, movers: &[Mover<'_, 'a>], given: &Given) -> bool {
    let mut planned = given.without([from]);
    for mover in movers {
        if mover.is_moving() && mover.group.standing().len() >= mover.group.want.count {
            continue;
        }
        let want = &mover.group.want;
        let ranking = Ranking::on(ground, want, mover.census.kept_beside(want)).beside(&planned);
        let Some(&place) = ranking.slots(1).first() else { return false };
        *planned.entry(place).or_default() += want.spec.resources.gpus as usize;
    }
    true
}

/// Which of `movers` move now so that `pending` finds room: those that have been told to, else the first whose endpoint
/// misses nothing, if nothing else moves in the mesh. What leaves of `pending` itself is what the room is for: it waits for
/// this, and this must not wait for it.
fn movers_now(movers: &[Mover<'_, '_>], pending: &Census<'_>, censuses: &[Census<'_>]) -> Vec<ClaimId> {
    let moving: Vec<ClaimId> = movers.iter().filter(|mover| mover.is_moving()).map(Mover::id).collect();
    let moves = |census: &Census<'_>| census.going.iter().any(|holder| holder.claim.leaving.is_some());
    let mut others = censuses.iter().filter(|census| census.name() != pending.name());
    if !moving.is_empty() || others.any(|census| census.placement().defragment && moves(census)) {
        return moving;
    }
    let ready = movers.iter().find(|mover| mover.holder.serves() && mover.census.is_settled());
    ready.map(Mover::id).into_iter().collect()
}

/// A move for a saving.
#[derive(Debug)]
pub(crate) struct Saving<'c, 'a> {
    pub(crate) claim: ClaimId,
    pub(crate) group: &'c Group<'a>,
    /// A place that costs clearly less.
    pub(crate) to: NodeId,
    /// All others, and the present one.
    pub(crate) dear: BTreeSet<NodeId>,
}

/// The move for a saving that is under way in `census`, if it still is one: there is still room where it costs clearly
/// less, or a replica has been claimed there since.
pub(crate) fn saving_under_way<'c, 'a>(scene: &Scene<'a>, census: &'c Census<'a>) -> Option<Saving<'c, 'a>> {
    if !census.placement().rebalance {
        return None;
    }
    let [going] = census.going.as_slice() else { return None };
    if !going.serves() || going.node.departure.is_some() || !is_told(going.claim) {
        return None;
    }
    let group = census.group_of(going.node, going.claim)?;
    let succeeds = |holder: &&Holder<'_>| {
        holder.claim.claimed > going.claim.claimed && is_clearly_cheaper(holder.node, going.node)
    };
    let successor = group.standing().iter().find(succeeds).map(|holder| holder.node.id);
    if group.standing().len() + 1 < group.want.count {
        return None;
    }
    let to = successor.or_else(|| cheaper(scene, &group.want, going.node, &Given::default()))?;
    Some(Saving { claim: going.claim.id, group, to, dear: dear(scene, going.node) })
}

/// The move for a saving that `census` should begin: one at a time, only while it has all that it wants and all of that
/// serves; the one that costs most, once it has served for [`RESIDENCY`].
pub(crate) fn saving<'c, 'a>(scene: &Scene<'a>, census: &'c Census<'a>, given: &Given) -> Option<Saving<'c, 'a>> {
    if !census.placement().rebalance || !census.is_settled() {
        return None;
    }
    let mut dearest: Vec<(f64, &Holder<'a>, &'c Group<'a>)> = Vec::new();
    for group in &census.groups {
        let resident = group.kept().iter().filter(|holder| scene.now.since(holder.claim.since) >= RESIDENCY);
        let priced = resident.filter_map(|holder| Some((price(holder.node)?, holder, group)));
        dearest.extend(priced.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.claim.id.cmp(&a.1.claim.id))));
    }
    dearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    dearest.into_iter().find_map(|(_, holder, group)| {
        let to = cheaper(scene, &group.want, holder.node, given)?;
        Some(Saving { claim: holder.claim.id, group, to, dear: dear(scene, holder.node) })
    })
}

/// The cheapest place for a replica as `want` asks for that costs clearly less than `from`, and is not farther from
/// home.
pub(crate) fn cheaper(scene: &Scene<'_>, want: &Want<'_>, from: &NodeView, given: &Given) -> Option<NodeId> {
    let gpus = want.spec.resources.gpus as usize;
    let fits = |node: &&NodeView| {
        let planned = given.planned.get(&node.id).copied().unwrap_or(0);
        admit(node, want, scene.now).is_ok_and(|room| room.less(planned).fitting >= gpus)
    };
    let is_near = |node: &NodeView| is_overflow(from, want.record) || !is_overflow(node, want.record);
    let nodes = scene.view.nodes.values().map(AsRef::as_ref);
    let cheap =
        nodes.filter(|node| is_clearly_cheaper(node, from) && is_near(node) && !given.cleared.contains(&node.id));
    let mut places: Vec<(f64, &NodeView)> = cheap.filter_map(|node| Some((price(node)?, node))).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.id.cmp(&b.1.id)));
    places.into_iter().map(|(_, node)| node).find(fits).map(|node| node.id)
}

/// What a GPU costs there, as far as its operator says. Unknown is not cheap.
fn price(node: &NodeView) -> Option<f64> {
    node.facts.labels.price
}

fn is_clearly_cheaper(node: &NodeView, from: &NodeView) -> bool {
    price(node).zip(price(from)).is_some_and(|(there, here)| there <= here * CLEARLY_LESS && there < here)
}

/// All nodes that do not cost clearly less than `from`.
fn dear(scene: &Scene<'_>, from: &NodeView) -> BTreeSet<NodeId> {
    let nodes = scene.view.nodes.values();
    nodes.filter(|node| !is_clearly_cheaper(node, from)).map(|node| node.id).collect()
}
