//! Where a new shim comes from.
//!
//! By default it is a child of the daemon, and so lives in the daemon's control group, which a service manager may end as a
//! whole. With a launcher it is started by whoever listens on a socket, for each connection one, with the connection as
//! its standard input: systemd does that for a socket unit with `Accept=yes`, and the daemon needs no privilege for it.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Command,
};

use crate::{
    ShimOptions,
    session::Session,
    shim::{Frames, Report},
};

/// Who starts shims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Launcher {
    /// The daemon.
    Daemon,
    /// Who listens on this socket.
    Socket(PathBuf),
}

/// A shim that waits for its first word.
#[derive(Debug)]
pub(crate) struct NewShim {
    /// That it leads, or is about to lead.
    pub(crate) session: Session,
    pub(crate) reports: Frames<OwnedReadHalf>,
    pub(crate) requests: OwnedWriteHalf,
    /// Where its replica lives, unless it was told when it was started.
    pub(crate) untold: Option<PathBuf>,
}

impl Launcher {
    /// Has a shim started for the replica in `directory`: that of the program `shoal`, or of the launcher's.
    ///
    /// # Errors
    /// Naming what could not be started or reached.
    pub(crate) async fn start(&self, shoal: &Path, directory: &Path) -> io::Result<NewShim> {
        match self {
            Self::Daemon => child(shoal, directory).map_err(named("the shim", shoal)),
            Self::Socket(path) => connect(path, directory).await.map_err(named("the launcher of shims", path)),
        }
    }
}

fn named(what: &str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::other(format!("{what} {}: {error}", path.display()))
}

fn child(shoal: &Path, directory: &Path) -> io::Result<NewShim> {
    let (ours, theirs) = StdUnixStream::pair()?;
    // Nothing of our environment is for it, and it must not keep a file system busy.
    let shim = Command::new(shoal)
        .args(ShimOptions { directory: Some(directory.to_owned()) }.args())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = shim.id().ok_or_else(|| io::Error::other("it has no pid"))?;
    ours.set_nonblocking(true)?;
    let (reader, requests) = UnixStream::from_std(ours)?.into_split();
    Ok(NewShim { session: Session::of(pid), reports: Frames::new(reader), requests, untold: None })
}

async fn connect(socket: &Path, directory: &Path) -> io::Result<NewShim> {
    let connected = UnixStream::connect(socket).await;
    let connected = connected.map_err(|error| io::Error::other(format!("{error}; is its socket unit started?")))?;
    let (reader, requests) = connected.into_split();
    let mut reports = Frames::new(reader);
    // The kernel tells who listens, which is not who answers.
    match reports.next().await? {
        Some(Report::Here { pid }) => {
            Ok(NewShim { session: Session::of(pid), reports, requests, untold: Some(directory.to_owned()) })
        }
        Some(_) => Err(io::Error::other("what it has started is no shim")),
        None => Err(io::Error::other("it has started no shim; its log may say why")),
    }
}
