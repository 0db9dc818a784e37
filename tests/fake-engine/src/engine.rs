//! The engine behind the API: who makes tokens, and what holds them up.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::Arguments,
    life::Life,
    metrics::{Metrics, Raised},
    script::{Script, Serving},
    subprocess::{Pipe, STEP},
};

/// Between two looks whether an engine that makes no tokens may make some.
const LOOK: Duration = Duration::from_millis(10);

/// A token that is waited for.
pub(crate) type Step = oneshot::Sender<()>;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) arguments: Arguments,
    pub(crate) model: PathBuf,
    pub(crate) max_model_len: u64,
    pub(crate) life: Life,
    pub(crate) metrics: Metrics,
    /// As many sequences run at once.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) asleep: AtomicBool,
    pub(crate) paused: AtomicBool,
    /// A request has met a dead engine, which ends the server at once.
    pub(crate) met_dead: Notify,
    /// No connection is accepted any more.
    pub(crate) closed: CancellationToken,
    steps: mpsc::Sender<Step>,
}

impl Engine {
    /// With the other end of the steps, for [`steps`].
    pub(crate) fn new(arguments: Arguments, max_model_len: u64) -> (Self, mpsc::Receiver<Step>) {
        let (steps, orders) = mpsc::channel(1);
        let engine = Self {
            model: PathBuf::from(&arguments.model),
            max_model_len,
            life: Life::new(),
            metrics: Metrics::default(),
            slots: Arc::new(Semaphore::new(arguments.max_num_seqs)),
            asleep: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            met_dead: Notify::new(),
            closed: CancellationToken::new(),
            arguments,
            steps,
        };
        (engine, orders)
    }

    pub(crate) fn script(&self) -> Script {
        Script::of(&self.model)
    }

    /// One token, once the workers have made it. It never comes of an engine that sleeps, is paused, hangs or is dead.
    pub(crate) async fn token(&self) {
        let _stepping = Raised::new(self.metrics.stepping.clone());
        while self.makes_none() {
            sleep(LOOK).await;
        }
        let (step, done) = oneshot::channel();
        if self.steps.send(step).await.is_err() || done.await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(self.script().pace.token()).await;
    }

    fn makes_none(&self) -> bool {
        self.asleep.load(Relaxed) || self.paused.load(Relaxed) || self.script().serving == Serving::Hangs
    }
}

/// Passes steps to the core, one at a time, and the pipe back when there are no more: a client that hangs up while the
/// core is asked must not leave an answer for the next one.
pub(crate) async fn steps(mut pipe: Pipe, mut orders: mpsc::Receiver<Step>, closed: CancellationToken) -> Pipe {
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = closed.cancelled() => None,
        };
        let Some(step) = order else { return pipe };
        tokio::select! {
            answered = pipe.ask(STEP) => match answered {
                // It may have hung up.
                Ok(()) => drop(step.send(())),
                Err(_) => return pipe,
            },
            () = closed.cancelled() => return pipe,
        }
    }
}
