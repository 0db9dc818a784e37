//! All that one node says as a steward.

use std::collections::BTreeMap;

use shoal_types::{EndpointName, Mandate, NodeId, UnixMillis};

use crate::{
    scene::Scene,
    steward::{office::Office, seat::steward_of},
};

/// Speaks for one node as the steward of those endpoints that it is the steward of.
#[derive(Debug)]
pub struct Steward {
    me: NodeId,
    offices: BTreeMap<EndpointName, Office>,
}

/// What a node must be saying as a steward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// Everything: what was said before and is not in it is to be retracted.
    pub mandates: Vec<Mandate>,
    /// When to ask again, should nothing happen before.
    pub wake: Option<UnixMillis>,
}

impl Steward {
    /// A steward on node `me`, which has watched nothing yet.
    pub const fn new(me: NodeId) -> Self {
        Self { me, offices: BTreeMap::new() }
    }

    /// What this node must be saying now. To be called on every new view, with a memory that has observed it, and at
    /// [`Word::wake`]; calling it more often does no harm.
    pub fn step(&mut self, scene: &Scene<'_>) -> Word {
        let me = self.me;
        let mine = || scene.view.endpoints.iter().filter(|(name, _)| steward_of(scene.view, name) == Some(me));
        let mut offices = std::mem::take(&mut self.offices);
        let mut word = Word::default();
        for (name, record) in mine() {
            let mut office = offices.remove(name).unwrap_or_else(|| Office::new(me));
            let (mandate, wake) = office.speak(scene, record);
            word.mandates.push(mandate);
            word.wake = [word.wake, wake].into_iter().flatten().min();
            self.offices.insert(name.clone(), office);
        }
        word
    }
}
