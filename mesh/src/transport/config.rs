//! Settings of the QUIC endpoint, and why they are what they are.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{EndpointConfig, MtuDiscoveryConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::{hkdf, hmac};
use socket2::{Domain, Protocol, Socket, Type};

use super::TransportError;
use crate::identity::{Identity, NODE_LIFE};

/// Requests in flight from one peer; quinn's 100 would make the 101st wait.
const BI_STREAMS_MAX: VarInt = VarInt::from_u32(4096);
/// Gossip messages in flight from one peer.
const UNI_STREAMS_MAX: VarInt = VarInt::from_u32(256);
/// What one slow reader may hold of a connection's window.
const STREAM_WINDOW: VarInt = VarInt::from_u32(1 << 20);
const RECEIVE_WINDOW: VarInt = VarInt::from_u32(64 << 20);
const SEND_WINDOW: u64 = 16 << 20;
/// Largest packet that is tried, in bytes, where quinn would stop at those of Ethernet: networks of one provider often carry frames of
/// 9,000 bytes. Each packet is sealed, acknowledged and remembered by itself, and several requests fit into one of these. quinn
/// sends ten at once, of which the kernel takes 65,507 bytes and drops the call whole beyond that.
pub(super) const PACKET_MAX: u16 = 6_550;
/// One socket serves all peers: the kernel's default of 208 KiB overflows in a burst of streams.
pub const SOCKET_BUFFER: usize = 4 << 20;

/// How often a silent connection is tested: twice before anybody takes it for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Where and how the mesh port listens.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// UDP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// After this long without a packet a peer's connection is dead.
    pub idle_timeout: Duration,
    /// On an issuer, how long the certificates live that it gives to nodes.
    pub certificate_life: Duration,
}

impl TransportConfig {
    /// Listens on `listen` with the timing that a mesh is meant to have: 6 s idle, certificates of 72 h.
    pub const fn new(listen: SocketAddr) -> Self {
        Self { listen, idle_timeout: Duration::from_secs(6), certificate_life: NODE_LIFE }
    }

    pub(super) fn quinn(&self) -> Result<Arc<quinn::TransportConfig>, TransportError> {
        let mut config = quinn::TransportConfig::default();
        let idle =
            self.idle_timeout.try_into().map_err(|_| TransportError::Setup("idle timeout too long".to_owned()))?;
        config
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_concurrent_bidi_streams(BI_STREAMS_MAX)
            .max_concurrent_uni_streams(UNI_STREAMS_MAX)
            .stream_receive_window(STREAM_WINDOW)
            .receive_window(RECEIVE_WINDOW)
            .send_window(SEND_WINDOW)
            .datagram_receive_buffer_size(None);
        let mut packets = MtuDiscoveryConfig::default();
        packets.upper_bound(PACKET_MAX);
        config.mtu_discovery_config(Some(packets));
        Ok(Arc::new(config))
    }
}

/// The keys of the endpoint, the same after every restart. With a new reset key *or* new connection ids, a restarted
/// node would leave its peers to their idle timeout; with both kept they learn of it with their next packet.
pub(super) struct EndpointKeys {
    reset: [u8; 32],
    connection_ids: u64,
    pub(super) address_tokens: hkdf::Prk,
}

impl EndpointKeys {
    pub(super) fn of(identity: &Identity) -> Result<Self, TransportError> {
        let ids = expand(&identity.derive("quic connection ids"))?;
        let (ids, _) = ids.as_chunks::<8>();
        Ok(Self {
            reset: expand(&identity.derive("quic stateless reset"))?,
            connection_ids: u64::from_be_bytes(ids[0]),
            address_tokens: identity.derive("quic address tokens"),
        })
    }

    pub(super) fn endpoint_config(&self) -> Result<EndpointConfig, TransportError> {
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset)));
        let too_large = |error| TransportError::Setup(format!("packets of {PACKET_MAX} bytes: {error}"));
        config.max_udp_payload_size(PACKET_MAX).map_err(too_large)?;
        let key = self.connection_ids;
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        Ok(config)
    }
}

fn expand(key: &hkdf::Prk) -> Result<[u8; 32], TransportError> {
    let mut bytes = [0; 32];
    let expanded = key.expand(&[b"key"], hkdf::HKDF_SHA256).and_then(|material| material.fill(&mut bytes));
    expanded.map_err(|_| TransportError::Setup("cannot derive the endpoint's keys".to_owned()))?;
    Ok(bytes)
}

/// A UDP socket with large buffers; what the kernel does not grant, it does not.
pub(super) fn bind(listen: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6()
        && let Err(error) = socket.set_only_v6(false)
    {
        tracing::debug!(%error, "no dual-stack socket: IPv4 peers cannot be reached from this address");
    }
    for (name, result) in
        [("receive", socket.set_recv_buffer_size(SOCKET_BUFFER)), ("send", socket.set_send_buffer_size(SOCKET_BUFFER))]
    {
        if let Err(error) = result {
            tracing::debug!(%error, "cannot enlarge the {name} buffer of the mesh socket");
        }
    }
    socket.bind(&listen.into())?;
    Ok(socket.into())
}
