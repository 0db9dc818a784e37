//! What a policy sees and what it says.

use std::fmt;

use shoal_types::UnixMillis;

use super::market::OfferId;

/// Decides what to rent and what to give back. The caller owns time: it tells what happened and asks again, about once
/// a minute and after every incident.
pub trait Policy: fmt::Debug {
    /// What to do now. Everything a policy knows of capacity, it has learnt from the news of its own attempts.
    fn decide(&mut self, situation: &Situation<'_>) -> Plan;
}

/// What a policy sees.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// When.
    pub now: UnixMillis,
    /// Replicas that should be ready.
    pub wanted: u32,
    /// Instances that run or start, oldest first.
    pub held: &'a [Held],
    /// What happened since the last decision.
    pub news: &'a [News],
}

impl Situation<'_> {
    /// Instances of `offer`, started or starting.
    pub fn held_of(&self, offer: OfferId) -> usize {
        self.held.iter().filter(|held| held.offer == offer).count()
    }
}

/// One instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Never used again.
    pub id: u64,
    /// What it is.
    pub offer: OfferId,
    /// When it was launched.
    pub since: UnixMillis,
    /// Whether its replica serves.
    pub ready: bool,
}

/// Something that happened to an attempt or an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Where.
    pub offer: OfferId,
    /// What.
    pub incident: Incident,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// A launch succeeded.
    Launched,
    /// A launch found no capacity.
    Refused,
    /// An instance was taken away.
    Preempted,
}

/// What to do, in this order: give back, then launch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Instances to give back.
    pub release: Vec<u64>,
    /// Instances to launch.
    pub launch: Vec<Launch>,
}

/// A number of instances to launch in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// What.
    pub offer: OfferId,
    /// How many.
    pub count: u32,
}

impl Plan {
    /// Adds one instance of `offer` to what is launched.
    pub(super) fn launch_one(&mut self, offer: OfferId) {
        match self.launch.iter_mut().find(|launch| launch.offer == offer) {
            Some(launch) => launch.count += 1,
            None => self.launch.push(Launch { offer, count: 1 }),
        }
    }
}
