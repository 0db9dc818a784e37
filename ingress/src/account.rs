//! What is counted and remembered of one request, whichever way it ends.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, Uri};
use shoal_types::{KeyId, UnixMillis};
use tokio::time::Instant;

use crate::{
    Ingress,
    demand::Visit,
    error::RequestError,
    keys::KeyVisit,
    metrics::{Code, Operation, Served, Went},
    pending::Pending,
    records::{RequestRecord, Trail},
    routes::{ReplicaRef, Wanted},
    usage::{Usage, UsageMeter},
};

/// What is known of a request when its head has come.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) id: HeaderValue,
    pub(crate) client: IpAddr,
    pub(crate) uri: Uri,
}

/// The account of one request; it is entered when this is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    ingress: Arc<Ingress>,
    arrival: Arrival,
    trail: Arc<Trail>,
    wanted: Option<Wanted>,
    /// Whose key was shown.
    caller: Option<KeyId>,
    /// How often another replica went on with the answer.
    resumes: u32,
    /// What the endpoint's tally knows of it.
    visit: Option<Visit>,
    /// What counts against the limits of its key.
    key: Option<KeyVisit>,
    stream: bool,
    /// Bytes of the request's body.
    prompt: usize,
    /// When it was ready to be sent to a replica.
    admitted: Option<Instant>,
    meter: UsageMeter,
    /// Bytes of an answer that were passed on.
    sent: u64,
    first_byte: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    status: Option<StatusCode>,
    error: Option<&'static str>,
    served: Served,
    end: End,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Not to its end: if nothing more happens, the client has gone.
    Open,
    /// All of the answer was passed on.
    Finished,
    /// The answer broke off.
    Broken,
}

impl Account {
    /// The account of a request that has just arrived, whose choices are noted in `trail`.
    pub(crate) fn open(ingress: Arc<Ingress>, arrival: Arrival, trail: Arc<Trail>) -> Box<Self> {
        Box::new(Self {
            ingress,
            arrival,
            trail,
            wanted: None,
            caller: None,
            resumes: 0,
            visit: None,
            key: None,
            stream: false,
            prompt: 0,
            admitted: None,
            meter: UsageMeter::default(),
            sent: 0,
            first_byte: None,
            first_token: None,
            last_token: None,
            status: None,
            error: None,
            served: Served::Nowhere,
            end: End::Open,
        })
    }

    /// When it arrived.
    pub(crate) const fn started(&self) -> Instant {
        self.arrival.at
    }

    /// What its client calls it.
    pub(crate) const fn id(&self) -> &HeaderValue {
        &self.arrival.id
    }

    /// Where its choices are noted.
    pub(crate) fn trail(&self) -> Arc<Trail> {
        Arc::clone(&self.trail)
    }

    /// It counts against the limits of the key of `visit`.
    pub(crate) fn by_key(&mut self, visit: KeyVisit) {
        self.key = Some(visit);
    }

    /// It has been read, and an endpoint found for it, at `now`.
    pub(crate) fn routed(&mut self, pending: &Pending, now: Instant) {
        self.wanted = Some(pending.wanted.clone());
        self.caller = pending.caller.key;
        self.visit = Some(Visit::begin(Arc::clone(&pending.tally), now));
        self.stream = pending.stream;
        self.prompt = pending.outgoing.body.len();
        self.admitted = Some(now);
    }

    /// `replica` began to answer with `status` at `now`.
    pub(crate) fn answered(&mut self, status: StatusCode, replica: ReplicaRef, now: Instant) {
        self.status = Some(status);
        self.first_byte = Some(now);
        self.served = served(replica);
        if let Some(visit) = &mut self.visit {
            visit.answered_by(replica.revision);
            visit.series().first_byte(self.stream, now - self.arrival.at);
        }
    }

    /// Which endpoint it is for; empty if it was never said.
    pub(crate) fn endpoint(&self) -> &str {
        self.wanted.as_ref().map(|wanted| wanted.endpoint.as_str()).unwrap_or_default()
    }

    /// The ingress itself answers with `error`.
    pub(crate) const fn refused(&mut self, error: &RequestError) {
        self.status = Some(error.status());
        self.error = Some(error.code());
        self.end = End::Finished;
    }

    /// The whole answer was passed on.
    pub(crate) const fn finished(&mut self) {
        self.end = End::Finished;
    }

