//! One client's connection: which protocol it speaks, and its end.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    activity::{ActiveStream, Activity, Idle, LiveBody},
    protocol::{Handshakes, Protocol},
    streams::{StreamBody, Streams},
};
use crate::{
    Ingress, IngressConfig,
    client_stream::ClientStream,
    config::{Limits, Timeouts},
    hush::hushed,
    workers,
};

/// Enough to take a body in large pieces, and to hold a head.
const BUFFER: usize = 128 << 10;
/// What HTTP/2 holds of one answer until its client takes it; with the streams of a connection, this bounds what a client
/// can make this node hold.
const SEND_BUFFER: usize = 32 << 10;

/// How clients are let in.
pub(super) struct Door {
    http1: http1::Builder,
    handshakes: Option<Handshakes>,
    pub(super) connections: TaskTracker,
}

impl Door {
    /// As `config` says; what serves clients is in `connections`.
    pub(super) fn new(config: &IngressConfig, connections: TaskTracker) -> Self {
        let IngressConfig { limits, timeouts, tls, .. } = config;
        let handshakes = |acceptor| Handshakes::new(acceptor, limits.handshakes, timeouts.handshake, timeouts.stall);
        Self { http1: http1(limits), handshakes: tls.as_ref().map(|tls| handshakes(tls.acceptor())), connections }
    }
}

impl Ingress {
    /// Serves what comes on `stream` until its client or this ingress ends it.
    pub(super) async fn serve_client(
        self: Arc<Self>,
        door: Arc<Door>,
        stream: std::net::TcpStream,
        client: IpAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a client's connection cannot be waited for"),
        };
        let Timeouts { head, stall, .. } = self.config.timeouts;
        let stopping = self.stopping.clone();
        match &door.handshakes {
            None => match stopping.run_until_cancelled(timeout(head, Protocol::sniff(&stream))).await {
                Some(Ok(Ok(protocol))) => {
                    self.serve_http(&door, protocol, ClientStream::new(stream, stall), client).await;
                }
                Some(Ok(Err(error))) => tracing::debug!(%error, "a client's connection ended before its first byte"),
                Some(Err(_)) | None => {}
            },
            Some(handshakes) => match stopping.run_until_cancelled(Box::pin(handshakes.accept(stream))).await {
                Some(Ok((protocol, stream))) => Box::pin(self.serve_http(&door, protocol, stream, client)).await,
                Some(Err(error)) => tracing::debug!(%error, "a client's connection did not become one over TLS"),
                None => {}
            },
        }
    }

    /// Serves a client within this program, which speaks HTTP/1.1 on `stream`, until it or this ingress ends it. It shows a
    /// key as all do, and is told of as `client`. Cancelling ends its requests.
    pub async fn serve_within<S>(self: Arc<Self>, stream: S, client: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let http = http1(&self.config.limits);
        if let Err(error) = self.serve_http1(&http, stream, client).await {
            tracing::debug!(%error, "a connection within this program ended");
        }
    }

    async fn serve_http<S>(self: Arc<Self>, door: &Door, protocol: Protocol, stream: S, client: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let served = match protocol {
            Protocol::Http1 => self.serve_http1(&door.http1, stream, client).await,
            // Boxed, as is TLS, so that a plain connection does not pay for the size of either.
            Protocol::Http2 => Box::pin(self.serve_http2(door.connections.clone(), stream, client)).await,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a client's connection ended");
        }
    }

    async fn serve_http1<S>(self: Arc<Self>, http: &http1::Builder, stream: S, client: IpAddr) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Activity::default();
        let service = service_fn(|request| {
            let (ingress, request, live) = (Arc::clone(&self), Box::new(request), activity.begin());
            async move {
                let answer = ingress.respond(request, client).await;
                Ok::<_, Infallible>(answer.map(|body| LiveBody::new(body, live)))
            }
        });
        let stream = TokioIo::new(ActiveStream::new(stream, activity.clone()));
        let mut connection = pin!(http.serve_connection(stream, service));
        let mut idle = Idle::new(activity.clone(), self.config.timeouts.head);
        let mut stopping = pin!(self.stopping.cancelled());
        let mut told: Option<[Waker; 2]> = None;
        let served = poll_fn(|cx| {
            let before = told.take().filter(|[waker, _]| waker.will_wake(cx.waker()));
            let is_told = before.is_some();
            let [_, waker] = told.insert(before.unwrap_or_else(|| [cx.waker().clone(), hushed(cx.waker())]));
            let cx = &mut Context::from_waker(waker);
            if let Poll::Ready(served) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(served));
            }
            let is_due = idle.is_due();
            if idle.is_idle() {
                workers::rest();
            }
            // To ask them each time that a byte comes is a lock or two.
            if !is_due && is_told && !self.is_stopping() {
                return Poll::Pending;
            }
            if idle.poll(cx).is_ready() {
                return Poll::Ready(Some(Ok(())));
            }
            stopping.as_mut().poll(cx).map(|()| None)
        });
        if let Some(served) = served.await {
            return served;
        }
        connection.as_mut().graceful_shutdown();
        self.cut_off.run_until_cancelled(connection).await.unwrap_or(Ok(()))
    }

    /// As over HTTP/1.1, each request in a task of its own. A connection without any is closed: it takes up room.
    async fn serve_http2<S>(self: Arc<Self>, tasks: TaskTracker, stream: S, client: IpAddr) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (limits, timeouts) = (&self.config.limits, &self.config.timeouts);
        let activity = Activity::default();
        let mut idle = Idle::new(activity.clone(), timeouts.head);
        let streams = Streams::new(tasks, activity, timeouts.stall);
        let ingress = Arc::clone(&self);
        let service = service_fn(move |request| {
            let (ingress, request) = (Arc::clone(&ingress), Box::new(request));
            async move { Ok::<_, Infallible>(ingress.respond(request, client).await.map(StreamBody::new)) }
        });
        let http = http2(streams, limits, timeouts);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let stopping = self.stopping.child_token();
        tokio::select! {
            served = connection.as_mut() => served,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                self.cut_off.run_until_cancelled(connection).await.unwrap_or(Ok(()))
            }
            () = poll_fn(|cx| {
                // Its streams are tasks of their own, and end where they began.
                workers::rest();
                idle.poll(cx)
            }) => {
                connection.as_mut().graceful_shutdown();
                let ended = timeout(timeouts.stall, connection);
                self.cut_off.run_until_cancelled(ended).await.and_then(Result::ok).unwrap_or(Ok(()))
            }
        }
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Whoever serves it sees that a head does not come.
    http.header_read_timeout(None).max_header_size(limits.head).max_buf_size(limits.head.max(BUFFER));
    http
}

