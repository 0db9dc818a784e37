//! One node's part in the election of replicas: the small memory that a sequence of views needs.

use shoal_types::{NodeId, UnixMillis, View};

use crate::{
    agenda::Agenda,
    decision::Decision,
    membership::Membership,
    memory::Memory,
    presence::Patience,
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
        let is_news = self.memory.observe(view, now);
        self.news |= is_news;

        let scene = Scene { view, memory: &self.memory, now };
        let patience = Patience { now, guard: self.membership.guard() };
        self.register.update(view, is_news, patience.guard);
        let censuses = self.register.take_censuses(&scene, me, &patience);
        let agenda = Agenda::new(&scene, self.me, &censuses);
        let bench = Bench {
            timing: &self.timing,
            now,
            departure: me.departure.as_ref(),
            clearing: &agenda.clearing,
            promised: &agenda.promised,
        };
        self.tenure.judge_all(me, &censuses, &bench, &mut decision);
        if now < listening_until {
            decision.wake_at(listening_until);
        } else {
            self.vacancies.fill(me, agenda.openings, &self.timing, now, &mut decision);
        }
        // Instants at which time alone changes what is missing, or who may claim it.
        let refusals = me.refusals.iter().map(|refusal| refusal.until);
        self.register.holds().chain(refusals).filter(|&at| at > now).for_each(|at| decision.wake_at(at));
        decision
    }

    /// What [`Self::step`] would decide if it looked at everything, with nothing found out before.
    #[cfg(test)]
    pub(crate) fn step_afresh(&self, view: &View, now: UnixMillis) -> Decision {
        Self { register: Register::thorough(), ..self.clone() }.step(view, now)
    }
}