    /// `bytes` of a replica's answer are passed on.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        let tokens = self.meter.push(bytes);
        if tokens > 0 {
            self.generated(tokens);
        }
    }

    /// An event of so many bytes is passed on that has the text of a token, and nothing else.
    pub(crate) fn passed_text(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.meter.push_text();
        self.generated(1);
    }

    fn generated(&mut self, tokens: u32) {
        let (now, visit) = (Instant::now(), self.visit.as_ref());
        if let Some(visit) = visit {
            visit.streamed(tokens, now);
        }
        match self.last_token.replace(now) {
            Some(last) => visit.into_iter().for_each(|visit| visit.series().between_tokens(now - last, tokens)),
            None => self.first_token = Some(now),
        }
        if let Some(key) = &mut self.key {
            key.streamed(tokens, now);
        }
    }

    /// All of an answer has been passed on, which is no stream.
    pub(crate) fn passed_value(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        self.meter.push_value(bytes);
        self.finished();
    }

    /// The tokens that it took so far. Nothing before a replica has answered, nor where it answered with an error: what
    /// an engine did for nobody is not counted.
    pub(crate) fn usage(&self) -> Usage {
        match (self.served, self.status) {
            (Served::Local | Served::Remote, Some(status)) if status.is_success() => {
                self.meter.usage(self.prompt, matches!(self.end, End::Finished))
            }
            (Served::Local | Served::Remote | Served::Nowhere, _) => Usage::default(),
        }
    }

    /// The answer broke off.
    pub(crate) const fn broke(&mut self) {
        self.end = End::Broken;
    }

    /// The replica broke the answer off, and `replica` goes on with it.
    pub(crate) fn resumed(&mut self, replica: ReplicaRef) {
        self.served = served(replica);
        self.resumes += 1;
        if let Some(visit) = &mut self.visit {
            visit.broke(Instant::now());
            visit.answered_by(replica.revision);
        }
    }

    /// The replica broke the answer off.
    pub(crate) fn lost(&mut self) {
        self.broke();
        if let Some(visit) = &self.visit {
            visit.broke(Instant::now());
        }
    }

    fn went(&self, now: Instant) -> Went {
        let after = |at: Instant| at - self.arrival.at;
        Went {
            operation: Operation::of(self.arrival.uri.path()),
            code: match (self.end, self.status) {
                (End::Finished, Some(status)) => Code::of(status),
                (End::Broken, _) => Code::Broken,
                (End::Open | End::Finished, _) => Code::Cancelled,
            },
            served: self.served,
            took: after(now),
            first_token: self.first_token.map(after),
            last_token: self.last_token.map(after),
            usage: self.usage(),
        }
    }

    fn record(&mut self, went: &Went) -> RequestRecord {
        let (decisions, now) = (self.trail.take(), self.ingress.records.now());
        let chosen = decisions.iter().find(|decision| decision.chosen.is_some());
        let admitted = self.admitted.map(|at| micros(at - self.arrival.at));
        let queued = chosen.zip(admitted).map(|(chosen, admitted)| chosen.after_us.saturating_sub(admitted));
        let wanted = self.wanted.take();
        let took = u64::try_from(went.took.as_millis()).unwrap_or(u64::MAX);
        RequestRecord {
            id: self.arrival.id.to_str().unwrap_or_default().to_owned(),
            arrived: UnixMillis::from_millis(now.as_millis().saturating_sub(took)),
            client: self.arrival.client,
            key: self.caller,
            path: self.arrival.uri.path().to_owned(),
            operation: went.operation,
            model: wanted.as_ref().and_then(|wanted| wanted.model.clone()),
            endpoint: wanted.map(|wanted| wanted.endpoint),
            stream: self.stream,
            status: self.status.map(|status| status.as_u16()),
            outcome: went.code.into(),
            error: self.error.map(str::to_owned),
            queued_us: queued,
            first_byte_us: self.first_byte.map(|at| micros(at - self.arrival.at)),
            first_token_us: went.first_token.filter(|_| self.stream).map(micros),
            took_us: micros(went.took),
            tokens: went.usage.into(),
            received: self.prompt as u64,
            sent: self.sent,
            resumes: self.resumes,
            decisions,
            trace: self.trail.trace(),
        }
    }
}

const fn served(replica: ReplicaRef) -> Served {
    if replica.is_local { Served::Local } else { Served::Remote }
}

impl Drop for Account {
    fn drop(&mut self) {
        let now = Instant::now();
        let went = self.went(now);
        match &self.visit {
            Some(visit) => visit.series().ended(&went),
            None => self.ingress.metrics.nowhere().ended(&went),
        }
        if let Some(key) = self.key.take() {
            let endpoint: Option<Arc<str>> = self.wanted.as_ref().map(|wanted| wanted.endpoint.as_str().into());
            key.end(endpoint.as_ref(), self.usage(), now);
        }
        let record = self.record(&went);
        self.ingress.records.add(record, now);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
