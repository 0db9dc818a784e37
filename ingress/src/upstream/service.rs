//! Connections to the services that gateways stand for.

use std::{io, sync::Arc};

use shoal_types::GatewayTarget;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::http1::{Stream, over_tcp, over_tls};

/// Connects to `target`; over TLS, only to one whose certificate names it. Has no deadline of its own.
pub(super) async fn connect(target: &GatewayTarget, tls: Option<&Arc<ClientConfig>>) -> io::Result<Stream> {
    // URLs have IPv6 addresses in brackets; nothing else does.
    let host = target.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, target.port)).await?;
    stream.set_nodelay(true)?;
    if !target.tls {
        return Ok(over_tcp(stream));
    }
    let tls = tls.ok_or_else(|| io::Error::other("this ingress was given no certificates to check it by"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map(over_tls)
}
