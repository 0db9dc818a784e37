//! Renewing the node's certificate at half of its life: by its own issuing key, or by any issuer that can be reached.
//! Connections stay as they are; new ones begin with the new certificate.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use shoal_types::{NodeId, UnixMillis};
use tokio::{
    task::JoinError,
    time::{Instant, sleep, timeout},
};

use super::{
    FrameError, RenewError, Stream,
    link::Use,
    pool::Pool,
    stream::{Opening, SendStream},
};
use crate::{
    clock,
    identity::{IdentityError, Issuer, NodeCertificate},
};

/// How often the certificate's age is looked at, at least; also the pause after a failure.
const CHECK: Duration = Duration::from_secs(60);
/// How often one that is short-lived is looked at.
const CHECKS_PER_LIFE: u32 = 20;
/// Pause between two warnings that a certificate ends.
const COMPLAIN_EVERY: Duration = Duration::from_secs(600);
/// Issuers that are asked in one go.
const ISSUERS_ASKED: usize = 8;
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
    let mut complained: Option<Instant> = None;
    loop {
        let (certificate, now) = (pool.identity.certificate(), clock::now());
        if is_due(&pool, &certificate, now) {
            match renew(&pool).await {
                Ok(not_after) => {
                    complained = None;
                    tracing::info!(%not_after, "certificate renewed");
                }
                Err(error) if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) => {
                    // A node that has just started knows nobody yet, and has half a life left to find an issuer.
                    if certificate.validity().is_ending(now) {
                        complained = Some(Instant::now());
                        tracing::warn!(%error, not_after = %certificate.not_after, "certificate not renewed, and soon over");
                    } else {
                        tracing::debug!(%error, not_after = %certificate.not_after, "certificate not renewed yet");
                    }
                }
                Err(_) => {}
            }
        }
        // Spread over half the interval, so that nodes that started together do not ask together.
        let every = CHECK.min(certificate.validity().life() / CHECKS_PER_LIFE);
        let pause = every.mul_f64(1.0 - rand::random::<f64>() / 2.0);
        tokio::select! {
            () = sleep(pause) => {}
            () = pool.stop.cancelled() => return,
        }
    }
}

/// Whether it is time: at half of its life, and at once if whoever signed it was thrown out, or signs for another root now.
fn is_due(pool: &Pool, certificate: &NodeCertificate, now: UnixMillis) -> bool {
    let Some(issuer) = certificate.issuer else { return certificate.past_half_life(now) };
    let moved = pool.issuer_root(issuer).is_some_and(|root| pool.identity.origin().is_ok_and(|own| own != root));
    certificate.past_half_life(now) || pool.admission.is_revoked(issuer) || moved
}

/// Renews now. Returns until when the new certificate is valid.
pub(super) async fn renew(pool: &Arc<Pool>) -> Result<UnixMillis, RenewError> {
    let own = pool.identity.issuer();
    // What an issuer signs ends with its own certificate: in its last days others do better.
    let lasts = |issuer: &Issuer| clock::now().plus(pool.certificate_life / 2) <= issuer.validity().until;
    if let Some(issuer) = own.as_ref().filter(|issuer| lasts(issuer))
        && let Ok(not_after) = renew_own(pool, issuer).await
    {
        return Ok(not_after);
    }
    match (renew_elsewhere(pool).await, own) {
        (Err(_), Some(issuer)) => renew_own(pool, &issuer).await,
        (renewed, _) => renewed,
    }
}

async fn renew_own(pool: &Pool, issuer: &Issuer) -> Result<UnixMillis, RenewError> {
    let chain = issuer.renew(&pool.identity.certificate(), pool.certificate_life, clock::now())?;
    take(pool, chain).await
}

/// Goes on with `chain`. On a thread that may wait for the disk: connections are driven on this one.
async fn take(pool: &Pool, chain: Vec<CertificateDer<'static>>) -> Result<UnixMillis, RenewError> {
    let identity = Arc::clone(&pool.identity);
    let taken = pool.tasks.spawn_blocking(move || identity.replace_chain(chain, clock::now())).await;
    let cut_short =
        |error: JoinError| IdentityError::Making { what: "the node's certificate", reason: error.to_string() };
    taken.map_err(cut_short)??;
    Ok(pool.identity.not_after())
}

async fn renew_elsewhere(pool: &Arc<Pool>) -> Result<UnixMillis, RenewError> {
    let mut last = RenewError::NoIssuer;
    for issuer in pool.issuers().into_iter().take(ISSUERS_ASKED) {
        let answer = timeout(DEADLINE, ask(pool, issuer)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())));
        let renewed = match answer {
            Ok(chain) => take(pool, chain).await,
            Err(reason) => Err(RenewError::Refused { issuer, reason }),
        };
        match renewed {
            Ok(not_after) => return Ok(not_after),
            // The next may do better: what this one signs may be of a root that counts no more.
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(pool: &Arc<Pool>, issuer: NodeId) -> Result<Vec<CertificateDer<'static>>, String> {
    let (link, link_use) = pool.link(issuer, Use::Stream).await.map_err(|error| error.to_string())?;
    let mut stream = link.open(Opening::Renewal, link_use).await.map_err(|error| error.to_string())?;
    let request = Request { chain: pool.identity.chain().iter().map(|certificate| certificate.to_vec()).collect() };
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
    let issuer = pool.identity.issuer().ok_or("it is not an issuer")?;
    let chain: Vec<_> = request.chain.into_iter().map(CertificateDer::from).collect();
    let current = pool.identity.roots().verify(&chain, now).map_err(|error| error.to_string())?;
    if current.key != link.key {
        return Err(format!("the certificate is that of node {}", current.node));
    }
    if let Some(exclusion) = pool.admission.excludes(&current, now) {
        return Err(exclusion.to_string());
    }
    issuer.renew(&current, pool.certificate_life, now).map_err(|error| error.to_string())
}

async fn finish(send: &mut SendStream, reply: &Reply) -> Result<(), FrameError> {
    use tokio::io::AsyncWriteExt as _;
    send.write_frame(reply).await?;
    Ok(send.shutdown().await?)
}
