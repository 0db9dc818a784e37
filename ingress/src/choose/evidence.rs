//! What a choice was made by, for whoever asks afterwards.

use std::time::Duration;

use shoal_types::Backend;
use tokio::time::Instant;

use super::{Burden, Choice, Chooser, Quest};
use crate::{
    records::{Considered, Evidence},
    routes::Place,
};

/// Most replicas that are noted of one choice: all that were compared, and the first of the others.
const NOTED_MAX: usize = 16;

impl Chooser<'_> {
    /// What `choice` was made by at `now`; `None` if there was nobody to be chosen.
    pub(super) fn evidence(&self, quest: Quest<'_>, choice: Option<&Choice>, now: Instant) -> Evidence {
        let mut evidence = Evidence::default();
        let wanted = quest.wanted;
        let (route, known) = (self.routes.route(wanted.endpoint.as_str()), self.routes.known(&wanted.endpoint));
        let Some((route, known)) = route.zip(known) else { return evidence };
        if let Some(choice) = choice {
            (evidence.why, evidence.held) = (choice.reason.word(), choice.held);
        }
        let compared = choice.map(|choice| choice.compared.as_slice()).unwrap_or_default();
        let mut left = NOTED_MAX - compared.len().min(NOTED_MAX - 1) - usize::from(choice.is_some());
        evidence.considered.reserve(route.replicas.len().min(NOTED_MAX));
        let counts = self.inflight.counts();
        for (position, revision, replica) in quest.replicas(route) {
            let cost = compared.iter().find(|(noted, _)| *noted == position).map(|(_, cost)| *cost);
            let is_chosen = choice.is_some_and(|choice| choice.position == position);
            match (is_chosen || cost.is_some(), left.checked_sub(1)) {
                (true, _) => {}
                (false, Some(fewer)) => left = fewer,
                (false, None) => {
                    evidence.more += 1;
                    continue;
                }
            }
            if is_chosen {
                evidence.chosen = u32::try_from(evidence.considered.len()).ok();
            }
            let weight = known.weights().get(revision).copied().unwrap_or(0);
            // As it was before: the chosen one has a place taken by now.
            let own = counts.of(replica.claim).saturating_sub(u32::from(is_chosen));
            let (burden, _) = known.replicas[position].known.burden(replica, own, now);
            let (load, age) = match burden {
                Burden::Fresh(requests) => (Some(requests.all), None),
                Burden::Stale(requests, age) => (Some(requests.all), Some(age)),
                Burden::Unknown(_) => (None, None),
            };
            evidence.considered.push(Considered {
                claim: replica.claim,
                revision: replica.revision,
                weight,
                local: matches!(replica.place, Place::Local(Backend::Engine(_))),
                suspect: self.circuits.avoids(replica.node, replica.claim, now),
                tried: quest.tried.contains(replica.claim),
                own,
                load,
                load_age_us: age.map(micros),
                cost_us: cost.map(micros),
            });
        }
        evidence
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
