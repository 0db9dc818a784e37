//! What a SIGTERM to the daemon means: that it restarts, and engines stay, or that everything here ends.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use shoal_types::UnixMillis;

use super::{
    config::{SigtermConfig, SigtermMeaning},
    notice::{Notice, NoticeKind, Source},
};
use crate::program::run;

/// Files that container runtimes put into every container: Docker, Podman.
const CONTAINER_FILES: [&str; 2] = [".dockerenv", "run/.containerenv"];
/// Variables that they set for what they start: every pod, and Podman, LXC and systemd-nspawn.
const CONTAINER_VARIABLES: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "container"];
/// Set by systemd for every service (systemd.exec(5)).
const SERVICE_VARIABLE: &str = "INVOCATION_ID";

const SYSTEMCTL: &str = "systemctl";
const IS_SYSTEM_RUNNING: &[&str] = &["is-system-running"];
/// systemd that does not answer by then is not asked again: the deadline of the notice is running.
const SYSTEMCTL_DEADLINE: Duration = Duration::from_secs(1);
/// What `systemctl is-system-running` prints once a shutdown, reboot or halt has begun.
const STOPPING: &str = "stopping";

/// What ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Termination {
    /// Only the daemon: engines stay.
    DaemonOnly,
    /// The host or the container.
    Host(Notice),
}

/// Judges a SIGTERM that came at `now`. Takes at most about a second.
pub(crate) async fn judge_sigterm(config: &SigtermConfig, now: UnixMillis) -> Termination {
    let evidence = match config.means {
        SigtermMeaning::Auto => Evidence {
            container: container(Path::new("/"), |name| env::var_os(name).is_some()),
            service: env::var_os(SERVICE_VARIABLE).is_some(),
            stopping: host_is_stopping(SYSTEMCTL, IS_SYSTEM_RUNNING).await,
        },
        SigtermMeaning::Daemon | SigtermMeaning::Host => Evidence::default(),
    };
    decide(config, &evidence, now)
}

/// A sign that this is a container.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ContainerSign {
    File(PathBuf),
    Variable(&'static str),
}

/// What is seen around the daemon.
#[derive(Debug, Clone, Default)]
struct Evidence {
    container: Option<ContainerSign>,
    /// systemd started the daemon.
    service: bool,
    /// systemd says that the host shuts down.
    stopping: bool,
}

fn decide(config: &SigtermConfig, evidence: &Evidence, now: UnixMillis) -> Termination {
    let why = match config.means {
        SigtermMeaning::Daemon => None,
        SigtermMeaning::Host => Some("it is configured to mean that the host ends".to_owned()),
        SigtermMeaning::Auto => end_of_host(evidence),
    };
    let notice = |detail| Notice {
        source: Source::Signal,
        kind: NoticeKind::Reclaim,
        deadline: Some(now.plus(config.warning.0)),
        detail,
    };
    why.map_or(Termination::DaemonOnly, |detail| Termination::Host(notice(detail)))
}

/// Why more than the daemon ends, if it does.
fn end_of_host(evidence: &Evidence) -> Option<String> {
    match &evidence.container {
        _ if evidence.stopping => Some("the host shuts down".to_owned()),
        Some(ContainerSign::Variable(name)) => Some(format!("the container ends ({name} is set)")),
        // A systemd inside the container may restart the daemon as it does on a host. It passes no variables of the
        // container on, so this is never a pod's own process.
        Some(ContainerSign::File(_)) if evidence.service => None,
        Some(ContainerSign::File(path)) => Some(format!("the container ends ({} is there)", path.display())),
        None => None,
    }
}

fn container(root: &Path, is_set: impl Fn(&str) -> bool) -> Option<ContainerSign> {
    let variable = CONTAINER_VARIABLES.into_iter().find(|name| is_set(name)).map(ContainerSign::Variable);
    let file = || CONTAINER_FILES.iter().map(|file| root.join(file)).find(|path| path.exists());
    variable.or_else(|| file().map(ContainerSign::File))
}

