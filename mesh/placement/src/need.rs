//! What a replica needs of its node, and which nodes have it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointSpec, EngineSpec, Liveness, NodeView, Placement, Resources, UnixMillis};

use crate::{
    capacity::{GpuKinds, Room, Stock},
    catalog::{Catalog, Selection},
    exclusion::Exclusion,
    ground::{Ground, Site},
    want::{Class, Want},
};

/// What a node must pass to be a candidate, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Filter {
    /// It is there.
    Presence,
    /// It is not about to leave.
    Departure,
    /// Its configuration offers the engine.
    Engine,
    /// Its labels are what `placement.require` allows.
    Labels,
    /// Its capacity type is the one that is wanted here.
    CapacityType,
    /// It costs at most `placement.maxPrice`.
    Price,
    /// It has enough GPUs of the right kind, whoever holds them.
    Hardware,
    /// It has not refused the revision.
    Refusal,
    /// Enough of those GPUs are free.
    Room,
}

impl Filter {
    pub(crate) const ALL: [Self; 9] = [
        Self::Presence,
        Self::Departure,
        Self::Engine,
        Self::Labels,
        Self::CapacityType,
        Self::Price,
        Self::Hardware,
        Self::Refusal,
        Self::Room,
    ];
}

/// Nodes that may not run a replica, each with the first reason against it.
pub(crate) type Excluded<'a> = Vec<(&'a NodeView, Exclusion<'a>)>;

/// What one want needs of a node, worked out once for all nodes.
#[derive(Debug, Clone)]
pub(crate) struct Need<'a> {
    pub(crate) want: Want<'a>,
    /// The offer that a node must make.
    engine: Cow<'a, str>,
    /// By kind of GPU, whether it is the right one.
    fits: Vec<bool>,
    /// By the numbers of the catalog, who offers the engine and has the labels.
    selection: Selection,
    now: UnixMillis,
}

impl<'a> Need<'a> {
    pub(crate) fn new(want: &Want<'a>, catalog: &Catalog<'_>, now: UnixMillis) -> Self {
        let engine = offer_of(&want.spec.engine);
        let selection = catalog.select(&engine, &want.record.endpoint.spec.placement.require);
        Self { want: *want, fits: catalog.kinds.fitting(&want.spec.resources), selection, engine, now }
    }

    /// The same for other GPUs.
    pub(crate) fn with_resources(&self, resources: &Resources, kinds: &GpuKinds<'_>) -> Self {
        Self { fits: kinds.fitting(resources), ..self.clone() }
    }

