//! Whether a node is there: one small state machine per node.
//!
//! A node is lost when chitchat's detector says so and nothing comes over a connection of ours to it. Observers disagree for some
//! seconds; placement is built for that.

use std::time::Duration;

use shoal_types::{Liveness, UnixMillis};
use tokio::time::Instant;

/// Rounds of gossip in which a newly heard node may stay unjudged.
const ARRIVAL_ROUNDS: u32 = 16;
/// How long a connection on which nothing comes still says something about its peer. Both ends keep it alive every
/// second, so that three packets were lost then; that it is looked at twice a second costs no more than that.
pub(super) const SILENT_AFTER: Duration = Duration::from_millis(2_750);
/// How long a connection on which something comes keeps a node that does not gossip.
const CONNECTED_FOR: Duration = Duration::from_secs(6);
const SUSPECT_KEPT: Duration = Duration::from_secs(10 * 60);
const LEFT_KEPT: Duration = Duration::from_secs(60);

/// How long each doubt may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a node that has just (re)started, until the detector has enough heartbeats to judge it.
    pub(super) arrival: Duration,
    /// For a node that the detector gave up while our connection to it is alive.
    pub(super) connected: Duration,
    /// Until a lost node is forgotten.
    pub(super) suspect: Duration,
    /// Until a node that said goodbye is forgotten.
    pub(super) left: Duration,
}

impl Patience {
    /// For a mesh that gossips every `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        let (connected, suspect, left) = (CONNECTED_FOR, SUSPECT_KEPT, LEFT_KEPT);
        Self { arrival: interval * ARRIVAL_ROUNDS, connected, suspect, left }
    }
}

/// What is known of a node at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// The failure detector holds it for alive.
    pub(super) live: bool,
    /// It said goodbye.
    pub(super) left: bool,
    /// We have a connection to it, and hear something there.
    pub(super) connected: bool,
    /// It was heard under a higher generation than before.
    pub(super) restarted: bool,
    /// We were not listening ourselves (own loop late, own detector just restarted): nobody is declared lost.
    pub(super) deaf: bool,
}

/// Both clocks: durations are measured by one, people are told the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    pub(super) wall: UnixMillis,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Heard of, and not yet judged by the detector.
    Arriving { since: Instant },
    /// Alive.
    Live,
    /// The detector gave it up, and there is a reason to wait.
    Doubted { since: Instant },
    /// Lost.
    Suspect { since: Instant, wall: UnixMillis },
    /// Gone by its own word.
    Left { since: Instant },
}

impl Presence {
    /// The presence of a node that was unknown, or `None` while it is not there. What is only known from hearsay and
    /// already dead is no member.
    pub(super) fn first(signs: Signs, now: Now) -> Option<Self> {
        match signs {
            Signs { left: true, .. } => None,
            Signs { live: true, .. } => Some(Self::Live),
            Signs { connected: true, .. } => Some(Self::Arriving { since: now.monotonic }),
            Signs { .. } => None,
        }
    }

    /// What becomes of it under `signs`; `None` when it is time to forget the node.
    pub(super) fn step(self, signs: Signs, patience: &Patience, now: Now) -> Option<Self> {
        let age = |since: Instant| now.monotonic.saturating_duration_since(since);
        let lost = Self::Suspect { since: now.monotonic, wall: now.wall };
        if signs.left {
            return match self {
                Self::Left { since } if age(since) >= patience.left => None,
                Self::Left { .. } => Some(self),
                Self::Arriving { .. } | Self::Live | Self::Doubted { .. } | Self::Suspect { .. } => {
                    Some(Self::Left { since: now.monotonic })
                }
            };
        }
        if signs.live {
            return Some(Self::Live);
        }
        if signs.restarted {
            return Some(Self::Arriving { since: now.monotonic });
        }
        Some(match self {
            Self::Arriving { since } if signs.deaf || age(since) < patience.arrival => self,
            Self::Live if signs.deaf || signs.connected => Self::Doubted { since: now.monotonic },
            Self::Doubted { since } if signs.deaf || (signs.connected && age(since) < patience.connected) => self,
            Self::Arriving { .. } | Self::Live | Self::Doubted { .. } => lost,
            Self::Suspect { since, .. } if age(since) >= patience.suspect => return None,
            Self::Suspect { .. } => self,
            // It took its goodbye back without restarting, which no node of ours does.
            Self::Left { .. } => Self::Arriving { since: now.monotonic },
        })
    }

