//! HTTP/1.1 to a backend, written and read where the request itself is polled.
//!
//! hyper drives each connection from a task of its own, to which a request crosses by one channel and its answer back by two more. That
//! was a sixth of the instructions of a request whose replica is here, and a quarter of those of a token. Heads are parsed by httparse, as by
//! hyper; see RFC 9112 for the rest.

mod chunked;
mod connection;
mod framing;
mod head;

#[cfg(test)]
mod tests;

use std::io;

pub(super) use connection::{Connection, Stream, over_tcp, over_tls, over_unix};
pub(super) use framing::Framing;
pub(super) use head::Answer;

/// Why a backend gave no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http1Error {
    /// Before anything of an answer came, so that nobody can have seen any of it.
    #[error("{0}")]
    NothingCame(#[source] io::Error),
    /// In the midst of it.
    #[error("{0}")]
    BrokeOff(#[source] io::Error),
    #[error("what it sent is not HTTP/1.1: {0}")]
    Parse(#[from] httparse::Error),
    #[error("what it sent is not HTTP/1.1: {0}")]
    Invalid(&'static str),
    #[error("it sent {what} of over {max} bytes")]
    TooLarge { what: &'static str, max: usize },
}
