//! What this node remembers of the mesh, on disk: mandates and preemptions outlive those who said them.

use std::{path::Path, sync::Arc, time::Duration};

use shoal_placement::Memory;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::state_file::StateFile;

/// Least time between two writes: what is lost with a host that dies in it is still on the others.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Where it is kept.
#[derive(Debug)]
pub(crate) struct MemoryFile(StateFile<Memory>);

impl MemoryFile {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(StateFile::new(state_dir, "memory.json", "which remembers what stewards said"))
    }

    /// What was remembered; nothing, and a line in the log, if that cannot be read: then what is claimed now stands. Blocks.
    pub(crate) fn read(&self) -> Memory {
        self.0.read().unwrap_or_else(|error| {
            error!(%error, "What this node remembered is lost");
            Memory::default()
        })
    }

    /// Writes what is remembered as it changes, until `stop`, and once more then.
    pub(crate) async fn keep(self, mut memory: watch::Receiver<Arc<Memory>>, stop: CancellationToken) {
        let file = Arc::new(self.0);
        while let Some(Ok(())) = stop.run_until_cancelled(memory.changed()).await {
            write(&file, &mut memory).await;
            stop.run_until_cancelled(sleep(WRITE_EVERY)).await;
        }
        if memory.has_changed().unwrap_or(false) {
            write(&file, &mut memory).await;
        }
    }
}

async fn write(file: &Arc<StateFile<Memory>>, memory: &mut watch::Receiver<Arc<Memory>>) {
    let (file, memory) = (Arc::clone(file), Arc::clone(&memory.borrow_and_update()));
    match spawn_blocking(move || file.write(&memory)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "What this node remembers is not on disk; the next change tries again"),
        Err(panic) => error!(%panic, "What this node remembers is not on disk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_heard_is_on_disk_and_what_cannot_be_read_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MemoryFile::new(dir.path()).read(), Memory::default());
        let (tell, heard) = watch::channel(Arc::new(Memory::default()));
        let stop = CancellationToken::new();
        stop.cancel();
        tell.send_replace(Arc::new(Memory::default()));
        MemoryFile::new(dir.path()).keep(heard, stop).await;
        assert!(dir.path().join("memory.json").exists(), "once more at the end");
        std::fs::write(dir.path().join("memory.json"), "{").unwrap();
        assert_eq!(MemoryFile::new(dir.path()).read(), Memory::default());
    }
}
