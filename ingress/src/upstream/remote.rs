//! Requests to engines of other nodes: the near end of a tunnel.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use shoal_types::{Load, NodeId};
use tokio::time::{Instant, timeout};

use super::Head;
use crate::{
    choose::Known,
    failure::Failure,
    tunnel::{
        AnswerHeaders, ChunkDecoder, Dial, FrameError, FrameReader, FrameWriter, Outcome, Piece, Tunnel, Verdict, head,
    },
    within::within,
};

/// One attempt at a replica of another node.
pub(crate) struct RemoteCall {
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) node: NodeId,
    /// What the stream begins with: the frame of a [`crate::tunnel::RequestHead`].
    pub(crate) head: Vec<u8>,
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
        let Self { dial, node, head, body, connect, accept, known } = self;
        let opened = within(connect, pin!(dial.open(node))).await;
        let Tunnel { send, recv } = opened.map_err(|_| Failure::DialTimeout(connect))??;
        let mut reader = FrameReader::new(recv);
        let (head, load) = {
            let upload = pin!(upload(FrameWriter::beginning_with(head, send), body));
            let answer = pin!(answer(&mut reader, accept));
            answer_despite(upload, answer).await?
        };
        if let Some(load) = load {
            known.note(load, Instant::now());
        }
        Ok((head, RemoteBody { reader, decoder: ChunkDecoder::default(), ended: false, known }))
    }
}

async fn upload(mut writer: FrameWriter, body: Bytes) -> Result<(), FrameError> {
    writer.write(&body).await?;
    Ok(writer.finish().await?)
}

/// The head of the answer, and the load of its replica; the far end has to say within `patience` that it takes the request.
async fn answer(reader: &mut FrameReader, patience: Duration) -> Result<(Head, Option<Load>), Failure> {
    match timeout(patience, reader.frame()).await.map_err(|_| Failure::NotAccepted(patience))?? {
        Verdict::NotServing(reason) => return Err(Failure::NotServing(reason)),
        Verdict::Accepted => {}
    }
    match reader.frame().await? {
        Outcome::Answer { status, headers: AnswerHeaders { headers, load } } => match head(status, headers) {
            Some(head) => Ok((head, load)),
            None => Err(Failure::RemoteEngine(format!("{status} is no HTTP status"))),
        },
        Outcome::Failed(reason) => Err(Failure::RemoteEngine(reason)),
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
