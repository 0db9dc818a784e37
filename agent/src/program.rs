//! Runs a short program: its time, and what is read of it, are bounded; its process group is killed at the deadline.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink},
    process::{Child, Command},
    time::timeout,
};

/// Most that is read of each of its outputs, in bytes; the rest is thrown away.
const OUTPUT_MAX: u64 = 64 << 10;

/// Why a program has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("cannot start {program}: {source}")]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot wait for {program}: {source}")]
    Wait { program: PathBuf, source: io::Error },
    #[error("{program} and what it started did not end within {deadline:?} and were killed")]
    Late { program: PathBuf, deadline: Duration },
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `program` until it has ended and its outputs are closed, with `input` as its standard input. Dropping the future
/// kills its process group.
pub(crate) async fn run(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    input: &[u8],
    deadline: Duration,
) -> Result<Finished, ProcessError> {
    let program_path = || program.to_owned();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // systemctl tells the service manager, too, which is the daemon's to do.
    command.env_remove("NOTIFY_SOCKET");
    let child = command.process_group(0).kill_on_drop(true).spawn();
    let mut child = child.map_err(|source| ProcessError::Start { program: program_path(), source })?;
    let mut group = Group::of(&child);
    let finish = async {
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let ((), stdout, stderr) = tokio::join!(write(stdin, input), read(out), read(err));
        // Only now: while the child is not waited for, nobody else gets its id, so the group may be killed by it.
        (child.wait().await, stdout, stderr)
    };
    match timeout(deadline, finish).await {
        Ok((Ok(status), stdout, stderr)) => {
            group.0 = None;
            Ok(Finished { status, stdout, stderr })
        }
        Ok((Err(source), ..)) => Err(ProcessError::Wait { program: program_path(), source }),
        Err(_) => Err(ProcessError::Late { program: program_path(), deadline }),
    }
}

/// The process group of a child that has not been waited for; killed on drop.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It fails only if the group has ended.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Writes `input` and closes; a program that does not read it misses it.
async fn write(stdin: Option<impl AsyncWrite + Unpin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
    }
}

/// Reads to the end; what cannot be read counts as the end.
async fn read(output: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut output).take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    // A pipe that nobody reads would stop the program, or kill it.
    let _ = copy(&mut output, &mut sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    async fn shell(script: &str, deadline: Duration) -> Result<Finished, ProcessError> {
        run(Path::new("/bin/sh"), &["-c", script], b"", deadline).await
    }

    #[tokio::test]
    async fn outputs_are_read_up_to_a_bound_and_the_program_ends_well() {
        let finished = shell("head -c 1000000 /dev/zero; echo why >&2; exit 3", PATIENCE).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout.len() as u64, OUTPUT_MAX);
        assert_eq!(finished.stderr, "why\n");
    }

    #[tokio::test]
    async fn it_is_told_its_input_and_need_not_listen() {
        let input = vec![b'x'; 1 << 20];
        let said = run(Path::new("/bin/sh"), &["-c", "wc -c"], &input, PATIENCE).await.unwrap();
        assert_eq!(said.stdout.trim(), "1048576");
        let deaf = run(Path::new("/bin/sh"), &["-c", "exit 0"], &input, PATIENCE).await.unwrap();
        assert!(deaf.status.success());
    }

    #[tokio::test]
    async fn nothing_that_it_started_outlives_it() {
        let late = shell("sleep 600", Duration::from_millis(50)).await;
        assert!(matches!(late, Err(ProcessError::Late { .. })), "{late:?}");

        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(shell(&format!("mkfifo {}", fifo.display()), PATIENCE).await.unwrap().status.success());
        let script = format!("sleep 600 > {} & sleep 600", fifo.display());
        // Opened once the background process has the other end, which ends with it.
        let mut held = tokio::select! {
            ended = shell(&script, PATIENCE) => panic!("ended by itself: {ended:?}"),
            opened = tokio::fs::File::open(&fifo) => opened.unwrap(),
        };
        let closed = timeout(PATIENCE, held.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "the background process still lives");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = run(Path::new("/nonexistent/notice"), &[""; 0], b"", PATIENCE).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot start /nonexistent/notice: "), "{error}");
    }
}
