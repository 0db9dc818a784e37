//! What is said of this node, made to fit.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use serde::Serialize;
use shoal_types::{Claim, KeyId, KeyUse, Mandate, NodeFacts, PastDeparture, Refusal, clip_reason};
use tracing::warn;

/// Departures that are said, the newest: what matters of a node is how often it was taken away in the last days.
const DEPARTURES_MAX: usize = 16;
/// Other clusters of which the distance is said, the nearest.
const DISTANCES_MAX: usize = 32;

/// Keys of which is said what was let through by them. Each is some 120 bytes, and changes every second or so while it is
/// used.
const KEY_USES_MAX: usize = 128;

/// Where others reach this node's mesh port.
#[derive(Debug)]
pub(super) struct Addresses {
    configured: Vec<SocketAddr>,
    local: SocketAddr,
}

impl Addresses {
    pub(super) const fn new(configured: Vec<SocketAddr>, local: SocketAddr) -> Self {
        Self { configured, local }
    }

    /// `facts` with addresses that can be dialled.
    pub(super) fn complete(&self, mut facts: NodeFacts) -> NodeFacts {
        if !self.configured.is_empty() {
            facts.addresses.clone_from(&self.configured);
        } else if facts.addresses.is_empty() && !self.local.ip().is_unspecified() {
            facts.addresses.push(self.local);
        }
        for address in facts.addresses.iter_mut().filter(|address| address.port() == 0) {
            address.set_port(self.local.port());
        }
        facts
    }
}

/// `claim` with its reason on one line, and without one if the JSON were longer than `bytes` otherwise: its state must
/// be heard, whatever an engine said when it crashed.
pub(super) fn sayable(claim: &Claim, bytes: usize) -> Claim {
    let mut said = Claim { reason: claim.reason.as_deref().map(clip_reason), ..claim.clone() };
    if serde_json::to_string(&said).is_ok_and(|text| text.len() > bytes) {
        warn!(claim = %claim.id, "the reason of a claim is too long to be gossiped; the claim goes without it");
        said.reason = None;
    }
    said
}

/// `mandate` with its reason on one line, and so much of it that the JSON is no longer than `bytes`.
pub(super) fn mandate(mandate: &Mandate, bytes: usize) -> Mandate {
    let mut said = Mandate { reason: clip_reason(&mandate.reason), ..mandate.clone() };
    let excess = serde_json::to_string(&said).map_or(0, |text| text.len().saturating_sub(bytes));
    // A byte of text is a byte of JSON at least.
    said.reason.truncate(said.reason.floor_char_boundary(said.reason.len().saturating_sub(excess)));
    said
}

/// Those of `refusals` whose JSON fits `bytes`, the ones that last longest first.
pub(super) fn refusals(refusals: &[Refusal], bytes: usize) -> Vec<&Refusal> {
    let mut longest_first: Vec<&Refusal> = refusals.iter().collect();
    longest_first.sort_by_key(|refusal| Reverse(refusal.until));
    fitting(longest_first, bytes)
}

/// The newest of `departures`, the oldest first.
pub(super) fn departures(departures: &[PastDeparture]) -> Vec<PastDeparture> {
    let mut departures = departures.to_vec();
    departures.sort_unstable();
    departures.split_off(departures.len().saturating_sub(DEPARTURES_MAX))
}

/// Those of `distances` whose JSON fits `bytes`, of the nearest clusters.
pub(super) fn distances(distances: &BTreeMap<String, u32>, bytes: usize) -> BTreeMap<&String, u32> {
    let mut nearest_first: Vec<(&String, u32)> = distances.iter().map(|(cluster, millis)| (cluster, *millis)).collect();
    nearest_first.sort_by_key(|(_, millis)| *millis);
    nearest_first.truncate(DISTANCES_MAX);
    // As pairs they are longer than in a map.
    fitting(nearest_first, bytes).into_iter().collect()
}

/// Those of `models` whose JSON fits `bytes`.
pub(super) fn models(models: &BTreeSet<String>, bytes: usize) -> BTreeSet<&String> {
    fitting(models, bytes).into_iter().collect()
}

/// Those of `uses` by which most was asked, as many as are said.
pub(super) fn key_uses(uses: &HashMap<KeyId, KeyUse>) -> Vec<(KeyId, KeyUse)> {
    let mut most_first: Vec<(KeyId, KeyUse)> = uses.iter().map(|(key, used)| (*key, *used)).collect();
    most_first.sort_unstable_by_key(|(key, used)| (Reverse((used.inflight, used.requests, used.tokens_of_day)), *key));
    most_first.truncate(KEY_USES_MAX);
    most_first
}

/// Those of `items` whose JSON, as a list, fits `bytes`: the first ones, and what fits beside them.
fn fitting<T: Serialize>(items: impl IntoIterator<Item = T>, bytes: usize) -> Vec<T> {
    let length = |item: &T| serde_json::to_string(item).map_or(usize::MAX, |text| text.len().saturating_add(1));
    let mut room = bytes.saturating_sub(2);
    let mut fits = |item: &T| match room.checked_sub(length(item)) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    };
    items.into_iter().filter(|item| fits(item)).collect()
}

#[cfg(test)]
mod tests;
