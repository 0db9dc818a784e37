//! The body of a stream that is answered late.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use shoal_types::EndpointName;
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use crate::reply::{Aborted, LAST_WORDS, Reply};

/// Between two signs of life. Proxies give up an answer that is silent for a minute (nginx's `proxy_read_timeout`, the
/// idle timeout of AWS's load balancers), some that are set up more strictly after half of one.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What becomes of the wait: a replica's answer, or the last event of the stream.
type Answer = Pin<Box<dyn Future<Output = Result<Reply, Bytes>> + Send>>;

/// A stream of comments, which clients pass over, until a replica answers; then that answer. Dropped, the request is given
/// up.
pub(crate) struct HeldStream {
    phase: Phase,
    comment: Bytes,
    heartbeat: Interval,
}

enum Phase {
    Waiting(Answer),
    Answering(Box<Reply>),
    /// The last event has been given out; the connection ends when this does.
    LastWords(Pin<Box<Sleep>>),
    Ended,
}

impl fmt::Debug for HeldStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldStream").finish_non_exhaustive()
    }
}

impl HeldStream {
    /// A stream that waits for `answer`, which a replica of `endpoint` is to give. It begins with a sign of life.
    pub(super) fn new(endpoint: &EndpointName, answer: Answer) -> Self {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let comment = format!(": waiting for a replica of {endpoint}\n\n").into();
        Self { phase: Phase::Waiting(answer), comment, heartbeat }
    }

    /// What is next for the client.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match &mut self.phase {
                Phase::Waiting(answer) => match answer.as_mut().poll(cx) {
                    Poll::Ready(Ok(reply)) => self.phase = Phase::Answering(Box::new(reply)),
                    Poll::Ready(Err(event)) => {
                        self.phase = Phase::LastWords(Box::pin(sleep(LAST_WORDS)));
                        return Poll::Ready(Some(Ok(Frame::data(event))));
                    }
                    Poll::Pending => {
                        ready!(self.heartbeat.poll_tick(cx));
                        return Poll::Ready(Some(Ok(Frame::data(self.comment.clone()))));
                    }
                },
                Phase::Answering(reply) => return reply.poll_frame(cx),
                Phase::LastWords(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.phase = Phase::Ended;
                    return Poll::Ready(Some(Err(Aborted)));
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, time::Instant};

    use super::*;

    async fn next(stream: &mut HeldStream) -> Option<Result<Bytes, Aborted>> {
        let frame = std::future::poll_fn(|cx| stream.poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_at_once_and_every_five_seconds_until_the_last_event() {
        let (end, ended) = oneshot::channel();
        let answer = Box::pin(async { Err(ended.await.unwrap()) });
        let (mut stream, start) = (HeldStream::new(&"llama".parse().unwrap(), answer), Instant::now());
        for beat in 0..4 {
            let comment = next(&mut stream).await.unwrap().unwrap();
            assert_eq!(comment, ": waiting for a replica of llama\n\n");
            assert_eq!(start.elapsed(), HEARTBEAT * beat);
        }
        end.send(Bytes::from_static(b"data: {}\n\n")).unwrap();
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), "data: {}\n\n");
        assert!(next(&mut stream).await.unwrap().is_err(), "no client takes it for whole");
        assert!(next(&mut stream).await.is_none());
    }
}
