//! Clients that keep the promise's side of the bargain: what fails is tried again.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    select,
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{PATIENCE, client, mesh::ENDPOINT};

/// Time between two requests.
const PACE: Duration = Duration::from_millis(40);
/// One request in so many is a stream of [`STREAM_TOKENS`], three seconds long; the others are short.
const STREAM_EVERY: u32 = 20;
const STREAM_TOKENS: u32 = 60;
/// Short requests that take as long as a stream.
const WARM_UP: usize = 75;
const SHORT_TOKENS: u32 = 2;
/// How often one request is tried, and the pause before it is tried again.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// Requests at once: what hangs must not make an avalanche.
const INFLIGHT_MAX: usize = 512;

/// One request, however often it was tried.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// What went wrong, and when the try began that it went wrong with.
    pub(crate) troubles: Vec<(Instant, String)>,
    pub(crate) failed: bool,
}

/// Requests at a constant pace, until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    done: watch::Receiver<usize>,
    driver: JoinSet<Vec<Served>>,
}

impl Load {
    pub(crate) fn start(ingresses: Vec<SocketAddr>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (progress, done) = watch::channel(0);
        let mut driver = JoinSet::new();
        driver.spawn(drive(ingresses, stopped, progress));
        Self { stop, done, driver }
    }

    /// Waits until the first streams have ended, from when on there are always some that run.
    pub(crate) async fn flows(&self) {
        let enough = |done: &usize| *done > 2 * STREAM_EVERY as usize + WARM_UP;
        let flows = timeout(PATIENCE, self.done.clone().wait_for(enough)).await.map(|done| done.is_ok());
        assert_eq!(flows, Ok(true), "requests are answered within {PATIENCE:?}");
    }

    /// Lets what runs come to its end, and says how everything went.
    pub(crate) async fn stop(mut self) -> Tally {
        self.stop.send_replace(true);
        let served = self.driver.join_next().await.expect("the one driver").expect("it does not panic");
        Tally { served }
    }
}

async fn drive(
    ingresses: Vec<SocketAddr>,
    mut stopped: watch::Receiver<bool>,
    progress: watch::Sender<usize>,
) -> Vec<Served> {
    let mut tick = interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut running, mut done, mut count) = (JoinSet::new(), Vec::new(), 0_u32);
    loop {
        select! {
            _ = tick.tick(), if running.len() < INFLIGHT_MAX => {
                count += 1;
                running.spawn(serve(ingresses.clone(), count.is_multiple_of(STREAM_EVERY)));
            }
            Some(served) = running.join_next() => {
                done.push(served.expect("a client does not panic"));
                progress.send_replace(done.len());
            }
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    done.extend(running.join_all().await);
    done
}

async fn serve(ingresses: Vec<SocketAddr>, stream: bool) -> Served {
    let (began, mut troubles) = (Instant::now(), Vec::new());
    let tokens = if stream { STREAM_TOKENS } else { SHORT_TOKENS };
    for &http in ingresses.iter().cycle().take(TRIES) {
        let at = Instant::now();
        match client::complete(http, ENDPOINT, tokens, stream).await {
            Ok(()) => return Served { began, ended: Instant::now(), troubles, failed: false },
            Err(trouble) => troubles.push((at, format!("{http}, after {:?}: {trouble}", at.elapsed()))),
        }
        sleep(PAUSE).await;
    }
    Served { began, ended: Instant::now(), troubles, failed: true }
}

/// How a load went.
#[derive(Debug)]
pub(crate) struct Tally {
    served: Vec<Served>,
}

impl Tally {
    pub(crate) fn requests(&self) -> usize {
        self.served.len()
    }

    /// Every request was answered whole in the end.
    pub(crate) fn assert_no_failures(&self, who: &str) {
        let failed: Vec<_> = self.served.iter().filter(|served| served.failed).collect();
        assert!(failed.is_empty(), "{who}: {} of {} requests failed: {failed:#?}", failed.len(), self.requests());
    }

    /// No try that began from `from` to `to` went wrong.
    pub(crate) fn assert_untroubled(&self, who: &str, from: Instant, to: Instant) {
        let late: Vec<_> = self.troubles().filter(|(at, _)| (from..to).contains(at)).collect();
        let after = |at: Instant| at.saturating_duration_since(from);
        let late: Vec<_> = late.iter().map(|(at, trouble)| (after(*at), trouble)).collect();
        assert!(late.is_empty(), "{who}: {} tries went wrong that should not have: {late:#?}", late.len());
    }

    /// The longest time from `from` to `to` in which no request came to its end.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let served = self.served.iter().filter(|served| !served.failed).map(|served| served.ended);
        let mut ends: Vec<Instant> = served.filter(|end| (from..to).contains(end)).chain([from, to]).collect();
        ends.sort();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// What it was like, in a line.
    pub(crate) fn summary(&self) -> String {
        let slowest = self.served.iter().map(|served| served.ended - served.began).max().unwrap_or_default();
        format!(
            "{} requests, {} tries went wrong, the slowest took {slowest:.1?}",
            self.requests(),
            self.troubles().count()
        )
    }

    fn troubles(&self) -> impl Iterator<Item = &(Instant, String)> {
        self.served.iter().flat_map(|served| &served.troubles)
    }
}

/// A stream of `tokens` tokens that has begun.
#[derive(Debug)]
pub(crate) struct Held {
    /// The id of the node whose replica answers.
    pub(crate) node: String,
    reader: JoinSet<Result<Ended, String>>,
}

/// A stream that has come to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    /// Without its first piece.
    pub(crate) events: String,
    /// Longest time between two pieces with events; comments are none.
    pub(crate) longest_gap: Duration,
}

/// Begins a stream at `http` that makes twenty tokens a second.
pub(crate) async fn hold(http: SocketAddr, tokens: u32) -> Held {
    let mut answer = client::ask(http, ENDPOINT, tokens, true).await.expect("a stream begins");
    answer.next().await.expect("a first piece");
    let (node, mut reader) = (answer.node.clone(), JoinSet::new());
    reader.spawn(async move {
        let mut ended = Ended { at: Instant::now(), events: String::new(), longest_gap: Duration::ZERO };
        while let Some(piece) = answer.next().await? {
            let piece = String::from_utf8_lossy(&piece);
            if piece.contains("data: ") {
                ended.longest_gap = ended.longest_gap.max(ended.at.elapsed());
                ended.at = Instant::now();
            }
            ended.events.push_str(&piece);
        }
        Ok(ended)
    });
    Held { node, reader }
}

impl Held {
    /// Waits for its end, which must not come early.
    pub(crate) async fn end(mut self) -> Ended {
        let ended = self.reader.join_next().await.expect("the one reader").expect("it does not panic");
        let ended = ended.unwrap_or_else(|error| panic!("a stream from {}: {error}", self.node));
        let events = ended.events.trim_end();
        assert!(events.ends_with("data: [DONE]") && !events.contains("\"error\""), "cut at {}", self.node);
        ended
    }
}

impl Ended {
    /// What the model said, but for the first piece.
    pub(crate) fn text(&self) -> String {
        let events = self.events.lines().filter_map(|line| line.strip_prefix("data: "));
        let json = events.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
        json.filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
    }
}
