//! What the nodes of a scene offer, worked out once for many endpoints.

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::{ClaimId, Decimal, NodeId, NodeView};

use crate::{
    capacity::{GpuKinds, Room, Stock},
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
    pub(crate) kinds: GpuKinds<'a>,
    zones: BTreeMap<&'a str, usize>,
}

/// One node, summed up.
#[derive(Debug, Clone)]
pub(crate) struct Site<'a> {
    pub(crate) node: &'a NodeView,
    /// USD per GPU-hour, if it says so.
    pub(crate) price: Option<Decimal>,
    /// How often it is expected to be lost, per hour.
    pub(crate) risk: f64,
    /// The failure domain over which replicas are spread; all nodes without a zone are in one.
    pub(crate) zone: usize,
    stock: Stock,
    /// GPUs that are spoken for and that the view does not know of.
    occupied: usize,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(scene: &Scene<'a>) -> Self {
        let mut ground = Self {
            scene: *scene,
            sites: Vec::with_capacity(scene.view.nodes.len()),
            distances: Distances::new(scene.view),
            kinds: GpuKinds::default(),
            zones: BTreeMap::new(),
        };
        let risks = scene.memory.risks(scene.now);
        for node in scene.view.nodes.values() {
            let next = ground.zones.len();
            let mut site = Site::new(node, &mut ground.kinds);
            site.zone = *ground.zones.entry(zone_label(node)).or_insert(next);
            site.risk = risks.of_node(node);
            ground.sites.push(site);
        }
        ground
    }

    /// What `want` needs of these nodes.
    pub(crate) fn need(&self, want: &Want<'a>) -> Need<'a> {
        Need::new(want, &self.kinds, self.scene.now)
    }

    pub(crate) fn zones(&self) -> usize {
        self.zones.len()
    }

    /// The zone of `node`, if it is one of these.
    pub(crate) fn zone_of(&self, node: &NodeView) -> Option<usize> {
        self.zones.get(zone_label(node)).copied()
    }

    pub(crate) fn site_mut(&mut self, node: NodeId) -> Option<&mut Site<'a>> {
        let index = self.sites.binary_search_by_key(&node, |site| site.node.id).ok()?;
        self.sites.get_mut(index)
    }

    /// Frees what the claims `gone` of `node` hold.
    pub(crate) fn vacate(&mut self, node: NodeId, gone: &BTreeSet<ClaimId>) {
        if let Ok(index) = self.sites.binary_search_by_key(&node, |site| site.node.id) {
            let site = &mut self.sites[index];
            site.stock = Stock::of(site.node, &mut self.kinds, gone);
        }
    }
}

impl<'a> Site<'a> {
    /// `node` alone: of what it takes others to know, nothing.
    pub(crate) fn new(node: &'a NodeView, kinds: &mut GpuKinds<'a>) -> Self {
        Self {
            node,
            price: node.facts.labels.price.and_then(Decimal::from_f64),
            risk: 0.0,
            zone: 0,
            stock: Stock::of(node, kinds, &BTreeSet::new()),
            occupied: 0,
        }
    }

    /// The room for an endpoint that `fits`, by kind of GPU.
    pub(crate) fn room(&self, fits: &[bool]) -> Room {
        self.stock.room(fits).less(self.occupied)
    }

    /// Takes `gpus` away.
    pub(crate) const fn occupy(&mut self, gpus: usize) {
        self.occupied += gpus;
    }
}

fn zone_label(node: &NodeView) -> &str {
    node.facts.labels.zone.as_deref().unwrap_or_default()
}
