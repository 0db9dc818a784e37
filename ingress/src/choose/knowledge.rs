//! What this ingress knows of all replicas, and of each route's in their order.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use shoal_types::{ClaimId, EndpointName};
use tokio::time::Instant;

use super::{
    Known,
    cost::{Cost, price},
};
use crate::{
    inflight::InFlight,
    map::Map,
    routes::{Replica, Route},
};

/// What this ingress knows of all replicas that it has routes to.
#[derive(Debug)]
pub(crate) struct Knowledge {
    inflight: Arc<InFlight>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    replicas: HashMap<ClaimId, Arc<Known>>,
    turns: HashMap<EndpointName, Arc<AtomicU64>>,
}

/// A route, and what choosing needs beside it.
#[derive(Debug)]
pub(crate) struct KnownRoute {
    pub(super) route: Arc<Route>,
    /// In the order of the route's replicas.
    pub(super) replicas: Vec<KnownReplica>,
    /// Those of the route's revisions.
    weights: Vec<u8>,
    turn: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(super) struct KnownReplica {
    pub(super) known: Arc<Known>,
    pub(super) distance: Cost,
    pub(super) price: Cost,
}

impl Knowledge {
    pub(crate) fn new(inflight: Arc<InFlight>) -> Self {
        Self { inflight, kept: Mutex::default() }
    }

    /// What is known of `routes`, which are all that there are from now on: what is not in them is forgotten.
    pub(crate) fn bind<'a>(
        &self,
        routes: impl Iterator<Item = &'a Arc<Route>>,
        now: Instant,
    ) -> Map<EndpointName, KnownRoute> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *kept);
        let mut bound = Map::default();
        for route in routes {
            let turn = before.turns.get(&route.endpoint).cloned().unwrap_or_default();
            kept.turns.insert(route.endpoint.clone(), Arc::clone(&turn));
            let known = route.replicas.iter().map(|replica| {
                let known = before.replicas.get(&replica.claim).cloned();
                let known = known.unwrap_or_else(|| Arc::new(Known::new(replica.claim, &self.inflight)));
                known.hear(replica.load, now);
                kept.replicas.insert(replica.claim, Arc::clone(&known));
                known
            });
            let replicas = with_costs(&route.replicas, known.collect());
            let weights = route.revisions.iter().map(|revision| revision.weight).collect();
            bound.insert(route.endpoint.clone(), KnownRoute { route: Arc::clone(route), replicas, weights, turn });
        }
        bound
    }
}

impl KnownRoute {
    pub(super) fn weights(&self) -> &[u8] {
        &self.weights
    }

    /// Counts one more request, and says how many there were.
    pub(super) fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// Each of `known` with what its place costs. Who does not say a price is taken for the dearest.
fn with_costs(replicas: &[Replica], known: Vec<Arc<Known>>) -> Vec<KnownReplica> {
    let prices = || replicas.iter().filter_map(|replica| replica.site.price);
    let (cheapest, dearest) = (prices().fold(f64::INFINITY, f64::min), prices().fold(0.0, f64::max));
    let of = |(known, replica): (Arc<Known>, &Replica)| KnownReplica {
        known,
        distance: replica.site.distance(&replica.place),
        price: price(replica.site.price.unwrap_or(dearest), cheapest),
    };
    known.into_iter().zip(replicas).map(of).collect()
}
