//! Whether a client's connection has anything to do: one without requests takes up room, and is closed after a while.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// The requests of one connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    live: AtomicUsize,
    begun: AtomicU64,
}

/// One request, as long as it lives.
#[derive(Debug)]
pub(super) struct Live(Activity);

impl Activity {
    /// A request begins.
    pub(super) fn begin(&self) -> Live {
        self.0.live.fetch_add(1, Relaxed);
        self.0.begun.fetch_add(1, Relaxed);
        Live(self.clone())
    }
}

impl Activity {
    /// The client has taken something, of an answer whose request no longer lives. Only for what one task alone begins requests on.
    fn touch(&self) {
        let begun = &self.0.begun;
        begun.store(begun.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.0.live.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer, until whose end the request lives.
#[derive(Debug)]
pub(super) struct LiveBody<B> {
    body: B,
    _live: Live,
}

impl<B> LiveBody<B> {
    pub(super) const fn new(body: B, live: Live) -> Self {
        Self { body, _live: live }
    }
}

impl<B: Body + Unpin> Body for LiveBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's stream: as long as it takes what was written, it is not idle, though the answer is no longer anybody's but hyper's.
#[derive(Debug)]
pub(super) struct ActiveStream<S> {
    stream: S,
    activity: Activity,
}

impl<S> ActiveStream<S> {
    pub(super) const fn new(stream: S, activity: Activity) -> Self {
        Self { stream, activity }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.touch();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ActiveStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ActiveStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The wait for a connection to have had no request for a while. Its timer is not set anew for each request, as that costs more
/// than what else tells how long there was none: it is looked at when it has run out.
#[derive(Debug)]
pub(super) struct Idle {
    activity: Activity,
    limit: Duration,
    /// Since when there has been none, and how many there were by then.
    since: Instant,
    begun: u64,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    /// Of a connection that is new, which may have none for as long as `limit`.
    pub(super) fn new(activity: Activity, limit: Duration) -> Self {
        Self { activity, limit, since: Instant::now(), begun: 0, timer: Box::pin(sleep(limit)) }
    }

    /// Whether it is to be polled; to be asked after whatever can end a request. If not, whoever was told last is told still.
    pub(super) fn is_due(&mut self) -> bool {
        self.look();
        self.timer.is_elapsed()
    }

    /// Ready when there has been no request for so long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.look();
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let until = if self.is_idle() { self.since } else { now } + self.limit;
            if until <= now {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
    }

    fn look(&mut self) {
        let begun = self.activity.0.begun.load(Relaxed);
        if begun != self.begun && self.is_idle() {
            (self.since, self.begun) = (Instant::now(), begun);
        }
    }

    /// Whether there is none now.
    pub(super) fn is_idle(&self) -> bool {
        self.activity.0.live.load(Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::advance,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn is_over(idle: &mut Idle) -> bool {
        poll_fn(|cx| idle.poll(cx)).now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_its_last_request_on() {
        let activity = Activity::default();
        let mut idle = Idle::new(activity.clone(), LIMIT);
        assert!(!is_over(&mut idle) && !idle.is_due());
        advance(LIMIT - SECOND).await;
        let live = activity.begin();
        assert!(!idle.is_due());
        advance(LIMIT * 2).await;
        assert!(idle.is_due() && !is_over(&mut idle), "it has one");
        drop(live);
        assert!(!idle.is_due());
        advance(LIMIT - SECOND).await;
        assert!(!is_over(&mut idle), "it had one a moment ago");
        advance(SECOND).await;
        assert!(idle.is_due() && is_over(&mut idle));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_though_nobody_looks_meanwhile() {
        let activity = Activity::default();
        let mut idle = Idle::new(activity.clone(), LIMIT);
        assert!(!is_over(&mut idle));
        advance(SECOND).await;
        drop(activity.begin());
        idle.is_due();
        let began = Instant::now();
        poll_fn(|cx| idle.poll(cx)).await;
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_what_is_left_of_an_answer_is_not_idle() {
        let activity = Activity::default();
        let mut idle = Idle::new(activity.clone(), LIMIT);
        let (near, mut far) = duplex(1);
        let mut stream = ActiveStream::new(near, activity.clone());
        drop(activity.begin());
        assert!(!is_over(&mut idle));
        for byte in 0..10 {
            advance(LIMIT - SECOND).await;
            stream.write_all(&[byte]).await.unwrap();
            assert!(!is_over(&mut idle));
            assert_eq!(far.read_u8().await.unwrap(), byte);
        }
        advance(LIMIT).await;
        assert!(is_over(&mut idle));
    }
}
