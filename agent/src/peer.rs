//! What nodes ask of each other beside gossip, specs and requests: drains, logs, what clients used and did, and whether a
//! replica serves.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shoal_ingress::RequestRecord;
use shoal_mesh::{InboundStream, Mesh, RecvStream, SendStream, Stream, StreamKind};
use shoal_types::{ClaimId, GpuId, NodeId, UnixMillis};
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tokio_util::io::ReaderStream;
use tracing::debug;

use crate::{
    admin::{Code, LogQuery, Problem, local_logs},
    detail::NodeDetail,
    events::Event,
    history::Point,
    keys::UsageRow,
    node::NodeControl,
    requests::RequestSummary,
};

#[cfg(test)]
mod golden;

/// For one question and its answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// For one more piece of a log to be taken by its reader.
const LOG_WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// A question on an `Admin` stream. Variants are only added at the end.
#[derive(Debug, Serialize, Deserialize)]
enum Question {
    SetDraining(bool),
    /// Answered by `Done`, then the lines until the stream ends.
    Logs {
        claim: ClaimId,
        tail: u32,
        follow: bool,
        previous: bool,
    },
    /// Answered by `Detail`.
    Detail,
    /// An operator says that a GPU is well again.
    ClearFault(GpuId),
    /// Requests with this id that the node's ingress took lately; answered by `Requests`.
    Requests(String),
    /// What clients used on a day and later. Answered by `KeyUsage`, as often as it takes.
    KeyUsage {
        since: u32,
    },
    /// Steps of its ingress that ended after this. Answered by `History`, as often as it takes.
    History {
        after: UnixMillis,
    },
    /// So many of the latest requests that its ingress took; answered by `LatestRequests`.
    LatestRequests {
        limit: u32,
    },
    /// What happened there then and later. Answered by `Events`, as often as it takes.
    Events {
        since: UnixMillis,
    },
    /// That the node ask to be an issuer, or one with a new key. Answered by `IssuerRequest`.
    RequestIssuer,
    /// An issuer grant, for the node's latest request.
    InstallIssuer(String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Done,
    NoLog,
    Failed(String),
    /// A [`NodeDetail`] in JSON, so that either side can be the newer one.
    Detail(String),
    /// A list of [`RequestRecord`] in JSON, for the same reason.
    Requests(String),
    /// Some [`UsageRow`]s in JSON; the last has none.
    KeyUsage(String),
    /// Some [`Point`]s in JSON; the last has none.
    History(String),
    /// A list of [`RequestSummary`] in JSON.
    LatestRequests(String),
    /// Some [`Event`]s in JSON; the last has none.
    Events(String),
    /// An issuer request, as text.
    IssuerRequest(String),
}

/// Rows of usage in one frame, some 150 bytes each.
const ROWS_PER_FRAME: usize = 2_000;
/// Requests in one frame, of at most 1 KiB each.
const REQUESTS_MAX: usize = 500;
/// Points of a history in one frame, of at most 12 KiB each.
const POINTS_PER_FRAME: usize = 60;
/// Events in one frame, of at most 2 KiB each.
const EVENTS_PER_FRAME: usize = 300;
/// Frames of one answer that are read: more than a book of usage, an hour, or a day's events can fill.
const FRAMES_MAX: usize = 100;

/// Asks other nodes; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PeerClient {
    mesh: Arc<Mesh>,
    own: NodeControl,
}

impl PeerClient {
    pub(crate) const fn new(mesh: Arc<Mesh>, own: NodeControl) -> Self {
        Self { mesh, own }
    }

