use std::{
    env,
    os::{
        fd::OwnedFd,
        unix::{fs::symlink, net::UnixStream as StdUnixStream},
    },
    process::Stdio,
};

use rustix::process::Signal;
use tokio::{net::UnixListener, process::Command};

use super::*;
use crate::{
    ExecOptions, LogReader, ShimOptions, engine_exec, engine_shim, record::clear_leftovers, session, stat::ProcessStat,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// Not a test: the `shoal` of the others, as `tests/bin/shoal` runs it.
#[test]
#[ignore = "runs as a child of the other tests"]
fn as_shoal() {
    let mut args = env::args_os().skip_while(|arg| arg != "--").skip(1);
    match args.next().expect("a verb").to_str() {
        Some("engine-shim") => {
            let directory = args.nth(1).map(Into::into);
            engine_shim(ShimOptions { directory }).unwrap();
        }
        Some("engine-exec") => {
            let parent = args.nth(1).and_then(|pid| pid.to_str()?.parse().ok()).expect("--parent PID");
            panic!("{}", engine_exec(ExecOptions { parent, command: args.skip(1).collect() }));
        }
        verb => panic!("unknown verb {verb:?}"),
    }
}

/// A replica of which daemons come and go.
struct Run {
    state: tempfile::TempDir,
    config: ShimConfig,
    log: Arc<ReplicaLog>,
}

impl Run {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("replica");
        std::fs::create_dir(&directory).unwrap();
        let shoal = state.path().join("shoal");
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/shoal"), &shoal).unwrap();
        symlink(env::current_exe().unwrap(), state.path().join("test-program")).unwrap();
        let config = ShimConfig {
            launcher: Launcher::Daemon,
            shoal,
            directory,
            socket: state.path().join("shim"),
            orphan_grace: DEADLINE,
            term_grace: Duration::from_millis(200),
        };
        Self { state, config, log: ReplicaLog::new() }
    }

    async fn try_sh(&self, program: &str, script: &str) -> io::Result<Process> {
        let command = CommandLine {
            program: program.into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("ONLY".into(), "this".into())],
        };
        Process::spawn(&self.config, &command, &self.log).await
    }

    async fn sh(&self, script: &str) -> Process {
        self.try_sh("/bin/sh", script).await.unwrap()
    }

    /// The next daemon, which knows nothing of what the one before has read.
    async fn adopt(&mut self) -> Process {
        self.log = ReplicaLog::new();
        self.try_adopt().await.unwrap().expect("its shim runs")
    }

    async fn try_adopt(&self) -> io::Result<Option<Process>> {
        Process::adopt(&self.config.directory, &self.config.socket, &self.log).await
    }

    /// All lines but that of the test harness in which `as_shoal` runs.
    fn lines(&self) -> Vec<String> {
        let lines = self.log.since(0).into_iter().map(|line| line.text.to_string());
        lines.filter(|line| line != "running 1 test").collect()
    }

    /// Runs `process` until it has written a line that begins with `prefix`; the rest of it.
    async fn wrote(&self, process: &mut Process, prefix: &str) -> String {
        let mut reader = LogReader::new(self.log.clone());
        let found = async {
            loop {
                let line = reader.next().await.unwrap();
                if let Some(rest) = line.text.strip_prefix(prefix) {
                    return rest.to_owned();
                }
            }
        };
        tokio::select! {
            found = found => found,
            event = process.next() => panic!("{event:?} before {prefix:?}: {:?}", self.lines()),
            () = tokio::time::sleep(DEADLINE) => panic!("no {prefix:?}: {:?}", self.lines()),
        }
    }

    /// The log file.
    fn file(&self) -> String {
        std::fs::read_to_string(self.config.directory.join("engine.log")).unwrap_or_default()
    }

    async fn logged(&self, line: &str) {
        until(|| self.file().contains(line)).await;
    }

    /// Makes a file where the engine runs.
    fn make(&self, name: &str) {
        std::fs::write(self.config.directory.join(name), "").unwrap();
    }

    fn session(&self) -> Session {
        ProcessRecord::read(&self.config.directory).unwrap().unwrap().session().unwrap().unwrap()
    }
}

async fn exit(process: &mut Process) -> ExitStatus {
    match timeout(DEADLINE, process.next()).await.unwrap() {
        ProcessEvent::Exited(status) => status,
        ProcessEvent::ShimLost(why) => panic!("{why}"),
        ProcessEvent::GroupGone => panic!("the leader ends first"),
    }
}

