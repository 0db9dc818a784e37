//! Connections that others open: who is it, and what for.

use std::{sync::Arc, time::Duration};

use quinn::{Connection, Incoming};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    dial::DIAL_DEADLINE,
    error::CloseCode,
    join::JoinServer,
    pool::Pool,
    tls::{self, Purpose},
};

/// Handshakes under way at once; one costs a few signatures.
const HANDSHAKES_MAX: usize = 256;
/// From this many on, an address must first prove that it is not forged (RFC 9000, section 8.1).
const RETRY_ABOVE: usize = 64;
/// A dialler has given up by then.
const HANDSHAKE_DEADLINE: Duration = DIAL_DEADLINE;

/// Accepts until the endpoint closes.
pub(super) async fn run(pool: Arc<Pool>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let joins = Arc::new(JoinServer::new(pool.clone()));
    loop {
        let incoming = tokio::select! {
            Some(incoming) = pool.endpoint.accept() => incoming,
            () = pool.stop.cancelled() => return,
            else => return,
        };
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let crowded = handshakes.available_permits() < HANDSHAKES_MAX - RETRY_ABOVE;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%error, "cannot ask a dialler to prove its address");
            }
            continue;
        }
        pool.spawn(serve(pool.clone(), joins.clone(), incoming, permit));
    }
}

async fn serve(pool: Arc<Pool>, joins: Arc<JoinServer>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_DEADLINE, incoming) => handshake,
        () = pool.stop.cancelled() => return,
    };
    drop(permit);
    match handshake {
        Ok(Ok(connection)) => match Purpose::of(&connection) {
            Some(Purpose::Join) => joins.serve(connection).await,
            Some(Purpose::Mesh) => member(&pool, connection),
            None => connection.close(CloseCode::Unauthenticated.code(), b"no protocol of shoal was asked for"),
        },
        Ok(Err(error)) => tracing::debug!(%address, %error, "a handshake failed"),
        Err(_) => tracing::debug!(%address, "a handshake took too long"),
    }
}

fn member(pool: &Arc<Pool>, connection: Connection) {
    let address = connection.remote_address();
    match tls::peer(&connection, &pool.identity) {
        Ok(certificate) => {
            let node = certificate.node;
            if let Err(error) = pool.attach(connection, certificate, node) {
                tracing::info!(peer = %node, %address, %error, "a peer was refused");
            }
        }
        Err(error) => {
            connection.close(CloseCode::Unauthenticated.code(), error.to_string().as_bytes());
            tracing::warn!(%address, %error, "a connection without the certificate of a member was refused");
        }
    }
}