    pub(crate) fn spec(&self) -> &'a EndpointSpec {
        self.want.spec
    }

    /// Where replicas may be is a matter of the spec as it is now, whatever the revision.
    pub(crate) fn placement(&self) -> &'a Placement {
        &self.want.record.endpoint.spec.placement
    }

    /// GPUs that one replica takes.
    pub(crate) fn gpus(&self) -> usize {
        self.want.spec.resources.gpus as usize
    }

    /// GPUs of `site` as this want sees them.
    pub(crate) fn room(&self, site: &Site<'_>) -> Room {
        site.room(&self.fits)
    }

    /// GPUs of `stock` as this want sees them.
    pub(crate) fn room_of(&self, stock: &Stock) -> Room {
        stock.room(&self.fits)
    }

    /// How many of the labels that are required `node` does not have.
    pub(crate) fn mismatches(&self, node: &NodeView) -> usize {
        let require = &self.placement().require;
        require.iter().filter(|(key, allowed)| !is_allowed(node.facts.labels.get(key).as_deref(), allowed)).count()
    }

    /// The room that `site` has, if nothing is against it: as [`Self::admit`] says, but mostly without a look at the node.
    pub(crate) fn suits(&self, site: &Site<'a>) -> Option<Room> {
        let room = self.room(site);
        if room.fitting < self.gpus() {
            return None;
        }
        let suits = site.sound
            && self.selection.has(&site.entry)
            && (self.want.class == Class::Any || self.want.class.contains(site.node))
            && self.is_affordable(site).is_ok();
        debug_assert!(!suits || self.admit(site) == Ok(room), "numbers and node agree");
        if suits { Some(room) } else { self.admit(site).ok() }
    }

    /// The room that `site` has, or the first reason against it.
    pub(crate) fn admit(&self, site: &Site<'a>) -> Result<Room, Exclusion<'a>> {
        let room = self.room(site);
        Filter::ALL.iter().try_for_each(|&filter| self.pass(filter, site, room))?;
        Ok(room)
    }

    /// The nodes of `ground` that do not suit, each with the first reason.
    pub(crate) fn excluded(&self, ground: &Ground<'a>) -> Excluded<'a> {
        ground.sites.iter().filter_map(|site| Some((site.node, self.admit(site).err()?))).collect()
    }

    /// All reasons against `site`. What is taken is none where there would be too little anyhow.
    pub(crate) fn failures(&self, site: &Site<'a>) -> Vec<(Filter, Exclusion<'a>)> {
        let room = self.room(site);
        let failure = |filter: Filter| self.pass(filter, site, room).err().map(|exclusion| (filter, exclusion));
        let mut failures: Vec<_> = Filter::ALL.into_iter().filter_map(failure).collect();
        if failures.iter().any(|(filter, _)| *filter == Filter::Hardware) {
            failures.retain(|(filter, _)| *filter != Filter::Room);
        }
        failures
    }

    /// Whether nothing but `only` is against `site`.
    pub(crate) fn fails_only(&self, site: &Site<'a>, only: Filter) -> bool {
        let room = self.room(site);
        Filter::ALL.iter().all(|&filter| self.pass(filter, site, room).is_err() == (filter == only))
    }

    fn pass(&self, filter: Filter, site: &Site<'a>, room: Room) -> Result<(), Exclusion<'a>> {
        let node = site.node;
        match filter {
            Filter::Presence => is_there(node),
            Filter::Departure => is_staying(node),
            Filter::Engine => self.is_offered(node),
            Filter::Labels => self.matches_labels(node),
            Filter::CapacityType => self.is_of_class(node),
            Filter::Price => self.is_affordable(site),
            Filter::Hardware => self.has_gpus(node, room),
            Filter::Refusal => self.is_not_refused(node),
            Filter::Room => self.has_room(room),
        }
    }

    fn is_offered(&self, node: &'a NodeView) -> Result<(), Exclusion<'a>> {
        if node.facts.engines.iter().any(|offer| offer.0 == self.engine) {
            return Ok(());
        }
        Err(Exclusion::EngineNotOffered { needed: self.engine.clone(), offered: &node.facts.engines })
    }

    fn matches_labels(&self, node: &'a NodeView) -> Result<(), Exclusion<'a>> {
        for (key, allowed) in &self.placement().require {
            let value = node.facts.labels.get(key);
            if !is_allowed(value.as_deref(), allowed) {
                return Err(Exclusion::Label { key, value, allowed });
            }
        }
        Ok(())
    }

    fn is_of_class(&self, node: &NodeView) -> Result<(), Exclusion<'a>> {
        if self.want.class.contains(node) {
            return Ok(());
        }
        let has = node.facts.labels.capacity_type;
        Err(Exclusion::CapacityType { has, wanted: self.want.class.into() })
    }

    fn is_affordable(&self, site: &Site<'_>) -> Result<(), Exclusion<'a>> {
        let Some(most) = self.placement().max_price else { return Ok(()) };
        let affordable = site.price.is_some_and(|price| price <= most);
        affordable.then_some(()).ok_or(Exclusion::Price { price: site.price, most })
    }

    fn has_gpus(&self, node: &NodeView, room: Room) -> Result<(), Exclusion<'a>> {
        if room.matching < self.gpus() {
            let needed = &self.want.spec.resources;
            return Err(Exclusion::TooFewGpus { needed, matching: room.matching, all: node.gpus.len() });
        }
        Ok(())
    }

    fn is_not_refused(&self, node: &'a NodeView) -> Result<(), Exclusion<'a>> {
        let refusal = node.refusals.iter().find(|refusal| {
            refusal.endpoint == self.want.record.endpoint.metadata.name
                && refusal.revision == self.want.revision
                && self.now < refusal.until
        });
        refusal.map_or(Ok(()), |refusal| Err(Exclusion::Refused { until: refusal.until, reason: &refusal.reason }))
    }

    fn has_room(&self, room: Room) -> Result<(), Exclusion<'a>> {
        if room.fitting < self.gpus() {
            let needed = self.want.spec.resources.gpus;
            return Err(Exclusion::GpusTaken { needed, free: room.fitting, matching: room.matching });
        }
        Ok(())
    }
}

fn is_allowed(value: Option<&str>, allowed: &[String]) -> bool {
    value.is_some_and(|value| allowed.iter().any(|allowed| allowed == value))
}

/// What nodes that run `engine` say that they offer.
pub(crate) fn offer_of(engine: &EngineSpec) -> Cow<'_, str> {
    match engine {
        EngineSpec::Command(command) => Cow::Owned(format!("{}/{}", engine.kind(), command.name)),
        EngineSpec::Vllm(_)
        | EngineSpec::Sglang(_)
        | EngineSpec::Trtllm(_)
        | EngineSpec::Llamacpp(_)
        | EngineSpec::Gateway(_)
        | EngineSpec::Sim(_) => Cow::Borrowed(engine.kind()),
    }
}

fn is_there<'a>(node: &NodeView) -> Result<(), Exclusion<'a>> {
    match node.liveness {
        Liveness::Left => Err(Exclusion::Left),
        Liveness::Suspect { since } => Err(Exclusion::Suspect { since }),
        Liveness::Alive => Ok(()),
    }
}

fn is_staying<'a>(node: &NodeView) -> Result<(), Exclusion<'a>> {
    node.departure.as_ref().map_or(Ok(()), |departure| Err(Exclusion::Departing(departure.reason)))
}
