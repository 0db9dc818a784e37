//! What is against the nodes that are no candidates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    exclusion::Exclusion,
    ground::{Ground, Site},
    need::{Filter, Need},
};

/// Nodes of each group that are told by name.
const EXAMPLES: usize = 3;

/// Nodes that are excluded for like reasons. Of several reasons the first counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedNodes {
    /// What they do not pass.
    pub filter: Filter,
    /// How many they are.
    pub count: usize,
    /// Some of them.
    pub examples: Vec<ExcludedNode>,
}

/// A node and why it is excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedNode {
    /// What people call it.
    pub node: String,
    /// The reason.
    pub why: String,
}

/// Every node that is no candidate, with all reasons.
#[derive(Debug)]
pub(super) struct Obstacles<'g, 'a> {
    nodes: Vec<Obstructed<'g, 'a>>,
}

/// One of them.
#[derive(Debug)]
struct Obstructed<'g, 'a> {
    site: &'g Site<'a>,
    /// At least one.
    failures: Vec<(Filter, Exclusion<'a>)>,
}

impl<'g, 'a> Obstacles<'g, 'a> {
    pub(super) fn new(ground: &'g Ground<'a>, need: &Need<'a>) -> Self {
        let obstructed = ground.sites.iter().map(|site| Obstructed { site, failures: need.failures(site) });
        Self { nodes: obstructed.filter(|node| !node.failures.is_empty()).collect() }
    }

    /// By the first reason, in the order of the filters.
    pub(super) fn groups(&self) -> Vec<ExcludedNodes> {
        let mut groups: BTreeMap<Filter, ExcludedNodes> = BTreeMap::new();
        for Obstructed { site, failures } in &self.nodes {
            let Some((filter, exclusion)) = failures.first() else { continue };
            let group = groups.entry(*filter).or_insert_with(|| ExcludedNodes {
                filter: *filter,
                count: 0,
                examples: Vec::new(),
            });
            group.count += 1;
            if group.examples.len() < EXAMPLES {
                let example = ExcludedNode { node: site.node.facts.name.clone(), why: exclusion.to_string() };
                group.examples.push(example);
            }
        }
        groups.into_values().collect()
    }

    /// Nodes that would be candidates if they passed `filter`, and what is against them now.
    pub(super) fn only(&self, filter: Filter) -> impl Iterator<Item = (&'g Site<'a>, &Exclusion<'a>)> {
        self.nodes.iter().filter_map(move |node| match &node.failures[..] {
            [(only, exclusion)] if *only == filter => Some((node.site, exclusion)),
            _ => None,
        })
    }

    /// Nodes that lack nothing but free GPUs.
    pub(super) fn full(&self) -> impl Iterator<Item = &'g Site<'a>> {
        self.only(Filter::Room).map(|(site, _)| site)
    }
}
