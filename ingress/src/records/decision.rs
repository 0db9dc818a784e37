//! One choice of a replica: who was considered, who was chosen, and what came of it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use shoal_types::{ClaimId, Revision};

use crate::traces::SpanId;

/// One choice of a replica. Times are in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When it was made, after the request's arrival.
    pub after_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// Why the chosen one was: a word of the routing policies.
    #[serde(default)]
    pub why: Cow<'static, str>,
    /// Bytes of the prompt that the chosen one was believed to have in its cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Who could have been chosen: all that were compared, and the first of the others, sixteen in all.
    pub considered: Vec<Considered>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// Which of them was chosen; `None` if there was nobody who had not been tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<u32>,
    /// When its answer began or it failed, after the request's arrival; `None` if neither happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_us: Option<u64>,
    /// Why it gave no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// The span of the attempt, if the request is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
}

/// Why a replica that was chosen gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The word in metrics.
    pub reason: String,
    /// The whole sentence.
    pub error: String,
}

/// A replica at the moment of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// Which replica.
    pub claim: ClaimId,
    /// What it runs.
    pub revision: Revision,
    /// Share of the requests that its revision is to get; 0 is a last resort.
    pub weight: u8,
    /// An engine of the same node.
    pub local: bool,
    /// It, or its node, had failed a moment ago.
    pub suspect: bool,
    /// It had failed this very request.
    pub tried: bool,
    /// Requests that it had from this ingress.
    pub own: u32,
    /// Requests that it had; `None` if that had not been heard.
    pub load: Option<u32>,
    /// How long ago that was heard; `None` if it had just been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_age_us: Option<u64>,
    /// What it would have cost, as time until the first token; `None` if it was not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_us: Option<u64>,
}

/// What a choice was made by.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) why: &'static str,
    pub(crate) held: usize,
    pub(crate) considered: Vec<Considered>,
    /// How many more there were.
    pub(crate) more: u64,
    /// Which of them was chosen.
    pub(crate) chosen: Option<u32>,
}

impl Decision {
    /// The replica that was chosen.
    pub fn chosen(&self) -> Option<&Considered> {
        self.considered.get(usize::try_from(self.chosen?).ok()?)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks so
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
