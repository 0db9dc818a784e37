//! What the nodes of a scene offer, worked out once for many endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shoal_types::{ClaimId, Decimal, NodeId, NodeView};

use crate::{
    capacity::{Room, Stock},
    catalog::{Catalog, Entry},
    distance::Distances,
    need::Need,
    scene::Scene,
    want::Want,
};

/// All nodes of a scene, summed up. Making one costs a look at every GPU of the mesh, so whoever ranks nodes for many
/// endpoints makes one for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Ground<'a> {
    pub(crate) scene: Scene<'a>,
    /// In the order of the node ids.
    pub(crate) sites: Vec<Site<'a>>,
    pub(crate) distances: Distances<'a>,
    pub(crate) catalog: Catalog<'a>,
    zones: BTreeMap<&'a str, usize>,
}

/// One node, summed up.
#[derive(Debug, Clone)]
pub(crate) struct Site<'a> {
    pub(crate) id: NodeId,
    pub(crate) node: &'a NodeView,
    /// It is there, stays, and refuses nothing.
    pub(crate) sound: bool,
    pub(crate) entry: Entry,
    /// USD per GPU-hour, if it says so.
    pub(crate) price: Option<Decimal>,
    /// How often it is expected to be lost, per hour.
    pub(crate) risk: f64,
    /// The failure domain over which replicas are spread; all nodes without a zone are in one.
    pub(crate) zone: usize,
    stock: Stock,
    /// Claims that are taken for ended.
    gone: BTreeSet<ClaimId>,
    /// GPUs that are spoken for and that the view does not know of.
    occupied: usize,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(scene: &Scene<'a>) -> Self {
        let mut ground = Self {
            scene: *scene,
            sites: Vec::with_capacity(scene.view.nodes.len()),
            distances: Distances::new(scene.view),
            catalog: Catalog::new(scene.view.endpoints.values().map(Arc::as_ref)),
            zones: BTreeMap::new(),
        };
        let risks = scene.memory.risks(scene.now);
        for node in scene.view.nodes.values() {
            let next = ground.zones.len();
            let mut site = Site::new(node, &mut ground.catalog);
            site.zone = *ground.zones.entry(zone_label(node)).or_insert(next);
            site.risk = risks.of_node(node);
            ground.sites.push(site);
        }
        ground
    }

    /// What `want` needs of these nodes.
    pub(crate) fn need(&self, want: &Want<'a>) -> Need<'a> {
        Need::new(want, &self.catalog, self.scene.now)
    }

    pub(crate) fn zones(&self) -> usize {
        self.zones.len()
    }

    /// The zone of `node`, if it is one of these.
    pub(crate) fn zone_of(&self, node: &NodeView) -> Option<usize> {
        self.zones.get(zone_label(node)).copied()
    }

    pub(crate) fn site(&self, node: NodeId) -> Option<&Site<'a>> {
        self.index(node).ok().map(|index| &self.sites[index])
    }

    /// The nodes of these ids.
    pub(crate) fn nodes(&self, ids: &[NodeId]) -> impl Iterator<Item = &'a NodeView> {
        ids.iter().filter_map(|id| self.site(*id)).map(|site| site.node)
    }

    fn index(&self, node: NodeId) -> Result<usize, usize> {
        self.sites.binary_search_by_key(&node, |site| site.id)
    }

    /// The room of `site` as `need` sees it, as if its claims `gone` had ended too.
    pub(crate) fn room_without(&self, site: &Site<'a>, gone: &BTreeSet<ClaimId>, need: &Need<'_>) -> Room {
        let gone = &site.gone | gone;
        // The node's GPUs are of kinds that are known already.
        need.room_of(&Stock::of(site.node, &mut self.catalog.kinds.clone(), &gone)).less(site.occupied)
    }

    /// Takes `gpus` of `node` away.
    pub(crate) fn occupy(&mut self, node: NodeId, gpus: usize) {
        if let Ok(index) = self.index(node) {
            self.sites[index].occupied += gpus;
        }
    }

    /// Frees what `claim` holds.
    pub(crate) fn vacate(&mut self, claim: ClaimId) {
        if let Ok(index) = self.index(claim.node) {
            let site = &mut self.sites[index];
            site.gone.insert(claim);
            site.stock = Stock::of(site.node, &mut self.catalog.kinds, &site.gone);
        }
    }
}

impl<'a> Site<'a> {
    /// `node` alone: of what it takes others to know, nothing.
    pub(crate) fn new(node: &'a NodeView, catalog: &mut Catalog<'a>) -> Self {
        Self {
            id: node.id,
            node,
            sound: node.is_alive() && node.departure.is_none() && node.refusals.is_empty(),
            entry: catalog.enter(node),
            price: node.facts.labels.price.and_then(Decimal::from_f64),
            risk: 0.0,
            zone: 0,
            stock: Stock::of(node, &mut catalog.kinds, &BTreeSet::new()),
            gone: BTreeSet::new(),
            occupied: 0,
        }
    }

    /// The room for an endpoint that `fits`, by kind of GPU.
    pub(crate) fn room(&self, fits: &[bool]) -> Room {
        self.stock.room(fits).less(self.occupied)
    }
}

impl Site<'_> {
    pub(crate) fn is_gone(&self, claim: ClaimId) -> bool {
        self.gone.contains(&claim)
    }
}

fn zone_label(node: &NodeView) -> &str {
    node.facts.labels.zone.as_deref().unwrap_or_default()
}
