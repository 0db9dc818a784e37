//! Claims: how a node says which replicas it runs.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ClaimId, EndpointName, MemorySize, Revision, UnixMillis};

/// Longest reason that is gossiped, in bytes; the whole text stays in the node's log.
pub const REASON_MAX: usize = 300;

/// `reason` as it may be gossiped: on one line, without control characters, at most [`REASON_MAX`] bytes.
pub fn clip_reason(reason: &str) -> String {
    let mut clipped: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clipped.truncate(clipped.floor_char_boundary(REASON_MAX));
    clipped
}

/// "I run, or am about to run, replica `id` of `endpoint` at `revision`." Only node `id.node` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Never used again.
    pub id: ClaimId,
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// Which processes.
    pub revision: Revision,
    /// GPUs that it holds on its node, whatever its state.
    pub gpus: u32,
    /// When it was first published; the older claim wins among equals.
    pub claimed: UnixMillis,
    /// How far it has come.
    pub state: ReplicaState,
    /// When it entered that state.
    pub since: UnixMillis,
    /// Why it is in that state, where that is not obvious; at most [`REASON_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far the state has come, where it takes long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// How often its engine has crashed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u32,
    /// Why it is to go although its node stays, such as a fault of a GPU: it is replaced first, and then drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for it
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A part of something that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// Of how much.
    pub total: u64,
    /// Of what.
    pub unit: ProgressUnit,
}

impl Progress {
    /// Rounded down to twentieths of the whole, so that gossip stays quiet; small totals stay exact.
    #[must_use]
    pub fn coarse(self) -> Self {
        let step = (self.total / 20).max(1);
        let done = if self.done >= self.total { self.total } else { self.done / step * step };
        Self { done, ..self }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            ProgressUnit::Bytes => {
                write!(f, "{} of {}", MemorySize::from_bytes(self.done), MemorySize::from_bytes(self.total))
            }
            ProgressUnit::Shards => write!(f, "{} of {} shards", self.done, self.total),
            ProgressUnit::Percent => write!(f, "{}%", self.done),
        }
    }
}

/// What a [`Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressUnit {
    /// Bytes of weights.
    Bytes,
    /// Files of weights.
    Shards,
    /// Hundredths.
    Percent,
}

/// Life of a replica. Each state can only be followed by a later one, or the claim disappears; a crash goes back from
/// any of the middle ones to `Backoff` and from there to `Starting`, and one that sleeps wakes to `Warming`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// Published, GPUs reserved, waiting to see whether another node is before it.
    Claimed,
    /// Its weights are being fetched.
    Preparing,
    /// The process is being started.
    Starting,
    /// The process loads its weights.
    Loading,
    /// It answers, and is being probed with a first token.
    Warming,
    /// It crashed and will be started again on this node.
    Backoff,
    /// It serves.
    Ready,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It was drained and keeps its weights, to be woken in seconds instead of loaded in minutes.
    Asleep,
    /// It ended and is not started again here. It holds nothing; it is only shown for a while, with the reason.
    Failed,
}

impl ReplicaState {
    /// Whether new requests may be routed to it.
    pub const fn serves(self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether it counts as one of the endpoint's replicas: it serves, or is on its way to, or finishes what it has.
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Asleep | Self::Failed)
    }
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claimed => "claimed",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Warming => "warming",
            Self::Backoff => "backoff",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Asleep => "asleep",
            Self::Failed => "failed",
        })
    }
}

/// What a replica has to do. Quantised, so that an idle mesh is silent; unknown is `None`, never zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Requests that shoal has given it and that are not finished.
    pub inflight: u32,
    /// Sequences that the engine says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Sequences that the engine says are waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// Use of the engine's KV cache in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<u8>,
}

impl Load {
    /// `count` to three significant binary digits, so that gossip stays quiet: at most an eighth off, exact up to 8,
    /// and never zero for what is not.
    pub const fn round_count(count: u32) -> u32 {
        let Some(dropped) = (u32::BITS - count.leading_zeros()).checked_sub(3) else { return count };
        let half = (1 << dropped) >> 1;
        (count.saturating_add(half) >> dropped) << dropped
    }
}

/// "I will not run this revision before `until`", because it failed here. Others then rank without this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// Which processes; a new revision is tried at once.
    pub revision: Revision,
    /// What kind of reason it has.
    #[serde(default)]
    pub cause: RefusalCause,
    /// When it may be tried again here.
    pub until: UnixMillis,
    /// Why; at most [`REASON_MAX`] bytes.
    pub reason: String,
}

/// Why a node refuses a revision, for those who judge the revision by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusalCause {
    /// Its GPUs were not as free as they looked: says nothing about the revision.
    Busy,
    /// Its configuration, its disk or its GPUs do not allow it.
    #[default]
    Unfit,
    /// A replica of it failed here; the claim tells of the crashes.
    Failed,
}

/// Where a local engine listens. Nothing beyond the host can reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A port on a loopback address.
    Loopback(SocketAddr),
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_between_characters_and_stay_on_one_line() {
        assert_eq!(clip_reason(&format!("a{}", "ä".repeat(REASON_MAX))).len(), REASON_MAX - 1);
        assert_eq!(clip_reason("exit 1\n\u{1b}[31mred"), "exit 1  [31mred");
    }

    #[test]
    fn progress_moves_in_twentieths_and_reaches_its_end() {
        let shards = |done, total| Progress { done, total, unit: ProgressUnit::Shards };
        assert_eq!(shards(3, 8).coarse(), shards(3, 8));
        assert_eq!(shards(59, 1000).coarse(), shards(50, 1000));
        assert_eq!(shards(1000, 1000).coarse().to_string(), "1000 of 1000 shards");
    }

    #[test]
    fn loads_keep_three_digits_and_are_never_rounded_to_nothing() {
        assert_eq!([0, 1, 7, 9, 33, 1_000].map(Load::round_count), [0, 1, 7, 10, 32, 1_024]);
    }
}
