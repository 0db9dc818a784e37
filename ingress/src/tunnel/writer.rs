//! Writing frames to a stream.

use std::io;

use serde::Serialize;
use shoal_types::wire;
use tokio::io::AsyncWriteExt as _;

use super::{FrameError, TunnelSend};

/// Most bytes that wait for more: a head and a small body go in one packet. Each write for itself takes the connection's lock and
/// wakes who drives it.
const WAITING_MAX: usize = 4 << 10;
/// Room for most requests and most answers, as the allocator has it: of powers of two it makes fewer at once, and one thread frees what
/// another one took.
const WAITING_USUAL: usize = 7 << 8;

/// The writing half of a tunnel. Nothing is on its way before it is flushed, or finished; whoever gives up one of these gives up the tunnel.
pub(crate) struct FrameWriter {
    send: Box<dyn TunnelSend>,
    waiting: Vec<u8>,
}

impl FrameWriter {
    pub(crate) fn new(send: Box<dyn TunnelSend>) -> Self {
        Self { send, waiting: Vec::with_capacity(WAITING_USUAL) }
    }

    /// What a tunnel is to [begin with](Self::beginning_with), before there is one.
    pub(crate) fn beginning<T: Serialize>(frame: &T) -> Result<Vec<u8>, FrameError> {
        let mut waiting = Vec::with_capacity(WAITING_USUAL);
        wire::append_prefixed(&mut waiting, frame)?;
        Ok(waiting)
    }

    pub(crate) const fn beginning_with(waiting: Vec<u8>, send: Box<dyn TunnelSend>) -> Self {
        Self { send, waiting }
    }

    /// Adds one frame.
    pub(crate) fn frame<T: Serialize>(&mut self, frame: &T) -> Result<(), FrameError> {
        Ok(wire::append_prefixed(&mut self.waiting, frame)?)
    }

    /// Adds `bytes`. Waits as long as the other end makes it, where they are too many to wait here.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.waiting.len() + bytes.len() > WAITING_MAX {
            self.flush().await?;
            if bytes.len() > WAITING_MAX {
                return self.send.write_all(bytes).await;
            }
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what waits off.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.send.write_all(&self.waiting).await?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Sends what waits off, and the end.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.send.shutdown().await
    }
}
