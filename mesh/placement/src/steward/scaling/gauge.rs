//! When an endpoint gets more or fewer replicas: up fast, down slow, to zero and from zero.

use std::time::Duration;

use shoal_types::{EndpointSpec, HumanDuration, UnixMillis};

use crate::steward::{
    facts::Facts,
    scaling::{
        needed::{Need, Present, need},
        window::Window,
    },
};

/// How late a step may be. Beyond it nobody watched (a host that slept), and the windows begin anew.
const LATE: Duration = Duration::from_secs(10);
/// How far back an ingress counts outcomes: so long after a change, times to first token are of before it too.
const OUTCOMES: Duration = Duration::from_secs(5 * 60);

/// Watches what one endpoint needs.
#[derive(Debug, Clone, Default)]
pub(in crate::steward) struct Gauge {
    up: Window,
    down: Window,
    /// When somebody last asked for something, or watching began.
    busy: Option<UnixMillis>,
    /// When the number was last changed.
    changed: UnixMillis,
    /// When the next step is expected at the latest.
    due: Option<UnixMillis>,
}

/// How many replicas there should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) struct Scaled {
    pub(in crate::steward) count: u32,
    /// Why, if that is not as before.
    pub(in crate::steward) reason: Option<String>,
    /// When to look again, should nothing change.
    pub(in crate::steward) wake: Option<UnixMillis>,
}

impl Gauge {
    /// Begins to watch anew at `now`, of an endpoint whose number was last changed at `changed`.
    pub(in crate::steward) fn restart(&mut self, now: UnixMillis, changed: UnixMillis) {
        *self = Self { busy: Some(now), changed, ..Self::default() };
    }

    /// How many replicas there should be, where `wanted` are wanted so far.
    pub(in crate::steward) fn step(
        &mut self,
        facts: &Facts,
        spec: &EndpointSpec,
        wanted: u32,
        now: UnixMillis,
    ) -> Scaled {
        if self.due.is_some_and(|due| now.since(due) > LATE) {
            self.restart(now, self.changed);
        }
        let idle_since = if facts.is_asked() { now } else { self.busy.unwrap_or(now) };
        self.busy = Some(idle_since);
        let measured = facts.ready() >= wanted && now.since(self.changed) >= OUTCOMES;
        let need = need(facts, spec, Present { wanted, measured });
        let needed = spec.replicas.clamp(need.count);
        self.up.push(now, needed, spec.scaling.up_delay.0);
        self.down.push(now, needed, spec.scaling.down_delay.0);
        let change = self.change(facts, spec, wanted, &need, now).filter(|(count, _)| *count != wanted);
        if change.is_some() {
            self.changed = now;
        }
        let (count, reason) = change.map_or((wanted, None), |(count, reason)| (count, Some(reason)));
        self.due = self.wake(spec, count, needed, now);
        Scaled { count, reason, wake: self.due }
    }

    /// The number that is to be changed to, and why. It may be the present one.
    fn change(
        &self,
        facts: &Facts,
        spec: &EndpointSpec,
        wanted: u32,
        need: &Need,
        now: UnixMillis,
    ) -> Option<(u32, String)> {
        let bounded = spec.replicas.clamp(wanted);
        if bounded != wanted {
            return Some((bounded, bound(spec, wanted)));
        }
        let needed = spec.replicas.clamp(need.count);
        from_nothing(facts, spec, wanted, needed)
            .or_else(|| self.to_zero(facts, spec, wanted, now))
            .or_else(|| self.up(spec, wanted, need, now))
            .or_else(|| self.down(spec, wanted, need, now))
    }

    fn to_zero(&self, facts: &Facts, spec: &EndpointSpec, wanted: u32, now: UnixMillis) -> Option<(u32, String)> {
        let idle = spec.scaling.idle_to_zero;
        let idles = spec.replicas.min == 0 && wanted > 0 && !facts.is_asked();
        (idles && now.since(self.busy?) >= idle.0).then(|| (0, format!("no request for {idle}")))
    }

    /// More, once more were needed for nearly all of `upDelay`: as many as were needed for so long.
    fn up(&self, spec: &EndpointSpec, wanted: u32, need: &Need, now: UnixMillis) -> Option<(u32, String)> {
        let delay = spec.scaling.up_delay;
        let needed = spec.replicas.clamp(need.count);
        let level = if delay.0.is_zero() { needed } else { self.up.level(now, delay.0, slack(delay))? };
        // What was needed by the spec before may be more than this one allows.
        let level = spec.replicas.clamp(level);
        (wanted > 0 && level > wanted).then(|| (level, reason(need, delay, &format!("needs {level}"))))
    }

    /// Fewer, once fewer were enough for nearly all of `downDelay`: as many as were enough then, and are now.
    fn down(&self, spec: &EndpointSpec, wanted: u32, need: &Need, now: UnixMillis) -> Option<(u32, String)> {
        let delay = spec.scaling.down_delay;
        let present = spec.replicas.clamp(need.count);
        let level = if delay.0.is_zero() { present } else { self.down.level(now, delay.0, delay.0 * 95 / 100)? };
        let enough = level.max(present);
        let verb = if enough == 1 { "is" } else { "are" };
        (enough < wanted).then(|| (enough, reason(need, delay, &format!("{enough} {verb} enough"))))
    }

    /// Once a sample, as long as what was watched may lead to something; when idling has lasted long enough.
    fn wake(&self, spec: &EndpointSpec, count: u32, needed: u32, now: UnixMillis) -> Option<UnixMillis> {
        if count == 0 {
            return None;
        }
        let rises = needed > count || self.up.any(|needed| needed > count);
        let falls = needed < count || self.down.any(|needed| needed < count);
        let up = rises.then(|| now.plus(Window::period(spec.scaling.up_delay.0)));
        let down = falls.then(|| now.plus(Window::period(spec.scaling.down_delay.0)));
        let zero = self.busy.filter(|_| spec.replicas.min == 0).map(|busy| busy.plus(spec.scaling.idle_to_zero.0));
        [up, down, zero.filter(|zero| *zero > now)].into_iter().flatten().min()
    }
}

/// Requests wait, and nothing serves or is on its way: there is nothing to wait for.
fn from_nothing(facts: &Facts, spec: &EndpointSpec, wanted: u32, needed: u32) -> Option<(u32, String)> {
    let asleep = wanted == 0 && (facts.held > 0 || facts.arrivals > 0);
    let gone = facts.held > 0 && facts.present() == 0;
    let count = spec.replicas.clamp(needed.max(1).max(wanted));
    (asleep || (gone && count > wanted)).then(|| {
        let requests = if facts.held > 0 { facts.held } else { facts.arrivals };
        let (noun, verb) = if requests == 1 { ("request", "waits") } else { ("requests", "wait") };
        (count, format!("{requests} {noun} {verb} and nothing serves"))
    })
}

/// How long of `delay` fewer may have been enough without beginning anew: a tenth, and one sample in any case.
fn slack(delay: HumanDuration) -> Duration {
    (delay.0 / 10).max(Window::period(delay.0)).min(delay.0 / 2)
}

fn bound(spec: &EndpointSpec, wanted: u32) -> String {
    let replicas = &spec.replicas;
    if wanted < replicas.min {
        format!("replicas.min is {}", replicas.min)
    } else {
        format!("replicas.max is {}", replicas.most())
    }
}

fn reason(need: &Need, delay: HumanDuration, outcome: &str) -> String {
    format!("{} for {delay}: {outcome}", need.what)
}
