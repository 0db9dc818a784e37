//! Between two replicas of one stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use shoal_types::ClaimId;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use crate::{
    Ingress,
    attempt::{Begun, Errand, Opened, Tried},
    error::RequestError,
    pending::Pending,
    resume::{Follower, Splice},
    upstream::Outgoing,
};

/// After so long a client is told that its stream is not forgotten, and then again each time. A change of replicas takes
/// less; what takes more looks to it like a slow engine.
const SILENCE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two looks for a replica, where there was none: it may have gone to another node, or restart. Longer than
/// gossip takes, in all, and few enough that a stream does not become a flood.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What comes of it, and the request, to be kept for the next time.
type Rest = Pin<Box<dyn Future<Output = (Box<Pending>, Result<(Box<Opened>, Splice), String>)> + Send>>;

/// A stream that waits for the replica that goes on with it.
pub(super) struct Resuming {
    pub(super) follower: Box<Follower>,
    rest: Rest,
    heartbeat: Interval,
}

impl fmt::Debug for Resuming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").field("follower", &self.follower).finish_non_exhaustive()
    }
}

/// What happens while a stream waits.
pub(super) enum Waited {
    /// A sign of life for the client.
    Heartbeat(Bytes),
    /// It is over.
    Over(Box<Pending>, Result<(Box<Opened>, Splice), String>),
}

/// What is to be asked, and after whom.
pub(super) struct Ask {
    pub(super) body: Bytes,
    pub(super) splice: Splice,
    pub(super) model: String,
    pub(super) lost: ClaimId,
    pub(super) is_chat: bool,
}

impl Resuming {
    /// Looks for a replica that goes on with what `follower` has followed.
    pub(super) fn new(ingress: Arc<Ingress>, pending: Box<Pending>, follower: Box<Follower>, ask: Ask) -> Self {
        let mut heartbeat = interval_at(Instant::now() + SILENCE, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rest = Box::pin(async move {
            let rest = rest_of(&ingress, &pending, ask).await;
            (pending, rest)
        });
        Self { follower, rest, heartbeat }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        if let Poll::Ready((pending, rest)) = self.rest.as_mut().poll(cx) {
            return Poll::Ready(Waited::Over(pending, rest));
        }
        self.heartbeat
            .poll_tick(cx)
            .map(|_| Waited::Heartbeat(Bytes::from_static(b": looking for another replica\n\n")))
    }
}

/// The rest of an answer, or why nobody gives it.
async fn rest_of(ingress: &Ingress, pending: &Pending, ask: Ask) -> Result<(Box<Opened>, Splice), String> {
    let Ask { body, splice, model, lost, is_chat } = ask;
    let outgoing = Outgoing { body, ..pending.outgoing.clone() };
    let begun = Begun { model: &model, lost, is_chat };
    let errand = Errand { pending, outgoing: &outgoing, queued: Duration::ZERO, rest_of: Some(&begun) };
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match ingress.run(errand, None, Tried::default()).await {
            Ok(opened) if opened.is_token_stream() => return Ok((opened, splice)),
            Ok(opened) => return Err(format!("the next one answered {}", opened.head.status)),
            Err(error) => error,
        };
        match pauses.next().filter(|_| may_pass(&error)) {
            Some(pause) => sleep(pause).await,
            None => return Err(error.to_string()),
        }
    }
}

/// Whether it may be otherwise in a moment.
const fn may_pass(error: &RequestError) -> bool {
    matches!(error, RequestError::NoReadyReplica { .. } | RequestError::Busy { .. } | RequestError::Failed { .. })
}
