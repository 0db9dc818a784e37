//! The service manager that started this daemon, if one did: what it gives, and what it is told (systemd's sd_notify(3)
//! and its credentials).

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::node::NodeControl;

/// The credential that holds a join token (`LoadCredential=` of the unit).
const JOIN_TOKEN: &str = "join-token";
/// A service manager that does not read for so long is not waited for.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// So many signs of life fit into the time after which the service manager takes the daemon for hung.
const BEATS: u32 = 3;

/// A line to the service manager; without one, nobody listens.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// It kills a daemon that says nothing for so long.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(super) fn of_env() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match connect(&path) {
            Ok(socket) => {
                Self { socket: Some(socket), watchdog: watchdog(|name| env::var(name).ok(), std::process::id()) }
            }
            Err(error) => {
                warn!(socket = ?path, %error, "cannot reach the service manager: it is told nothing");
                Self::default()
            }
        }
    }

    /// The node is up, as `status` says.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The daemon ends, as `status` says.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Until `stop`, says that the daemon lives, as long as its runtime runs this, its replica loop answers, and what runs
    /// `connections` has time. That the other loops have not ended is seen to elsewhere.
    pub(super) async fn keep_alive(self: Arc<Self>, node: NodeControl, connections: Handle, stop: CancellationToken) {
        let Some(within) = self.watchdog else { return };
        let mut beat = interval(within / BEATS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let beats = async {
            loop {
                beat.tick().await;
                // A thread that hangs runs nothing: then this waits, and says nothing.
                if !node.is_live().await || connections.spawn(async {}).await.is_err() {
                    return;
                }
                self.tell("WATCHDOG=1");
            }
        };
        stop.run_until_cancelled(beats).await;
    }

    fn tell(&self, state: &str) {
        let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) else { return };
        warn!(%error, "the service manager cannot be told {state:?}");
    }
}

/// A `@` at the begin stands for the zero of an abstract address.
fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_WITHIN))?;
    Ok(socket)
}

/// After which time process `me` is taken for hung; never, if the variables are meant for another one.
fn watchdog(variable: impl Fn(&str) -> Option<String>, me: u32) -> Option<Duration> {
    let within = Duration::from_micros(variable("WATCHDOG_USEC")?.parse().ok()?);
    let mine = variable("WATCHDOG_PID").is_none_or(|pid| pid == me.to_string());
    (mine && within >= Duration::from_millis(1)).then_some(within)
}

/// The file of the join token that the service manager has for this daemon, if it has one. A blank credential is none: a
/// unit has to say something for a file that need not be there.
pub(super) fn join_token_credential() -> Option<PathBuf> {
    env::var_os("CREDENTIALS_DIRECTORY").and_then(|directory| token_in(Path::new(&directory)))
}

fn token_in(directory: &Path) -> Option<PathBuf> {
    let file = directory.join(JOIN_TOKEN);
    // One that cannot be read is left to whoever reads it, and says why.
    let blank = match fs::read(&file) {
        Ok(content) => content.trim_ascii().is_empty(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    (!blank).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    fn manager(path: &OsStr) -> ServiceManager {
        ServiceManager { socket: Some(connect(path).unwrap()), watchdog: None }
    }

    #[test]
    fn states_are_told_over_a_path_and_over_an_abstract_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        manager(path.as_os_str()).ready("up");
        assert_eq!(heard(&listener), "READY=1\nSTATUS=up");
        let name = format!("shoal-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(OsStr::new(&format!("@{name}"))).stopping("down");
        assert_eq!(heard(&listener), "STOPPING=1\nSTATUS=down");
        assert!(connect(directory.path().join("missing").as_os_str()).is_err());
        ServiceManager::default().ready("nobody listens");
    }

    #[test]
    fn the_watchdog_is_that_of_this_process_only() {
        let of = |usec: Option<&str>, pid: Option<&str>| {
            let (usec, pid) = (usec.map(str::to_owned), pid.map(str::to_owned));
            watchdog(|name| if name == "WATCHDOG_USEC" { usec.clone() } else { pid.clone() }, 7)
        };
        let half_a_minute = Some(Duration::from_secs(30));
        assert_eq!(of(Some("30000000"), None), half_a_minute);
        assert_eq!(of(Some("30000000"), Some("7")), half_a_minute);
        for (usec, pid) in [(Some("30000000"), Some("8")), (None, Some("7")), (Some("soon"), None), (Some("0"), None)] {
            assert_eq!(of(usec, pid), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_blank_credential_is_no_token() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(token_in(directory.path()), None);
        let file = directory.path().join(JOIN_TOKEN);
        fs::write(&file, "\n").unwrap();
        assert_eq!(token_in(directory.path()), None);
        fs::write(&file, "shoal1_x").unwrap();
        assert_eq!(token_in(directory.path()), Some(file));
    }
}
