//! Reaching one node at any of its addresses.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::time::{Instant, sleep, timeout_at};

use super::Attempts;

/// A node that has not answered by then is not there.
pub(super) const DIAL_DEADLINE: Duration = Duration::from_secs(3);
/// Head start of each address over the next, as in RFC 8305.
const STAGGER: Duration = Duration::from_millis(250);
const ADDRESSES_MAX: usize = 8;

/// The first connection that any of `addresses` gives with a certificate for `name`.
pub(super) async fn dial(
    endpoint: &Endpoint,
    config: &ClientConfig,
    name: &str,
    addresses: &[SocketAddr],
) -> Result<Connection, Attempts> {
    let deadline = Instant::now() + DIAL_DEADLINE;
    let mut pending: Vec<SocketAddr> = addresses.iter().copied().take(ADDRESSES_MAX).collect();
    let mut attempts: FuturesUnordered<_> = (0u32..)
        .zip(pending.clone())
        .map(|(rank, address)| async move {
            sleep(STAGGER * rank).await;
            (address, attempt(endpoint, config, name, address).await)
        })
        .collect();
    let mut failed = Vec::new();
    while let Ok(Some((address, outcome))) = timeout_at(deadline, attempts.next()).await {
        match outcome {
            Ok(connection) => return Ok(connection),
            Err(reason) => failed.push((address, reason)),
        }
        pending.retain(|&other| other != address);
    }
    let silent =
        |address| (address, format!("no answer within {} s; is UDP open on the way?", DIAL_DEADLINE.as_secs()));
    failed.extend(pending.into_iter().map(silent));
    Err(Attempts(failed))
}

async fn attempt(
    endpoint: &Endpoint,
    config: &ClientConfig,
    name: &str,
    address: SocketAddr,
) -> Result<Connection, String> {
    let connecting = endpoint.connect_with(config.clone(), address, name).map_err(|error| error.to_string())?;
    connecting.await.map_err(|error| error.to_string())
}
