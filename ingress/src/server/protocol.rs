//! Which protocol a client speaks: by what TLS has agreed on, or by its first bytes.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{client_stream::ClientStream, tls::H2};

/// How a connection over HTTP/2 without TLS begins (RFC 9113, section 3.4), as far as no other request does. Clients send
/// the whole 24 bytes at once; one that sends fewer than these first is taken for one that speaks HTTP/1.1.
const PREFACE: [u8; 3] = *b"PRI";
/// How a connection over TLS begins: the type of a record that holds a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What a client is told that does not speak TLS where nothing else is spoken.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 46\r\n\
    connection: close\r\n\r\nthis port speaks TLS only: ask it by https://\n";
/// Most bytes that are read and thrown away of such a client, so that it sees its answer and no broken connection.
const DISCARD_MAX: usize = 64 << 10;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// That of a client without TLS. Looks at its first bytes and leaves them where they are.
    pub(super) async fn sniff(stream: &TcpStream) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        stream.peek(&mut first).await?;
        Ok(if first == PREFACE { Self::Http2 } else { Self::Http1 })
    }
}

/// Why a client is not spoken to over TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the handshake was not over within {0:?}")]
    TimedOut(Duration),
    #[error("it does not speak TLS")]
    Plain,
    #[error("the handshake: {0}")]
    Io(#[from] io::Error),
}

/// What shakes hands with clients, with a bound on how many at once.
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    room: Arc<Semaphore>,
    /// For one of them, the wait for its turn included.
    within: Duration,
    patience: Duration,
}

impl Handshakes {
    /// At most `limit` at once, each `within` this time; what follows is given up by `patience`.
    pub(super) fn new(acceptor: TlsAcceptor, limit: usize, within: Duration, patience: Duration) -> Self {
        Self { acceptor, room: Arc::new(Semaphore::new(limit)), within, patience }
    }

    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(Protocol, TlsStream<ClientStream<TcpStream>>), HandshakeError> {
        let accepted = tokio::time::timeout(self.within, self.shake_hands(stream)).await;
        let stream = accepted.unwrap_or(Err(HandshakeError::TimedOut(self.within)))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((if is_h2 { Protocol::Http2 } else { Protocol::Http1 }, stream))
    }

    async fn shake_hands(&self, mut stream: TcpStream) -> Result<TlsStream<ClientStream<TcpStream>>, HandshakeError> {
        let mut first = [HANDSHAKE];
        stream.peek(&mut first).await?;
        if first != [HANDSHAKE] {
            refuse(&mut stream).await?;
            return Err(HandshakeError::Plain);
        }
        // Only who has begun is let in, so that silent ones keep nobody out. The semaphore is never closed.
        let _turn = self.room.acquire().await;
        Ok(self.acceptor.accept(ClientStream::new(stream, self.patience)).await?)
    }
}

async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN).await?;
    stream.shutdown().await?;
    let (mut buffer, mut left) = ([0; 1024], DISCARD_MAX);
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