async fn shim_lost(process: &mut Process) {
    assert!(matches!(timeout(DEADLINE, process.next()).await.unwrap(), ProcessEvent::ShimLost(_)));
}

async fn gone(process: &mut Process) {
    assert!(matches!(timeout(DEADLINE, process.next()).await.unwrap(), ProcessEvent::GroupGone));
}

/// Until the session is empty, by itself.
async fn ended(session: Session) {
    until(|| session.members().unwrap().is_empty()).await;
}

/// Polls what the kernel or another process does.
async fn until(so: impl Fn() -> bool) {
    let polled = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, polled).await.unwrap();
}

fn is_alive(pid: &str) -> bool {
    ProcessStat::of(pid.parse().unwrap()).is_ok_and(|process| !process.dead)
}

#[tokio::test]
async fn output_and_environment_are_those_of_the_plan() {
    let run = Run::new();
    let mut process = run.sh("echo out; echo err >&2; echo '\"GET /health HTTP/1.1\" 200'; env; exit 3").await;
    assert_eq!(exit(&mut process).await.code(), Some(3));
    gone(&mut process).await;
    let lines = run.lines();
    for expected in ["out", "err", "ONLY=this"] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("/health")));
    assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "the environment is clean");
    let file = run.file();
    assert!(file.starts_with("executing /bin/sh -c echo out") && file.contains("\nerr\n"), "{file}");
    assert!(file.ends_with("ended with exit status: 3\n"), "{file}");
    let left: Vec<_> = std::fs::read_dir(run.state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "shim"), "the socket goes with the shim: {left:?}");
}

/// As in a container whose first process leads no session of its own.
#[tokio::test]
async fn a_session_that_is_led_from_outside_the_namespace_is_left_too() {
    let inside = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--"]);
        unshare
    };
    if !inside().arg("true").output().await.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: unshare(1) makes no namespace of processes here");
        return;
    }
    let test = ["--exact", "process::tests::output_and_environment_are_those_of_the_plan"];
    let output = inside().arg(env::current_exe().unwrap()).args(test).output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[tokio::test]
async fn what_cannot_be_executed_is_the_kernels_error_and_leaves_nothing() {
    let run = Run::new();
    let missing = run.try_sh("/no/such/program", "").await.unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound, "{missing}");
    let forbidden = run.try_sh("/etc/passwd", "").await.unwrap_err();
    assert_eq!(forbidden.kind(), io::ErrorKind::PermissionDenied, "{forbidden}");
    assert!(!ProcessRecord::exists(&run.config.directory));
    let no_shim = ShimConfig { shoal: "/no/such/shoal".into(), ..run.config.clone() };
    let command = CommandLine { program: "/bin/sh".into(), args: Vec::new(), env: Vec::new() };
    let error = Process::spawn(&no_shim, &command, &run.log).await.unwrap_err();
    assert!(error.to_string().starts_with("the shim /no/such/shoal: "), "{error}");
}

#[tokio::test]
async fn an_exit_is_reported_however_often_the_wait_is_broken_off() {
    let run = Run::new();
    let mut process = run.sh("sleep 300 & exit 1").await;
    let asked = Instant::now();
    let status = loop {
        if let Ok(event) = timeout(Duration::from_millis(5), process.next()).await {
            break event;
        }
        assert!(asked.elapsed() < DEADLINE, "a child that holds the pipe hides the exit");
    };
    assert!(matches!(status, ProcessEvent::Exited(status) if status.code() == Some(1)));
    process.kill();
    gone(&mut process).await;
}

#[tokio::test]
async fn it_is_gone_only_when_all_that_it_forked_is() {
    let run = Run::new();
    let script = "setsid sh -c \"trap '' TERM; echo child \\$\\$; exec sleep 300\" & wait";
    let mut process = run.sh(script).await;
    let child = run.wrote(&mut process, "child ").await;
    process.terminate();
    assert_eq!(exit(&mut process).await.signal(), Some(Signal::TERM.as_raw()));
    let early = timeout(Duration::from_millis(300), process.next()).await;
    assert!(early.is_err() && is_alive(&child), "a grandchild lives, in a session of its own");
    process.kill();
    gone(&mut process).await;
    assert!(!is_alive(&child) && !ProcessRecord::exists(&run.config.directory));
}

