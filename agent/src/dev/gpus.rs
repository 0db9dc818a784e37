//! Which GPUs the nodes of `shoal dev` have: simulated ones, or real ones of a library that is not.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    admin::{Code, Problem},
    cli::{DevArgs, DevGpus},
};

/// What cargo calls the stand-in for NVIDIA's library.
const STAND_IN: &str = "libmock_nvml.so";
/// What the loader calls the library.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// GPUs of a node with the stand-in.
const MOCKED: u16 = 8;

/// The GPUs of each node.
#[derive(Debug, Clone)]
pub(super) enum NodeGpus {
    /// So many that are shown as simulated everywhere.
    Simulated(u32),
    /// Those of the stand-in that is here, with a state of each node's own.
    Mock(PathBuf),
}

impl NodeGpus {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// If the stand-in is asked for and not there.
    pub(super) fn new(args: &DevArgs) -> Result<Self, Problem> {
        match args.gpus {
            DevGpus::Simulated(count) => Ok(Self::Simulated(count)),
            DevGpus::Mock => stand_in(args.mock_nvml.as_deref()).map(Self::Mock),
        }
    }

    /// Puts the library into the node's directory, and beside it its state, unless there is one from before.
    pub(super) fn prepare(&self, dir: &Path, node: u16) -> io::Result<()> {
        let Self::Mock(stand_in) = self else { return Ok(()) };
        // Each node needs a path of its own: the state is looked for beside it.
        match fs::remove_file(dir.join(LIBRARY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => symlink(stand_in, dir.join(LIBRARY))?,
        }
        let state = state_file(dir);
        if state.exists() { Ok(()) } else { fs::write(state, state_text(node)?) }
    }

    /// The lines of the node's configuration.
    pub(super) fn config_text(&self, dir: &Path) -> String {
        match self {
            Self::Simulated(count) => format!(
                "# No real GPUs are used: these are shown as simulated everywhere.\n\
                 gpus: {{library: /nonexistent, simulated: [{{count: {count}, name: H100 80GB HBM3, memory: 80GiB}}]}}\n"
            ),
            Self::Mock(_) => format!(
                "# No real GPUs are used: this library reads them from the file beside it.\ngpus: {{library: {:?}}}\n",
                dir.join(LIBRARY)
            ),
        }
    }
}

/// The file that says how the GPUs of the node in `dir` are.
pub(super) fn state_file(dir: &Path) -> PathBuf {
    dir.join(format!("{LIBRARY}.json"))
}

/// What people may want to change is there to be changed; everything else is as by default.
fn state_text(node: u16) -> io::Result<Vec<u8>> {
    let gpu = |index: u16| {
        json!({
            "uuid": format!("GPU-{node:08x}-0000-4000-8000-{index:012x}"),
            "memory_used": 0, "utilization": 0, "temperature": 33, "recovery_action": 0, "processes": [], "error": 0,
        })
    };
    let state = json!({ "gpus": (0..MOCKED).map(gpu).collect::<Vec<_>>(), "events": [] });
    Ok(serde_json::to_vec_pretty(&state)?)
}

fn stand_in(given: Option<&Path>) -> Result<PathBuf, Problem> {
    let beside = || Some(env::current_exe().ok()?.parent()?.join(STAND_IN));
    let path = given.map(Path::to_owned).or_else(beside).unwrap_or_else(|| STAND_IN.into());
    path.canonicalize().map_err(|error| {
        let message = format!("--gpus mock needs the stand-in for NVIDIA's library at {}: {error}", path.display());
        Problem::new(Code::NotFound, message)
            .hint("build it with `cargo build -p mock-nvml`, or say with --mock-nvml where it is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_that_is_not_there_is_said_to_be_missing() {
        let problem = stand_in(Some(Path::new("/nonexistent/mock.so"))).unwrap_err();
        assert_eq!(problem.code, Code::NotFound);
    }

    #[test]
    fn what_somebody_has_edited_stays_when_the_mesh_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let gpus = NodeGpus::Mock("/somewhere/libmock_nvml.so".into());
        gpus.prepare(dir.path(), 3).unwrap();
        let text = fs::read_to_string(state_file(dir.path())).unwrap();
        assert!(text.contains("GPU-00000003-0000-4000-8000-000000000007"), "{text}");
        fs::write(state_file(dir.path()), "{}").unwrap();
        gpus.prepare(dir.path(), 3).unwrap();
        assert_eq!(fs::read_to_string(state_file(dir.path())).unwrap(), "{}");
        assert!(gpus.config_text(dir.path()).contains("libnvidia-ml.so.1\"}"));
    }
}
