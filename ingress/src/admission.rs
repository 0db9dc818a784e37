//! Taking request bodies in, within bounds: each of them, and all of them together.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{Limits, error::RequestError, hush::poll_body, within::within};

/// How long the rest of a body that is too large is read and thrown away. A client that is still sending when the
/// connection closes sees a broken connection instead of the 413.
const DISCARD_FOR: Duration = Duration::from_secs(2);

/// Memory that is taken for a body at most on the mere word of its client, in bytes.
const ANNOUNCED_MAX: usize = 1 << 20;

/// A body, whole and unchanged, and its share of what may be held.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) body: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why more of a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TooLarge,
    NoRoom,
}

/// Room for request bodies.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    limit: usize,
    /// Of all bodies together.
    total: usize,
    room: Arc<Semaphore>,
    timeout: Duration,
}

impl Admission {
    /// Bodies of at most `limits.body` each and `limits.bodies` together, that arrive within `timeout`.
    pub(crate) fn new(limits: &Limits, timeout: Duration) -> Self {
        let room = limits.bodies.max(limits.body).min(Semaphore::MAX_PERMITS);
        Self { limit: limits.body, total: room, room: Arc::new(Semaphore::new(room)), timeout }
    }

    /// The limit of one body in bytes.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether more than half of the room for bodies is taken: then none is kept for longer than it must be.
    pub(crate) fn is_tight(&self) -> bool {
        self.room.available_permits() < self.total / 2
    }

    /// The time that a body has to arrive.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reads the whole body of a client's `request`.
    pub(crate) async fn read(&self, request: &mut Request<Incoming>) -> Result<Admitted, RequestError> {
        let read = within(self.timeout, pin!(self.read_frames(request.body_mut()))).await;
        let result = read.unwrap_or(Err(RequestError::BodyTimeout { within: self.timeout }));
        // One that expects 100 (Continue) sends nothing before it has been asked to.
        if matches!(result, Err(RequestError::BodyTooLarge { .. })) && !request.headers().contains_key(header::EXPECT) {
            let _ = timeout(DISCARD_FOR, discard(request.body_mut(), self.limit)).await;
        }
        result
    }

    async fn read_frames(&self, body: &mut Incoming) -> Result<Admitted, RequestError> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.limit {
            return Err(self.error(Refused::TooLarge));
        }
        let mut gathering = self.gather(announced);
        while let Some(frame) = poll_fn(|cx| poll_body(body, cx)).await {
            if let Ok(data) = frame.map_err(RequestError::BodyBroken)?.into_data() {
                gathering.push(data).map_err(|refused| self.error(refused))?;
            }
            if body.is_end_stream() {
                break;
            }
        }
        Ok(gathering.finish())
    }

    /// Throws the body of a request away that is refused whatever is in it.
    pub(crate) async fn throw_away(&self, mut request: Box<Request<Incoming>>) {
        if !request.headers().contains_key(header::EXPECT) {
            let _ = timeout(DISCARD_FOR, discard(request.body_mut(), self.limit)).await;
        }
    }

    const fn error(&self, refused: Refused) -> RequestError {
        match refused {
            Refused::TooLarge => RequestError::BodyTooLarge { limit: self.limit },
            Refused::NoRoom => RequestError::Overloaded,
        }
    }

    /// A body that is yet to come, in pieces. It is said to be of `announced` bytes; 0 where nothing is said.
    pub(crate) fn gather(&self, announced: usize) -> Gathering<'_> {
        let announced = announced.min(ANNOUNCED_MAX);
        Gathering { admission: self, announced, first: Bytes::new(), joined: BytesMut::new(), room: None }
    }
}

async fn discard(body: &mut Incoming, mut left: usize) {
    while left > 0
        && let Some(Ok(frame)) = body.frame().await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

/// A body that is being received. One that comes in one piece is never copied.
#[derive(Debug)]
pub(crate) struct Gathering<'a> {
    admission: &'a Admission,
    announced: usize,
    first: Bytes,
    joined: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Gathering<'_> {
    /// Adds the next piece.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Refused> {
        if self.first.len() + self.joined.len() + piece.len() > self.admission.limit {
            return Err(Refused::TooLarge);
        }
        self.reserve(piece.len())?;
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = piece;
        } else {
            if self.joined.is_empty() {
                self.joined.reserve(self.announced);
                self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.joined.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Refused> {
        let bytes = u32::try_from(bytes).map_err(|_| Refused::TooLarge)?;
        let room = Arc::clone(&self.admission.room).try_acquire_many_owned(bytes).map_err(|_| Refused::NoRoom)?;
        match &mut self.room {
            Some(held) => held.merge(room),
            None => self.room = Some(room),
        }
        Ok(())
    }

    /// The whole body.
    pub(crate) fn finish(self) -> Admitted {
        let body = if self.joined.is_empty() { self.first } else { self.joined.freeze() };
        Admitted { body, _room: self.room }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(body: usize, bodies: usize) -> Admission {
        Admission::new(&Limits { body, bodies, ..Limits::default() }, Duration::from_secs(1))
    }

    #[test]
    fn pieces_become_the_body_and_a_single_one_is_not_copied() {
        let admission = admission(10, 100);
        let mut one = admission.gather(0);
        let piece = Bytes::from_static(b"abc");
        one.push(piece.clone()).unwrap();
        assert_eq!(one.finish().body.as_ptr(), piece.as_ptr());
        let mut three = admission.gather(0);
        for piece in ["ab", "", "cd", "ef"] {
            three.push(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        assert_eq!(three.finish().body, "abcdef");
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn a_body_and_all_bodies_are_bounded() {
        let admission = admission(10, 15);
        let mut first = admission.gather(0);
        first.push(vec![0; 10].into()).unwrap();
        assert_eq!(first.push(vec![0; 1].into()), Err(Refused::TooLarge));
        let first = first.finish();
        let mut second = admission.gather(0);
        second.push(vec![0; 5].into()).unwrap();
        assert_eq!(second.push(vec![0; 1].into()), Err(Refused::NoRoom));
        drop(first);
        second.push(vec![0; 5].into()).unwrap();
    }
}
