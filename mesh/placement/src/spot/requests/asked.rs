//! What somebody was asked to rent, and what came of it.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{UnixMillis, View};

use super::{
    CapacityRequest,
    places::{Locality, Place},
};
use crate::spot::{Tuning, history::History};

/// From a request to a node that has joined: a place that has given none by then is taken to have none.
const DELIVERY: Duration = Duration::from_secs(10 * 60);
/// Places that are remembered; where more were asked for, the others are taken to give what they are asked for.
const PLACES_MAX: usize = 256;

/// What somebody was asked to rent, and what came of it: a place that does not give is left alone for a while, longer and
/// longer, as [`Portfolio`](crate::spot::Portfolio) does with zones that refuse. Whoever asks keeps it; nothing is lost
/// with it but that knowledge.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    places: BTreeMap<Locality, Ask>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ask {
    /// Since when nothing came of what was asked for; `None` if nothing is asked for.
    since: Option<UnixMillis>,
    /// How often in a row nothing came.
    refusals: u32,
    /// When that was last found.
    refused: UnixMillis,
}

impl Asked {
    /// Takes note that somebody was asked for `request`.
    pub fn note(&mut self, request: &CapacityRequest, now: UnixMillis) {
        for place in request.places.iter().filter(|place| place.replicas > 0) {
            let locality = Locality::of_place(place);
            if self.places.len() < PLACES_MAX || self.places.contains_key(&locality) {
                self.places.entry(locality).or_default().since.get_or_insert(now);
            }
        }
    }

    /// Takes note of what came, and of what did not. To be called before [`capacity_requests`](super::capacity_requests).
    pub fn observe(&mut self, view: &View, now: UnixMillis) {
        let most = Tuning::default().backoff_max;
        self.places.retain(|locality, ask| {
            let came = ask.since.is_some_and(|since| {
                let nodes = view.nodes.values().filter(|node| node.is_alive() && node.facts.started > since);
                nodes.map(|node| &node.facts.labels).any(|labels| locality.is_of(labels))
            });
            if ask.since.is_some_and(|since| now.since(since) >= DELIVERY) {
                *ask = Ask { since: None, refusals: ask.refusals.saturating_add(1), refused: now };
            }
            // What nobody has been asked for since its longest backoff was over is a new story.
            !came && (ask.since.is_some() || now.since(ask.refused) < most * 2)
        });
    }

    /// Whether `place` may be asked for capacity now.
    pub(super) fn may_ask(&self, place: &Place, now: UnixMillis) -> bool {
        let mut history = History::default();
        self.tell(&Locality::of_place(place), 0, &mut history);
        history.may_try(now)
    }

    /// Tells the `history` of a place, of which `held` instances are held, what it did not give.
    pub(super) fn tell(&self, locality: &Locality, held: usize, history: &mut History) {
        let tuning = Tuning::default();
        let Some(ask) = self.places.get(locality) else { return };
        (0..ask.refusals.min(History::REFUSALS_MAX)).for_each(|_| history.refused(held, ask.refused, &tuning));
    }

    /// Whether nothing came from there lately.
    pub(super) fn was_refused(&self, locality: &Locality, now: UnixMillis) -> bool {
        let ask = self.places.get(locality);
        ask.is_some_and(|ask| ask.refusals > 0 && now.since(ask.refused) < Tuning::default().backoff_max)
    }
}