    pub(crate) async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), Problem> {
        self.ask(node, &Question::SetDraining(draining)).await.map(|_| ())
    }

    /// Lines of a replica of another node, as they come.
    pub(crate) async fn logs(
        &self,
        claim: ClaimId,
        query: LogQuery,
    ) -> Result<impl futures_util::Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        let tail = u32::try_from(query.tail).unwrap_or(u32::MAX);
        let recv = self
            .ask(claim.node, &Question::Logs { claim, tail, follow: query.follow, previous: query.previous })
            .await?;
        Ok(ReaderStream::new(recv))
    }

    /// Another node, closely.
    pub(crate) async fn detail(&self, node: NodeId) -> Result<NodeDetail, Problem> {
        match self.exchange(node, &Question::Detail).await? {
            (Reply::Detail(json), _) => serde_json::from_str(&json).map_err(|error| {
                Problem::new(Code::Failed, format!("node {} describes itself in other words: {error}", node.short()))
            }),
            (reply, _) => Err(unasked(node, &reply)),
        }
    }

    /// Requests with this id that another node's ingress took lately.
    pub(crate) async fn requests(&self, node: NodeId, id: &str) -> Result<Vec<Arc<RequestRecord>>, Problem> {
        match self.exchange(node, &Question::Requests(id.to_owned())).await? {
            (Reply::Requests(json), _) => serde_json::from_str(&json).map_err(|error| {
                Problem::new(Code::Failed, format!("node {} tells of requests in other words: {error}", node.short()))
            }),
            (reply, _) => Err(unasked(node, &reply)),
        }
    }

    pub(crate) async fn clear_fault(&self, node: NodeId, gpu: GpuId) -> Result<(), Problem> {
        self.ask(node, &Question::ClearFault(gpu)).await.map(|_| ())
    }

    /// Lets another node ask to be an issuer.
    pub(crate) async fn request_issuer(&self, node: NodeId) -> Result<String, Problem> {
        match self.exchange(node, &Question::RequestIssuer).await? {
            (Reply::IssuerRequest(request), _) => Ok(request),
            (reply, _) => Err(unasked(node, &reply)),
        }
    }

    /// Gives another node what was signed for its latest request.
    pub(crate) async fn install_issuer(&self, node: NodeId, grant: String) -> Result<(), Problem> {
        self.ask(node, &Question::InstallIssuer(grant)).await.map(|_| ())
    }

    /// What clients of another node's ingress used on day `since` and later.
    pub(crate) async fn key_usage(&self, node: NodeId, since: u32) -> Result<Vec<UsageRow>, Problem> {
        let json = |reply: Reply| if let Reply::KeyUsage(json) = reply { Ok(json) } else { Err(reply) };
        self.read_pages(node, &Question::KeyUsage { since }, json).await
    }

    /// The steps of another node's ingress that ended after `after`.
    pub(crate) async fn history(&self, node: NodeId, after: UnixMillis) -> Result<Vec<Arc<Point>>, Problem> {
        let json = |reply: Reply| if let Reply::History(json) = reply { Ok(json) } else { Err(reply) };
        self.read_pages(node, &Question::History { after }, json).await
    }

    /// The latest requests that another node's ingress took, at most `limit`.
    pub(crate) async fn latest_requests(&self, node: NodeId, limit: usize) -> Result<Vec<RequestSummary>, Problem> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.exchange(node, &Question::LatestRequests { limit }).await? {
            (Reply::LatestRequests(json), _) => serde_json::from_str(&json).map_err(|error| {
                Problem::new(Code::Failed, format!("node {} tells of requests in other words: {error}", node.short()))
            }),
            (reply, _) => Err(unasked(node, &reply)),
        }
    }

    /// What happened at another node `since` then.
    pub(crate) async fn events(&self, node: NodeId, since: UnixMillis) -> Result<Vec<Event>, Problem> {
        let json = |reply: Reply| if let Reply::Events(json) = reply { Ok(json) } else { Err(reply) };
        self.read_pages(node, &Question::Events { since }, json).await
    }

    /// The answer to `question` in frames with some items each, of which the last has none; `json` is what is in a frame.
    async fn read_pages<T: DeserializeOwned>(
        &self,
        node: NodeId,
        question: &Question,
        json: impl Fn(Reply) -> Result<String, Reply>,
    ) -> Result<Vec<T>, Problem> {
        let failed = |why: String| Problem::new(Code::Failed, format!("node {} answers in part: {why}", node.short()));
        let (mut reply, mut recv) = self.exchange(node, question).await?;
        let mut items: Vec<T> = Vec::new();
        for _ in 0..FRAMES_MAX {
            let json = json(reply).map_err(|reply| unasked(node, &reply))?;
            let some: Vec<T> = serde_json::from_str(&json).map_err(|error| failed(error.to_string()))?;
            if some.is_empty() {
                return Ok(items);
            }
            items.extend(some);
            let next = timeout(DEADLINE, recv.read_frame()).await;
            reply =
                next.map_err(|_| failed("it took too long".to_owned()))?.map_err(|error| failed(error.to_string()))?;
        }
        Err(failed("it does not end".to_owned()))
    }

    /// Whether `claim` serves and means to go on; no answer is a no.
    pub(crate) async fn serves(&self, node: NodeId, claim: ClaimId) -> bool {
        if node == self.mesh.me() {
            return self.own.serves(claim).await;
        }
        timeout(DEADLINE, self.probe(node, claim)).await.ok().flatten().unwrap_or(false)
    }

    async fn probe(&self, node: NodeId, claim: ClaimId) -> Option<bool> {
        let Stream { mut send, mut recv } = self.mesh.open(node, StreamKind::Probe).await.ok()?;
        send.write_frame(&claim).await.ok()?;
        send.shutdown().await.ok()?;
        recv.read_frame().await.ok()
    }

    /// The rest of the answer, if it begins with `Done`.
    async fn ask(&self, node: NodeId, question: &Question) -> Result<RecvStream, Problem> {
        match self.exchange(node, question).await? {
            (Reply::Done, recv) => Ok(recv),
            (reply, _) => Err(unasked(node, &reply)),
        }
    }

    async fn exchange(&self, node: NodeId, question: &Question) -> Result<(Reply, RecvStream), Problem> {
        let exchange = async {
            let Stream { mut send, mut recv } = self.mesh.open(node, StreamKind::Admin).await.map_err(text)?;
            send.write_frame(question).await.map_err(text)?;
            send.shutdown().await.map_err(text)?;
            let reply: Reply = recv.read_frame().await.map_err(text)?;
            Ok::<_, String>((reply, recv))
        };
        let unreachable =
            |why: String| Problem::new(Code::Unreachable, format!("node {} cannot be asked: {why}", node.short()));
        match timeout(DEADLINE, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(unreachable(why)),
            Err(_) => Err(unreachable(format!("no answer within {DEADLINE:?}"))),
        }
    }
}

