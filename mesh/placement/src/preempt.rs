//! Whose place a replica of higher priority takes where GPUs are short.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use shoal_types::{ClaimId, EndpointName, NodeId, UnixMillis};

use crate::{
    census::Census,
    clearing::{Clearing, Place, Site},
    group::Group,
    opening::Given,
    presence::Holder,
    scene::Scene,
};

/// What goes first; the lesser goes before the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Surplus,
    /// It does not serve yet, and so costs no request anything.
    Unready,
    Ready,
}

/// A claim whose place could be taken; the lesser goes before the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Victim<'a> {
    tier: Tier,
    priority: i32,
    claimed: Reverse<UnixMillis>,
    claim: ClaimId,
    endpoint: &'a EndpointName,
    serves: bool,
}

/// How many claims of an endpoint can go before it is at its `min`.
#[derive(Debug, Clone, Copy)]
struct Spare {
    all: usize,
    /// Of those that serve; the ready ones alone must make up `min`, as far as they can.
    serving: usize,
}

impl Spare {
    fn of(census: &Census<'_>, clearing: &Clearing) -> Self {
        let left = || census.staying().filter(|holder| !clearing.is_evicted(holder.claim.id));
        let serving = left().filter(|holder| holder.serves()).count();
        Self { all: left().count().saturating_sub(census.min()), serving: serving.saturating_sub(census.min()) }
    }

    fn take(&mut self, victim: &Victim<'_>) -> bool {
        if self.all == 0 || (victim.serves && self.serving == 0) {
            return false;
        }
        self.all -= 1;
        self.serving -= usize::from(victim.serves);
        true
    }
}

/// Where a replica of `group` can have the place of ones of lower priority, and whose.
///
/// On one node; of all nodes that would do, the one where what goes matters least: surplus before what does not serve
/// before what does, then fewest replicas, then those of the lowest priority, then the youngest. No endpoint is pushed
/// below its `min`, and those that serve are counted for that.
pub(crate) fn preempt<'a>(
    scene: &Scene<'a>,
    (census, group): (&Census<'a>, &Group<'a>),
    censuses: &[Census<'a>],
    given: &Given,
    clearing: &Clearing,
) -> Option<Place> {
    let priority = census.placement().priority;
    let lower = || censuses.iter().filter(|other| other.placement().priority < priority);
    let mut by_node: BTreeMap<NodeId, Vec<Victim<'a>>> = BTreeMap::new();
    for victim in lower().flat_map(|census| victims(census, clearing)) {
        by_node.entry(victim.claim.node).or_default().push(victim);
    }
    let spare: BTreeMap<_, _> = lower().map(|census| (census.name(), Spare::of(census, clearing))).collect();
    let mut found: Vec<(Vec<Victim<'a>>, NodeId)> = Vec::new();
    for node in scene.view.nodes.values() {
        let ending = clearing.ending_on(node);
        let victims = affordable(by_node.remove(&node.id).unwrap_or_default(), spare.clone());
        let goes = |claim| ending.contains(&claim) || victims.iter().any(|victim| victim.claim == claim);
        let planned = given.planned.get(&node.id).copied().unwrap_or(0);
        if ending.is_empty() && victims.is_empty() {
            continue;
        }
        let Some(site) = Site::new(node, &group.want, planned, scene.now, goes) else { continue };
        if let Some(least) = site.least_of(&ending, &victims, |victim| victim.claim) {
            found.push((least.into_iter().copied().collect(), node.id));
        }
    }
    let (victims, node) = found.into_iter().min_by_key(|(victims, node)| (weight(victims), *node))?;
    Some(Place { node, goers: victims.into_iter().map(|victim| victim.claim).collect() })
}

/// Claims of `census` that are not going anyhow.
fn victims<'a>(census: &Census<'a>, clearing: &Clearing) -> Vec<Victim<'a>> {
    let kept: BTreeSet<ClaimId> = census.groups.iter().flat_map(Group::kept).map(|holder| holder.claim.id).collect();
    let victim = |holder: &Holder<'a>| {
        let tier = match (kept.contains(&holder.claim.id), holder.claim.state.serves()) {
            (false, _) => Tier::Surplus,
            (true, false) => Tier::Unready,
            (true, true) => Tier::Ready,
        };
        Victim {
            tier,
            priority: census.placement().priority,
            claimed: Reverse(holder.claim.claimed),
            claim: holder.claim.id,
            endpoint: census.name(),
            serves: holder.serves(),
        }
    };
    let present = census.staying().filter(|holder| holder.node.is_alive() && holder.claim.gpus > 0);
    present.filter(|holder| !clearing.is_evicted(holder.claim.id)).map(victim).collect()
}

/// Those of `victims` that can go together, in the order in which they should.
fn affordable<'a>(mut victims: Vec<Victim<'a>>, mut spare: BTreeMap<&'a EndpointName, Spare>) -> Vec<Victim<'a>> {
    victims.sort_unstable();
    victims.retain(|victim| spare.get_mut(victim.endpoint).is_some_and(|spare| spare.take(victim)));
    victims
}

/// How much the going of all of `victims` matters.
fn weight(victims: &[Victim<'_>]) -> impl Ord + use<> {
    let tier = victims.iter().map(|victim| victim.tier).max();
    let priority = victims.iter().map(|victim| victim.priority).max();
    let oldest = victims.iter().map(|victim| victim.claimed).max();
    (tier, victims.len(), priority, oldest)
}
