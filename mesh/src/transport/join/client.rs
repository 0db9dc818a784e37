//! The joining host's side.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use quinn::{ClientConfig, Connection, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{client::Resumption, version::TLS13};
use shoal_types::{NodeId, UnixMillis};
use tokio::time::{Instant, sleep, timeout};

use super::{
    EXPORTER_LABEL, FRAME_LIMIT, JoinError, Reply,
    pin::{PinnedRoot, Verdict},
};
use crate::{
    clock::Skew,
    identity::{
        Admitted, Binding, CLOCK_TOLERANCE, Candidate, CertificateError, Challenge, Identity, JoinRefusal, JoinToken,
        Roots,
    },
    transport::{
        Attempts,
        dial::DIAL_DEADLINE,
        error::CloseCode,
        stream::Stream,
        tls::{ALPN_JOIN, provider},
    },
};

/// Addresses that are tried in all: those of the token, and those that members name.
const ATTEMPTS_MAX: usize = 16;
/// How long one member may take to decide.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// How often a busy issuer is asked again, about a second apart.
const BUSY_RETRIES: u32 = 20;

const SILENCE: &str = "no answer in time; is UDP open on the way?";

/// A host that has become a node.
#[derive(Debug)]
pub struct Joined {
    /// What it is from now on; in its directory too.
    pub identity: Identity,
    /// Who is there already; the issuer first.
    pub peers: Vec<(NodeId, Vec<SocketAddr>)>,
}

/// Joins the mesh of `token` and puts the identity into `dir`. `now` is this host's clock.
///
/// Trying again after any failure is safe: the host keeps its key in `dir`, so that it counts as one use of the token.
///
/// # Errors
/// Why not, and what to do; see [`JoinError`].
pub async fn join(token: &JoinToken, dir: &Path, now: UnixMillis) -> Result<Joined, JoinError> {
    // Blocks on a few small files, at a time when this process does nothing else.
    let candidate = Candidate::prepare(dir, token, now)?;
    let joining = Joining { token, candidate: &candidate, clock: (now, Instant::now()) };
    let mut search = Search::new(token);
    while let Some(address) = search.next() {
        match joining.at(address).await? {
            Outcome::Admitted { admitted, roots, issuer, mut peers } => {
                let identity = candidate.enter(admitted, &roots, joining.now())?;
                peers.retain(|(node, _)| *node != issuer && *node != identity.node_id());
                peers.insert(0, (issuer, vec![address]));
                return Ok(Joined { identity, peers });
            }
            Outcome::Elsewhere { reached, addresses } => search.redirected(reached, &addresses),
            Outcome::Unreachable(reason) => search.failed.push((address, reason)),
            Outcome::Stranger(error) => search.stranger = Some(error),
        }
    }
    Err(search.error())
}

/// Which addresses are left, and what the others came to.
struct Search {
    issuer: NodeId,
    queue: VecDeque<SocketAddr>,
    tried: Vec<SocketAddr>,
    failed: Vec<(SocketAddr, String)>,
    reached: Option<NodeId>,
    stranger: Option<JoinError>,
}

impl Search {
    fn new(token: &JoinToken) -> Self {
        let queue = token.addresses().iter().copied().collect();
        Self { issuer: token.issuer(), queue, tried: Vec::new(), failed: Vec::new(), reached: None, stranger: None }
    }

    fn next(&mut self) -> Option<SocketAddr> {
        while let Some(address) = self.queue.pop_front() {
            if !self.tried.contains(&address) && self.tried.len() < ATTEMPTS_MAX {
                self.tried.push(address);
                return Some(address);
            }
        }
        None
    }

    /// A member knows where the issuer is: those addresses come first.
    fn redirected(&mut self, reached: NodeId, addresses: &[SocketAddr]) {
        self.reached = Some(reached);
        for &address in addresses.iter().take(ATTEMPTS_MAX).rev() {
            self.queue.push_front(address);
        }
    }

    /// The failure that says most.
    fn error(self) -> JoinError {
        let attempts = Attempts(self.failed);
        match (self.reached, self.stranger) {
            (Some(reached), _) => JoinError::NotTheIssuer { reached, issuer: self.issuer, attempts },
            (None, Some(error)) => error,
            (None, None) => JoinError::Unreachable { attempts },
        }
    }
}

/// What one address came to, other than the end of the matter.
enum Outcome {
    Admitted {
        admitted: Admitted,
        roots: Roots,
        issuer: NodeId,
        peers: Vec<(NodeId, Vec<SocketAddr>)>,
    },
    /// A member that cannot admit with this token.
    Elsewhere {
        reached: NodeId,
        addresses: Vec<SocketAddr>,
    },
    Unreachable(String),
    /// Not a member that can be trusted.
    Stranger(JoinError),
}

/// A node of the token's mesh.
struct Member {
    connection: Connection,
    roots: Roots,
    node: NodeId,
    /// See [`Verdict::Member`].
    untimely: Option<CertificateError>,
}

struct Joining<'a> {
    token: &'a JoinToken,
    candidate: &'a Candidate,
    /// This host's clock, and when it was read.
    clock: (UnixMillis, Instant),
}

