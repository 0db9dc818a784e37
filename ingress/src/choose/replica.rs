//! Choosing a replica for a request: what is known is gathered, the decision is noted.

use std::sync::Arc;

use shoal_types::Backend;
use tokio::time::Instant;

use super::{Affinity, Candidate, Choice, Computing, Dice, Known, KnownRoute, choose};
use crate::{
    Ingress, RoutingTable,
    attempt::Tried,
    inflight::InFlight,
    pending::Pending,
    routes::{Place, Replica, Route, Wanted},
    suspicion::Suspicions,
    traces::TraceContext,
};

/// The replica that a request is sent to.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) replica: Replica,
    pub(crate) known: Arc<Known>,
    /// How it came about.
    pub(crate) choice: Choice,
    /// Held until it begins to answer.
    pub(crate) computing: Computing,
}

/// What a choice is made by.
pub(crate) struct Chooser<'a> {
    pub(crate) routes: &'a RoutingTable,
    pub(crate) inflight: &'a InFlight,
    pub(crate) suspicions: &'a Suspicions,
}

impl Ingress {
    /// The replica that `pending` is sent to next, if there is one that has not failed it, and the trace that it is to go on
    /// with. Looks at the routes as they are now: an attempt can take so long that they have changed.
    pub(crate) fn choose_replica(&self, pending: &Pending, tried: &Tried) -> Option<(Chosen, Option<TraceContext>)> {
        let (routes, began) = (self.routes.load(), Instant::now());
        let chooser = Chooser { routes: &routes, inflight: &self.inflight, suspicions: &self.suspicions };
        let chosen = chooser.choose(&pending.wanted, &pending.affinity, tried, rand::random(), began);
        let now = Instant::now();
        self.metrics.chose(now - began);
        let evidence = chooser.evidence(&pending.wanted, tried, chosen.as_ref().map(|chosen| &chosen.choice), began);
        let trace = pending.trail.decided(evidence, began, now);
        if chosen.is_some() && !tried.is_empty() {
            pending.tally.series().retried();
        }
        chosen.map(|chosen| (chosen, trace))
    }
}

impl Chooser<'_> {
    /// The replica that a request for `wanted` is sent to at `now`, if there is one that is not among those `tried`.
    pub(crate) fn choose(
        &self,
        wanted: &Wanted,
        affinity: &Affinity,
        tried: &Tried,
        random: [u64; Dice::RANDOM],
        now: Instant,
    ) -> Option<Chosen> {
        let route = self.routes.route(wanted.endpoint.as_str())?;
        let known = self.routes.known(&wanted.endpoint)?;
        let candidates = self.candidates(route, known, wanted, tried, now);
        let held = |position: usize, blocks: &[u64]| known.replicas[position].known.held(blocks);
        let dice = Dice::new(random, if matches!(affinity, Affinity::Turn) { known.turn() } else { 0 });
        let choice = choose(affinity, candidates, known.weights(), &dice, held)?;
        let (blocks, bytes) = affinity.prompt();
        let known = Arc::clone(&known.replicas[choice.position].known);
        let computing = known.give(blocks, bytes - choice.held, now);
        Some(Chosen { replica: route.replicas[choice.position].clone(), known, choice, computing })
    }

    fn candidates(
        &self,
        route: &Route,
        known: &KnownRoute,
        wanted: &Wanted,
        tried: &Tried,
        now: Instant,
    ) -> Vec<Candidate> {
        let counts = self.inflight.counts();
        let mut candidates = Vec::with_capacity(route.replicas.len());
        for (position, revision, replica) in route.replicas_for(wanted) {
            let known = &known.replicas[position];
            let (burden, backlog) = known.known.burden(replica, counts.of(replica.claim), now);
            candidates.push(Candidate {
                position,
                revision,
                // What a gateway stands for is neither near nor for free.
                local: matches!(replica.place, Place::Local(Backend::Engine(_))),
                suspect: self.suspicions.suspects(replica.node, replica.claim, now),
                tried: tried.contains(replica),
                burden,
                backlog,
                distance: known.distance,
                price: known.price,
                key: known.known.key(),
            });
        }
        candidates
    }
}
