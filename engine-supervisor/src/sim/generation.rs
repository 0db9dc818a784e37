//! Generating one answer: wait for a slot, then one token after the other, each when its time has come.
//!
//! A generation is driven by whoever reads it and has no task of its own: dropping it, as the server does when the
//! client hangs up, takes it out of the queue or frees its slot at once.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    metrics::{Ended, Gauge, Metrics},
    options::SimOptions,
    request::Job,
    sleep::Bed,
    stop::{Checked, StopBuffer},
};

/// What all generations of one engine share.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) options: SimOptions,
    pub(super) metrics: Metrics,
    pub(super) ready_at: Instant,
    pub(super) stop: CancellationToken,
    pub(super) bed: Arc<Bed>,
    /// tokio's semaphore serves in order of arrival, and forgets who stops waiting.
    slots: Arc<Semaphore>,
}

impl Engine {
    pub(super) fn new(options: SimOptions, stop: CancellationToken) -> Self {
        let slots = usize::try_from(options.max_num_seqs.max(1)).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            metrics: Metrics::default(),
            ready_at: Instant::now() + options.load_time,
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
            options,
            stop,
            bed: Arc::default(),
        }
    }
}

/// A part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some text.
    Text(String),
    /// The end, after all text.
    Finished(Finish),
    /// The engine is being stopped.
    Aborted,
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finish {
    /// As long as was allowed.
    Length,
    /// By itself, or at this stop string.
    Stop(Option<String>),
}

/// One answer on its way.
#[derive(Debug)]
pub(super) struct Generation {
    engine: Arc<Engine>,
    job: Job,
    stops: StopBuffer,
    arrived: Instant,
    running: Option<Slot>,
    /// When the next token is due.
    due: Instant,
    generated: u32,
    finish: Option<Finish>,
    ended: bool,
}

/// A place among the running, with what it holds of the cache.
#[derive(Debug)]
struct Slot {
    engine: Arc<Engine>,
    kv_tokens: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.engine.metrics.running.subtract(1);
        self.engine.metrics.kv_tokens.subtract(self.kv_tokens);
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a Gauge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}

impl Generation {
    pub(super) fn new(engine: Arc<Engine>, mut job: Job) -> Self {
        let now = Instant::now();
        let stops = StopBuffer::new(std::mem::take(&mut job.stops));
        Self { engine, job, stops, arrived: now, running: None, due: now, generated: 0, finish: None, ended: false }
    }

    pub(super) const fn prompt_tokens(&self) -> u32 {
        self.job.prompt_tokens
    }

    /// Tokens so far.
    pub(super) const fn generated(&self) -> u32 {
        self.generated
    }

    /// What is given out before the first token.
    pub(super) fn take_echo(&mut self) -> Option<String> {
        self.job.echo.take()
    }

    /// The next part; nothing follows the end. Not cancel safe: a token can be lost, but then nobody reads on.
    pub(super) async fn next(&mut self) -> Piece {
        let engine = self.engine.clone();
        tokio::select! {
            biased;
            () = engine.stop.cancelled() => Piece::Aborted,
            piece = self.advance() => piece,
        }
    }

    async fn advance(&mut self) -> Piece {
        if self.running.is_none() {
            self.running = Some(self.acquire().await);
            self.due = Instant::now() + self.engine.options.time_to_first_token;
        }
        loop {
            if let Some(finish) = self.finish.clone() {
                let rest = self.stops.finish();
                return if rest.is_empty() { self.end(finish) } else { Piece::Text(rest) };
            }
            sleep_until(self.due).await;
            let text = self.token();
            if !text.is_empty() {
                return Piece::Text(text);
            }
        }
    }

    async fn acquire(&self) -> Slot {
        let metrics = &self.engine.metrics;
        metrics.waiting.add(1);
        let waiting = Waiting(&metrics.waiting);
        // Never closed, so it cannot fail.
        let permit = self.engine.slots.clone().acquire_owned().await.ok();
        self.engine.bed.awake().await;
        drop(waiting);
        let kv_tokens = u64::from(self.job.prompt_tokens);
        metrics.running.add(1);
        metrics.kv_tokens.add(kv_tokens);
        metrics.prompt_tokens.fetch_add(kv_tokens, Relaxed);
        Slot { engine: self.engine.clone(), kv_tokens, _permit: permit }
    }

    /// The text that the next token makes sure; sets `finish` when it is the last.
    fn token(&mut self) -> String {
        if self.job.position.token >= self.job.end {
            self.finish = Some(Finish::Stop(None));
            return String::new();
        }
        self.account();
        let position = &mut self.job.position;
        let token = self.job.text.token(position.token);
        let checked = self.stops.push(&token[position.offset..]);
        position.token += 1;
        position.offset = 0;
        if self.generated >= self.job.max_tokens {
            self.finish = Some(Finish::Length);
        }
        match checked {
            Checked::Text(text) => text,
            Checked::Stopped { text, stop } => {
                self.finish = Some(Finish::Stop(Some(stop)));
                text
            }
        }
    }

    fn account(&mut self) {
        let metrics = &self.engine.metrics;
        let latency = self.engine.options.inter_token_latency;
        match self.generated {
            0 => metrics.time_to_first_token.observe(self.arrived.elapsed()),
            _ => metrics.inter_token.observe(latency),
        }
        self.due += latency;
        self.generated += 1;
        metrics.generation_tokens.fetch_add(1, Relaxed);
        metrics.kv_tokens.add(1);
        if let Some(slot) = &mut self.running {
            slot.kv_tokens += 1;
        }
    }

    fn end(&mut self, finish: Finish) -> Piece {
        self.ended = true;
        self.running = None;
        let ended = if finish == Finish::Length { Ended::Length } else { Ended::Stop };
        self.engine.metrics.ended(ended);
        self.engine.metrics.end_to_end.observe(self.arrived.elapsed());
        Piece::Finished(finish)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            self.engine.metrics.ended(Ended::Abort);
        }
    }
}
