//! What is to be done in the whole mesh, as every node sees it: which replicas are missing and where they should go, and
//! which ones go so that others find room.

use std::{
    cell::OnceCell,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shoal_types::{ClaimId, EndpointName, EndpointRecord, NodeId};

use crate::{
    census::Census,
    clearing::{Clearing, MakesRoom, Place, Site},
    decision::MoveReason,
    ground::Ground,
    group::Group,
    moves::{Saving, defragment, saving, saving_under_way},
    opening::{Given, Opening, opening},
    preempt::preempt,
    presence::Patience,
    scene::Scene,
};

/// Replicas without a place for which room is made at once; the others follow.
const CLEARED_AT_ONCE: usize = 8;

/// What is to be done in the whole mesh.
#[derive(Debug, Default)]
pub(crate) struct Agenda<'c, 'a> {
    /// What is missing, the most important first.
    pub(crate) openings: Vec<Opening<'c, 'a>>,
    pub(crate) clearing: Clearing,
    /// GPUs of the asking node that are planned for what is missing, with the priority of each.
    pub(crate) promised: Vec<(i32, usize)>,
}

impl<'c, 'a> Agenda<'c, 'a> {
    /// The agenda of all `censuses`, with the lines as they concern `me`.
    ///
    /// The order is by priority, then larger replicas first. Each line is made as if what is missing before it were
    /// placed already. Every node makes the same plan from the same view; without it, many endpoints that are applied
    /// together would each open another empty host, and what is cleared for one would be taken by another.
    pub(crate) fn new(scene: &Scene<'a>, me: NodeId, censuses: &'c [Census<'a>]) -> Self {
        let mut agenda = Self::default();
        let mut given = Given::default();
        let under_way: Vec<Saving<'c, 'a>> =
            censuses.iter().filter_map(|census| saving_under_way(scene, census)).collect();
        under_way.iter().for_each(|saving| agenda.clearing.save(saving));
        let mut vacant: Vec<(&'c Census<'a>, &'c Group<'a>)> = censuses
            .iter()
            .flat_map(|census| census.groups.iter().map(move |group| (census, group)))
            .filter(|(_, group)| group.missing() > 0)
            .collect();
        // Stable: groups of one endpoint stay in their order.
        vacant.sort_by_key(|(census, group)| {
            (Reverse(census.placement().priority), Reverse(group.resources().gpus), census.name())
        });
        let ground = OnceCell::new();
        for (census, group) in vacant {
            let ground = ground.get_or_init(|| Ground::new(scene));
            let barred = under_way.iter().find(|saving| std::ptr::eq(saving.group, group)).map(|saving| &saving.dear);
            let planned = given.planned_on(me);
            let opening = opening(ground, me, (census, group), barred.unwrap_or(&BTreeSet::new()), &mut given);
            agenda.clear(ground, censuses, &opening, &mut given);
            agenda.openings.push(opening);
            agenda.promised.push((census.placement().priority, given.planned_on(me) - planned));
        }
        for census in censuses {
            if let Some(saving) = saving(scene, census, &given) {
                given.plan(saving.to, saving.group.resources().gpus as usize);
                agenda.clearing.save(&saving);
            }
        }
        agenda
    }

    /// Makes room for what of `opening` has no place. For what is wanted, not for a surge beyond it.
    fn clear(&mut self, ground: &Ground<'a>, censuses: &[Census<'a>], opening: &Opening<'_, 'a>, given: &mut Given) {
        let scene = &ground.scene;
        let Opening { census, group, .. } = *opening;
        let wanted = opening.unplaced.min(census.short());
        let mut cleared = 0;
        while cleared < wanted && given.clearings < CLEARED_AT_ONCE {
            let (place, moves) = if let Some(place) = preempt(scene, (census, group), censuses, given, &self.clearing) {
                self.clearing.evict(&place, census);
                (place, false)
            } else if let Some(place) = defragment(ground, (census, group), censuses, given, &self.clearing) {
                self.clearing.displace(&place, census);
                (place, true)
            } else {
                break;
            };
            self.clearing.note(scene, &place, group, moves);
            given.clear(&place, group);
            cleared += 1;
        }
        if cleared < opening.unplaced && census.record.endpoint.spec.rollout.max_unavailable > 0 {
            self.clearing.breaks.extend(in_the_way(scene, (census, group)));
        }
    }
}

/// Replicas of `census` that have had their time, and that are all that keeps `group` from their nodes.
fn in_the_way<'a>(scene: &Scene<'a>, (census, group): (&Census<'a>, &Group<'a>)) -> BTreeSet<ClaimId> {
    let mut by_node: BTreeMap<NodeId, BTreeSet<ClaimId>> = BTreeMap::new();
    for holder in census.dispensable() {
        by_node.entry(holder.node.id).or_default().insert(holder.claim.id);
    }
    let yields = |(node, claims): &(NodeId, BTreeSet<ClaimId>)| {
        let node = scene.view.nodes.get(node);
        let site = node.and_then(|node| Site::new(node, &group.want, 0, scene.now, |claim| claims.contains(&claim)));
        site.is_some_and(|site| site.fits_without(claims))
    };
    by_node.into_iter().filter(yields).flat_map(|(_, claims)| claims).collect()
}

