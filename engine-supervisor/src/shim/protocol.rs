//! What a daemon and a shim say to each other, over the socket `run/*.shim` of the state directory (mode 0600).
//!
//! Frames are JSON behind their length (4 bytes, big endian). The first connection is the shim's standard input, and
//! the daemon's first word on it is [`Request::Launch`], after [`Report::Here`] of a shim that it has not started itself; on
//! every later one it is [`Request::Attach`]. The shim answers
//! either with [`Report::Started`], and then tells, in this order: the lines that it still has (500), those that
//! follow, [`Report::Exited`], [`Report::Empty`]. The daemon ends the engine with `Terminate` and `Kill`, and the shim
//! with `Release`, once it knows how the engine ended. One daemon is attached at a time: a new one takes the place of
//! the one before. A daemon that reads slowly misses lines, whose numbers then have a gap; nothing queues up for it.
//!
//! A shim is as old as its engine. A daemon must therefore speak the versions of all shims that may still run: messages
//! and fields are added, never changed.

use std::{io, path::PathBuf, time::Duration};

use bytes::{Buf as _, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::{LogLine, LogSource, process::CommandLine};

/// The version that is spoken here.
pub(crate) const VERSION: u32 = 1;
/// Those of shims that a daemon takes over.
pub(crate) const VERSIONS: std::ops::RangeInclusive<u32> = 1..=VERSION;
/// Longest frame, in bytes. Linux gives a process 2 MiB for arguments and environment, which are numbers in JSON.
const FRAME_MAX: usize = 16 << 20;
/// Bytes of the length before a frame.
const PREFIX: usize = 4;

/// What the daemon says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// Start an engine.
    Launch(LaunchOrder),
    /// Tell about the engine that runs.
    #[serde(rename_all = "camelCase")]
    Attach {
        /// Of the daemon.
        version: u32,
    },
    /// SIGTERM to the engine's process group.
    Terminate,
    /// SIGKILL to everything that the engine forked, and to all that comes of it.
    Kill,
    /// End, once the engine is over.
    Release,
}

/// What to launch. It holds the engine's environment, secrets included: it is never on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LaunchOrder {
    /// The program whose `engine-exec` verb is meant.
    pub(crate) shoal: PathBuf,
    /// What it executes.
    pub(crate) command: CommandLine,
    /// Of the replica, for a shim that was started without it.
    #[serde(default)]
    pub(crate) directory: Option<PathBuf>,
    /// Where the shim listens.
    pub(crate) socket: PathBuf,
    /// How long the engine may run with no daemon attached.
    pub(crate) orphan_grace: Duration,
    /// From SIGTERM to SIGKILL when that is over.
    pub(crate) term_grace: Duration,
}

/// What the shim says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Report {
    /// A shim was started by somebody else than the daemon, as this process, and waits to be told what to launch.
    Here { pid: u32 },
    /// The engine was executed as this process, which leads a process group.
    #[serde(rename_all = "camelCase")]
    Started { version: u32, pid: u32 },
    /// It was not, and the shim ends.
    #[serde(rename_all = "camelCase")]
    NotStarted { errno: Option<i32>, reason: String },
    /// The engine wrote a line.
    #[serde(rename_all = "camelCase")]
    Line { number: u64, source: LogSource, text: String },
    /// The leader ended, with this status of wait(2); its last lines were told.
    #[serde(rename_all = "camelCase")]
    Exited { status: i32 },
    /// Nothing is left of what it forked.
    Empty,
}

impl From<LogLine> for Report {
    fn from(line: LogLine) -> Self {
        Self::Line { number: line.number, source: line.source, text: line.text.to_string() }
    }
}

/// `message` as a frame.
///
/// # Errors
/// If it has no JSON form, or is too long.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; PREFIX];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - PREFIX;
    let prefix = u32::try_from(length).ok().filter(|_| length <= FRAME_MAX).ok_or_else(|| too_long(length))?;
    frame[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame)
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    reader: R,
    received: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, received: BytesMut::new() }
    }

    /// The next message; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// Those of the socket, and a frame that is cut off, too long or no such message; nothing follows then.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.decode()? {
                return Ok(Some(message));
            }
            if self.reader.read_buf(&mut self.received).await? == 0 {
                let whole = self.received.is_empty();
                return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn decode<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(prefix) = self.received.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Err(too_long(length));
        }
        if self.received.len() < PREFIX + length {
            self.received.reserve(PREFIX + length - self.received.len());
            return Ok(None);
        }
        self.received.advance(PREFIX);
        Ok(Some(serde_json::from_slice(&self.received.split_to(length))?))
    }
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes is longer than {FRAME_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_however_they_are_cut() {
        let line = Report::Line { number: 7, source: LogSource::Stderr, text: "ärger".to_owned() };
        let sent = [encode(&line).unwrap(), encode(&Report::Empty).unwrap()].concat();
        let (mut ours, theirs) = tokio::io::duplex(3);
        let writer = async {
            tokio::io::AsyncWriteExt::write_all(&mut ours, &sent).await.unwrap();
            drop(ours);
        };
        let reader = async {
            let mut frames = Frames::new(theirs);
            let first = frames.next::<Report>().await.unwrap().unwrap();
            assert!(matches!(first, Report::Line { number: 7, source: LogSource::Stderr, text } if text == "ärger"));
            assert!(matches!(frames.next().await.unwrap(), Some(Report::Empty)));
            assert!(frames.next::<Report>().await.unwrap().is_none());
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 2, b'{', b'x'], &[0, 0, 0, 9, b'"']] {
            assert!(Frames::new(bytes).next::<Report>().await.is_err(), "{bytes:?}");
        }
    }
}
