//! Where the admin API is reached: by whoever may open the socket, and over TCP by whoever has a token. The dashboard's files are
//! for all, what it shows is not.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{TcpListener, UnixListener};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{
    access::{TokenError, Tokens, for_operators_and_keys, for_the_known},
    routes::{Admin, api_router, key_router, open_router},
    serve::serve,
};
use crate::{config::AdminConfig, dashboard};

/// Why the admin API cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// Another daemon listens there.
    #[error(
        "another shoal agent already listens on {0}: stop it first, or give this one its own admin.socket and stateDir"
    )]
    InUse(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen on the admin socket {path}: {source}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The port cannot be had.
    #[error("cannot listen on the admin address {address}: {source}")]
    Address {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The token would be sent unencrypted.
    #[error(
        "admin.listen {0} is not on loopback: an admin token would cross the network unencrypted; listen on 127.0.0.1 and forward the port over ssh"
    )]
    InTheClear(SocketAddr),
    /// A token file is not right.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The bound listeners.
#[derive(Debug)]
pub(crate) struct AdminListeners {
    socket: UnixListener,
    path: PathBuf,
    tcp: Option<TcpListener>,
    tokens: Tokens,
}

impl AdminListeners {
    /// Binds the socket at `path`, mode 0600, and the TCP address if one is configured.
    ///
    /// # Errors
    /// If another daemon has the socket, or an address cannot be bound.
    pub(crate) async fn bind(config: &AdminConfig, path: PathBuf) -> Result<Self, AdminError> {
        let tokens = Tokens::read(config)?;
        if let Some(address) = config.listen.filter(|address| !address.ip().is_loopback() && !tokens.is_empty()) {
            return Err(AdminError::InTheClear(address));
        }
        let socket = bind_socket(&path)?;
        let tcp = match config.listen {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|source| AdminError::Address { address, source })?)
            }
            None => None,
        };
        Ok(Self { socket, path, tcp, tokens })
    }

    /// The TCP address, with the port that was picked.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves on tasks of `tasks` until `stop`.
    pub(crate) fn serve(self, admin: &Arc<Admin>, tasks: &TaskTracker, stop: &CancellationToken) {
        info!(socket = %self.path.display(), tcp = ?self.address(), "Admin API listening");
        let open = open_router(Arc::clone(admin));
        let api = api_router(Arc::clone(admin));
        let (socket, path) = (self.socket, self.path);
        let api = for_the_known(api, self.tokens.clone());
        let over_socket = serve(socket, api.clone().merge(open.clone()), stop.clone());
        tasks.spawn(async move {
            over_socket.await;
            // A socket that nobody listens on tells the next command the wrong story.
            let _ = fs::remove_file(path);
        });
        let Some(tcp) = self.tcp else { return };
        let with_key = for_operators_and_keys(dashboard::playground(Arc::clone(admin)), self.tokens.clone());
        let with_key = with_key.merge(key_router(Arc::clone(admin)));
        let open = open.merge(dashboard::files()).merge(with_key);
        let over_tcp = if self.tokens.is_empty() { open } else { api.merge(open) };
        tasks.spawn(serve(tcp, over_tcp, stop.clone()));
    }
}

/// Binds where nobody else can reach it, and moves the socket to its place once its mode is right: between bind and
/// chmod the umask would decide who may connect.
fn bind_socket(path: &Path) -> Result<UnixListener, AdminError> {
    let error = |source| AdminError::Socket { path: path.to_owned(), source };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).map_err(error)?;
    remove_stale(path)?;
    // Made with mode 0700.
    let private = tempfile::Builder::new().prefix(".s").rand_bytes(4).tempdir_in(parent).map_err(error)?;
    let unseen = private.path().join("s");
    let socket = UnixListener::bind(&unseen).map_err(error)?;
    fs::set_permissions(&unseen, fs::Permissions::from_mode(0o600)).map_err(error)?;
    fs::rename(&unseen, path).map_err(error)?;
    Ok(socket)
}

/// Removes a socket that a killed daemon left behind; refuses if one still answers.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let error = |source| AdminError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(other) => Err(error(other)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(error(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket is there")))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => Err(AdminError::InUse(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        drop(bind_socket(&path).unwrap());
        let rebound = async {
            loop {
                match bind_socket(&path) {
                    // A process that another test starts holds all descriptors until it becomes another program.
                    Err(AdminError::InUse(_)) => tokio::task::yield_now().await,
                    bound => return bound.unwrap(),
                }
            }
        };
        let socket = timeout(Duration::from_secs(10), rebound).await.expect("a socket that nobody listens on");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(bind_socket(&path), Err(AdminError::InUse(_))));
        drop(socket);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind_socket(&path), Err(AdminError::Socket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_token_is_never_asked_for_over_an_open_network() {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        fs::write(&token_file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let config = AdminConfig {
            listen: Some("0.0.0.0:0".parse().unwrap()),
            token_file: Some(token_file),
            ..AdminConfig::default()
        };
        let bound = AdminListeners::bind(&config, dir.path().join("s")).await;
        assert!(matches!(bound, Err(AdminError::InTheClear(_))), "{bound:?}");
    }
}
