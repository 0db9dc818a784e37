//! How far the API server's life has come, for all who answer requests.

use tokio::sync::watch;

/// What requests meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Serving,
    /// SIGTERM with a shutdown timeout: what makes tokens goes on, nothing else is answered well.
    Draining,
    /// SIGTERM: streams end with an error.
    Aborting,
    /// SIGTERM gone wrong: streams neither go on nor end.
    Stuck,
    /// The core is gone.
    Dead,
}

/// The stage, and the wait for the next.
#[derive(Debug)]
pub(crate) struct Life(watch::Sender<Stage>);

impl Life {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.0.send_replace(stage);
    }

    /// Until the stage is one of which `reached` holds. Cancel safe.
    pub(crate) async fn until(&self, reached: impl Fn(Stage) -> bool) -> Stage {
        let mut stages = self.0.subscribe();
        let stage = stages.wait_for(|&stage| reached(stage)).await.map(|stage| *stage);
        // The sender is in `self`, so that there is always one.
        stage.unwrap_or(Stage::Dead)
    }
}
