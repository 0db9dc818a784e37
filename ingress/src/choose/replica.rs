//! Choosing a replica for a request: what is known is gathered, the decision is noted.

use std::sync::Arc;

use shoal_types::{Backend, ClaimId};
use tokio::time::Instant;

use super::{Affinity, Candidate, Choice, Computing, Dice, Known, KnownRoute, choose};
use crate::{
    Ingress, RoutingTable,
    attempt::{Begun, Errand, Tried},
    circuits::Circuits,
    inflight::InFlight,
    routes::{Place, Replica, Route, Wanted},
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
    /// The trace that it is to go on with.
    pub(crate) trace: Option<TraceContext>,
}

/// For what a replica is chosen, and which ones it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quest<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) affinity: &'a Affinity,
    pub(crate) tried: &'a Tried,
    /// Set for the rest of an answer, which not every revision can give.
    pub(crate) rest_of: Option<&'a Begun<'a>>,
    /// One that does not come into question.
    pub(crate) but: Option<ClaimId>,
}

impl<'a> Quest<'a> {
    /// All that may be chosen of `route`: their positions and their revisions' indices.
    pub(super) fn replicas<'r>(&self, route: &'r Route) -> impl Iterator<Item = (usize, usize, &'r Replica)>
    where
        'a: 'r,
    {
        let Self { wanted, rest_of, but, .. } = *self;
        let may_give = move |revision: usize| rest_of.is_none_or(|begun| begun.may_go_on_with(route, revision));
        let replicas = route.replicas_for(wanted);
        replicas.filter(move |&(_, revision, replica)| but != Some(replica.claim) && may_give(revision))
    }
}

/// What a choice is made by.
pub(crate) struct Chooser<'a> {
    pub(crate) routes: &'a RoutingTable,
    pub(crate) inflight: &'a InFlight,
    pub(crate) circuits: &'a Circuits,
}

impl Ingress {
    /// The replica that is sent on `errand` next: one that may do it, has not failed it, and is not `but`. Looks at the
    /// routes as they are now: an attempt can take so long that they have changed.
    pub(crate) fn choose_replica(&self, errand: Errand<'_>, tried: &Tried, but: Option<ClaimId>) -> Option<Chosen> {
        let pending = errand.pending;
        let (routes, began) = (self.routes.load(), Instant::now());
        let chooser = Chooser { routes: &routes, inflight: &self.inflight, circuits: &self.circuits };
        let quest = Quest { wanted: &pending.wanted, affinity: &pending.affinity, tried, rest_of: errand.rest_of, but };
        let chosen = chooser.choose(quest, rand::random(), began);
        let now = Instant::now();
        self.metrics.chose(now - began);
        let evidence = chooser.evidence(quest, chosen.as_ref().map(|chosen| &chosen.choice), began);
        let trace = pending.trail.decided(evidence, began, now);
        if chosen.is_some() && !tried.is_empty() {
            pending.tally.series().retried();
        }
        chosen.map(|chosen| Chosen { trace, ..chosen })
    }
}

impl Chooser<'_> {
    /// The replica that is chosen for `quest` at `now`, if there is one.
    pub(crate) fn choose(&self, quest: Quest<'_>, random: [u64; Dice::RANDOM], now: Instant) -> Option<Chosen> {
        let Quest { wanted, affinity, .. } = quest;
        let route = self.routes.route(wanted.endpoint.as_str())?;
        let known = self.routes.known(&wanted.endpoint)?;
        let held = |position: usize, blocks: &[u64]| known.replicas[position].known.held(blocks);
        let dice = Dice::new(random, if matches!(affinity, Affinity::Turn) { known.turn() } else { 0 });
        let mut refused = Vec::new();
        let choice = loop {
            let candidates = self.candidates(route, known, quest, &refused, now);
            let choice = choose(affinity, candidates, known.weights(), &dice, held)?;
            let replica = &route.replicas[choice.position];
            // Where all are avoided, the least bad is asked all the same.
            if self.avoids(replica, &refused, now) || self.circuits.enter(replica.node, replica.claim, now) {
                break choice;
            }
            refused.push(replica.claim);
        };
        let (blocks, bytes) = affinity.prompt();
        let known = Arc::clone(&known.replicas[choice.position].known);
        let computing = known.give(blocks, bytes - choice.held, now);
        Some(Chosen { replica: route.replicas[choice.position].clone(), known, choice, computing, trace: None })
    }

    /// Whether `replica` failed a moment ago, or is being tried after that by somebody else.
    fn avoids(&self, replica: &Replica, refused: &[ClaimId], now: Instant) -> bool {
        refused.contains(&replica.claim) || self.circuits.avoids(replica.node, replica.claim, now)
    }

    fn candidates(
        &self,
        route: &Route,
        known: &KnownRoute,
        quest: Quest<'_>,
        refused: &[ClaimId],
        now: Instant,
    ) -> Vec<Candidate> {
        let counts = self.inflight.counts();
        let mut candidates = Vec::with_capacity(route.replicas.len());
        for (position, revision, replica) in quest.replicas(route) {
            let known = &known.replicas[position];
            let (burden, backlog) = known.known.burden(replica, counts.of(replica.claim), now);
            candidates.push(Candidate {
                position,
                revision,
                // What a gateway stands for is neither near nor for free.
                local: matches!(replica.place, Place::Local(Backend::Engine(_))),
                suspect: self.avoids(replica, refused, now),
                tried: quest.tried.contains(replica),
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
