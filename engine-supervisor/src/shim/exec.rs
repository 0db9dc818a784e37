//! The last step before an engine: what only a process itself can ask of the kernel, and then the program.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::{ExecOptions, ShimError};

/// Becomes the engine, or returns why not.
///
/// Standard input is the shim's: it gets the number of an error (4 bytes, big endian), or its end when the program runs.
pub fn engine_exec(options: ExecOptions) -> ShimError {
    // Closed by a successful exec, as everything that Rust opens.
    let shim = io::stdin().as_fd().try_clone_to_owned();
    let error = exec(options);
    if let (Ok(shim), ShimError::Execute { source, .. }) = (shim, &error) {
        tell(shim, source);
    }
    error
}

fn exec(options: ExecOptions) -> ShimError {
    // The kernel kills it with the *thread* that started it: the shim starts its engine from its main thread.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return ShimError::Process { doing: "ask to be ended with the shim", source: error.into() };
    }
    // The shim may have ended before that.
    let is_parent = |pid: Pid| pid.as_raw_nonzero().get().unsigned_abs() == options.parent;
    if !getppid().is_some_and(is_parent) {
        return ShimError::Orphan(options.parent);
    }
    let mut command = options.command.into_iter();
    let program = command.next().unwrap_or_default();
    let source = Command::new(&program).args(command).stdin(Stdio::null()).exec();
    ShimError::Execute { program: program.into(), source }
}

fn tell(shim: OwnedFd, error: &io::Error) {
    // If it is gone, nobody waits for an answer.
    let _ = File::from(shim).write_all(&error.raw_os_error().unwrap_or_default().to_be_bytes());
}
