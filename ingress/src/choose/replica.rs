//! Choosing a replica for a request: what is known is gathered, the decision is noted.

use std::{cell::LazyCell, sync::Arc};

use shoal_types::{Backend, ClaimId};
use tokio::time::Instant;

use super::{Affinity, Candidate, Choice, Computing, Dice, Known, KnownRoute, choose, eligible::bring, known::Outlook};
use crate::{
    Ingress, RoutingTable,
    attempt::{Begun, Errand, Tried},
    circuits::Circuits,
    headroom::SaidFull,
    inflight::Serving,
    routes::{Place, Replica, ReplicaRef, Route, Wanted},
    traces::TraceContext,
};

/// The replica that a request is sent to.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) replica: ReplicaRef,
    /// When it was chosen.
    pub(crate) at: Instant,
    pub(crate) known: Arc<Known>,
    /// Held until it begins to answer.
    pub(crate) computing: Computing,
    /// Its place there.
    pub(crate) serving: Serving,
    /// The trace that it is to go on with.
    pub(crate) trace: Option<TraceContext>,
}

/// Why no replica is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotChosen {
    /// There is none, or all have been tried.
    NoneLeft,
    /// Of those that are left, none has room.
    NoRoom,
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

    /// Brings the untried ones to the front that have room, and says how many they are, and what draws the request to one of
    /// them. The rest of an answer does not wait for room, as its client is in the middle of it: where there is none, it goes to
    /// the one with least to do.
    fn bring_those_with_room(&self, candidates: &mut [Candidate]) -> Result<(usize, &'a Affinity), NotChosen> {
        let left = bring(candidates, |candidate| !candidate.tried);
        match bring(&mut candidates[..left], |candidate| candidate.limit.is_some()) {
            _ if left == 0 => Err(NotChosen::NoneLeft),
            0 if self.rest_of.is_some() => Ok((left, &Affinity::Load)),
            0 => Err(NotChosen::NoRoom),
            with_room => Ok((with_room, self.affinity)),
        }
    }
}

/// What a choice is made by.
pub(crate) struct Chooser<'a> {
    pub(crate) routes: &'a RoutingTable,
    pub(crate) circuits: &'a Circuits,
    pub(crate) said_full: &'a SaidFull,
}

impl Ingress {
    /// The replica that is sent on `errand` next, and a place at it: one that may do it, has not failed it, and is not
    /// `but`. Looks at the routes as they are now: an attempt can take so long that they have changed.
    pub(crate) fn choose_replica(
        &self,
        errand: Errand<'_>,
        tried: &Tried,
        but: Option<ClaimId>,
    ) -> Result<Box<Chosen>, NotChosen> {
        let pending = errand.pending;
        let (routes, began) = (self.routes.load(), Instant::now());
        let chooser = self.chooser(&routes);
        let quest = Quest { wanted: &pending.wanted, affinity: &pending.affinity, tried, rest_of: errand.rest_of, but };
        let mut candidates = Vec::new();
        let chosen = chooser.choose(quest, rand::random(), began, &mut candidates);
        let now = Instant::now();
        self.metrics.chose(now - began);
        candidates.sort_unstable_by_key(|candidate| candidate.position);
        let evidence = chooser.evidence(quest, &candidates, chosen.as_ref().ok().map(|(_, choice)| choice));
        let trace = pending.trail.decided(evidence, began, now);
        if chosen.is_ok() && !tried.is_empty() {
            pending.tally.series().retried();
        }
        chosen.map(|(mut chosen, _)| {
            chosen.trace = trace;
            chosen
        })
    }

    /// What chooses by `routes` here.
    pub(crate) fn chooser<'a>(&'a self, routes: &'a RoutingTable) -> Chooser<'a> {
        Chooser { routes, circuits: &self.circuits, said_full: &self.said_full }
    }
}

impl Chooser<'_> {
    /// The replica that is chosen for `quest` at `now`, if there is one with room, and how that came about. Leaves what was
    /// known of all in `candidates`.
    pub(crate) fn choose(
        &self,
        quest: Quest<'_>,
        random: [u64; Dice::RANDOM],
        now: Instant,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(Box<Chosen>, Choice), NotChosen> {
        let endpoint = &quest.wanted.endpoint;
        let known = self.routes.known(endpoint).ok_or(NotChosen::NoneLeft)?;
        let route = &known.route;
        let is_turn = matches!(quest.affinity, Affinity::Turn);
        let dice = Dice::new(random, if is_turn { known.turn() } else { 0 });
        let mut refused = Vec::new();
        let (choice, serving) = loop {
            *candidates = self.candidates(route, known, quest, &refused, now);
            let (count, affinity) = quest.bring_those_with_room(candidates)?;
            let choice = choose(affinity, &mut candidates[..count], known.weights(), &dice);
            let choice = choice.ok_or(NotChosen::NoneLeft)?;
            let chosen = candidates.iter().find(|candidate| candidate.position == choice.position);
            let (replica, limit) = (&route.replicas[choice.position], chosen.and_then(|chosen| chosen.limit));
            let known = &known.replicas[choice.position].known;
            // Others look for room at the same time. Each time that one is faster there is less of it.
            let Some(serving) = known.enter_within(limit.unwrap_or(u32::MAX)) else { continue };
            // Where all are avoided, the least bad is asked all the same.
            if self.avoids(replica, &refused, now) || self.circuits.enter(replica.node, replica.claim, now) {
                break (choice, serving);
            }
            refused.push(replica.claim);
        };
        let (blocks, bytes) = quest.affinity.prompt();
        let known = Arc::clone(&known.replicas[choice.position].known);
        let computing = known.give(blocks, bytes - choice.held, now);
        let replica = route.replicas[choice.position].named();
        Ok((Box::new(Chosen { replica, at: now, known, computing, serving, trace: None }), choice))
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
        let mean = LazyCell::new(|| self.mean(route, known, now));
        let (blocks, _) = quest.affinity.prompt();
        let mut candidates = Vec::with_capacity(route.replicas.len());
        for (position, revision, replica) in quest.replicas(route) {
            let known = &known.replicas[position];
            let own = known.known.own();
            let Outlook { burden, backlog, held } = known.known.outlook(replica, own, blocks, now);
            let room = self.occupancy(replica, burden, own, now).room(route.max_inflight, || *mean);
            candidates.push(Candidate {
                position,
                revision,
                // What a gateway stands for is neither near nor for free.
                local: matches!(replica.place, Place::Local(Backend::Engine(_))),
                suspect: self.avoids(replica, refused, now),
                tried: quest.tried.contains(replica.claim),
                own,
                burden,
                limit: (room > 0).then(|| own.saturating_add(room)),
                backlog,
                held,
                distance: known.distance,
                price: known.price,
                key: known.known.key(),
            });
        }
        candidates
    }
}
