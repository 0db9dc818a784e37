//! Who may reach the admin API: whoever may open the socket, and over TCP whoever has the token. The dashboard's files are for
//! all, what it shows is not.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::Request,
    http::header,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use shoal_types::KEY_PREFIX;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{
    problem::{Code, Problem},
    routes::{Admin, api_router, key_router, open_router},
    serve::serve,
};
use crate::{config::AdminConfig, dashboard};

/// Least length of the admin token: 128 bits in hexadecimal.
const TOKEN_MIN: usize = 32;

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
        "admin.listen {0} is not on loopback: with admin.tokenFile the token would cross the network unencrypted; listen on 127.0.0.1 and forward the port over ssh"
    )]
    InTheClear(SocketAddr),
    /// The token file is not right.
    #[error("cannot use the admin token in {path}: {reason}")]
    Token {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The bound listeners.
#[derive(Debug)]
pub(crate) struct AdminListeners {
    socket: UnixListener,
    path: PathBuf,
    tcp: Option<TcpListener>,
    token: Option<Arc<str>>,
}

impl AdminListeners {
    /// Binds the socket at `path`, mode 0600, and the TCP address if one is configured.
    ///
    /// # Errors
    /// If another daemon has the socket, or an address cannot be bound.
    pub(crate) async fn bind(config: &AdminConfig, path: PathBuf) -> Result<Self, AdminError> {
        let token = config.token_file.as_deref().map(read_token).transpose()?;
        if let (Some(address), Some(_)) = (config.listen, &token)
            && !address.ip().is_loopback()
        {
            return Err(AdminError::InTheClear(address));
        }
        let socket = bind_socket(&path)?;
        let tcp = match config.listen {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|source| AdminError::Address { address, source })?)
            }
            None => None,
        };
        Ok(Self { socket, path, tcp, token })
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
        let over_socket = serve(socket, api.clone().merge(open.clone()), stop.clone());
        tasks.spawn(async move {
            over_socket.await;
            // A socket that nobody listens on tells the next command the wrong story.
            let _ = fs::remove_file(path);
        });
        let Some(tcp) = self.tcp else { return };
        let with_key = with_token_or_key(dashboard::playground(Arc::clone(admin)), self.token.clone());
        let with_key = with_key.merge(key_router(Arc::clone(admin)));
        let open = open.merge(dashboard::files()).merge(with_key);
        let over_tcp = match self.token {
            Some(token) => guarded(api, token).merge(open),
            None => open,
        };
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

fn read_token(path: &Path) -> Result<Arc<str>, AdminError> {
    let error = |reason: String| AdminError::Token { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|source| error(source.to_string()))?;
    let token = text.trim();
    if token.len() < TOKEN_MIN {
        return Err(error(format!("it is {} characters long; at least {TOKEN_MIN} are needed", token.len())));
    }
    Ok(token.into())
}

/// `api` behind the bearer token.
fn guarded(api: Router, token: Arc<str>) -> Router {
    let check = move |request: Request, next: Next| {
        let token = Arc::clone(&token);
        async move { if authorised(&request, &token) { next.run(request).await } else { unauthorised() } }
    };
    api.layer(middleware::from_fn(check))
}

/// `router` for whoever has the token, which then goes no further, or shows a key of a client, which the ingress looks at.
fn with_token_or_key(router: Router, token: Option<Arc<str>>) -> Router {
    let check = move |mut request: Request, next: Next| {
        let token = token.clone();
        async move {
            let trusted = token.is_some_and(|token| authorised(&request, &token));
            if trusted {
                request.headers_mut().remove(header::AUTHORIZATION);
            }
            if trusted || shows_key(&request) { next.run(request).await } else { unauthorised() }
        }
    };
    router.layer(middleware::from_fn(check))
}

/// Without a key an ingress on loopback serves anybody there, this listener perhaps others, too.
fn shows_key(request: &Request) -> bool {
    bearer(request).starts_with(KEY_PREFIX)
}

fn authorised(request: &Request, token: &str) -> bool {
    same_in_constant_time(bearer(request).as_bytes(), token.as_bytes())
}

fn bearer(request: &Request) -> &str {
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// Compares without telling by its duration how much is right.
fn same_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn unauthorised() -> Response {
    Problem::new(Code::Forbidden, "the admin API over TCP needs the token of the node's admin.tokenFile")
        .hint("send it as `Authorization: Bearer …`, or with --admin-token-file")
        .into_response()
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

    #[tokio::test]
    async fn the_playground_is_for_the_token_and_for_keys_and_the_ingress_never_sees_the_token() {
        let token: Arc<str> = "0123456789abcdef0123456789abcdef".into();
        let seen = |request: Request| async move { bearer(&request).to_owned() };
        let ask = async |token: Option<&Arc<str>>, shown: &str| {
            let router = Router::new().route("/", axum::routing::get(seen));
            let mut router = with_token_or_key(router, token.map(Arc::clone));
            let request = Request::builder().header("authorization", format!("Bearer {shown}"));
            let answer =
                tower_service::Service::call(&mut router, request.body(axum::body::Body::empty()).unwrap()).await;
            let (head, body) = answer.unwrap().into_parts();
            let body = axum::body::to_bytes(body, 1024).await.unwrap();
            (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(ask(Some(&token), &token).await, (200, String::new()));
        assert_eq!(ask(Some(&token), "sk-shoal-key").await, (200, "sk-shoal-key".to_owned()));
        assert_eq!(ask(Some(&token), "guess").await.0, 403);
        assert_eq!(ask(None, "").await.0, 403, "without a token nobody is trusted");
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let request = |value: &str| Request::builder().header("authorization", value).body(axum::body::Body::empty());
        for (value, right) in [("Bearer abc", true), ("Bearer ab", false), ("abc", false), ("Bearer abcd", false)] {
            assert_eq!(authorised(&request(value).unwrap(), "abc"), right, "{value}");
        }
    }
}
