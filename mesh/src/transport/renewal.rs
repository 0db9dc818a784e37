//! Renewing the node's certificate at half of its life: from its own issuing key, or from any issuer that is connected.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use shoal_types::{NodeId, UnixMillis};
use tokio::time::{sleep, timeout};

use super::{
    FrameError, RenewError, Stream,
    link::Link,
    pool::Pool,
    stream::{Opening, SendStream},
};
use crate::{
    clock,
    identity::{Identity, NodeCertificate},
};

/// How often the certificate's age is looked at; also the pause after a failure.
const CHECK: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(5);
/// Two certificates and a reason.
const FRAME_LIMIT: usize = 16 * 1024;

/// The chain in use: a connection may outlive the certificate that it began with.
#[derive(Serialize, Deserialize)]
struct Request {
    chain: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Renewed { chain: Vec<Vec<u8>> },
    Refused { reason: String },
}

/// Looks after the certificate for as long as the node runs.
pub(super) async fn run(pool: Arc<Pool>) {
    loop {
        // Spread over half the interval, so that nodes that started together do not ask together.
        let pause = CHECK.mul_f64(1.0 - rand::random::<f64>() / 2.0);
        tokio::select! {
            () = sleep(pause) => {}
            () = pool.stop.cancelled() => return,
        }
        let certificate = pool.identity.certificate();
        if !certificate.past_half_life(clock::now()) {
            continue;
        }
        match renew(&pool).await {
            Ok(not_after) => tracing::info!(%not_after, "certificate renewed"),
            Err(error) => tracing::warn!(%error, not_after = %certificate.not_after, "certificate not renewed yet"),
        }
    }
}

/// Renews now. Returns until when the new certificate is valid.
pub(super) async fn renew(pool: &Pool) -> Result<UnixMillis, RenewError> {
    if let Some(issuer) = pool.identity.issuer() {
        let now = clock::now();
        pool.identity.replace_chain(issuer.renew(&pool.identity.certificate(), now)?, now)?;
        return Ok(pool.identity.not_after());
    }
    let mut last = RenewError::NoIssuer;
    for link in pool.connected_issuers() {
        let answer = timeout(DEADLINE, ask(&pool.identity, &link)).await;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs()))) {
            Ok(chain) => {
                pool.identity.replace_chain(chain, clock::now())?;
                return Ok(pool.identity.not_after());
            }
            Err(reason) => last = RenewError::Refused { issuer: link.peer.node, reason },
        }
    }
    Err(last)
}

async fn ask(identity: &Identity, link: &Link) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut stream = link.open(Opening::Renewal, link.begin_use()).await.map_err(|error| error.to_string())?;
    let request = Request { chain: identity.chain().iter().map(|certificate| certificate.to_vec()).collect() };
    stream.send.write_frame(&request).await.map_err(|error| error.to_string())?;
    match stream.recv.read_frame_within(FRAME_LIMIT).await {
        Ok(Reply::Renewed { chain }) => Ok(chain.into_iter().map(CertificateDer::from).collect()),
        Ok(Reply::Refused { reason }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

/// The issuer's side, for the peer that `link` proves.
pub(super) async fn answer(pool: &Pool, link: &NodeCertificate, mut stream: Stream) {
    let exchange = async {
        let request: Request = stream.recv.read_frame_within(FRAME_LIMIT).await?;
        let reply = match decide(pool, link, request, clock::now()) {
            Ok(chain) => Reply::Renewed { chain: chain.into_iter().map(|certificate| certificate.to_vec()).collect() },
            Err(reason) => Reply::Refused { reason },
        };
        finish(&mut stream.send, &reply).await
    };
    match timeout(DEADLINE, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(peer = %link.node, %error, "renewal broke off"),
        Err(_) => tracing::debug!(peer = %link.node, "renewal took too long"),
    }
}

fn decide(
    pool: &Pool,
    link: &NodeCertificate,
    request: Request,
    now: UnixMillis,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let node: NodeId = link.node;
    let issuer = pool.identity.issuer().ok_or("it is not an issuer")?;
    if pool.admission.is_revoked(node) {
        return Err("this node is revoked".to_owned());
    }
    let chain: Vec<_> = request.chain.into_iter().map(CertificateDer::from).collect();
    let current = pool.identity.roots().verify(&chain, now).map_err(|error| error.to_string())?;
    if current.key != link.key {
        return Err(format!("the certificate is that of node {}", current.node));
    }
    issuer.renew(&current, now).map_err(|error| error.to_string())
}

async fn finish(send: &mut SendStream, reply: &Reply) -> Result<(), FrameError> {
    use tokio::io::AsyncWriteExt as _;
    send.write_frame(reply).await?;
    Ok(send.shutdown().await?)
}