impl Given {
    fn clear(&mut self, place: &Place, group: &Group<'_>) {
        self.plan(place.node, group.resources().gpus as usize);
        self.cleared.insert(place.node);
        self.clearings += 1;
    }
}

impl Clearing {
    fn evict(&mut self, place: &Place, by: &Census<'_>) {
        self.evicted.extend(place.goers.iter().map(|&claim| (claim, by.name().clone())));
    }

    fn displace(&mut self, place: &Place, by: &Census<'_>) {
        let reason = || MoveReason::Defragment { for_endpoint: by.name().clone() };
        self.moved.extend(place.goers.iter().map(|&claim| (claim, reason())));
    }

    /// Room is being made at `place`: by those who go for it, and by those who are going anyhow.
    fn note(&mut self, scene: &Scene<'_>, place: &Place, group: &Group<'_>, moves: bool) {
        let mut going = scene.view.nodes.get(&place.node).map(|node| self.ending_on(node)).unwrap_or_default();
        going.extend(&place.goers);
        self.rooms.push(MakesRoom {
            for_endpoint: group.want.record.endpoint.metadata.name.clone(),
            revision: group.want.revision,
            capacity: group.want.class.into(),
            node: place.node,
            going: going.into_iter().collect(),
            moves,
        });
    }

    fn save(&mut self, saving: &Saving<'_, '_>) {
        self.moved.entry(saving.claim).or_insert(MoveReason::Rebalance { to: saving.to });
    }
}

/// Where room is being made, for all replicas that find none: the pending one's side of
/// [`DrainReason::Preempted`](crate::DrainReason) and [`MoveReason::Defragment`]. The same view gives the same answer on
/// every node.
pub fn making_room(scene: &Scene<'_>) -> Vec<MakesRoom> {
    let censuses = take_censuses(scene, &Patience { now: scene.now, guard: None });
    Agenda::new(scene, scene.view.me, &censuses).clearing.rooms
}

/// The census of every endpoint, in the order of their names.
pub(crate) fn take_censuses<'a>(scene: &Scene<'a>, patience: &Patience) -> Vec<Census<'a>> {
    let mut claims: BTreeMap<&EndpointName, Vec<_>> = BTreeMap::new();
    for (node, claim) in scene.view.claims() {
        claims.entry(&claim.endpoint).or_default().push((node, claim));
    }
    let census = |(name, record): (&'a EndpointName, &'a Arc<EndpointRecord>)| {
        let claims = claims.get(name).map(Vec::as_slice).unwrap_or_default();
        Census::new(scene, record, claims, patience)
    };
    scene.view.endpoints.iter().map(census).collect()
}
