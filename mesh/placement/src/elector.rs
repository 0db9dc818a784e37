//! One node's part in the election of replicas: the small memory that a sequence of views needs.

use std::{collections::BTreeSet, sync::Arc};

use shoal_types::{EndpointName, EndpointRecord, NodeId, NodeView, UnixMillis, View};

use crate::{
    census::Census,
    decision::Decision,
    membership::Membership,
    memory::Memory,
    presence::{Patience, present},
    register::Register,
    scene::Scene,
    tenure::{Bench, Tenure},
    timing::Timing,
    vacancy::Vacancies,
};

/// Decides for one node what it should run. It remembers only times: since when replicas are missing, since when own
/// ones could drain, since when nodes are there. Losing that memory (a restart) delays decisions and breaks none.
#[derive(Debug, Clone)]
pub struct Elector {
    me: NodeId,
    timing: Timing,
    started: Option<UnixMillis>,
    memory: Memory,
    /// Whether the memory has changed since it was last written down.
    news: bool,
    membership: Membership,
    vacancies: Vacancies,
    tenure: Tenure,
    register: Register,
}

impl Elector {
    /// An elector for node `me`, which has `memory` from before.
    pub fn new(me: NodeId, timing: Timing, memory: Memory) -> Self {
        Self {
            me,
            timing,
            started: None,
            memory,
            news: false,
            membership: Membership::default(),
            vacancies: Vacancies::default(),
            tenure: Tenure::default(),
            register: Register::default(),
        }
    }

    /// What it remembers.
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What it remembers, if that has changed since the last time: then it is to be written down.
    pub fn take_news(&mut self) -> Option<&Memory> {
        std::mem::take(&mut self.news).then_some(&self.memory)
    }

    /// Decides what to do, given that the world looks like `view` at `now`. To be called on every new view and at
    /// [`Decision::wake`]; calling it more often does no harm.
    ///
    /// In its first settle time an elector claims nothing: it may not have heard yet who already holds what. A view
    /// that does not contain the own node decides nothing.
    pub fn step(&mut self, view: &View, now: UnixMillis) -> Decision {
        let mut decision = Decision::default();
        let Some(me) = view.nodes.get(&self.me) else { return decision };
        let listening_until = self.started.get_or_insert(now).plus(self.timing.settle);
        self.membership.observe(view, &self.timing, now);
        let news = self.memory.observe(view, now);
        self.news |= news;

        let patience = Patience { now, guard: self.membership.guard() };
        self.register.update(view, news, patience.guard);
        let censuses = self.take_censuses(view, me, &patience);
        self.judge_own(me, &censuses, now, &mut decision);
        if now < listening_until {
            decision.wake_at(listening_until);
        } else {
            let scene = Scene { view, memory: &self.memory, now };
            self.vacancies.fill(&scene, me, &censuses, &self.timing, &mut decision);
        }
        self.wake_for_others(me, now, &mut decision);
        decision
    }

    /// A census of every endpoint that there is something to decide about, in the order of their names: those of the own
    /// claims, and where anything is missing all, since what is missing is placed together.
    fn take_censuses<'a>(&mut self, view: &'a View, me: &NodeView, patience: &Patience) -> Vec<Census<'a>> {
        if self.register.is_calm() {
            for record in self.register.unknown(view, patience.now) {
                self.register.find(&census(&self.register, view, record, patience));
            }
        }
        if self.register.is_calm() {
            let own = those_of(view, me.claims.values().map(|claim| &claim.endpoint).collect());
            return own.map(|record| census(&self.register, view, record, patience)).collect();
        }
        let all: Vec<Census<'a>> =
            view.endpoints.values().map(|record| census(&self.register, view, record, patience)).collect();
        for census in &all {
            self.register.find(census);
        }
        all
    }

    /// Instants at which time alone changes what is missing, or who may claim it.
    fn wake_for_others(&self, me: &NodeView, now: UnixMillis, out: &mut Decision) {
        let refusals = me.refusals.iter().map(|refusal| refusal.until);
        for at in self.register.holds().chain(refusals).filter(|&at| at > now) {
            out.wake_at(at);
        }
    }

    fn judge_own(&mut self, me: &NodeView, censuses: &[Census<'_>], now: UnixMillis, out: &mut Decision) {
        self.tenure.retain(&me.claims);
        let bench = Bench { timing: &self.timing, now, departure: me.departure.as_ref() };
        for claim in me.claims.values() {
            // The censuses are in the order of the endpoints' names.
            let census = censuses.binary_search_by(|census| census.name().cmp(&claim.endpoint)).ok();
            let census = census.map(|index| &censuses[index]).filter(|census| census.desired() > 0);
            self.tenure.judge(claim, census, &bench, out);
        }
    }
}

fn census<'a>(register: &Register, view: &'a View, record: &'a EndpointRecord, patience: &Patience) -> Census<'a> {
    let claims = register.claims_of(view, &record.endpoint.metadata.name);
    Census::new(record, present(claims, record, patience))
}

/// Those of the endpoints of `view` that `wanted` names, in the order of their names.
fn those_of<'a>(view: &'a View, wanted: BTreeSet<&EndpointName>) -> impl Iterator<Item = &'a EndpointRecord> {
    wanted.into_iter().filter_map(|name| view.endpoints.get(name)).map(Arc::as_ref)
}
