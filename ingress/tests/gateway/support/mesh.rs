//! The other nodes, as a test wants them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use shoal_ingress::{Dial, DialError, Ingress, Tunnel};
use shoal_types::NodeId;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Faults, faults::Breaking, tunnel_pair};

/// What is at the other end.
#[derive(Clone)]
pub(crate) enum Peer {
    /// An ingress.
    Serves(Arc<Ingress>),
    /// The test itself.
    Scripted(mpsc::Sender<Tunnel>),
}

/// Dials what the test has put there; everything else is unreachable.
#[derive(Clone, Default)]
pub(crate) struct Mesh {
    peers: Arc<Mutex<HashMap<NodeId, Peer>>>,
    faults: Arc<Mutex<Option<Faults>>>,
    tasks: TaskTracker,
}

impl Mesh {
    pub(crate) fn put(&self, node: NodeId, peer: Peer) {
        self.peers.lock().unwrap().insert(node, peer);
    }

    /// From now on tunnels break, each by a name of its own.
    pub(crate) fn break_by(&self, faults: Faults) {
        *self.faults.lock().unwrap() = Some(faults);
    }

    /// Puts the test itself at `node`.
    pub(crate) fn script(&self, node: NodeId) -> mpsc::Receiver<Tunnel> {
        let (sender, tunnels) = mpsc::channel(8);
        self.put(node, Peer::Scripted(sender));
        tunnels
    }
}

impl Dial for Mesh {
    fn open(&self, node: NodeId) -> BoxFuture<'static, Result<Tunnel, DialError>> {
        let peer = self.peers.lock().unwrap().get(&node).cloned();
        let tasks = self.tasks.clone();
        let fault =
            self.faults.lock().unwrap().as_ref().and_then(|faults| faults.next(&rand::random::<u64>().to_string()));
        async move {
            let (mut near, far) = tunnel_pair();
            if let Some(after) = fault {
                near.recv = Box::new(Breaking::new(near.recv, after));
            }
            match peer {
                Some(Peer::Serves(ingress)) => {
                    tasks.spawn(async move { ingress.serve_tunnel(node, far).await });
                }
                Some(Peer::Scripted(sender)) => sender.send(far).await.map_err(DialError::new)?,
                None => return Err(DialError::new("nobody is there")),
            }
            Ok(near)
        }
        .boxed()
    }
}
