//! Requests to engines of other nodes: the near end of a tunnel.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use shoal_types::NodeId;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout},
};

use super::Head;
use crate::{
    choose::Known,
    failure::Failure,
    tunnel::{
        ChunkDecoder, Dial, FrameError, FrameReader, Outcome, Piece, RequestHead, Tunnel, TunnelSend, Verdict,
        frame_writer, head, take_load, write_frame,
    },
    within::within,
};

/// One attempt at a replica of another node.
pub(crate) struct RemoteCall {
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) node: NodeId,
    pub(crate) head: RequestHead,
    pub(crate) body: Bytes,
    /// For the stream to be opened.
    pub(crate) connect: Duration,
    /// For the far end to say that it takes the request.
    pub(crate) accept: Duration,
    /// Learns what the replica says of its load.
    pub(crate) known: Arc<Known>,
}

impl RemoteCall {
    /// Sends the request and returns the head of the answer as soon as that is there. Dropping the future, or the body,
    /// cancels the request at the far end.
    pub(crate) async fn send(self) -> Result<(Head, RemoteBody), Failure> {
        let opened = within(self.connect, pin!(self.dial.open(self.node))).await;
        let Tunnel { send, recv } = opened.map_err(|_| Failure::DialTimeout(self.connect))??;
        let mut reader = FrameReader::new(recv);
        let mut head = {
            let upload = pin!(self.upload(send));
            let answer = pin!(self.answer(&mut reader));
            answer_despite(upload, answer).await?
        };
        if let Some(load) = take_load(&mut head.headers) {
            self.known.note(load, Instant::now());
        }
        let body = RemoteBody { reader, decoder: ChunkDecoder::default(), ended: false, known: self.known };
        Ok((head, body))
    }

    async fn upload(&self, send: Box<dyn TunnelSend>) -> Result<(), FrameError> {
        let mut send = frame_writer(send);
        write_frame(&mut send, &self.head).await?;
        send.write_all(&self.body).await?;
        Ok(send.shutdown().await?)
    }

    async fn answer(&self, reader: &mut FrameReader) -> Result<Head, Failure> {
        match timeout(self.accept, reader.frame()).await.map_err(|_| Failure::NotAccepted(self.accept))?? {
            Verdict::NotServing(reason) => return Err(Failure::NotServing(reason)),
            Verdict::Accepted => {}
        }
        match reader.frame().await? {
            Outcome::Answer { status, headers } => {
                head(status, headers).ok_or_else(|| Failure::RemoteEngine(format!("{status} is no HTTP status")))
            }
            Outcome::Failed(reason) => Err(Failure::RemoteEngine(reason)),
        }
    }
}

/// Runs both, and lets the answer decide: a far end that refuses stops reading the upload, which is then no news.
async fn answer_despite<T>(
    upload: impl Future<Output = Result<(), FrameError>>,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let upload = async {
        if let Err(error) = upload.await {
            tracing::debug!(%error, "sending a request to another node");
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        never = upload => never,
    }
}

/// The body of an answer from another node. Dropped before its end, the far end is told to stop.
#[derive(Debug)]
pub(crate) struct RemoteBody {
    reader: FrameReader,
    decoder: ChunkDecoder,
    ended: bool,
    known: Arc<Known>,
}

impl RemoteBody {
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, FrameError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.reader.poll_piece(&mut self.decoder, cx)) {
            Ok(Piece::Data(data)) => Poll::Ready(Some(Ok(data))),
            Ok(Piece::End(trailer)) => {
                self.ended = true;
                self.known.note(trailer.into(), Instant::now());
                Poll::Ready(None)
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}
