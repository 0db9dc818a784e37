//! The state as it was last read, and what has happened since the library was loaded.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::{abi::Ret, place::state_file, state::State};

/// Shortest time between two looks at the file: thousands of calls a second may ask.
const LOOK: Duration = Duration::from_millis(5);

/// What tells two versions of the file apart.
type Stamp = (Option<SystemTime>, u64, u64);

/// Everything behind the C functions.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) state: Arc<State>,
    /// Calls of `nvmlInit` that have not been shut down.
    pub(crate) sessions: u32,
    /// Event sets so far; their handles are numbers.
    pub(crate) sets: usize,
    /// Which set waits for which events of which GPU.
    pub(crate) registrations: Vec<Registration>,
    /// For each GPU the index after the last event that it was told.
    pub(crate) told: BTreeMap<usize, usize>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
}

/// A set waits for events of a GPU.
pub(crate) struct Registration {
    pub(crate) set: usize,
    pub(crate) gpu: usize,
    pub(crate) mask: u64,
}

/// The world, brought in line with the file.
pub(crate) fn world() -> MutexGuard<'static, World> {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let mut world = WORLD.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    world.look();
    world
}

/// The state, if somebody has called `nvmlInit`.
pub(crate) fn state() -> Result<Arc<State>, Ret> {
    let world = world();
    if world.sessions == 0 { Err(crate::abi::UNINITIALIZED) } else { Ok(Arc::clone(&world.state)) }
}

impl World {
    /// Whoever begins anew sees what is written by then.
    pub(crate) fn look_again(&mut self) {
        self.looked = None;
        self.look();
    }

    fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        if let Some(path) = state_file() {
            self.read(&path);
        }
    }

    /// A file that cannot be read or understood leaves all as it was.
    fn read(&mut self, path: &Path) {
        let Ok(found) = fs::metadata(path) else { return };
        let stamp = (found.modified().ok(), found.len(), found.ino());
        if self.stamp.replace(stamp) == Some(stamp) {
            return;
        }
        let read = fs::read(path).map_err(|error| error.to_string());
        match read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string())) {
            Ok(state) => self.state = Arc::new(state),
            Err(error) => eprintln!("mock NVML: {}: {error}; the GPUs stay as they were", path.display()),
        }
    }
}
