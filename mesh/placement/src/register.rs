//! What was found of each endpoint in the views before, so that a step looks again only where something changed.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    sync::Arc,
};

use shoal_types::{Claim, ClaimId, EndpointName, EndpointRecord, NodeId, NodeView, UnixMillis, View};

use crate::{census::Census, presence::Patience, scene::Scene};

/// What was seen last, and what was found in it. Views share the nodes and records that did not change, so what is the
/// same [`Arc`] is the same.
#[derive(Clone, Default)]
pub(crate) struct Register {
    nodes: BTreeMap<NodeId, Arc<NodeView>>,
    records: BTreeMap<EndpointName, Arc<EndpointRecord>>,
    /// The claims on each endpoint, whether or not there is a record of it.
    claims: BTreeMap<EndpointName, BTreeSet<ClaimId>>,
    findings: BTreeMap<EndpointName, Finding>,
    /// Until when this node takes itself for the one cut off.
    guard: Option<UnixMillis>,
    /// Looks at everything, every time.
    #[cfg(test)]
    is_thorough: bool,
}

/// What a census said, as long as nothing of it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Finding {
    /// Whether nothing of it is missing, and nothing may move: only the holders of its claims have anything to do.
    is_calm: bool,
    /// When a quiet node's claim stops to count.
    until: Option<UnixMillis>,
}

impl Register {
    #[cfg(test)]
    pub(crate) fn thorough() -> Self {
        Self { is_thorough: true, ..Self::default() }
    }

    /// Takes note of `view`, and forgets what was found of all endpoints that are not the same in it; of all, if what is
    /// remembered beside it has changed, or `guard`.
    pub(crate) fn update(&mut self, view: &View, is_news: bool, guard: Option<UnixMillis>) {
        for (node, now) in changes(&self.nodes, &view.nodes) {
            let before = match now {
                Some(now) => self.nodes.insert(node, Arc::clone(now)),
                None => self.nodes.remove(&node),
            };
            before.iter().for_each(|before| self.strike(before));
            now.into_iter().for_each(|now| self.enter(now));
        }
        for (name, now) in changes(&self.records, &view.endpoints) {
            self.findings.remove(&name);
            match now {
                Some(now) => self.records.insert(name, Arc::clone(now)),
                None => self.records.remove(&name),
            };
        }
        if is_news || guard != self.guard {
            self.findings.clear();
            self.guard = guard;
        }
    }

    /// A census of every endpoint that there is something to decide about, in the order of their names: those on which
    /// `me` has claims, and all if anything is missing or may move, since places are found for all together. The view
    /// must be the last one that was noted.
    pub(crate) fn take_censuses<'a>(
        &mut self,
        scene: &Scene<'a>,
        me: &'a NodeView,
        patience: &Patience,
    ) -> Vec<Census<'a>> {
        let endpoints = &scene.view.endpoints;
        if self.is_calm() {
            let unknown = endpoints.iter().filter(|(name, _)| !self.knows(name, patience.now));
            let unknown: Vec<Census<'a>> = unknown.map(|(_, record)| self.census(scene, record, patience)).collect();
            unknown.iter().for_each(|census| self.find(census));
        }
        if self.is_calm() {
            let own: BTreeSet<&EndpointName> = me.claims.values().map(|claim| &claim.endpoint).collect();
            let own = own.into_iter().filter_map(|name| endpoints.get(name));
            return own.map(|record| self.census(scene, record, patience)).collect();
        }
        let all: Vec<Census<'a>> = endpoints.values().map(|record| self.census(scene, record, patience)).collect();
        all.iter().for_each(|census| self.find(census));
        all
    }

    fn census<'a>(&self, scene: &Scene<'a>, record: &'a EndpointRecord, patience: &Patience) -> Census<'a> {
        let claims = self.claims_of(scene.view, &record.endpoint.metadata.name);
        Census::new(scene, record, &claims, patience)
    }

    /// Whether anything is known of the endpoint at `now`.
    fn knows(&self, name: &EndpointName, now: UnixMillis) -> bool {
        self.findings.get(name).is_some_and(|finding| finding.until.is_none_or(|until| now < until))
    }

    /// Takes note of what `census` says.
    fn find(&mut self, census: &Census<'_>) {
        let is_complete = census.groups.iter().all(|group| group.missing() == 0);
        let finding = Finding { is_calm: is_complete && !census.placement().rebalance, until: census.until };
        match self.findings.get_mut(census.name()) {
            Some(known) => *known = finding,
            None => drop(self.findings.insert(census.name().clone(), finding)),
        }
    }

    /// Whether only the holders of claims have anything to do, as far as is known.
    fn is_calm(&self) -> bool {
        #[cfg(test)]
        if self.is_thorough {
            return false;
        }
        self.findings.values().all(|finding| finding.is_calm)
    }

    /// When quiet nodes' claims stop to count, the first of each endpoint.
    pub(crate) fn holds(&self) -> impl Iterator<Item = UnixMillis> {
        self.findings.values().filter_map(|finding| finding.until)
    }

    /// All claims on `endpoint`, in the order of their ids.
    fn claims_of<'v>(&self, view: &'v View, endpoint: &EndpointName) -> Vec<(&'v NodeView, &'v Claim)> {
        let claim = |id: &ClaimId| {
            let node = view.nodes.get(&id.node)?;
            Some((&**node, node.claims.get(id)?))
        };
        self.claims.get(endpoint).into_iter().flatten().filter_map(claim).collect()
    }

    fn strike(&mut self, node: &NodeView) {
        for claim in node.claims.values() {
            if let Entry::Occupied(mut claims) = self.claims.entry(claim.endpoint.clone()) {
                claims.get_mut().remove(&claim.id);
                if claims.get().is_empty() {
                    claims.remove();
                }
            }
            self.findings.remove(&claim.endpoint);
        }
    }

    fn enter(&mut self, node: &NodeView) {
        for claim in node.claims.values() {
            self.claims.entry(claim.endpoint.clone()).or_default().insert(claim.id);
            self.findings.remove(&claim.endpoint);
        }
    }
}

impl fmt::Debug for Register {
    /// Nothing of it decides anything: it only saves looking.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register").finish_non_exhaustive()
    }
}

/// The keys under which `now` has something else than `before`, with what it has there.
fn changes<'v, K: Ord + Clone, V>(
    before: &BTreeMap<K, Arc<V>>,
    now: &'v BTreeMap<K, Arc<V>>,
) -> Vec<(K, Option<&'v Arc<V>>)> {
    let mut changes = Vec::new();
    let mut before = before.iter().peekable();
    for (key, value) in now {
        while let Some((gone, _)) = before.next_if(|(known, _)| *known < key) {
            changes.push((gone.clone(), None));
        }
        match before.next_if(|(known, _)| *known == key) {
            Some((_, known)) if Arc::ptr_eq(known, value) => {}
            Some(_) | None => changes.push((key.clone(), Some(value))),
        }
    }
    changes.extend(before.map(|(gone, _)| (gone.clone(), None)));
    changes
}
