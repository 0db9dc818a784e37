//! The market of one endpoint: what the mesh knows of where its nodes came from.

use std::collections::BTreeMap;

use shoal_types::{CapacityType, EndpointSpec, Labels, NodeView, UnixMillis};

use super::{
    asked::Asked,
    places::{Locality, Place},
};
use crate::{
    capacity::fits,
    scene::Scene,
    spot::{Market, Offer, OfferId, Tuning, history::History},
    supply::{NodeKind, least},
};

/// Zones with spot capacity among which is chosen, the best ones. Each choice looks at all of them, and a decision makes as
/// many as replicas are missing.
const SPOT_OFFERS_MAX: usize = 32;

/// Where nodes that `spec` could run on can be rented.
#[derive(Debug)]
pub(super) struct Offers {
    /// The best first, as long as nothing is added.
    offers: Vec<Known>,
}

/// One place.
#[derive(Debug)]
struct Known {
    locality: Locality,
    price: Option<f64>,
    history: History,
    /// Losses per hour to expect of one more node there; 0 for what stays.
    losses: f64,
}

impl Offers {
    /// Those of all places that the mesh has or had which are `allowed`, and at a price that the endpoint pays.
    pub(super) fn new(
        scene: &Scene<'_>,
        asked: &Asked,
        spec: &EndpointSpec,
        allowed: impl Fn(CapacityType) -> bool,
    ) -> Self {
        let mut prices: BTreeMap<Locality, Option<f64>> = BTreeMap::new();
        for node in scene.view.nodes.values().filter(|node| is_of_kind(node, spec)) {
            let labels = &node.facts.labels;
            let price = prices.entry(Locality::of(labels)).or_default();
            *price = least(*price, labels.price);
        }
        let is_wanted = |kind: &&NodeKind| kind.holds(&spec.resources) && has_labels(&kind.labels, spec);
        for kind in scene.memory.supply().kinds().iter().filter(is_wanted) {
            let price = prices.entry(Locality::of(&kind.labels)).or_default();
            *price = price.or(kind.labels.price);
        }
        let most = spec.placement.max_price;
        prices.retain(|locality, price| {
            allowed(locality.capacity_type) && most.is_none_or(|most| price.is_some_and(|price| price <= most.as_f64()))
        });
        let known = |(locality, price): (Locality, Option<f64>)| {
            let standing = standing_in(scene, &locality);
            let mut history = history(scene, &locality);
            asked.tell(&locality, standing, &mut history);
            let rates = history.rates(if locality.is_spot() { standing + 1 } else { 0 }, &Tuning::default());
            Known { locality, price, history, losses: rates.last().copied().unwrap_or(0.0) }
        };
        let mut offers: Vec<Known> = prices.into_iter().map(known).collect();
        offers.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        let mut spot = 0;
        offers.retain(|known| {
            spot += usize::from(known.locality.is_spot());
            !known.locality.is_spot() || spot <= SPOT_OFFERS_MAX
        });
        Self { offers }
    }

    /// Leaves out what stays and may not be asked, unless nothing else stays: the policy takes it for always there.
    pub(super) fn without_refusing(mut self, now: UnixMillis) -> Self {
        let is_open = |known: &Known| known.locality.is_spot() || known.history.may_try(now);
        if self.offers.iter().any(|known| !known.locality.is_spot() && is_open(known)) {
            self.offers.retain(is_open);
        }
        self
    }

    /// The offer that `node` is of. It is added, as one that is closed, if nothing can be rented there for the endpoint: what
    /// runs there counts all the same.
    pub(super) fn offer_of(&mut self, node: &NodeView, scene: &Scene<'_>) -> OfferId {
        let labels = &node.facts.labels;
        let known = self.offers.iter().position(|known| known.locality.is_of(labels));
        OfferId(known.unwrap_or_else(|| {
            let locality = Locality::of(labels);
            let mut history = history(scene, &locality);
            history.close();
            self.offers.push(Known { locality, price: labels.price, history, losses: 0.0 });
            self.offers.len() - 1
        }))
    }

    /// The market, with prices for those that tell none: as dear as the dearest of their class that does.
    pub(super) fn market(&self) -> Market {
        let dearest = |spot: bool| {
            let told = self.offers.iter().filter(|known| known.locality.is_spot() == spot);
            told.filter_map(|known| known.price).max_by(f64::total_cmp)
        };
        let (spot, firm) = (dearest(true), dearest(false));
        let spot_price = spot.or_else(|| firm.map(|firm| firm / Market::ON_DEMAND_RATIO)).unwrap_or(1.0);
        let firm_price = firm.unwrap_or(spot_price * Market::ON_DEMAND_RATIO);
        let offer = |Known { locality, price, .. }: &Known| Offer {
            zone: locality.domain().to_owned(),
            capacity: locality.capacity_type,
            price: price.unwrap_or(if locality.is_spot() { spot_price } else { firm_price }),
        };
        Market::new(self.offers.iter().map(offer).collect())
    }

    pub(super) fn histories(&self) -> Vec<History> {
        self.offers.iter().map(|known| known.history.clone()).collect()
    }

    /// Whether spot capacity was asked for lately, and did not come.
    pub(super) fn were_refused(&self, asked: &Asked, now: UnixMillis) -> bool {
        self.offers.iter().any(|known| known.locality.is_spot() && asked.was_refused(&known.locality, now))
    }

    /// All that can be rented, in their order, with the offer of each.
    pub(super) fn places(&self) -> Vec<(OfferId, Place)> {
        let open = self.offers.iter().enumerate().filter(|(_, known)| !known.history.is_closed());
        open.map(|(index, known)| (OfferId(index), known.place())).collect()
    }
}

impl Known {
    fn place(&self) -> Place {
        let Locality { cloud, region, zone, cluster, capacity_type } = self.locality.clone();
        let (price, losses_per_day) = (self.price, self.losses * 24.0);
        Place { cloud, region, zone, cluster, capacity_type, price, losses_per_day, replicas: 0 }
    }

    /// USD per GPU-hour, with what losses cost counted in as the spot policy does; those without a price come last.
    fn cost(&self) -> f64 {
        let losses = self.losses * Tuning::default().loss_hours;
        self.price.map_or(f64::INFINITY, |price| price * (1.0 + losses))
    }
}

/// What the memory knows of a place; nothing of what stays.
fn history(scene: &Scene<'_>, locality: &Locality) -> History {
    if !locality.is_spot() {
        return History::default();
    }
    History::of(&scene.memory.losses().past(locality.domain()), scene.now, Tuning::default().half_life)
}

/// Nodes that are there, and there to stay.
fn standing_in(scene: &Scene<'_>, locality: &Locality) -> usize {
    let nodes = scene.view.nodes.values().filter(|node| node.is_alive() && node.departure.is_none());
    nodes.filter(|node| locality.is_of(&node.facts.labels)).count()
}

/// Whether more nodes such as this one would do, whoever has its GPUs and whether or not it is there now.
fn is_of_kind(node: &NodeView, spec: &EndpointSpec) -> bool {
    let fitting = node.gpus.iter().filter(|gpu| fits(gpu, &spec.resources)).count();
    fitting >= spec.resources.gpus as usize && has_labels(&node.facts.labels, spec)
}

fn has_labels(labels: &Labels, spec: &EndpointSpec) -> bool {
    let matches = |(key, allowed): (&String, &Vec<String>)| {
        labels.get(key).is_some_and(|value| allowed.iter().any(|allowed| *allowed == value))
    };
    spec.placement.require.iter().all(matches)
}
