//! What the nodes of a mesh have in common, by number: whether a node will do is then mostly a matter of numbers, and costs
//! no look at the node itself.

use std::{borrow::Cow, collections::BTreeMap};

use shoal_types::{EndpointRecord, EngineOffer, NodeView};

use crate::capacity::GpuKinds;

/// Numbers for what many nodes have alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog<'a> {
    pub(crate) kinds: GpuKinds<'a>,
    /// Sets of engines that nodes offer.
    offers: BTreeMap<&'a [EngineOffer], usize>,
    /// Labels that endpoints ask for, each with the values that nodes have.
    labels: BTreeMap<&'a str, BTreeMap<Option<Cow<'a, str>>, usize>>,
}

/// The numbers of one node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    offers: usize,
    /// One for each label of the catalog, in its order.
    labels: Vec<usize>,
}

/// The numbers that will do.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    offers: Vec<bool>,
    /// Labels by their place in the catalog, and the values that will do.
    labels: Vec<(usize, Vec<bool>)>,
    /// Whether all labels that are asked for are in the catalog.
    complete: bool,
}

impl<'a> Catalog<'a> {
    /// A catalog of what `endpoints` ask for.
    pub(crate) fn new(endpoints: impl IntoIterator<Item = &'a EndpointRecord>) -> Self {
        let keys = endpoints.into_iter().flat_map(|record| record.endpoint.spec.placement.require.keys());
        let labels = keys.map(|key| (key.as_str(), BTreeMap::new())).collect();
        Self { kinds: GpuKinds::default(), offers: BTreeMap::new(), labels }
    }

    pub(crate) fn enter(&mut self, node: &'a NodeView) -> Entry {
        let next = self.offers.len();
        let offers = *self.offers.entry(&node.facts.engines).or_insert(next);
        let number = |(key, values): (&&'a str, &mut BTreeMap<Option<Cow<'a, str>>, usize>)| {
            let next = values.len();
            *values.entry(node.facts.labels.get(key)).or_insert(next)
        };
        Entry { offers, labels: self.labels.iter_mut().map(number).collect() }
    }

    /// What offers `engine` and has the labels that `require` asks for.
    pub(crate) fn select(&self, engine: &str, require: &BTreeMap<String, Vec<String>>) -> Selection {
        let mut offers = vec![false; self.offers.len()];
        for (offer, &number) in &self.offers {
            offers[number] = offer.iter().any(|offer| offer.0 == engine);
        }
        let listed = self.labels.iter().enumerate().filter_map(|(place, (key, values))| {
            let allowed = require.get(*key)?;
            let mut will_do = vec![false; values.len()];
            for (value, &number) in values {
                will_do[number] = value.as_ref().is_some_and(|value| allowed.iter().any(|allowed| allowed == value));
            }
            Some((place, will_do))
        });
        let labels: Vec<_> = listed.collect();
        Selection { offers, complete: labels.len() == require.len(), labels }
    }
}

impl Selection {
    /// Whether `entry` certainly will do; if not, only the node itself can tell.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        let will_do = |(place, values): &(usize, Vec<bool>)| values[entry.labels[*place]];
        self.complete && self.offers[entry.offers] && self.labels.iter().all(will_do)
    }
}