fn http2(streams: Streams, limits: &Limits, timeouts: &Timeouts) -> http2::Builder<Streams> {
    let mut http = http2::Builder::new(streams);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        // A client that is gone without a word is missed although it has nothing to take.
        .keep_alive_interval(timeouts.stall)
        .keep_alive_timeout(timeouts.stall);
    http
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::TokioExecutor;
    use shoal_types::NodeId;
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        net::TcpListener,
        sync::Semaphore,
    };
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::{Auth, tunnel::Nobody, workers::Workers};

    /// The status line of an answer, which is read to its end.
    async fn answer(client: &mut BufReader<TcpStream>) -> String {
        let (mut status, mut line, mut length) = (String::new(), String::new(), 0);
        client.read_line(&mut status).await.unwrap();
        while line != "\r\n" {
            line.clear();
            assert_ne!(client.read_line(&mut line).await.unwrap(), 0, "it broke off behind {status}");
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim_end().parse().unwrap();
            }
        }
        client.read_exact(&mut vec![0; length]).await.unwrap();
        status
    }

    /// A client of one of two workers, and what serves it.
    async fn served() -> (TcpStream, Workers, TaskTracker) {
        let config = IngressConfig { auth: Auth::None, ..IngressConfig::default() };
        let ingress = Ingress::new(config, NodeId::from_bytes([1; 16]), Arc::new(Nobody));
        let (workers, tasks) = (Workers::unbalanced(2), TaskTracker::new());
        let door = Arc::new(Door::new(&ingress.config, tasks.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        workers.spawn(&tasks, ingress.serve_client(door, stream.into_std().unwrap(), peer.ip(), permit));
        (client, workers, tasks)
    }

    async fn ended(workers: Workers, tasks: TaskTracker) {
        tasks.close();
        tasks.wait().await;
        workers.end().await;
    }

    #[tokio::test]
    async fn a_client_is_served_on_by_another_worker_though_it_has_sent_half_of_a_head() {
        let (client, workers, tasks) = served().await;
        let mut client = BufReader::new(client);
        for turn in 0..20 {
            let (from, to) = (turn % 2, 1 - turn % 2);
            workers.let_move();
            workers.move_one(from, to);
            client.write_all(b"GET /v1/models HTTP/1.1\r\nho").await.unwrap();
            workers.until_moved(from).await;
            client.write_all(b"st: here\r\n\r\n").await.unwrap();
            assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK\r\n");
        }
        drop(client);
        ended(workers, tasks).await;
    }

    #[tokio::test]
    async fn a_client_is_served_on_by_another_worker_over_http2() {
        let (client, workers, tasks) = served().await;
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
        let connection = AbortOnDropHandle::new(tasks.spawn(async move { connection.await.unwrap() }));
        for turn in 0..20 {
            let (from, to) = (turn % 2, 1 - turn % 2);
            workers.let_move();
            workers.move_one(from, to);
            let request = Request::get("http://here/v1/models").body(Empty::<Bytes>::new()).unwrap();
            let answer = client.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.unwrap();
            workers.until_moved(from).await;
        }
        drop((client, connection));
        ended(workers, tasks).await;
    }
}
