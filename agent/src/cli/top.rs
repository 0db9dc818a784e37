//! `shoal top`: the mesh as it changes, on a terminal; one table elsewhere.

mod page;
mod screen;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use shoal_mesh::clock;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinSet, block_in_place},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::{page::Snapshot, screen::Screen};
use super::{args::TopArgs, client::Client, output::out};
use crate::admin::{Code, Problem};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// Over how long rates are taken.
const SPAN: Duration = Duration::from_secs(60);
/// Requests that are listed.
const REQUESTS: usize = 100;

pub(super) async fn run(client: &Client, args: TopArgs) -> Result<(), Problem> {
    let first = look(client).await?;
    if !io::stdout().is_terminal() {
        return out(&args.page.of(&first).table.to_string());
    }
    let (sender, snapshots) = watch::channel(Ok(first));
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_looking(client.clone(), sender));
    let stop = CancellationToken::new();
    tasks.spawn(stop_at(signals()?, stop.clone()));
    let shown = block_in_place(|| Screen::new(args.page, snapshots).run(&stop));
    tasks.shutdown().await;
    shown
}

/// Those that would end the program where it stands, and leave the terminal as it is drawn on.
fn signals() -> Result<[Signal; 3], Problem> {
    let caught =
        |kind| signal(kind).map_err(|error| Problem::new(Code::Failed, format!("cannot catch signals: {error}")));
    Ok([caught(SignalKind::terminate())?, caught(SignalKind::hangup())?, caught(SignalKind::interrupt())?])
}

async fn stop_at([mut terminate, mut hangup, mut interrupt]: [Signal; 3], stop: CancellationToken) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
}

async fn look(client: &Client) -> Result<Snapshot, Problem> {
    let after = clock::now().as_millis().saturating_sub(millis(SPAN));
    Ok(Snapshot {
        status: client.get("/v1/status").await?,
        history: client.get(&format!("/v1/history?after={after}")).await?,
        requests: client.get(&format!("/v1/requests?limit={REQUESTS}")).await?,
        at: clock::now(),
    })
}

/// Until nobody looks any more.
async fn keep_looking(client: Client, snapshots: watch::Sender<Result<Snapshot, Problem>>) {
    while !snapshots.is_closed() {
        sleep(EVERY).await;
        let snapshot = look(&client).await;
        // Replaces the one before, also while nobody reads.
        drop(snapshots.send_replace(snapshot));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
