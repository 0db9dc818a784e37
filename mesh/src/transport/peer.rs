//! What is known of one peer: where it is, the connection to it, how dialling went. Decisions only; the caller owns the
//! clock, the dice and the sockets.

use std::{net::SocketAddr, time::Duration};

use shoal_types::NodeId;
use tokio::time::Instant;

use super::OpenError;

const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Where a stream to the peer goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<L> {
    /// Over this link.
    Link(L),
    /// Nowhere yet: the caller dials these addresses and reports back.
    Dial(Vec<SocketAddr>),
    /// Nowhere yet: somebody is dialling.
    Wait,
    /// Nowhere for now: dialling failed a moment ago.
    Failed(OpenError),
}

#[derive(Debug)]
enum Dial {
    Idle,
    Running,
    Failed { error: OpenError, until: Instant },
}

/// The state of one peer, over links of any type, so that tests need no connections.
#[derive(Debug)]
pub(super) struct PeerState<L> {
    node: NodeId,
    addresses: Vec<SocketAddr>,
    /// The link that new streams take, and who dialled it.
    current: Option<(NodeId, L)>,
    /// Duplicates that live on until their last stream has ended.
    retired: Vec<L>,
    dial: Dial,
    failures: u32,
}

impl<L: Clone> PeerState<L> {
    pub(super) const fn new(node: NodeId) -> Self {
        Self { node, addresses: Vec::new(), current: None, retired: Vec::new(), dial: Dial::Idle, failures: 0 }
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn current(&self) -> Option<&L> {
        self.current.as_ref().map(|(_, link)| link)
    }

    /// All links, the one for new streams first.
    pub(super) fn links(&self) -> impl Iterator<Item = &L> {
        self.current().into_iter().chain(&self.retired)
    }

    /// Whether nothing is lost by forgetting this peer.
    pub(super) fn is_idle(&self) -> bool {
        self.links().next().is_none() && !matches!(self.dial, Dial::Running)
    }

    /// Replaces the addresses. New ones are worth trying at once.
    pub(super) fn learn(&mut self, addresses: &[SocketAddr]) {
        if self.addresses != addresses {
            self.addresses = addresses.to_vec();
            self.forgive();
        }
    }

    /// Where a stream goes at `now`. After [`Route::Dial`] everybody waits until [`Self::attach`] or [`Self::failed`].
    pub(super) fn route(&mut self, now: Instant) -> Route<L> {
        if let Some((_, link)) = &self.current {
            return Route::Link(link.clone());
        }
        match &self.dial {
            Dial::Running => Route::Wait,
            Dial::Failed { error, until } if now < *until => Route::Failed(error.clone()),
            Dial::Idle | Dial::Failed { .. } if self.addresses.is_empty() => {
                Route::Failed(OpenError::UnknownAddress { node: self.node })
            }
            Dial::Idle | Dial::Failed { .. } => {
                self.dial = Dial::Running;
                Route::Dial(self.addresses.clone())
            }
        }
    }

    /// Why the peer would not have this node when it was last asked, if that is how it ended.
    pub(super) const fn refusal(&self) -> Option<&String> {
        match &self.dial {
            Dial::Failed { error: OpenError::Refused { reason, .. }, .. } => Some(reason),
            _ => None,
        }
    }

    /// Dialling ended without a link, or the peer refuses this node: leave it alone for a while, `jitter` (0 to 1)
    /// deciding how long exactly.
    pub(super) fn failed(&mut self, error: OpenError, now: Instant, jitter: f64) {
        if self.current.is_some() {
            self.dial = Dial::Idle; // the peer has dialled in the meantime
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.dial = Dial::Failed { error, until: now + backoff(self.failures, jitter) };
    }

    /// Takes in a link. Returns the one that is to carry no new streams from now on, if there are two.
    ///
    /// Both ends decide alike: of two links the one stays whose dialler has the smaller id; of two by the same dialler
    /// the newer, as it would not have dialled had it not lost the older.
    pub(super) fn attach(&mut self, dialer: NodeId, link: L) -> Option<L> {
        self.forgive();
        if dialer != self.node {
            self.dial = Dial::Idle;
        }
        let retired = match self.current.take() {
            Some((old_dialer, old)) if old_dialer < dialer => {
                self.current = Some((old_dialer, old));
                Some(link)
            }
            old => {
                self.current = Some((dialer, link));
                old.map(|(_, old)| old)
            }
        };
        self.retired.extend(retired.clone());
        retired
    }

    /// The peer is about to close a link: it carries no new streams, though there may be no other yet.
    pub(super) fn retire(&mut self, is_it: impl Fn(&L) -> bool) {
        self.retired.extend(self.current.take_if(|(_, link)| is_it(link)).map(|(_, link)| link));
    }

    /// A link has ended.
    pub(super) fn detach(&mut self, is_it: impl Fn(&L) -> bool) {
        self.retired.retain(|link| !is_it(link));
        self.current.take_if(|(_, link)| is_it(link));
    }

    fn forgive(&mut self) {
        self.failures = 0;
        if let Dial::Failed { .. } = self.dial {
            self.dial = Dial::Idle;
        }
    }
}

/// Doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`]; jitter takes up to half off, so that peers do not dial in step.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(BACKOFF_MAX);
    doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: NodeId = NodeId::from_bytes([1; 16]);
    const LARGE: NodeId = NodeId::from_bytes([2; 16]);

    fn peer() -> PeerState<u32> {
        let mut peer = PeerState::new(LARGE);
        peer.learn(&["10.0.0.1:7700".parse().unwrap()]);
        peer
    }

    fn unreachable() -> OpenError {
        OpenError::Unreachable { node: LARGE, attempts: Default::default() }
    }

    #[test]
    fn only_one_dials() {
        let (mut peer, now) = (peer(), Instant::now());
        assert!(matches!(peer.route(now), Route::Dial(addresses) if addresses.len() == 1));
        assert_eq!(peer.route(now), Route::Wait);
        peer.attach(SMALL, 7);
        assert_eq!(peer.route(now), Route::Link(7));
        peer.detach(|&link| link == 7);
        assert!(matches!(peer.route(now), Route::Dial(_)));
    }

    #[test]
    fn a_failure_is_repeated_until_it_is_time_to_try_again() {
        let (mut peer, now) = (peer(), Instant::now());
        peer.route(now);
        peer.failed(unreachable(), now, 0.0);
        assert_eq!(peer.route(now + BACKOFF_MIN / 2), Route::Failed(unreachable()));
        assert!(matches!(peer.route(now + BACKOFF_MIN), Route::Dial(_)));
        peer.failed(unreachable(), now, 0.0);
        assert_eq!(peer.route(now + BACKOFF_MIN), Route::Failed(unreachable()));
        // A new address has not failed yet.
        peer.learn(&["10.0.0.2:7700".parse().unwrap()]);
        assert!(matches!(peer.route(now), Route::Dial(_)));
        assert!((1..100).all(|failures| backoff(failures, 0.0) <= BACKOFF_MAX));
        assert!((1..100).all(|failures| backoff(failures, 1.0) >= BACKOFF_MIN / 2));
    }

    #[test]
    fn a_peer_without_address_is_unknown() {
        let mut peer = PeerState::<u32>::new(LARGE);
        assert_eq!(peer.route(Instant::now()), Route::Failed(OpenError::UnknownAddress { node: LARGE }));
    }

    /// Both ends see the two links in either order and keep the same one.
    #[test]
    fn the_smaller_diallers_link_stays_whatever_the_order() {
        let (mut first, mut second) = (peer(), peer());
        assert_eq!(first.attach(SMALL, 1), None);
        assert_eq!(first.attach(LARGE, 2), Some(2));
        assert_eq!(second.attach(LARGE, 2), None);
        assert_eq!(second.attach(SMALL, 1), Some(2));
        assert_eq!((first.current(), second.current()), (Some(&1), Some(&1)));
        assert_eq!(first.links().copied().collect::<Vec<_>>(), [1, 2]);
        // The loser's end leaves the winner alone.
        first.detach(|&link| link == 2);
        assert_eq!(first.links().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_link_that_the_peer_retires_takes_no_streams() {
        let (mut peer, now) = (peer(), Instant::now());
        peer.attach(LARGE, 1);
        peer.retire(|&link| link == 1);
        assert!(matches!(peer.route(now), Route::Dial(_)));
        assert_eq!(peer.links().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_new_link_of_the_same_dialler_replaces_the_old() {
        let mut peer = peer();
        peer.attach(LARGE, 1);
        assert_eq!(peer.attach(LARGE, 2), Some(1));
        assert_eq!(peer.current(), Some(&2));
    }
}
