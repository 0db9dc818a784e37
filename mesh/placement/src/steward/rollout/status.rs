//! How a rollout stands, as people and scripts read it.

use std::fmt;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, EndpointRecord, HumanDuration, Mandate, Revision, RolloutPhase, UnixMillis};

use crate::{
    desired::Desired,
    explain::{WantExplanation, explain},
    scene::Scene,
    steward::{facts::Facts, rollout::steps::Steps},
};

/// How the rollout of one endpoint stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Of which endpoint.
    pub endpoint: EndpointName,
    /// How far it has come.
    #[serde(flatten)]
    pub rollout: RolloutPhase,
    /// Of how many steps.
    pub steps: u8,
    /// Why it is as it is.
    pub reason: String,
    /// Since when; `None` if no steward has spoken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMillis>,
    /// When the next step comes, if all goes well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<UnixMillis>,
    /// Replicas that it waits for and that find no room now.
    #[serde(default)]
    pub without_room: usize,
    /// The revisions that it speaks of and the one that is wanted, the one that is rolled out first.
    pub revisions: Vec<RevisionStatus>,
}

/// How one revision stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Which processes.
    pub revision: Revision,
    /// Replicas that there should be.
    pub desired: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// Percent of the requests.
    pub weight: u8,
    /// Requests of the last five minutes.
    pub requests: u32,
    /// Share of them that failed, from 0 to 1; `None` if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Time to the first token that 95 % of them stayed below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_p95: Option<HumanDuration>,
    /// Crashes of its engines, and nodes that refuse to run it.
    pub crashes: u32,
}

/// How the rollout of `record` stands, by what any node knows.
pub fn rollout_status(scene: &Scene<'_>, record: &EndpointRecord) -> RolloutStatus {
    let endpoint = record.endpoint.metadata.name.clone();
    let facts = Facts::of(scene, record);
    let mandate = scene.memory.mandate(&endpoint).map(|heard| &heard.mandate);
    let weight = |revision| mandate.and_then(|mandate| mandate.share_of(revision)).map_or(0, |share| share.weight);
    let mut shares = Desired::of(scene, record).shares;
    if shares.iter().all(|(revision, _)| *revision != record.revision) {
        shares.push((record.revision, 0)); // no steward has spoken yet
    }
    let describe = |&(revision, desired): &(Revision, u32)| {
        let weight = if mandate.is_some() { weight(revision) } else { 100 };
        describe(&facts, revision, desired, weight)
    };
    // Right after an apply what was said last is about what was before.
    let is_taken_up =
        |mandate: &&Mandate| mandate.version >= record.version || mandate.share_of(record.revision).is_some();
    let pending = RolloutPhase::Progressing { step: 0, ready: None };
    RolloutStatus {
        endpoint,
        rollout: mandate.filter(is_taken_up).map_or(pending, |mandate| mandate.rollout),
        steps: Steps::of(&record.endpoint.spec.rollout).count(),
        reason: mandate
            .filter(is_taken_up)
            .map_or_else(|| "no steward has spoken yet".to_owned(), |mandate| mandate.reason.clone()),
        since: mandate.map(|mandate| mandate.since),
        next_step: mandate.and_then(|mandate| next_step(mandate.rollout, record)),
        without_room: explain(scene, record, &[]).wants.iter().map(WantExplanation::unplaced).sum(),
        revisions: shares.iter().map(describe).collect(),
    }
}

fn next_step(phase: RolloutPhase, record: &EndpointRecord) -> Option<UnixMillis> {
    let rollout = &record.endpoint.spec.rollout;
    let RolloutPhase::Progressing { step, ready: Some(ready) } = phase else { return None };
    (step < Steps::of(rollout).last()).then(|| ready.plus(rollout.pause.0))
}

fn describe(facts: &Facts, revision: Revision, desired: u32, weight: u8) -> RevisionStatus {
    let (strength, outcome) = (facts.strength(revision), facts.outcome(revision));
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    RevisionStatus {
        revision,
        desired,
        ready: strength.ready,
        weight,
        requests: outcome.requests,
        error_rate: outcome.error_rate(),
        ttft_p95: outcome.ttft.quantile(0.95).map(|time| HumanDuration::from_millis(millis(time))),
        crashes: strength.crashes,
    }
}

impl fmt::Display for RolloutStatus {
    /// A line on the whole, then a table with a line for each revision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.endpoint)?;
        match self.rollout {
            RolloutPhase::Progressing { step, .. } => write!(f, "progressing, step {} of {}", step + 1, self.steps)?,
            RolloutPhase::Paused { step } => write!(f, "paused, step {} of {}", step + 1, self.steps)?,
            RolloutPhase::Complete | RolloutPhase::RolledBack => self.rollout.fmt(f)?,
        }
        if let Some(since) = self.since {
            write!(f, ", since {since}")?;
        }
        writeln!(f, "\n  {}", self.reason)?;
        if let Some(next) = self.next_step {
            writeln!(f, "  next step at {next}")?;
        }
        if self.without_room > 0 {
            let Self { endpoint, without_room, .. } = self;
            writeln!(
                f,
                "  waits for room for {without_room} more; `shoal why endpoint/{endpoint}` says what would make it"
            )?;
        }
        writeln!(f, "  REVISION  DESIRED  READY  WEIGHT  REQUESTS  ERRORS  TTFT P95  CRASHES")?;
        self.revisions.iter().try_for_each(|revision| writeln!(f, "  {revision}"))
    }
}

impl fmt::Display for RevisionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "-".to_owned();
        let errors = self.error_rate.map_or_else(unknown, |rate| format!("{:.1}%", rate * 100.0));
        let ttft = self.ttft_p95.map_or_else(unknown, |time| time.to_string());
        let Self { revision, desired, ready, weight, requests, crashes, .. } = self;
        let weight = format!("{weight}%");
        let revision = revision.to_string();
        write!(
            f,
            "{revision:<8}  {desired:>7}  {ready:>5}  {weight:>6}  {requests:>8}  {errors:>6}  {ttft:>8}  {crashes:>7}"
        )
    }
}