impl Joining<'_> {
    fn now(&self) -> UnixMillis {
        self.clock.0.plus(self.clock.1.elapsed())
    }

    async fn at(&self, address: SocketAddr) -> Result<Outcome, JoinError> {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let endpoint = Endpoint::client((any, 0).into()).map_err(JoinError::Socket)?;
        let outcome = self.until_answered(&endpoint, address).await;
        endpoint.close(CloseCode::Answered.code(), b"");
        // Lets the close leave, so that the member need not wait for it.
        let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        outcome
    }

    async fn until_answered(&self, endpoint: &Endpoint, address: SocketAddr) -> Result<Outcome, JoinError> {
        for _ in 0..BUSY_RETRIES {
            match self.once(endpoint, address).await {
                Err(JoinError::Refused(JoinRefusal::Busy)) => {
                    sleep(Duration::from_secs(1).mul_f64(0.5 + rand::random::<f64>())).await
                }
                answer => return answer,
            }
        }
        Err(JoinError::Refused(JoinRefusal::Busy))
    }

    async fn once(&self, endpoint: &Endpoint, address: SocketAddr) -> Result<Outcome, JoinError> {
        let Member { connection, roots, node, untimely } = match self.meet(endpoint, address).await {
            Ok(member) => member,
            Err(outcome) => return Ok(outcome),
        };
        let Ok(Ok((challenge, mut stream))) = timeout(EXCHANGE_DEADLINE, challenged(&connection)).await else {
            return Ok(Outcome::Unreachable(
                "it is of the mesh, but broke off: is it overloaded or stopping?".to_owned(),
            ));
        };
        // The clocks come first: an hour's difference explains whatever else looks wrong.
        let skew = Skew::between(self.now(), challenge.time);
        if skew.by > CLOCK_TOLERANCE {
            return Err(JoinError::ClockSkew { address, skew });
        }
        if let Some(error) = untimely {
            return Ok(Outcome::Stranger(JoinError::BadCertificate { address, error }));
        }
        let reply = timeout(EXCHANGE_DEADLINE, self.ask(&connection, &challenge, &mut stream)).await;
        match reply.unwrap_or_else(|_| Err(SILENCE.to_owned())) {
            Ok(Reply::Admitted { admitted, peers }) => Ok(Outcome::Admitted { admitted, roots, issuer: node, peers }),
            Ok(Reply::Refused(JoinRefusal::OtherIssuer { addresses, .. })) => {
                Ok(Outcome::Elsewhere { reached: node, addresses })
            }
            Ok(Reply::Refused(refusal)) => Err(JoinError::Refused(refusal)),
            Err(reason) => Ok(Outcome::Unreachable(reason)),
        }
    }

    /// Connects, and verifies who answers before a byte is sent to it.
    async fn meet(&self, endpoint: &Endpoint, address: SocketAddr) -> Result<Member, Outcome> {
        let pinned = Arc::new(PinnedRoot::new(self.token.root_pin(), self.now()));
        let name = format!("{}.shoal", self.token.mesh_id());
        let connecting = client_config(&pinned)
            .and_then(|config| endpoint.connect_with(config, address, &name).map_err(|error| error.to_string()));
        let connected = timeout(DIAL_DEADLINE, connecting.map_err(Outcome::Unreachable)?).await;
        let connected =
            connected.map_err(|_| SILENCE.to_owned()).and_then(|done| done.map_err(|error| error.to_string()));
        match (connected, pinned.verdict()) {
            (Ok(connection), Some(Verdict::Member { roots, certificate, untimely })) => {
                Ok(Member { connection, roots, node: certificate.node, untimely })
            }
            (_, Some(Verdict::OtherMesh(found))) => {
                Err(Outcome::Stranger(JoinError::OtherMesh { address, expected: self.token.mesh_id(), found }))
            }
            (_, Some(Verdict::Bad(error))) => Err(Outcome::Stranger(JoinError::BadCertificate { address, error })),
            (Err(reason), _) => Err(Outcome::Unreachable(reason)),
            (Ok(_), None) => Err(Outcome::Unreachable("it shows no certificate".to_owned())),
        }
    }

    async fn ask(&self, connection: &Connection, challenge: &Challenge, stream: &mut Stream) -> Result<Reply, String> {
        let nonce = challenge.nonce;
        let mut exporter = [0; 32];
        let exported = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &nonce);
        exported.map_err(|_| "TLS gives no keying material".to_owned())?;
        let request = self.candidate.request(self.token, &Binding { nonce, exporter });
        let request = request.map_err(|error| error.to_string())?;
        stream.send.write_frame(&request).await.map_err(|error| error.to_string())?;
        stream.recv.read_frame_within(FRAME_LIMIT).await.map_err(|error| error.to_string())
    }
}

async fn challenged(connection: &Connection) -> Result<(Challenge, Stream), String> {
    let (send, recv) = connection.accept_bi().await.map_err(|error| error.to_string())?;
    let mut stream = Stream::new(send, recv, None);
    let challenge = stream.recv.read_frame_within(FRAME_LIMIT).await.map_err(|error| error.to_string())?;
    Ok((challenge, stream))
}

fn client_config(pinned: &Arc<PinnedRoot>) -> Result<ClientConfig, String> {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_JOIN.to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?)))
}