#[tokio::test]
async fn a_daemon_that_dies_is_missed_by_neither_engine_nor_log() {
    let mut run = Run::new();
    let wait = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.02; done");
    let mut process = run.sh(&format!("echo one; {}; echo two; {}; exit 7", wait("first"), wait("second"))).await;
    run.wrote(&mut process, "one").await;
    let pid = process.pid();
    drop(process);

    let mut process = run.adopt().await;
    assert_eq!(process.pid(), pid);
    run.wrote(&mut process, "one").await;
    run.make("first");
    run.wrote(&mut process, "two").await;
    drop(process);

    let session = run.session();
    run.make("second");
    run.logged("ended with exit status: 7").await;
    let mut process = run.adopt().await;
    assert_eq!(exit(&mut process).await.code(), Some(7), "it ended while no daemon was there");
    assert_eq!(run.lines(), ["one", "two"]);
    gone(&mut process).await;
    ended(session).await;
    assert!(run.try_adopt().await.unwrap().is_none());
}

#[tokio::test]
async fn a_killed_engine_leaves_its_children_to_the_shim() {
    let run = Run::new();
    let mut process = run.sh("trap '' TERM; sleep 300 & echo child $!; wait").await;
    let child = run.wrote(&mut process, "child ").await;
    session::kill(process.pid(), Signal::KILL);
    assert_eq!(exit(&mut process).await.signal(), Some(9));
    assert!(is_alive(&child));
    process.kill();
    gone(&mut process).await;
    assert!(!is_alive(&child));
}

#[tokio::test]
async fn a_killed_shim_takes_its_engine_along_and_the_daemon_kills_the_rest() {
    let run = Run::new();
    let mut process = run.sh("sleep 300 & echo child $!; wait").await;
    let child = run.wrote(&mut process, "child ").await;
    let session = run.session();
    session::kill(session.leader(), Signal::KILL);
    shim_lost(&mut process).await;
    assert!(is_alive(&child));
    gone(&mut process).await;
    assert!(!is_alive(&child) && session.members().unwrap().is_empty());
    assert!(run.lines().iter().any(|line| line.ends_with("is lost: it has ended")), "{:?}", run.lines());
}

