//! The far end of a tunnel: another node's request to one of this node's replicas.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, uri::PathAndQuery};
use shoal_types::{Backend, ClaimId, Load, NodeId};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    FrameError, FrameReader, FrameWriter, HOPS, NotServing, Outcome, RequestHead, Trailer, Tunnel, TunnelSend, Verdict,
};
use crate::{
    Hop, Ingress,
    admission::{Admitted, Refused},
    api::Api,
    headers::for_engine,
    headroom::slack,
    inflight::Serving,
    traces::TraceContext,
    upstream::{BrokenBody, EngineBody, Head, Outgoing, UpstreamBody, send_local},
    within::within,
};

/// Before that, nothing is done but to get an answer. The other node is not told that its request is accepted, as an answer goes in the
/// same packet; and nothing is watched that ends it: each of those costs more than this timer, and engines that do not think
/// answer sooner. Far less than what the other node waits for.
const LATE_AFTER: Duration = Duration::from_millis(20);

/// Whether an answer takes longer than [`LATE_AFTER`]. Whoever sets it polls those who wait for it.
#[derive(Debug, Default)]
struct Late(AtomicBool);

impl Late {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What comes of `future`, or `None` once it is late.
    async fn before<T>(&self, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.0.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// Why another node's request was not served to its end. For the log: the other node sees it in the stream.
#[derive(Debug, thiserror::Error)]
enum FarEndError {
    #[error("the request did not arrive within {0:?}")]
    NoHead(Duration),
    #[error("refused: {0}")]
    NotServing(NotServing),
    #[error("the request's time is over")]
    TimedOut,
    #[error("the other node gave up")]
    GivenUp,
    #[error("this node stops")]
    CutOff,
    #[error("the stream broke: {0}")]
    Stream(#[from] FrameError),
    #[error(transparent)]
    Answer(#[from] BrokenBody),
}

impl From<std::io::Error> for FarEndError {
    fn from(error: std::io::Error) -> Self {
        Self::Stream(error.into())
    }
}

/// A request that will be tried, and what that takes up.
struct Accepted {
    backend: Arc<Backend>,
    load: Option<Load>,
    deadline: Instant,
    api: Api,
    target: PathAndQuery,
    headers: http::HeaderMap,
    serving: Serving,
    _slot: OwnedSemaphorePermit,
}

impl Ingress {
    /// Serves the request that `from` sends through `tunnel`, until it is answered, given up by the other node, or cut
    /// off by the end of this ingress. It is only ever served by a replica of this node.
    ///
    /// Dropping the future cancels the request at the engine and resets the tunnel.
    pub async fn serve_tunnel(&self, from: NodeId, tunnel: Tunnel) {
        let Tunnel { send, recv } = tunnel;
        let (given_up, arrived) = (send.cancelled(), Instant::now());
        let (mut traced, is_late) = (None, Late::default());
        let served = {
            let mut served = pin!(self.far_end(FrameReader::new(recv), send, &mut traced, &is_late));
            match timeout(LATE_AFTER, served.as_mut()).await {
                Ok(served) => served,
                Err(_) => {
                    is_late.set();
                    tokio::select! {
                        biased;
                        served = served => served,
                        () = given_up => Err(FarEndError::GivenUp),
                        () = self.cut_off.cancelled() => Err(FarEndError::CutOff),
                    }
                }
            }
        };
        if let Err(error) = &served {
            tracing::debug!(node = %from, %error, "serving another node's request");
        }
        if let Some((trace, claim)) = traced {
            let took = arrived.elapsed();
            self.records.add_hop(Hop { trace, from, claim, took, error: served.err().map(|error| error.to_string()) });
        }
    }

    /// Fills in `traced` where the near end records the request.
    async fn far_end(
        &self,
        mut reader: FrameReader,
        send: Box<dyn TunnelSend>,
        traced: &mut Option<(TraceContext, ClaimId)>,
        is_late: &Late,
    ) -> Result<(), FarEndError> {
        let mut send = FrameWriter::new(send);
        let limit = self.config.timeouts.connect;
        let head = within(limit, pin!(reader.frame())).await.map_err(|_| FarEndError::NoHead(limit))?;
        match self.accept(head, traced) {
            Ok(accepted) => {
                let deadline = accepted.deadline;
                let mut answer = Box::pin(self.answer(accepted, &mut reader, &mut send, is_late));
                match is_late.before(answer.as_mut()).await {
                    Some(answered) => answered,
                    None => timeout_at(deadline, answer).await.unwrap_or(Err(FarEndError::TimedOut)),
                }
            }
            Err(reason) => {
                send.frame(&Verdict::NotServing(reason))?;
                send.finish().await?;
                Err(FarEndError::NotServing(reason))
            }
        }
    }

    fn accept(
        &self,
        head: Result<RequestHead<'_>, FrameError>,
        traced: &mut Option<(TraceContext, ClaimId)>,
    ) -> Result<Accepted, NotServing> {
        let head = head.map_err(|error| {
            tracing::warn!(%error, "another node's request cannot be read");
            NotServing::Unreadable
        })?;
        let mut headers = head.headers.into_owned();
        if let Some(trace) = self.records.trace_after(&headers) {
            *traced = Some((trace, head.claim));
            trace.write(&mut headers);
        }
        if head.hop != HOPS {
            return Err(NotServing::Hops);
        }
        if self.is_stopping() {
            return Err(NotServing::Stopping);
        }
        let target: PathAndQuery = head.target.parse().map_err(|_| NotServing::NotInference)?;
        let api = Api::of(target.path()).filter(|_| head.method == Method::POST.as_str());
        let api = api.ok_or(NotServing::NotInference)?;
        let slot = self.tunnels.clone().try_acquire_owned().map_err(|_| NotServing::Full)?;
        // What was never here is not counted either.
        self.routes.load().local(head.claim).ok_or(NotServing::NoSuchReplica)?;
        let serving = self.inflight.of(head.claim).enter();
        // After entering, see `Count::enter`.
        let routes = self.routes.load();
        let replica = routes.local(head.claim).ok_or(NotServing::NoSuchReplica)?;
        let headers = for_engine(headers);
        replica.takes(&headers)?;
        if replica.max_inflight.is_some_and(|limit| serving.requests() > limit + slack(limit)) {
            return Err(NotServing::Full);
        }
        Ok(Accepted {
            backend: Arc::clone(&replica.backend),
            load: replica.load,
            deadline: Instant::now() + replica.timeout.min(Duration::from_millis(head.time_left)),
            api,
            target,
            headers,
            serving,
            _slot: slot,
        })
    }

    async fn answer(
        &self,
        mut accepted: Accepted,
        reader: &mut FrameReader,
        send: &mut FrameWriter,
        is_late: &Late,
    ) -> Result<(), FarEndError> {
        send.frame(&Verdict::Accepted)?;
        let answer = {
            let mut asked = pin!(self.ask_here(&mut accepted, reader));
            match is_late.before(asked.as_mut()).await {
                Some(answer) => answer?,
                None => {
                    send.flush().await?;
                    asked.await?
                }
            }
        };
        match answer {
            Ok((_held, head, body)) => {
                send.frame(&Outcome::answer(head, self.load_beside(&accepted)))?;
                relay(send, body).await?;
                self.conclude(send, &accepted).await
            }
            Err(reason) => fail(send, reason).await,
        }
    }

    /// What the replica begins to answer, and the request's body, as long as it is held; or why there is no answer.
    async fn ask_here(
        &self,
        accepted: &mut Accepted,
        reader: &mut FrameReader,
    ) -> Result<Result<(Admitted, Head, EngineBody), String>, FarEndError> {
        let admitted = match self.receive_body(reader).await? {
            Ok(admitted) => admitted,
            Err(reason) => return Ok(Err(reason)),
        };
        let Accepted { api, target, headers, backend, .. } = accepted;
        let (target, headers) = (target.clone(), std::mem::take(headers));
        let request = Outgoing { api: *api, target, headers, body: admitted.body.clone() };
        let answer = send_local(&self.engines, backend, &request).await;
        Ok(answer.map(|(head, body)| (admitted, head, body)).map_err(|error| error.to_string()))
    }

    /// The whole body, or why this node does not take it.
    async fn receive_body(&self, reader: &mut FrameReader) -> Result<Result<Admitted, String>, FarEndError> {
        let mut gathering = self.admission.gather(0);
        let receive = async {
            while let Some(piece) = reader.raw().await? {
                if let Err(refused) = gathering.push(piece) {
                    return Ok(Some(refused));
                }
            }
            Ok(None)
        };
        let refused = within(self.admission.timeout(), pin!(receive)).await.map_err(|_| FarEndError::TimedOut)?;
        Ok(match refused.map_err(FrameError::Io)? {
            None => Ok(gathering.finish()),
            Some(Refused::TooLarge) => {
                Err(format!("the request is over its node's limit of {} bytes", self.admission.limit()))
            }
            Some(Refused::NoRoom) => Err("its node holds as many request bodies as it may".to_owned()),
        })
    }

    /// The end of a whole answer.
    async fn conclude(&self, send: &mut FrameWriter, accepted: &Accepted) -> Result<(), FarEndError> {
        send.write(&[0; 4]).await?;
        send.frame(&Trailer::from(self.load_beside(accepted)))?;
        Ok(send.finish().await?)
    }

    /// What the replica has to do beside this request.
    fn load_beside(&self, accepted: &Accepted) -> Load {
        let inflight = accepted.serving.requests().saturating_sub(1);
        Load { inflight, ..accepted.load.unwrap_or_default() }
    }
}

/// Tells that there is no answer, and why.
async fn fail(send: &mut FrameWriter, reason: String) -> Result<(), FarEndError> {
    send.frame(&Outcome::Failed(reason))?;
    Ok(send.finish().await?)
}

/// Passes the body of an engine's answer on, each chunk as it arrives; what is there at once goes at once.
async fn relay(send: &mut FrameWriter, body: EngineBody) -> Result<(), FarEndError> {
    let mut body = UpstreamBody::Local(body);
    loop {
        let chunk = match poll_fn(|cx| Poll::Ready(body.poll_chunk(cx))).await {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => {
                send.flush().await?;
                body.chunk().await
            }
        };
        match chunk {
            Some(Ok(chunk)) => write_chunk(send, chunk).await?,
            Some(Err(broken)) => {
                // What came before is the client's, as far as it still arrives.
                send.flush().await?;
                return Err(broken.into());
            }
            None => return Ok(()),
        }
    }
}

async fn write_chunk(send: &mut FrameWriter, chunk: Bytes) -> Result<(), FarEndError> {
    // A chunk of length 0 would be the end; one of 4 GiB is cut.
    for part in chunk.chunks(u32::MAX as usize) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        send.write(&length.to_be_bytes()).await?;
        send.write(part).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, sync::Arc};

    use shoal_types::{ClaimId, UnixMillis};

    use super::*;
    use crate::{IngressConfig, tunnel::Nobody};

    fn head() -> RequestHead<'static> {
        let node = NodeId::from_bytes([1; 16]);
        RequestHead {
            claim: ClaimId { node, generation: UnixMillis::from_millis(1), counter: 1 },
            method: "POST".into(),
            target: "/v1/completions".into(),
            headers: Cow::Owned(http::HeaderMap::new()),
            time_left: 1_000,
            hop: HOPS,
        }
    }

    fn refusal(ingress: &Ingress, head: RequestHead<'_>) -> Option<NotServing> {
        ingress.accept(Ok(head), &mut None).err()
    }

    #[tokio::test]
    async fn only_what_one_node_asks_another_is_taken() {
        let ingress = Ingress::new(IngressConfig::default(), NodeId::from_bytes([1; 16]), Arc::new(Nobody));
        assert_eq!(refusal(&ingress, head()), Some(NotServing::NoSuchReplica));
        assert_eq!(refusal(&ingress, RequestHead { hop: HOPS + 1, ..head() }), Some(NotServing::Hops));
        assert_eq!(refusal(&ingress, RequestHead { method: "GET".into(), ..head() }), Some(NotServing::NotInference));
        for target in ["/sleep", "/v1/completions/../../sleep", "not a path", ""] {
            let head = RequestHead { target: target.into(), ..head() };
            assert_eq!(refusal(&ingress, head), Some(NotServing::NotInference), "{target}");
        }
        assert!(ingress.inflight.is_empty(), "what is not here is not remembered either");
        ingress.stop();
        assert_eq!(refusal(&ingress, head()), Some(NotServing::Stopping));
    }
}
