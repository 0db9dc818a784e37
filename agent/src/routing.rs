//! Between the mesh and the ingress: the view becomes a routing table, mesh streams become tunnels.

mod table;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use shoal_engine_supervisor::Supervisor;
use shoal_ingress::{Dial, DialError, Ingress, Tunnel, TunnelSend};
use shoal_mesh::{Mesh, SendStream, Stream, StreamKind};
use shoal_placement::Memory;
use shoal_types::{NodeId, View};
use tokio::{
    io::AsyncWrite,
    select,
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::table::table;

/// How long a node that has just started says "not known yet" of a model that it has not heard of.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the ingress's table in line with the view, what stewards said last, and the engines.
#[derive(Debug)]
pub(crate) struct Routes {
    mesh: Arc<Mesh>,
    supervisor: Arc<Supervisor>,
    ingress: Arc<Ingress>,
    memory: watch::Receiver<Arc<Memory>>,
    /// When the node has surely heard of all endpoints that there are, as far as it can.
    patience_ends: Instant,
    /// Held from reading to setting, so that an older table never replaces a newer one.
    setting: Mutex<Settled>,
}

/// Whether this node has once had the same specs as another, or has waited long enough for one.
#[derive(Debug, Default)]
struct Settled(bool);

impl Routes {
    pub(crate) fn new(
        mesh: Arc<Mesh>,
        supervisor: Arc<Supervisor>,
        ingress: Arc<Ingress>,
        memory: watch::Receiver<Arc<Memory>>,
    ) -> Self {
        let patience_ends = Instant::now() + SETTLE_PATIENCE;
        Self { mesh, supervisor, ingress, memory, patience_ends, setting: Mutex::default() }
    }

    /// Brings the table in line with what is known now; afterwards no new request goes to what is not in it.
    pub(crate) fn refresh(&self) {
        let mut settled = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.mesh.view().borrow().clone();
        let engines = self.supervisor.statuses().borrow().clone();
        settled.0 |= agrees_with_another(&view) || Instant::now() >= self.patience_ends;
        let memory = self.memory.borrow().clone();
        let table = table(&view, &memory, &engines);
        self.ingress.set_routes(if settled.0 { table } else { table.incomplete() });
    }

    /// Refreshes on every change, until `stop`.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut view = self.mesh.view();
        let mut engines = self.supervisor.statuses();
        let mut memory = self.memory.clone();
        loop {
            view.mark_unchanged();
            engines.mark_unchanged();
            memory.mark_unchanged();
            self.refresh();
            select! {
                changed = view.changed() => if changed.is_err() { return },
                changed = engines.changed() => if changed.is_err() { return },
                changed = memory.changed() => if changed.is_err() { return },
                () = sleep_until(self.patience_ends), if Instant::now() < self.patience_ends => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Whether another node that is there has the same specs.
fn agrees_with_another(view: &View) -> bool {
    let own = view.nodes.get(&view.me).map(|node| &node.specs);
    view.nodes.values().any(|node| node.id != view.me && node.is_alive() && Some(&node.specs) == own)
}

/// Opens tunnels over mesh connections.
#[derive(Debug)]
pub(crate) struct MeshDial(pub(crate) Arc<Mesh>);

impl Dial for MeshDial {
    fn open(&self, node: NodeId) -> BoxFuture<'static, Result<Tunnel, DialError>> {
        let mesh = Arc::clone(&self.0);
        Box::pin(async move {
            match mesh.open(node, StreamKind::Forward).await {
                Ok(stream) => Ok(tunnel(stream)),
                Err(error) => Err(DialError::new(error)),
            }
        })
    }
}

/// A mesh stream as the ingress sees it.
pub(crate) fn tunnel(Stream { send, recv }: Stream) -> Tunnel {
    Tunnel { send: Box::new(MeshSend(send)), recv: Box::new(recv) }
}

/// The sending half; [`SendStream`] already ends with a RESET unless it was shut down.
#[derive(Debug)]
struct MeshSend(SendStream);

impl TunnelSend for MeshSend {
    fn cancelled(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.0.cancelled())
    }
}

impl AsyncWrite for MeshSend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