#[tokio::test]
async fn a_shim_that_hangs_is_killed_with_its_engine() {
    let run = Run::new();
    let mut process = run.sh("echo up; exec sleep 300").await;
    run.wrote(&mut process, "up").await;
    let session = run.session();
    session::kill(session.leader(), Signal::STOP);
    let stat = format!("/proc/{}/stat", session.leader());
    until(|| std::fs::read_to_string(&stat).unwrap().contains(") T ")).await;
    assert!(run.try_adopt().await.is_err(), "it does not answer");
    process.kill();
    process.patience = Some(Instant::now());
    shim_lost(&mut process).await;
    gone(&mut process).await;
    assert!(session.members().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_left_when_daemon_and_shim_are_killed_is_cleared_by_the_record() {
    let run = Run::new();
    let mut process = run.sh("sleep 300 & echo child $!; wait").await;
    let child = run.wrote(&mut process, "child ").await;
    let (session, leader) = (run.session(), process.pid().to_string());
    drop(process);
    session::kill(session.leader(), Signal::KILL);
    until(|| !is_alive(&leader)).await;
    assert!(is_alive(&child), "the kernel kills the leader only");
    assert!(run.try_adopt().await.unwrap().is_none());
    clear_leftovers(std::slice::from_ref(&run.config.directory)).await.unwrap();
    assert!(!is_alive(&child) && session.members().unwrap().is_empty());
}

#[tokio::test]
async fn an_engine_that_no_daemon_asks_for_ends_with_all_that_it_forked() {
    let mut run = Run::new();
    run.config.orphan_grace = Duration::from_millis(100);
    let script = "trap 'echo bye' TERM; setsid sleep 300 & echo child $!; while :; do wait; done";
    let mut process = run.sh(script).await;
    let child = run.wrote(&mut process, "child ").await;
    let session = run.session();
    drop(process);
    ended(session).await;
    assert!(!is_alive(&child), "it was in a session of its own");
    assert!(run.file().contains("bye"), "SIGTERM comes first");
    assert!(!run.config.socket.exists());
    assert!(run.try_adopt().await.unwrap().is_none());
}

#[tokio::test]
async fn a_daemon_that_comes_in_time_stops_the_orphans_clock() {
    let mut run = Run::new();
    run.config.orphan_grace = Duration::from_millis(1500);
    drop(run.sh("exec sleep 300").await);
    let mut process = run.adopt().await;
    let longer = run.config.orphan_grace + run.config.term_grace * 2;
    assert!(timeout(longer, process.next()).await.is_err(), "it runs on");
    process.kill();
    exit(&mut process).await;
    gone(&mut process).await;
}

#[tokio::test]
async fn a_shim_that_is_told_to_end_ends_its_engine_first() {
    let run = Run::new();
    let mut process = run.sh("trap '' TERM; echo up; while :; do sleep 300; done").await;
    run.wrote(&mut process, "up").await;
    session::kill(run.session().leader(), Signal::TERM);
    assert_eq!(exit(&mut process).await.signal(), Some(9), "after the grace");
    gone(&mut process).await;
}

#[tokio::test]
async fn a_daemon_that_does_not_read_blocks_no_engine() {
    let run = Run::new();
    let mut process = run.sh("i=0; while [ $i -lt 40000 ]; do echo \"line $i\"; i=$((i+1)); done").await;
    run.logged("ended with exit status: 0").await;
    assert!(exit(&mut process).await.success());
    gone(&mut process).await;
    let lines = run.lines();
    assert_eq!(lines.last().map(String::as_str), Some("line 39999"));
    let mut all = LogReader::new(run.log.clone());
    assert!(all.next().await.unwrap().number > 0, "more than memory holds");
    let file = run.file();
    assert!(file.contains("line 0\n") && file.contains("line 20000\n"), "the file has them all");
}

#[tokio::test]
async fn a_shim_whose_daemon_dies_before_it_says_what_to_launch_ends() {
    let run = Run::new();
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let mut shim = Command::new(&run.config.shoal)
        .args(ShimOptions { directory: Some(run.config.directory.clone()) }.args())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    drop(ours);
    assert!(timeout(DEADLINE, shim.wait()).await.unwrap().unwrap().success());
}

/// Stands for a socket unit of systemd with `Accept=yes`: starts `program` for one connection, which it gets as its
/// standard input, in a session of its own.
async fn launch_one(listener: &UnixListener, program: &Path) -> tokio::process::Child {
    let connection = listener.accept().await.unwrap().0.into_std().unwrap();
    connection.set_nonblocking(false).unwrap();
    Command::new("setsid")
        .arg(program)
        .args(ShimOptions { directory: None }.args())
        .stdin(Stdio::from(OwnedFd::from(connection)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_shim_that_a_launcher_starts_keeps_its_engine_as_any_other() {
    let mut run = Run::new();
    let path = run.state.path().join("launcher");
    let listener = UnixListener::bind(&path).unwrap();
    run.config.launcher = Launcher::Socket(path);
    let shoal = run.config.shoal.clone();
    let (mut process, mut shim) = tokio::join!(run.sh("pwd; exec sleep 300"), launch_one(&listener, &shoal));
    let directory = run.config.directory.to_string_lossy().into_owned();
    run.wrote(&mut process, &directory).await;
    let pid = process.pid();
    assert_eq!(Some(run.session().leader()), shim.id(), "what is recorded is the shim, not its launcher");
    drop(process);

    let mut process = run.adopt().await;
    assert_eq!(process.pid(), pid);
    process.kill();
    exit(&mut process).await;
    gone(&mut process).await;
    assert!(timeout(DEADLINE, shim.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_launcher_that_starts_nothing_is_named() {
    let mut run = Run::new();
    let path = run.state.path().join("launcher");
    run.config.launcher = Launcher::Socket(path.clone());
    let missing = run.try_sh("/bin/sh", "").await.unwrap_err().to_string();
    assert!(missing.contains(path.to_str().unwrap()) && missing.contains("No such file"), "{missing}");
    let listener = UnixListener::bind(&path).unwrap();
    let (refused, ()) = tokio::join!(run.try_sh("/bin/sh", ""), async { drop(listener.accept().await.unwrap()) });
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(path.to_str().unwrap()) && refused.contains("started no shim"), "{refused}");
    assert!(!ProcessRecord::exists(&run.config.directory));
}

#[tokio::test]
async fn a_connection_that_is_no_daemon_ends_no_engine() {
    let run = Run::new();
    let mut process = run.sh("echo up; exec sleep 300").await;
    run.wrote(&mut process, "up").await;
    let stranger = UnixStream::connect(&run.config.socket).await.unwrap();
    assert!(timeout(Duration::from_millis(300), process.next()).await.is_err(), "{:?}", run.lines());
    drop(stranger);
    process.kill();
    exit(&mut process).await;
    gone(&mut process).await;
}
