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

use super::tunnel_pair;

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
    tasks: TaskTracker,
}

impl Mesh {
    pub(crate) fn put(&self, node: NodeId, peer: Peer) {
        self.peers.lock().unwrap().insert(node, peer);
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
        async move {
            let (near, far) = tunnel_pair();
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
