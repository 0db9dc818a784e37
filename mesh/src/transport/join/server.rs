//! The member's side: asks the issuing key, if this node has one, or says who has it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::Connection;
use tokio::{
    io::AsyncWriteExt as _,
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{EXPORTER_LABEL, FRAME_LIMIT, Reply};
use crate::{
    clock,
    identity::{Admitted, Binding, Challenge, JoinRefusal, JoinRequest, random},
    transport::{error::CloseCode, pool::Pool, stream::Stream},
};

/// Joins under way at once.
const JOINS_MAX: usize = 64;
/// Admissions per second: each is a signature and an fsync.
const ADMISSIONS_PER_SECOND: f64 = 5.0;
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the node may take to hang up once it has its answer.
const FAREWELL: Duration = Duration::from_secs(2);
/// Peers that a new node is told of; gossip tells it the rest.
const PEERS_TOLD: usize = 64;

/// Answers hosts that want to join.
#[derive(Debug)]
pub(in crate::transport) struct JoinServer {
    pool: Arc<Pool>,
    joins: Semaphore,
    rate: Arc<Mutex<TokenBucket>>,
}

impl JoinServer {
    pub(in crate::transport) fn new(pool: Arc<Pool>) -> Self {
        let rate = Arc::new(Mutex::new(TokenBucket::new(ADMISSIONS_PER_SECOND, Instant::now())));
        Self { pool, joins: Semaphore::new(JOINS_MAX), rate }
    }

    /// Serves one connection to its end.
    pub(in crate::transport) async fn serve(&self, connection: Connection) {
        let address = connection.remote_address();
        let exchange = async {
            let Ok(_permit) = self.joins.try_acquire() else { return Err("too many hosts join at once".to_owned()) };
            let node =
                timeout(DEADLINE, self.exchange(&connection)).await.map_err(|_| "it took too long".to_owned())?;
            let _ = timeout(FAREWELL, connection.closed()).await; // it hangs up once it has the answer
            node
        };
        tokio::select! {
            outcome = exchange => match outcome {
                Ok(()) => {}
                Err(reason) => tracing::info!(%address, reason, "a host did not join"),
            },
            () = self.pool.stop.cancelled() => {}
        }
        connection.close(CloseCode::Answered.code(), b"");
    }

    async fn exchange(&self, connection: &Connection) -> Result<(), String> {
        let (send, recv) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let mut stream = Stream::new(send, recv, None);
        let nonce = random().map_err(|error| error.to_string())?;
        let challenge = Challenge { time: clock::now(), nonce };
        stream.send.write_frame(&challenge).await.map_err(|error| error.to_string())?;
        let request = stream.recv.read_frame_within(FRAME_LIMIT).await.map_err(|error| error.to_string())?;
        let mut exporter = [0; 32];
        let exported = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &nonce);
        exported.map_err(|_| "TLS gives no keying material".to_owned())?;
        let reply = self.reply(request, Binding { nonce, exporter }).await;
        stream.send.write_frame(&reply).await.map_err(|error| error.to_string())?;
        stream.send.shutdown().await.map_err(|error| error.to_string())
    }

    async fn reply(&self, request: JoinRequest, binding: Binding) -> Reply {
        let node = request.node();
        match self.admit(request, binding).await {
            Ok(admitted) => {
                tracing::info!(%node, "a node was admitted");
                Reply::Admitted { admitted, peers: self.pool.directory(PEERS_TOLD) }
            }
            Err(refusal) => {
                tracing::info!(%node, %refusal, "a node was not admitted");
                Reply::Refused(refusal)
            }
        }
    }

    async fn admit(&self, request: JoinRequest, binding: Binding) -> Result<Admitted, JoinRefusal> {
        let me = self.pool.identity.node_id();
        if let Some(issuer) = request.issuer().filter(|&issuer| issuer != me) {
            return Err(JoinRefusal::OtherIssuer { issuer, addresses: self.pool.addresses(issuer) });
        }
        let (pool, rate) = (self.pool.clone(), self.rate.clone());
        // Signs, and waits for the ledger's disk.
        let decided = self.pool.tasks.spawn_blocking(move || {
            let Some(issuer) = pool.identity.issuer() else {
                return Err(JoinRefusal::Failed("it has lost its issuing key".to_owned()));
            };
            let now = clock::now();
            // Only who holds a token counts against the rate, so that others cannot use it up.
            issuer.check(&request, &binding, now)?;
            if !rate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
                return Err(JoinRefusal::Busy);
            }
            if pool.admission.is_revoked(request.node()) {
                return Err(JoinRefusal::NodeRevoked { node: request.node() });
            }
            issuer.admit(&request, &binding, pool.admission.tokens(), pool.certificate_life, now)
        });
        decided.await.unwrap_or_else(|error| Err(JoinRefusal::Failed(error.to_string())))
    }
}

/// Lets `rate` through per second, and as many at once.
#[derive(Debug)]
struct TokenBucket {
    rate: f64,
    level: f64,
    filled: Instant,
}

impl TokenBucket {
    const fn new(rate: f64, now: Instant) -> Self {
        Self { rate, level: rate, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + elapsed * self.rate).min(self.rate);
        self.filled = now;
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_joins_a_second_pass() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(5.0, start);
        let taken = |bucket: &mut TokenBucket, now| (0..20).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(100)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(410)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(3600)), 5);
    }
}