/// What is wrong with a reply that is not the one that was asked for.
fn unasked(node: NodeId, reply: &Reply) -> Problem {
    match reply {
        Reply::Failed(why) => Problem::new(Code::Failed, format!("node {} refuses: {why}", node.short())),
        Reply::NoLog => Problem::new(Code::NotFound, "the replica has no log on its node"),
        Reply::Done
        | Reply::Detail(_)
        | Reply::Requests(_)
        | Reply::KeyUsage(_)
        | Reply::History(_)
        | Reply::LatestRequests(_)
        | Reply::Events(_)
        | Reply::IssuerRequest(_) => {
            Problem::new(Code::Failed, format!("node {} answers what was not asked", node.short()))
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Answers one `Admin` or `Probe` stream. Whoever can open one is a member of the mesh.
pub(crate) async fn answer(control: NodeControl, inbound: InboundStream) {
    let InboundStream { from, writes, kind, stream } = inbound;
    let answered = match kind {
        StreamKind::Probe => timeout(DEADLINE, answer_probe(&control, stream)).await.unwrap_or_else(|_| Err(late())),
        _ => answer_question(&control, writes, stream).await,
    };
    if let Err(error) = answered {
        debug!(peer = %from, %error, "A question of a peer broke off");
    }
}

async fn answer_probe(control: &NodeControl, Stream { mut send, mut recv }: Stream) -> io::Result<()> {
    let claim = recv.read_frame().await.map_err(io::Error::other)?;
    send.write_frame(&control.serves(claim).await).await.map_err(io::Error::other)?;
    send.shutdown().await
}

async fn answer_question(control: &NodeControl, writes: bool, Stream { mut send, mut recv }: Stream) -> io::Result<()> {
    let question = timeout(DEADLINE, recv.read_frame()).await.map_err(|_| late())?.map_err(io::Error::other)?;
    match question {
        Question::SetDraining(_)
        | Question::Logs { .. }
        | Question::ClearFault(_)
        | Question::RequestIssuer
        | Question::InstallIssuer(_)
            if !writes =>
        {
            let why = "it joined with a `--no-write` token and may not do this to another node".to_owned();
            send.write_frame(&Reply::Failed(why)).await.map_err(io::Error::other)?;
        }
        Question::SetDraining(draining) => {
            let reply = match control.set_draining(draining).await {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Failed(error.to_string()),
            };
            send.write_frame(&reply).await.map_err(io::Error::other)?;
        }
        Question::Detail => {
            let reply = match serde_json::to_string(&control.detail()) {
                Ok(json) => Reply::Detail(json),
                Err(error) => Reply::Failed(error.to_string()),
            };
            send.write_frame(&reply).await.map_err(io::Error::other)?;
        }
        Question::Requests(id) => {
            let reply = match serde_json::to_string(&control.requests(&id)) {
                Ok(json) => Reply::Requests(json),
                Err(error) => Reply::Failed(error.to_string()),
            };
            send.write_frame(&reply).await.map_err(io::Error::other)?;
        }
        Question::ClearFault(gpu) => {
            let reply = match control.clear_fault(gpu).await {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Failed(error.to_string()),
            };
            send.write_frame(&reply).await.map_err(io::Error::other)?;
        }
        Question::RequestIssuer => {
            let reply = control.request_issuer().await.map_or_else(Reply::Failed, Reply::IssuerRequest);
            send.write_frame(&reply).await.map_err(io::Error::other)?;
        }
        Question::InstallIssuer(grant) => {
            let reply = control.install_issuer(&grant).await.map_or_else(Reply::Failed, |()| Reply::Done);
            send.write_frame(&reply).await.map_err(io::Error::other)?;
        }
        Question::KeyUsage { since } => {
            write_pages(&mut send, &control.key_usage(since), ROWS_PER_FRAME, Reply::KeyUsage).await?;
        }
        Question::History { after } => {
            write_pages(&mut send, &control.history(after), POINTS_PER_FRAME, Reply::History).await?;
        }
        Question::LatestRequests { limit } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(REQUESTS_MAX);
            let json = serde_json::to_string(&control.latest_requests(limit))?;
            send.write_frame(&Reply::LatestRequests(json)).await.map_err(io::Error::other)?;
        }
        Question::Events { since } => {
            write_pages(&mut send, &control.events(since), EVENTS_PER_FRAME, Reply::Events).await?;
        }
        Question::Logs { claim, tail, follow, previous } => {
            let query = LogQuery { tail: usize::try_from(tail).unwrap_or(usize::MAX), follow, previous };
            match local_logs(control, claim, query) {
                Err(_) => send.write_frame(&Reply::NoLog).await.map_err(io::Error::other)?,
                Ok(lines) => {
                    send.write_frame(&Reply::Done).await.map_err(io::Error::other)?;
                    copy(lines, &mut send).await?;
                }
            }
        }
    }
    send.shutdown().await
}

/// `items` in frames of at most `size`, and an empty one.
async fn write_pages<T: Serialize>(
    send: &mut SendStream,
    items: &[T],
    size: usize,
    reply: impl Fn(String) -> Reply,
) -> io::Result<()> {
    for some in items.chunks(size).chain([[].as_slice()]) {
        let sent = timeout(DEADLINE, send.write_frame(&reply(serde_json::to_string(some)?))).await;
        sent.map_err(|_| late())?.map_err(io::Error::other)?;
    }
    Ok(())
}

/// Copies until the log ends or its reader goes.
async fn copy(
    lines: impl futures_util::Stream<Item = io::Result<Bytes>> + Send,
    send: &mut SendStream,
) -> io::Result<()> {
    let mut lines = std::pin::pin!(lines);
    let gone = send.cancelled();
    let mut gone = std::pin::pin!(gone);
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = &mut gone => return Ok(()),
        };
        let Some(line) = line else { return Ok(()) };
        timeout(LOG_WRITE_DEADLINE, send.write_all(&line?)).await.map_err(|_| late())??;
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer took too long")
}
