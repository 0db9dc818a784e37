//! What a running replica waits for beside its process and the clock, and the events that follow.

use std::{fmt, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use shoal_types::{Load, Progress};
use tokio::sync::watch;

use crate::{
    LogReader,
    adapter::{Adapter, Stage},
    lifecycle::{Action, Crash, Event},
    log::LogSource,
    probe::Probe,
};

/// What an engine needs on this node before it can be launched, such as its weights.
pub(crate) trait Prepare: fmt::Debug + Send + Sync {
    /// Makes it be there, and says how far it has come. Asked before each launch; quick where nothing is missing. Its
    /// waits have deadlines of its own. Dropped, it leaves nothing half done that passes for whole.
    fn prepare(&self, progress: watch::Sender<Option<Progress>>) -> BoxFuture<'static, Result<(), Crash>>;
}

/// Whether a replica is needed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Awake,
    Asleep,
}

/// A question to an engine, and what its answer says of the load beside the event.
type Question = BoxFuture<'static, (Event, Option<Load>)>;

/// The open questions of one replica.
pub(crate) struct Questions {
    wanted: watch::Receiver<Wanted>,
    faults: watch::Receiver<Option<String>>,
    /// The question that is open, and the canary beside it.
    question: Option<Question>,
    canary: Option<Question>,
    preparation: Option<Preparation>,
    /// What the engine says, and the number of the first line of this launch.
    said: Option<(LogReader, u64)>,
}

/// A preparation under way.
struct Preparation {
    done: BoxFuture<'static, Result<(), Crash>>,
    progress: watch::Receiver<Option<Progress>>,
}

impl Questions {
    /// Nothing is asked yet. What is sent to the receivers from now on is heard.
    pub(crate) const fn new(wanted: watch::Receiver<Wanted>, faults: watch::Receiver<Option<String>>) -> Self {
        Self { wanted, faults, question: None, canary: None, preparation: None, said: None }
    }

    /// Asks what `action` asks for, if it is a question.
    pub(super) fn ask(&mut self, action: Action, probe: Probe, sleep_level: u8) {
        let question = match action {
            Action::Check => async move { (Event::Checked(probe.check().await), None) }.boxed(),
            Action::Warm => async move { (Event::Warmed(probe.first_token().await), None) }.boxed(),
            Action::Watch => watch_engine(probe).boxed(),
            Action::AskCanary => {
                self.canary = Some(async move { (Event::Canary(probe.canary().await), None) }.boxed());
                return;
            }
            Action::FallAsleep => {
                // It would get no answer any more.
                self.canary = None;
                async move { (Event::Slept(probe.fall_asleep(sleep_level).await), None) }.boxed()
            }
            Action::CheckAsleep => async move { (Event::Slept(probe.sleeps().await), None) }.boxed(),
            Action::WakeUp => async move { (Event::Woken(probe.wake_up(sleep_level).await), None) }.boxed(),
            Action::Prepare | Action::CheckGpus | Action::Launch | Action::Terminate | Action::Kill => return,
        };
        self.question = Some(question);
    }

    pub(super) fn prepare(&mut self, what: Option<&Arc<dyn Prepare>>) -> Option<Event> {
        let Some(what) = what else { return Some(Event::Prepared(Ok(()))) };
        let (sender, progress) = watch::channel(None);
        self.preparation = Some(Preparation { done: what.prepare(sender), progress });
        None
    }

    /// Listens to an engine whose lines in `log` begin with number `first`.
    pub(super) fn listen(&mut self, log: LogReader, first: u64) {
        self.said = Some((log, first));
    }

    /// Asks the engine nothing more.
    pub(super) fn drop_all(&mut self) {
        self.question = None;
        self.canary = None;
        self.said = None;
    }

    /// The next event, and what it says of the load, if it does. Cancel safe. Only `starting` engines are listened to.
    pub(super) async fn next(&mut self, adapter: &dyn Adapter, starting: bool) -> (Event, Option<Load>) {
        tokio::select! {
            answered = answer(&mut self.question) => answered,
            answered = answer(&mut self.canary) => answered,
            event = prepared(&mut self.preparation) => (event, None),
            stage = stage(&mut self.said, adapter), if starting => (Event::Said(stage), None),
            event = wanted(&mut self.wanted) => (event, None),
            fault = fault(&mut self.faults) => (Event::GpuFault(fault), None),
        }
    }
}

async fn watch_engine(probe: Probe) -> (Event, Option<Load>) {
    let (health, pulse) = probe.watch().await;
    let load = pulse.map(|pulse| pulse.load);
    (Event::Watched(health.map(|()| pulse.unwrap_or_default())), Some(load.unwrap_or_default()))
}

/// The answer to an open question, which is then no longer open.
async fn answer(question: &mut Option<Question>) -> (Event, Option<Load>) {
    match question {
        Some(open) => {
            let answer = open.await;
            *question = None;
            answer
        }
        None => std::future::pending().await,
    }
}

async fn prepared(preparation: &mut Option<Preparation>) -> Event {
    let Some(Preparation { done, progress }) = preparation else { return std::future::pending().await };
    let event = tokio::select! {
        result = done => Event::Prepared(result),
        Ok(()) = progress.changed() => return Event::Progressed(*progress.borrow_and_update()),
    };
    *preparation = None;
    event
}

/// The next stage that a line of the engine is the sign of.
async fn stage(said: &mut Option<(LogReader, u64)>, adapter: &dyn Adapter) -> Stage {
    let Some((reader, first)) = said else { return std::future::pending().await };
    while let Some(line) = reader.next().await {
        let is_of_engine = line.number >= *first && line.source != LogSource::Supervisor;
        if let Some(stage) = adapter.stage(&line.text).filter(|_| is_of_engine) {
            return stage;
        }
    }
    std::future::pending().await
}

async fn wanted(wanted: &mut watch::Receiver<Wanted>) -> Event {
    if wanted.changed().await.is_err() {
        // Nobody can say any more; the end of the replica is said in another way.
        return std::future::pending().await;
    }
    match *wanted.borrow_and_update() {
        Wanted::Awake => Event::Wake,
        Wanted::Asleep => Event::Sleep,
    }
}

async fn fault(faults: &mut watch::Receiver<Option<String>>) -> String {
    loop {
        if faults.changed().await.is_err() {
            return std::future::pending().await;
        }
        if let Some(fault) = faults.borrow_and_update().clone() {
            return fault;
        }
    }
}
