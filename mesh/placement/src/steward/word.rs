//! All that one node says as a steward.

use std::collections::BTreeMap;

use shoal_types::{EndpointName, EndpointRecord, Mandate, NodeId, UnixMillis};

use crate::{
    scene::Scene,
    steward::{office::Office, reminder::Reminders, seat::Seats},
};

/// Speaks for one node as the steward of those endpoints that it is the steward of.
#[derive(Debug, Clone)]
pub struct Steward {
    me: NodeId,
    seats: Seats,
    offices: BTreeMap<EndpointName, Office>,
    reminders: Reminders,
}

/// What a node must be saying about how many replicas there should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// Everything: what was said before and is not in it is to be retracted.
    pub mandates: Vec<Mandate>,
    /// When to ask again, should nothing happen before.
    pub wake: Option<UnixMillis>,
}

impl Steward {
    /// A steward on node `me`, which has watched nothing yet.
    pub fn new(me: NodeId) -> Self {
        Self { me, seats: Seats::default(), offices: BTreeMap::new(), reminders: Reminders::default() }
    }

    /// What this node must be saying now. To be called on every new view, with a memory that has observed it, and at
    /// [`Word::wake`]; calling it more often does no harm.
    pub fn step(&mut self, scene: &Scene<'_>) -> Word {
        let endpoints = &scene.view.endpoints;
        self.offices.retain(|name, _| endpoints.contains_key(name));
        self.reminders.retain(|name| endpoints.contains_key(name));
        self.seats.update(scene.view);
        let mut word = Word::default();
        for (name, record) in endpoints {
            let (mandate, wake) = self.speak(scene, name, record);
            word.mandates.extend(mandate);
            word.wake = [word.wake, wake].into_iter().flatten().min();
        }
        word
    }

    fn speak(
        &mut self,
        scene: &Scene<'_>,
        name: &EndpointName,
        record: &EndpointRecord,
    ) -> (Option<Mandate>, Option<UnixMillis>) {
        let steward = self.seats.steward_of(name);
        if steward != Some(self.me) {
            self.offices.remove(name);
            return self.reminders.repeat(scene, name, steward);
        }
        let office = self.offices.entry(name.clone()).or_insert_with(|| Office::new(self.me));
        let (mandate, wake) = office.speak(scene, record);
        (Some(mandate), wake)
    }
}