/// No where there is no systemd. Its exit status says only that all is well, which it is not while stopping.
async fn host_is_stopping(program: &str, args: &[&str]) -> bool {
    let asked = run(Path::new(program), args, b"", SYSTEMCTL_DEADLINE).await;
    asked.is_ok_and(|finished| finished.stdout.trim() == STOPPING)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shoal_types::HumanDuration;

    use super::*;

    const NOW: UnixMillis = UnixMillis::from_millis(1_000_000);

    fn evidence(container: Option<ContainerSign>, service: bool, stopping: bool) -> Evidence {
        Evidence { container, service, stopping }
    }

    fn variable() -> Option<ContainerSign> {
        Some(ContainerSign::Variable("KUBERNETES_SERVICE_HOST"))
    }

    fn file() -> Option<ContainerSign> {
        Some(ContainerSign::File("/.dockerenv".into()))
    }

    #[test]
    fn a_restart_of_the_daemon_is_not_the_end_of_the_host() {
        use SigtermMeaning::*;
        for (means, evidence, why) in [
            (Auto, evidence(None, false, false), None),
            (Auto, evidence(None, true, false), None),
            (Auto, evidence(None, true, true), Some("the host shuts down")),
            (Auto, evidence(variable(), false, false), Some("the container ends (KUBERNETES_SERVICE_HOST is set)")),
            (Auto, evidence(variable(), true, false), Some("the container ends (KUBERNETES_SERVICE_HOST is set)")),
            (Auto, evidence(file(), false, false), Some("the container ends (/.dockerenv is there)")),
            (Auto, evidence(file(), true, false), None),
            (Auto, evidence(file(), true, true), Some("the host shuts down")),
            (Daemon, evidence(variable(), false, true), None),
            (Host, evidence(None, true, false), Some("it is configured to mean that the host ends")),
        ] {
            let judged = decide(&SigtermConfig { means, ..SigtermConfig::default() }, &evidence, NOW);
            let detail = match &judged {
                Termination::DaemonOnly => None,
                Termination::Host(notice) => Some(notice.detail.as_str()),
            };
            assert_eq!(detail, why, "{means:?} {evidence:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_host_has_a_deadline() {
        let config = SigtermConfig { means: SigtermMeaning::Host, warning: HumanDuration::from_secs(7) };
        let Termination::Host(notice) = judge_sigterm(&config, NOW).await else { panic!("the host ends") };
        assert_eq!((notice.source, notice.kind), (Source::Signal, NoticeKind::Reclaim));
        assert_eq!(notice.deadline, Some(UnixMillis::from_millis(1_007_000)));
        let config = SigtermConfig { means: SigtermMeaning::Daemon, ..config };
        assert_eq!(judge_sigterm(&config, NOW).await, Termination::DaemonOnly);
    }

    #[test]
    fn containers_are_known_by_file_or_variable() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(container(root.path(), |_| false), None);
        for name in CONTAINER_VARIABLES {
            assert_eq!(container(root.path(), |set| set == name), Some(ContainerSign::Variable(name)));
        }
        fs::create_dir(root.path().join("run")).unwrap();
        for file in CONTAINER_FILES.map(|file| root.path().join(file)) {
            fs::write(&file, "").unwrap();
            assert_eq!(container(root.path(), |_| false), Some(ContainerSign::File(file.clone())));
            fs::remove_file(file).unwrap();
        }
    }

    #[tokio::test]
    async fn only_a_systemd_that_stops_stops_the_host() {
        for (script, stops) in [("echo stopping; exit 1", true), ("echo running", false), ("sleep 600", false)] {
            assert_eq!(host_is_stopping("/bin/sh", &["-c", script]).await, stops, "{script}");
        }
        assert!(!host_is_stopping("/nonexistent/systemctl", IS_SYSTEM_RUNNING).await);
    }
}
