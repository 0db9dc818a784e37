//! What is counted of one request, whichever way it ends.

use std::sync::Arc;

use http::StatusCode;
use shoal_types::EndpointName;
use tokio::time::Instant;

use crate::{
    demand::{Tally, Visit},
    metrics::{Code, Metrics, Served},
    routes::{Place, Replica},
    usage::{Usage, UsageMeter},
};

/// The account of one request; it is entered when this is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    metrics: Metrics,
    endpoint: Option<Arc<str>>,
    /// What the endpoint's tally knows of it.
    visit: Option<Visit>,
    stream: bool,
    /// Bytes of the request's body.
    prompt: usize,
    meter: UsageMeter,
    started: Instant,
    status: Option<StatusCode>,
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
    /// The account of a request that arrived at `started`.
    pub(crate) fn open(metrics: Metrics, started: Instant) -> Self {
        Self {
            metrics,
            endpoint: None,
            visit: None,
            stream: false,
            prompt: 0,
            meter: UsageMeter::default(),
            started,
            status: None,
            served: Served::Nowhere,
            end: End::Open,
        }
    }

    /// It is for `endpoint`, whose `tally` counts it, and has a body of `prompt` bytes.
    pub(crate) fn routed(&mut self, endpoint: &EndpointName, tally: Arc<Tally>, stream: bool, prompt: usize) {
        let endpoint: Arc<str> = endpoint.as_str().into();
        self.metrics.entered(&endpoint);
        self.endpoint = Some(endpoint);
        self.visit = Some(Visit::begin(tally, Instant::now()));
        self.stream = stream;
        self.prompt = prompt;
    }

    /// `replica` began to answer with `status` at `now`.
    pub(crate) fn answered(&mut self, status: StatusCode, replica: &Replica, now: Instant) {
        self.status = Some(status);
        self.served = served(replica);
        if let Some(visit) = &mut self.visit {
            visit.answered_by(replica.revision);
        }
        if let Some(endpoint) = &self.endpoint {
            self.metrics.first_byte(endpoint, self.stream, now - self.started);
        }
    }

    /// Which endpoint it is for; empty if it was never said.
    pub(crate) fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or_default()
    }

    /// The ingress itself answers with `status`.
    pub(crate) const fn refused(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.end = End::Finished;
    }

    /// The whole answer was passed on.
    pub(crate) const fn finished(&mut self) {
        self.end = End::Finished;
    }

    /// `bytes` of a replica's answer are passed on.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        let tokens = self.meter.push(bytes);
        if tokens > 0
            && let Some(visit) = &self.visit
        {
            visit.streamed(tokens, Instant::now());
        }
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
    pub(crate) fn resumed(&mut self, replica: &Replica) {
        self.served = served(replica);
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
}

const fn served(replica: &Replica) -> Served {
    match replica.place {
        Place::Local(_) => Served::Local,
        Place::Remote => Served::Remote,
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let code = match (self.end, self.status) {
            (End::Finished, Some(status)) => Code::of(status),
            (End::Broken, _) => Code::Broken,
            (End::Open | End::Finished, _) => Code::Cancelled,
        };
        let endpoint = self.endpoint.take();
        self.metrics.ended(endpoint.as_ref(), code, self.served, self.started.elapsed());
    }
}
