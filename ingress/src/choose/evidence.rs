//! What a choice was made by, for whoever asks afterwards.

use std::time::Duration;

use super::{Burden, Candidate, Choice, Chooser, Quest, cost::Cost};
use crate::records::{Considered, Evidence};

/// Most replicas that are noted of one choice: all that were compared, and the first of the others.
const NOTED_MAX: usize = 16;

impl Chooser<'_> {
    /// What `choice` was made by, of all `candidates`; `None` if there was nobody to be chosen.
    pub(super) fn evidence(&self, quest: Quest<'_>, candidates: &[Candidate], choice: Option<&Choice>) -> Evidence {
        let mut evidence = Evidence::default();
        let endpoint = &quest.wanted.endpoint;
        let Some(known) = self.routes.known(endpoint) else { return evidence };
        if let Some(choice) = choice {
            (evidence.why, evidence.held) = (choice.reason.word(), choice.held);
        }
        let compared = choice.map(|choice| choice.compared.as_slice()).unwrap_or_default();
        let mut left = NOTED_MAX - compared.len().min(NOTED_MAX - 1) - usize::from(choice.is_some());
        evidence.considered.reserve_exact(candidates.len().min(NOTED_MAX));
        for candidate in candidates {
            let cost = compared.iter().find(|(noted, _)| *noted == candidate.position).map(|(_, cost)| *cost);
            let is_chosen = choice.is_some_and(|choice| choice.position == candidate.position);
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
            let (load, age) = match candidate.burden {
                Burden::Fresh(requests) => (Some(requests.all), None),
                Burden::Stale(requests, age) => (Some(requests.all), Some(age)),
                Burden::Unknown(_) => (None, None),
            };
            let replica = &known.route.replicas[candidate.position];
            evidence.considered.push(Considered {
                claim: replica.claim,
                revision: replica.revision,
                weight: known.weights().get(candidate.revision).copied().unwrap_or(0),
                local: candidate.local,
                suspect: candidate.suspect,
                tried: candidate.tried,
                own: candidate.own,
                load,
                load_age_us: age.map(micros),
                cost_us: cost.map(Cost::as_micros),
            });
        }
        evidence
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