    /// As the rest of the program sees it.
    pub(super) const fn liveness(self) -> Liveness {
        match self {
            Self::Arriving { .. } | Self::Live | Self::Doubted { .. } => Liveness::Alive,
            Self::Suspect { wall, .. } => Liveness::Suspect { since: wall },
            Self::Left { .. } => Liveness::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        arrival: Duration::from_secs(8),
        connected: Duration::from_secs(6),
        suspect: Duration::from_secs(600),
        left: Duration::from_secs(60),
    };
    const QUIET: Signs = Signs { live: false, left: false, connected: false, restarted: false, deaf: false };

    #[allow(clippy::disallowed_methods)] // any instant will do
    fn at(secs: u64) -> Now {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        Now { monotonic: start + Duration::from_secs(secs), wall: UnixMillis::from_millis(secs * 1000) }
    }

    fn step(presence: Presence, signs: Signs, secs: u64) -> Option<Presence> {
        presence.step(signs, &PATIENCE, at(secs))
    }

    fn suspect(secs: u64) -> Presence {
        Presence::Suspect { since: at(secs).monotonic, wall: at(secs).wall }
    }

    #[test]
    fn hearsay_of_the_dead_makes_no_member() {
        assert_eq!(Presence::first(QUIET, at(0)), None);
        assert_eq!(Presence::first(Signs { left: true, live: true, ..QUIET }, at(0)), None);
        assert_eq!(Presence::first(Signs { live: true, ..QUIET }, at(0)), Some(Presence::Live));
    }

    #[test]
    fn lost_is_dead_to_the_detector_and_not_connected() {
        assert_eq!(step(Presence::Live, QUIET, 1), Some(suspect(1)));
        let connected = Signs { connected: true, ..QUIET };
        let doubted = step(Presence::Live, connected, 1).unwrap();
        assert_eq!(doubted.liveness(), Liveness::Alive);
        assert_eq!(step(doubted, connected, 6), Some(doubted));
        assert_eq!(step(doubted, connected, 7), Some(suspect(7)), "a connection alone keeps nobody alive for long");
        assert_eq!(step(doubted, QUIET, 2), Some(suspect(2)));
        assert_eq!(step(suspect(2), Signs { live: true, ..QUIET }, 3), Some(Presence::Live));
    }

    #[test]
    fn rule_6_a_node_whose_own_timers_run_late_declares_nobody_dead() {
        let deaf = Signs { deaf: true, ..QUIET };
        let doubted = step(Presence::Live, deaf, 1).unwrap();
        assert_eq!(doubted.liveness(), Liveness::Alive);
        assert_eq!(step(doubted, deaf, 100), Some(doubted));
        assert_eq!(step(doubted, QUIET, 101), Some(suspect(101)));
    }

    #[test]
    fn a_restarted_node_is_back_at_once_and_then_judged() {
        let back = step(suspect(1), Signs { restarted: true, ..QUIET }, 2).unwrap();
        assert_eq!(back.liveness(), Liveness::Alive);
        assert_eq!(step(back, QUIET, 9), Some(back));
        assert_eq!(step(back, QUIET, 10), Some(suspect(10)));
    }

    #[test]
    fn rule_1_the_lost_and_the_gone_are_forgotten() {
        assert_eq!(step(suspect(1), QUIET, 600), Some(suspect(1)));
        assert_eq!(step(suspect(1), QUIET, 601), None);
        let gone = Signs { left: true, live: true, ..QUIET };
        let left = step(Presence::Live, gone, 1).unwrap();
        assert_eq!(left.liveness(), Liveness::Left);
        assert_eq!(step(left, gone, 60), Some(left));
        assert_eq!(step(left, gone, 61), None);
    }
}
