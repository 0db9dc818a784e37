//! Each thing that is against nodes is taken away by itself: who becomes a candidate then is a remedy.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use shoal_types::{CapacityType, Claim, DepartureReason, EndpointName, Resources};

use super::{
    obstacles::Obstacles,
    remedy::{NAMES_MAX, NodeNames, Remedy},
    text,
};
use crate::{
    capacity::fits,
    clearing,
    exclusion::{Exclusion, GpuKind},
    ground::{Ground, Site},
    need::{Filter, Need},
    tenancy::{Eviction, Tenancies},
};

/// What would make room for a replica as `need` says.
pub(super) fn remedies<'a>(
    ground: &Ground<'a>,
    need: &Need<'a>,
    obstacles: &Obstacles<'_, 'a>,
    tenancies: &Tenancies<'a>,
) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    remedies.extend(free_gpus(need, obstacles));
    remedies.extend(defragment(need, obstacles, tenancies));
    remedies.extend(raise_priority(ground, need, obstacles, tenancies));
    remedies.extend(allow_unavailable(ground, need, obstacles));
    remedies.extend(presence(obstacles));
    remedies.extend(engine(obstacles));
    remedies.extend(labels(need, obstacles));
    remedies.extend(capacity(obstacles));
    remedies.extend(price(obstacles));
    remedies.extend(hardware(ground, need, obstacles));
    remedies.extend(refusals(obstacles));
    remedies.push(Remedy::AddNode { needs: text::needs(need.spec()) });
    remedies
}

fn presence(obstacles: &Obstacles<'_, '_>) -> impl Iterator<Item = Remedy> {
    let silent = obstacles.only(Filter::Presence).filter(|(_, why)| matches!(why, Exclusion::Suspect { .. }));
    let silent = NodeNames::of(silent.map(|(site, _)| site));
    let drained = obstacles.only(Filter::Departure);
    let drained = drained.filter(|(_, why)| matches!(why, Exclusion::Departing(DepartureReason::Drain)));
    let drained = NodeNames::of(drained.map(|(site, _)| site));
    let silent = (silent.count > 0).then_some(Remedy::Return { nodes: silent });
    silent.into_iter().chain((drained.count > 0).then_some(Remedy::Undrain { nodes: drained }))
}

fn engine(obstacles: &Obstacles<'_, '_>) -> Option<Remedy> {
    let nodes = NodeNames::of(obstacles.only(Filter::Engine).map(|(site, _)| site));
    let engine = obstacles.only(Filter::Engine).find_map(|(_, why)| match why {
        Exclusion::EngineNotOffered { needed, .. } => Some(needed.clone().into_owned()),
        _ => None,
    })?;
    Some(Remedy::OfferEngine { engine, nodes })
}

fn labels(need: &Need<'_>, obstacles: &Obstacles<'_, '_>) -> Vec<Remedy> {
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&Site<'_>>> = BTreeMap::new();
    for (site, why) in obstacles.only(Filter::Labels) {
        // Allowing one more value helps only where all other labels are right.
        if let Exclusion::Label { key, value, .. } = why
            && need.mismatches(site.node) == 1
        {
            groups.entry((key, value.as_deref())).or_default().push(site);
        }
    }
    let remedy = |((key, value), sites): ((&str, Option<&str>), Vec<&Site<'_>>)| Remedy::AllowLabel {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        nodes: NodeNames::of(sites),
    };
    groups.into_iter().take(NAMES_MAX).map(remedy).collect()
}

fn capacity(obstacles: &Obstacles<'_, '_>) -> Vec<Remedy> {
    let mut groups: BTreeMap<CapacityType, Vec<&Site<'_>>> = BTreeMap::new();
    for (site, _) in obstacles.only(Filter::CapacityType) {
        groups.entry(site.node.facts.labels.capacity_type).or_default().push(site);
    }
    groups.into_iter().map(|(capacity, sites)| Remedy::UseCapacity { capacity, nodes: NodeNames::of(sites) }).collect()
}

fn price(obstacles: &Obstacles<'_, '_>) -> impl Iterator<Item = Remedy> {
    let sites: Vec<&Site<'_>> = obstacles.only(Filter::Price).map(|(site, _)| site).collect();
    let least = sites.iter().filter_map(|site| site.price).min();
    let cheapest = NodeNames::of(sites.iter().copied().filter(|site| site.price.is_some() && site.price == least));
    let untold = NodeNames::of(sites.iter().copied().filter(|site| site.price.is_none()));
    let raise = least.map(|to| Remedy::RaiseMaxPrice { to, nodes: cheapest });
    raise.into_iter().chain((untold.count > 0).then_some(Remedy::TellPrice { nodes: untold }))
}

