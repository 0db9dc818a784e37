//! One connection, and the exchange that is under way on it.

use std::{
    fmt,
    future::Future as _,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite as _},
    net::{TcpStream, UnixStream},
    task::coop::unconstrained,
};
use tokio_rustls::client::TlsStream;
use tokio_util::{
    either::Either,
    io::{poll_read_buf, poll_write_buf},
};

use super::{
    Framing, Http1Error,
    head::{self, Answer, Seen},
};
use crate::upstream::{body::RequestBody, request::BackendRequest};

/// Room for what is read next, in bytes: that of many tokens, or of a short answer.
pub(super) const ROOM_MIN: usize = 4 << 10;
/// The same, once reads have filled what there was again and again.
const ROOM_MAX: usize = 256 << 10;
/// Where less is left than this there is new room, so that not each event is read in two.
const ROOM_LEFT_MIN: usize = 1 << 10;

/// Up to so many bytes a body is copied behind its head: the kernel takes one piece with less ado than two.
const JOINED_MAX: usize = 4 << 10;

/// What leads to a backend.
pub(in super::super) type Stream = Either<TcpStream, Either<UnixStream, TlsStream<TcpStream>>>;

pub(in super::super) const fn over_tcp(stream: TcpStream) -> Stream {
    Either::Left(stream)
}

pub(in super::super) const fn over_unix(stream: UnixStream) -> Stream {
    Either::Right(Either::Left(stream))
}

pub(in super::super) const fn over_tls(stream: TlsStream<TcpStream>) -> Stream {
    Either::Right(Either::Right(stream))
}

/// A connection to a backend. Dropped with an exchange under way it is closed, by which the backend knows that it can stop.
pub(in super::super) struct Connection {
    stream: Stream,
    outgoing: Sending,
    /// What has been read, and not been passed on.
    input: BytesMut,
    /// Bytes of the memory that it is a part of.
    allocated: usize,
    seen: Seen,
    room: usize,
}

/// A request on its way out.
#[derive(Default)]
struct Sending {
    /// Its head, and its body if that is short.
    head: Vec<u8>,
    /// How much of that is written.
    written: usize,
    /// What follows.
    body: RequestBody,
    is_under_way: bool,
    /// Why it could not be sent whole.
    failed: Option<io::Error>,
}

/// Without what is sent and read: a service's key, a client's prompt and its answer.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Connection {
    pub(in super::super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            outgoing: Sending::default(),
            input: BytesMut::new(),
            allocated: 0,
            seen: Seen::default(),
            room: ROOM_MIN,
        }
    }

    /// Begins to send `request`; what is left of it goes with the polls for its answer.
    pub(in super::super) fn send(&mut self, request: &BackendRequest<'_>) {
        self.seen = Seen::default();
        self.outgoing.begin(request);
    }

    /// The answer, as soon as its head is there.
    pub(in super::super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Http1Error>> {
        self.outgoing.poll(&mut self.stream, cx);
        loop {
            if let Some(answer) = head::read(&mut self.input, &mut self.seen)? {
                return Poll::Ready(Ok(answer));
            }
            let error = match ready!(self.poll_read(cx)) {
                // That it took the request no more says more than that it closed.
                Ok(0) => self.outgoing.failed.take().unwrap_or_else(closed),
                Ok(_) => continue,
                Err(error) => error,
            };
            let nothing_came = self.input.is_empty() && !self.seen.interim;
            let lost = if nothing_came { Http1Error::NothingCame } else { Http1Error::BrokeOff };
            return Poll::Ready(Err(lost(error)));
        }
    }

    /// The next piece of the answer's body as it arrived, or `None` at its end. `framing` knows how far it has come.
    pub(in super::super) fn poll_chunk(
        &mut self,
        framing: &mut Framing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Http1Error>> {
        // It may have answered before it has taken all.
        self.outgoing.poll(&mut self.stream, cx);
        loop {
            let piece = framing.next(&mut self.input)?;
            if piece.is_some() || framing.is_at_end() {
                return Poll::Ready(Ok(piece));
            }
            match ready!(self.poll_read(cx)).map_err(Http1Error::BrokeOff)? {
                0 if *framing == Framing::UntilClose => return Poll::Ready(Ok(None)),
                0 => return Poll::Ready(Err(Http1Error::BrokeOff(closed()))),
                _ => {}
            }
        }
    }

    /// Whether another request can be sent behind an answer that has come to its end.
    pub(in super::super) fn is_free(&self) -> bool {
        !self.outgoing.is_under_way && self.outgoing.failed.is_none() && self.input.is_empty()
    }

    /// Lets go of the memory that a large exchange has needed.
    pub(in super::super) fn rest(&mut self) {
        if self.allocated > ROOM_MIN {
            (self.input, self.allocated) = (BytesMut::new(), 0);
        }
        self.room = ROOM_MIN;
        // It may have a key in it, and a prompt.
        self.outgoing.head.clear();
        self.outgoing.head.shrink_to(2 * JOINED_MAX);
    }

    /// Whether the backend has neither closed it nor said what nobody asked for. Where nothing has come since the last read, that is no
    /// call of the kernel.
    pub(in super::super) fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let read = match &mut self.stream {
            Either::Left(tcp) => tcp.try_read(&mut byte),
            Either::Right(Either::Left(unix)) => unix.try_read(&mut byte),
            // What has come may be TLS's own.
            Either::Right(Either::Right(tls)) => {
                let mut read = pin!(unconstrained(AsyncReadExt::read(tls, &mut byte)));
                match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(read) => read,
                    Poll::Pending => return true,
                }
            }
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Bytes that there is memory for.
    #[cfg(test)]
    pub(super) const fn allocated(&self) -> usize {
        self.allocated
    }

    /// Reads some of what has come; 0 bytes if no more will.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < ROOM_LEFT_MIN {
            if self.input.is_empty() {
                // To make room in a buffer that was large once would keep it as large as it was.
                self.input = BytesMut::with_capacity(self.room);
            } else {
                self.input.reserve(self.room);
            }
            self.allocated = self.input.capacity();
        }
        let room = self.input.capacity() - self.input.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?;
        if room >= self.room {
            self.room = match read {
                read if read == room => (self.room * 2).min(ROOM_MAX),
                read if read < self.room / 4 => (self.room / 2).max(ROOM_MIN),
                _ => self.room,
            };
        }
        Poll::Ready(Ok(read))
    }
}

impl Sending {
    fn begin(&mut self, request: &BackendRequest<'_>) {
        self.head.clear();
        self.written = 0;
        head::write(request, &mut self.head);
        self.body = request.body.clone();
        if self.body.remaining() <= JOINED_MAX {
            while self.body.has_remaining() {
                self.head.extend_from_slice(self.body.chunk());
                self.body.advance(self.body.chunk().len());
            }
        }
        self.is_under_way = true;
    }

    /// Writes what can be written. Where that fails, the backend may have answered all the same, so it is told by what is read.
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        if self.is_under_way
            && let Poll::Ready(sent) = self.poll_write(stream, cx)
        {
            self.is_under_way = false;
            self.failed = sent.err();
            // The room for bodies is the request's, and it may end before its answer does.
            self.body = RequestBody::default();
        }
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let head = &self.head[self.written..];
            let written = match (head.len(), self.body.remaining()) {
                (0, 0) => return Pin::new(stream).poll_flush(cx),
                (_, 0) => ready!(Pin::new(&mut *stream).poll_write(cx, head))?,
                _ => ready!(poll_write_buf(Pin::new(&mut *stream), cx, &mut Buf::chain(head, &mut self.body)))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written.min(head.len());
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")
}
