//! Mutual TLS 1.3 within the mesh. A dialler names the node that it wants, which WebPKI then checks; the accepting
//! side reads from the certificate who dialled. Only a joining node comes without one, under an ALPN of its own.

use std::sync::Arc;

use quinn::{
    ClientConfig, Connection, ServerConfig,
    crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig},
};
use rustls::{
    SignatureScheme,
    client::{ResolvesClientCert, Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::TLS13,
};

use super::{TransportError, config::EndpointKeys};
use crate::identity::{CertificateError, Identity, NodeCertificate};

/// Between members.
pub(super) const ALPN_MESH: &[u8] = b"shoal/1";
/// Between a member and a host that wants to become one.
pub(super) const ALPN_JOIN: &[u8] = b"shoal-join/1";

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn setup(error: impl std::fmt::Display) -> TransportError {
    TransportError::Setup(error.to_string())
}

/// Gives peers the identity's certificate of the moment, so that a renewed one needs no new endpoint.
#[derive(Debug)]
struct CurrentCertificate(Arc<Identity>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let joining = hello.alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == ALPN_JOIN));
        let credentials = self.0.credentials();
        Some(if joining { credentials.tls_with_root.clone() } else { credentials.tls.clone() })
    }
}

impl ResolvesClientCert for CurrentCertificate {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.credentials().tls.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn server_config(identity: &Arc<Identity>, keys: &EndpointKeys) -> Result<ServerConfig, TransportError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(identity.roots().store(), provider())
        .allow_unauthenticated() // a joining node; `peer` holds all others to a certificate
        .build()
        .map_err(setup)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(CurrentCertificate(identity.clone())));
    tls.alpn_protocols = vec![ALPN_MESH.to_vec(), ALPN_JOIN.to_vec()];
    // A resumed session would carry an old certificate past its expiry.
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(setup)?;
    Ok(ServerConfig::new(Arc::new(crypto), Arc::new(keys.address_tokens.clone())))
}

fn client_config(identity: &Arc<Identity>) -> Result<ClientConfig, TransportError> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(identity.roots().store(), provider()).build().map_err(setup)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(Arc::new(CurrentCertificate(identity.clone())));
    tls.alpn_protocols = vec![ALPN_MESH.to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(setup)?)))
}

/// What TLS between members is made of: all but the roots, which can change.
pub(super) struct TlsSetup {
    pub(super) keys: EndpointKeys,
    pub(super) transport: Arc<quinn::TransportConfig>,
}

impl TlsSetup {
    /// For those who dial this node, and for those whom it dials, by what `identity` trusts at this moment.
    pub(super) fn configs(&self, identity: &Arc<Identity>) -> Result<(ServerConfig, ClientConfig), TransportError> {
        let (mut server, mut client) = (server_config(identity, &self.keys)?, client_config(identity)?);
        server.transport_config(self.transport.clone());
        client.transport_config(self.transport.clone());
        Ok((server, client))
    }
}

/// What an accepted connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Mesh,
    Join,
}

impl Purpose {
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        match data.protocol.as_deref() {
            Some(ALPN_MESH) => Some(Self::Mesh),
            Some(ALPN_JOIN) => Some(Self::Join),
            _ => None,
        }
    }
}

/// The chain that the peer has shown.
pub(super) fn chain(connection: &Connection) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let none = || CertificateError::Untrusted("the peer has shown no certificate".to_owned());
    let chain = connection.peer_identity().ok_or_else(none)?;
    chain.downcast().map(|chain| *chain).map_err(|_| none())
}

/// Who is at the other end of a connection whose handshake has verified the chain.
pub(super) fn peer(connection: &Connection, identity: &Identity) -> Result<NodeCertificate, CertificateError> {
    let none = || CertificateError::Untrusted("the peer has shown no certificate".to_owned());
    let chain = chain(connection)?;
    let certificate = NodeCertificate::parse(chain.first().ok_or_else(none)?)?;
    if certificate.mesh == identity.mesh_id() {
        Ok(certificate)
    } else {
        Err(CertificateError::Untrusted(format!("it is of mesh {}", certificate.mesh)))
    }
}
