//! What a node keeps for one endpoint while it is the steward of it, and what it says.

use shoal_types::{EndpointRecord, Mandate, NodeId, UnixMillis, clip_reason};

use crate::{
    memory::Heard,
    scene::Scene,
    steward::{
        draft::Draft,
        facts::Facts,
        heal::{Taken, Union, Words},
        rollout::{Ground, Trial, advance},
        scaling::{Gauge, Scaled},
    },
};

/// The office of steward of one endpoint, from when it came to this node.
#[derive(Debug, Clone)]
pub(super) struct Office {
    me: NodeId,
    /// What it said last; the view may not have it yet.
    said: Option<Heard>,
    /// How many replicas it wants by that. During a rollout more may be said: of each revision at least one.
    wanted: u32,
    taken: Taken,
    gauge: Gauge,
    trial: Option<Trial>,
}

impl Office {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, said: None, wanted: 0, taken: Taken::default(), gauge: Gauge::default(), trial: None }
    }

    /// What is to be said now, and when to ask again.
    pub(super) fn speak(&mut self, scene: &Scene<'_>, record: &EndpointRecord) -> (Mandate, Option<UnixMillis>) {
        let words = Words::gather(scene, &record.endpoint.metadata.name, self.said.as_ref(), &mut self.taken);
        let Some(words) = words else {
            let draft = Draft::opening(scene, record);
            self.wanted = draft.shares.iter().map(|share| share.replicas).sum();
            self.gauge.restart(scene.now, scene.now);
            return (self.say(scene, record, draft, None), Some(scene.now));
        };
        let union = self.settle(&words, record, scene.now);
        // Whoever spoke has seen a later write of the spec: what stands is repeated until this node's store has it too.
        let behind = record.version < union.draft.version;
        let (draft, wake) = if behind { (union.draft, None) } else { self.reconsider(scene, record, union.draft) };
        (self.say(scene, record, draft, Some(&words.standing)), wake)
    }

    /// Makes one word of all. If others said something new, what was watched so far was half of the mesh: nothing is
    /// lowered before a whole window of both halves.
    fn settle(&mut self, words: &Words, record: &EndpointRecord, now: UnixMillis) -> Union {
        let union = words.unite(record);
        if self.said.as_ref() != Some(&words.standing) || Some(&union.draft) != self.said_draft().as_ref() {
            // Two revisions may need one more than there may be of one.
            let bounded = || record.endpoint.spec.replicas.clamp(union.total);
            let total = if union.draft.shares.len() > 1 { bounded() } else { union.total };
            self.wanted = self.wanted.max(total);
            self.gauge.restart(now, words.standing.mandate.since);
        }
        union
    }

    fn said_draft(&self) -> Option<Draft> {
        self.said.as_ref().map(|said| Draft::from(&said.mandate))
    }

    /// How many there should be by now, and of which revision.
    fn reconsider(&mut self, scene: &Scene<'_>, record: &EndpointRecord, draft: Draft) -> (Draft, Option<UnixMillis>) {
        let facts = Facts::of(scene, record);
        let spec = &record.endpoint.spec;
        let Scaled { count, reason, wake } = self.gauge.step(&facts, spec, self.wanted, scene.now);
        self.wanted = count;
        let newer = record.version > draft.version;
        let ground = Ground { record, facts: &facts, wanted: count, newer, now: scene.now };
        let next = advance(&draft, &ground, &mut self.trial);
        let reason = next.reason.or(reason).unwrap_or(draft.reason);
        let draft =
            Draft { version: record.version, shares: next.shares, rollout: next.rollout, reason: clip_reason(&reason) };
        (draft, [wake, next.wake].into_iter().flatten().min())
    }

    /// Gives `draft` its epoch: that of `standing`, if it says the same and was this node's own word, or else the next.
    fn say(&mut self, scene: &Scene<'_>, record: &EndpointRecord, draft: Draft, standing: Option<&Heard>) -> Mandate {
        let same = standing.filter(|heard| draft.says(&heard.mandate));
        let own = same.filter(|heard| heard.by == self.me && heard.mandate.version == draft.version);
        let mandate = own.map_or_else(
            || Mandate {
                endpoint: record.endpoint.metadata.name.clone(),
                epoch: standing.map_or(0, |heard| heard.mandate.epoch).saturating_add(1),
                version: draft.version,
                shares: draft.shares,
                rollout: draft.rollout,
                reason: draft.reason,
                since: same.map_or(scene.now, |heard| heard.mandate.since),
            },
            |heard| heard.mandate.clone(),
        );
        self.said = Some(Heard { by: self.me, mandate: mandate.clone() });
        mandate
    }
}
