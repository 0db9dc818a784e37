//! What is below the state directory: one directory and two sockets per replica.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use shoal_types::{ClaimId, stable_hash};

use crate::SupervisorError;

/// `sun_path` of Linux, without its final NUL.
const SOCKET_PATH_MAX: usize = 107;
/// Extensions of an engine's socket and of its shim's, of equal length.
const ENGINE_SOCKET: &str = "sock";
const SHIM_SOCKET: &str = "shim";

#[derive(Debug)]
pub(crate) struct Directories {
    replicas: PathBuf,
    run: PathBuf,
}

impl Directories {
    /// Makes them below `state_dir`.
    pub(crate) fn prepare(state_dir: &Path) -> Result<Self, SupervisorError> {
        make(state_dir)?;
        // Engines run in directories of their own: the path of a socket must mean the same there.
        let state_dir = fs::canonicalize(state_dir).map_err(|source| error("resolve", state_dir, source))?;
        let directories = Self { replicas: state_dir.join("replicas"), run: state_dir.join("run") };
        make(&directories.replicas)?;
        make(&directories.run)?;
        directories.check_socket_path()?;
        Ok(directories)
    }

    /// The directory of `claim`, made if need be.
    pub(crate) fn of_replica(&self, claim: ClaimId) -> Result<PathBuf, SupervisorError> {
        let directory = self.replicas.join(claim.to_string());
        make(&directory)?;
        Ok(directory)
    }

    /// Those of all replicas that are there.
    pub(crate) fn of_replicas(&self) -> Result<Vec<PathBuf>, SupervisorError> {
        let entries = fs::read_dir(&self.replicas);
        let paths = entries.and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        let paths: Vec<PathBuf> = paths.map_err(|source| error("list", &self.replicas, source))?;
        // What somebody else put there is not a replica.
        Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
    }

    /// Where the engine of `claim` listens, if it does on a socket.
    pub(crate) fn engine_socket(&self, claim: ClaimId) -> PathBuf {
        self.socket(claim_hash(claim), ENGINE_SOCKET)
    }

    /// Where its shim does.
    pub(crate) fn shim_socket(&self, claim: ClaimId) -> PathBuf {
        self.socket(claim_hash(claim), SHIM_SOCKET)
    }

    /// Removes the sockets of all but the replicas of `claims`.
    pub(crate) fn remove_sockets_but_of(&self, claims: &[ClaimId]) -> Result<(), SupervisorError> {
        let kept: Vec<PathBuf> =
            claims.iter().flat_map(|&claim| [self.engine_socket(claim), self.shim_socket(claim)]).collect();
        let is_socket = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == ENGINE_SOCKET || extension == SHIM_SOCKET)
        };
        let remove = || -> io::Result<()> {
            let paths = fs::read_dir(&self.run)?.flatten().map(|entry| entry.path());
            paths.filter(|path| is_socket(path) && !kept.contains(path)).try_for_each(fs::remove_file)
        };
        remove().map_err(|source| error("clear", &self.run, source))
    }

    /// The error of a start that cannot clear what is left of replicas.
    pub(crate) fn not_cleared(&self, source: io::Error) -> SupervisorError {
        error("clear", &self.replicas, source)
    }

    fn socket(&self, hash: u64, extension: &str) -> PathBuf {
        self.run.join(format!("{hash:016x}.{extension}"))
    }

    fn check_socket_path(&self) -> Result<(), SupervisorError> {
        let path = self.socket(0, ENGINE_SOCKET);
        let len = path.as_os_str().len();
        if len > SOCKET_PATH_MAX {
            return Err(SupervisorError::SocketPathTooLong { path, len, max: SOCKET_PATH_MAX });
        }
        Ok(())
    }
}

/// A number for `claim`, the same in every daemon.
pub(crate) fn claim_hash(claim: ClaimId) -> u64 {
    stable_hash(&[b"engine", claim.to_string().as_bytes()])
}

/// Makes `directory`, for this user only: whoever reaches a socket in it can use the engine.
fn make(directory: &Path) -> Result<(), SupervisorError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| error("create", directory, source))
}

fn error(doing: &'static str, path: &Path, source: io::Error) -> SupervisorError {
    SupervisorError::Directory { doing, path: path.to_owned(), source }
}
