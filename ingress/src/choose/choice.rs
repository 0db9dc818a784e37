//! What was decided, and why.

use super::cost::Cost;

/// Most candidates that are compared for one request: two that are taken for its home, two near ones, two far ones, one
/// of this node.
const COMPARED_MAX: usize = 7;

/// Which replica a request goes to, and how that came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Where it stands among the replicas of its route.
    pub(crate) position: usize,
    pub(crate) reason: Reason,
    /// Bytes of the prompt that it is believed to have in its cache.
    pub(crate) held: usize,
    pub(crate) compared: Compared,
}

/// Who was compared: positions among the replicas of the route, each with its cost as time until the first token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    noted: [(usize, Cost); COMPARED_MAX],
    count: usize,
}

/// Why a replica was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is believed to have most of the prompt.
    Holds,
    /// Nobody is; it is where all ingresses send this prompt.
    Home,
    /// Who would have had it has too much to do; this one costs the least of those compared.
    Saturated,
    /// There was nothing to be found anywhere; this one costs the least of those compared.
    Lightest,
    /// It has the session.
    Session,
    /// It was its turn.
    Turn,
}

impl Reason {
    /// The word in explanations and metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Home => "home",
            Self::Saturated => "saturated",
            Self::Lightest => "lightest",
            Self::Session => "session",
            Self::Turn => "turn",
        }
    }
}

impl Choice {
    /// Of a policy that does not ask what anything costs.
    pub(super) fn without_comparison(position: usize, reason: Reason) -> Self {
        Self { position, reason, held: 0, compared: Compared::default() }
    }
}

impl Compared {
    /// Notes that the replica at `position` was looked at, and what it would cost. The first word stands.
    pub(super) fn note(&mut self, position: usize, cost: Cost) {
        let is_noted = self.as_slice().iter().any(|(noted, _)| *noted == position);
        if let Some(place) = self.noted.get_mut(self.count).filter(|_| !is_noted) {
            *place = (position, cost);
            self.count += 1;
        }
    }

    /// In the order in which they were looked at.
    pub(crate) fn as_slice(&self) -> &[(usize, Cost)] {
        &self.noted[..self.count]
    }
}
