//! Connections that are cut at a byte that nobody chose.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use shoal_types::EngineAddress;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::Sim;

/// How often one request is cut at most. A stream may lose its replica more often.
const CUTS_MAX: u32 = 3;

/// Where answers are cut. The same in every run with the same seed, whatever runs first.
#[derive(Clone)]
pub(crate) struct Faults {
    seed: u64,
    /// Bytes of an answer before which it is cut, if it is long enough.
    within: usize,
    cuts: Arc<Mutex<HashMap<String, u32>>>,
}

impl Faults {
    pub(crate) fn new(seed: u64, within: usize) -> Self {
        Self { seed, within, cuts: Arc::default() }
    }

    /// After how many bytes the next answer to the request called `id` is cut, if it is.
    pub(crate) fn next(&self, id: &str) -> Option<usize> {
        let mut cuts = self.cuts.lock().unwrap();
        let cut = cuts.entry(id.to_owned()).or_default();
        if *cut >= CUTS_MAX {
            return None;
        }
        *cut += 1;
        let salt = id.bytes().fold(u64::from(*cut), |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
        Some(StdRng::seed_from_u64(self.seed ^ salt).random_range(0..self.within))
    }

    /// Answers that were to be cut.
    pub(crate) fn count(&self) -> u32 {
        self.cuts.lock().unwrap().values().sum()
    }
}

/// What stands between the ingress and an engine, and cuts answers.
pub(crate) struct Flaky {
    socket: PathBuf,
    _tasks: JoinSet<()>,
    _dir: TempDir,
}

impl Flaky {
    pub(crate) fn start(sim: &Sim, faults: Faults) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("flaky.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let EngineAddress::Unix(engine) = sim.address() else { panic!("not a socket") };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (engine, faults) = (engine.clone(), faults.clone());
                tasks.spawn(async move {
                    let _ = relay(client, engine, faults).await;
                });
            }
        });
        Self { socket, _tasks: tasks, _dir: dir }
    }

    pub(crate) fn address(&self) -> EngineAddress {
        EngineAddress::Unix(self.socket.clone())
    }
}

/// One request and its answer, or as much of that as there is to be. The connection is not used again, as each request has
/// cuts of its own.
async fn relay(mut client: UnixStream, engine: PathBuf, faults: Faults) -> io::Result<()> {
    let mut request = vec![0; 64 << 10];
    let length = client.read(&mut request).await?;
    let head = String::from_utf8_lossy(&request[..length]).into_owned();
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap_or_default();
    let mut engine = UnixStream::connect(engine).await?;
    engine.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).await?;
    let (mut engine_in, mut engine_out) = engine.split();
    let (mut client_in, mut client_out) = client.split();
    let up = tokio::io::copy(&mut client_in, &mut engine_out);
    let down = async {
        match faults.next(id) {
            Some(cut) => tokio::io::copy(&mut (&mut engine_in).take(cut as u64), &mut client_out).await,
            None => tokio::io::copy(&mut engine_in, &mut client_out).await,
        }
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
    Ok(())
}

/// The reading half of a tunnel that breaks after so many bytes, as if the other host were gone.
pub(super) struct Breaking<R> {
    inner: R,
    left: usize,
}

impl<R> Breaking<R> {
    pub(super) const fn new(inner: R, after: usize) -> Self {
        Self { inner, left: after }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Breaking<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let room = buf.remaining().min(self.left);
        let mut part = buf.take(room);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        // What was read is initialised, as `part` is a part of `buf`.
        let bytes = part.filled().to_vec();
        buf.put_slice(&bytes);
        self.left -= read;
        Poll::Ready(Ok(()))
    }
}