/// Nodes with the wrong GPUs: of another model, or with less memory, and enough of them free.
fn hardware(ground: &Ground<'_>, need: &Need<'_>, obstacles: &Obstacles<'_, '_>) -> Vec<Remedy> {
    let asked = &need.spec().resources;
    let fitting = |resources: &Resources| -> Vec<&Site<'_>> {
        let need = need.with_resources(resources, &ground.catalog.kinds);
        let sites = obstacles.only(Filter::Hardware).map(|(site, _)| site);
        sites.filter(|site| need.room(site).fitting >= need.gpus()).collect()
    };
    let mut remedies = Vec::new();
    if asked.gpu_model.is_some() {
        let any_model = Resources { gpu_model: None, ..asked.clone() };
        let sites = fitting(&any_model);
        let name =
            |site: &&Site<'_>| site.node.gpus.iter().find(|gpu| fits(gpu, &any_model)).map(|gpu| gpu.name.clone());
        let model = sites.iter().find_map(name);
        remedies.extend(model.map(|model| Remedy::AllowGpuModel { model, nodes: NodeNames::of(sites) }));
    }
    if asked.gpu_memory.is_some() {
        let any_memory = Resources { gpu_memory: None, ..asked.clone() };
        let sites = fitting(&any_memory);
        let gpus = sites.iter().flat_map(|site| &site.node.gpus).filter(|gpu| fits(gpu, &any_memory));
        let to = gpus.map(|gpu| gpu.memory).max();
        remedies.extend(to.map(|to| Remedy::LowerGpuMemory { to, nodes: NodeNames::of(sites) }));
    }
    remedies
}

fn refusals(obstacles: &Obstacles<'_, '_>) -> Option<Remedy> {
    let nodes = NodeNames::of(obstacles.only(Filter::Refusal).map(|(site, _)| site));
    let refusal = |(_, why): (_, &Exclusion<'_>)| match *why {
        Exclusion::Refused { until, reason } => Some((until, reason.to_owned())),
        _ => None,
    };
    let (until, reason) = obstacles.only(Filter::Refusal).filter_map(refusal).min()?;
    Some(Remedy::Wait { until, nodes, reason })
}

/// The node that needs fewest GPUs more, of equal ones the one at home.
fn free_gpus(need: &Need<'_>, obstacles: &Obstacles<'_, '_>) -> Option<Remedy> {
    let home = need.placement().home.as_ref();
    let rooms = obstacles.full().map(|site| (need.room(site).fitting, site));
    let (free, site) = rooms
        .max_by_key(|(free, site)| (*free, home == Some(&site.node.facts.labels.cluster), Reverse(site.node.id)))?;
    Some(Remedy::FreeGpus {
        gpus: need.gpus().saturating_sub(free),
        kind: GpuKind(&need.spec().resources).to_string(),
        node: site.node.facts.name.clone(),
        cluster: site.node.facts.labels.cluster.clone(),
        free,
    })
}

/// Enough GPUs are free, but not on one node, and smaller replicas are in between.
fn defragment(need: &Need<'_>, obstacles: &Obstacles<'_, '_>, tenancies: &Tenancies<'_>) -> Option<Remedy> {
    let rooms = || obstacles.full().map(|site| need.room(site).fitting);
    let (free, most) = (rooms().sum(), rooms().max()?);
    let needed = need.gpus();
    let smaller = |claim: &&Claim| claim.state.counts() && (1..needed).contains(&(claim.gpus as usize));
    let claims = obstacles.full().flat_map(|site| site.node.claims.values()).filter(smaller);
    let endpoints = unique(claims.map(|claim| &claim.endpoint));
    let off = endpoints.iter().filter(|endpoint| !tenancies.moves(endpoint)).take(NAMES_MAX);
    let off: Vec<EndpointName> = off.map(|&endpoint| endpoint.clone()).collect();
    // Where all of them may move, they do, or have no other place.
    (free >= needed && !off.is_empty()).then_some(Remedy::Defragment { free, most, needed, off })
}

fn raise_priority<'a>(
    ground: &Ground<'a>,
    need: &Need<'a>,
    obstacles: &Obstacles<'_, 'a>,
    tenancies: &Tenancies<'a>,
) -> Option<Remedy> {
    // What is of a lower priority already would have given way, if it could.
    let own = need.placement().priority;
    let evictions = obstacles.full().filter_map(|site| tenancies.evictable(ground, need, site, None));
    let eviction = evictions.filter(|eviction| eviction.priority >= own).min_by_key(Eviction::rank)?;
    let endpoints = unique(eviction.claims.iter().map(|claim| &claim.endpoint));
    let endpoints = endpoints.into_iter().take(NAMES_MAX).cloned().collect();
    Some(Remedy::RaisePriority { above: eviction.priority, endpoints, node: eviction.node.facts.name.clone() })
}

/// Old replicas of the endpoint itself have the only room, and none of them may go before it is replaced.
fn allow_unavailable<'a>(ground: &Ground<'a>, need: &Need<'a>, obstacles: &Obstacles<'_, 'a>) -> Option<Remedy> {
    let want = &need.want;
    if want.record.endpoint.spec.rollout.max_unavailable > 0 {
        return None;
    }
    let is_old = |claim: &&Claim| {
        claim.endpoint == want.record.endpoint.metadata.name && claim.revision != want.revision && claim.state.counts()
    };
    let yields = |site: &&Site<'a>| {
        let old: BTreeSet<_> = site.node.claims.values().filter(is_old).map(|claim| claim.id).collect();
        let vacated = clearing::Site::new(site.node, want, 0, ground.scene.now, |claim| old.contains(&claim));
        !old.is_empty() && vacated.is_some_and(|site| site.fits_without(&old))
    };
    let nodes = NodeNames::of(obstacles.full().filter(yields));
    (nodes.count > 0).then_some(Remedy::AllowUnavailable { nodes })
}

fn unique<'a>(names: impl Iterator<Item = &'a EndpointName>) -> Vec<&'a EndpointName> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}
