//! The tallies of all endpoints.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shoal_types::{Demand, EndpointName};
use tokio::time::Instant;

use super::Tally;
use crate::map::Map;

/// What clients of this ingress ask of all endpoints that they have asked.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<Map<EndpointName, Arc<Tally>>>);

impl Tallies {
    /// That of `endpoint`, which begins at `now` if there is none yet.
    pub(crate) fn of(&self, endpoint: &EndpointName, now: Instant) -> Arc<Tally> {
        let mut tallies = self.lock();
        if let Some(tally) = tallies.get(endpoint) {
            return Arc::clone(tally);
        }
        Arc::clone(tallies.entry(endpoint.clone()).or_insert_with(|| Arc::new(Tally::new(now))))
    }

    /// What is asked of `endpoints` at `now`, in their order, as far as it is anything.
    pub(crate) fn demands<'a>(&self, endpoints: impl Iterator<Item = &'a EndpointName>, now: Instant) -> Vec<Demand> {
        let tallies: Vec<_> = {
            let tallies = self.lock();
            endpoints.filter_map(|endpoint| Some((endpoint, Arc::clone(tallies.get(endpoint)?)))).collect()
        };
        // Requests do not wait for the adding up.
        tallies.into_iter().filter_map(|(endpoint, tally)| tally.demand(endpoint, now)).collect()
    }

    /// All of them, in the order of the endpoints' names.
    pub(crate) fn all(&self) -> Vec<(EndpointName, Arc<Tally>)> {
        let mut all: Vec<_> = self.lock().iter().map(|(name, tally)| (name.clone(), Arc::clone(tally))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Forgets all but `endpoints`.
    pub(crate) fn retain(&self, endpoints: &HashSet<&EndpointName>) {
        self.lock().retain(|endpoint, _| endpoints.contains(endpoint));
    }

    fn lock(&self) -> MutexGuard<'_, Map<EndpointName, Arc<Tally>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
