//! Where the API server listens. As in vLLM, the address is taken when it starts, and nothing listens there before the
//! engine is ready: connections are refused until then.

use std::io;

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use crate::arguments::Listen;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// An address that is taken.
pub(crate) enum Bound {
    Uds(UnixSocket),
    Tcp(TcpSocket),
}

/// An address where connections are accepted.
pub(crate) enum Listening {
    Uds(UnixListener),
    Tcp(TcpListener),
}

impl Bound {
    pub(crate) fn take(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Uds(path) => {
                let socket = UnixSocket::new_stream()?;
                // Fails if the file is there, whoever made it.
                socket.bind(path)?;
                Ok(Self::Uds(socket))
            }
            Listen::Tcp { host, port } => {
                let address = Listen::socket_address(host, *port).ok_or(io::ErrorKind::InvalidInput)?;
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                Ok(Self::Tcp(socket))
            }
        }
    }

    pub(crate) fn listen(self) -> io::Result<Listening> {
        match self {
            Self::Uds(socket) => socket.listen(BACKLOG).map(Listening::Uds),
            Self::Tcp(socket) => socket.listen(BACKLOG).map(Listening::Tcp),
        }
    }
}
