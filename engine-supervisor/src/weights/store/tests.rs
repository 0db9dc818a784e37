mod fake_hub;
mod fetching;
mod room;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use shoal_types::{MemorySize, NodeId, UnixMillis};

use self::fake_hub::FakeHub;
use super::*;

/// A disk with so many bytes left, whatever is written to it.
#[derive(Debug)]
struct FakeDisk(AtomicU64);

impl Disk for FakeDisk {
    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.load(Ordering::Relaxed))
    }
}

/// A store in a directory of its own.
struct Node {
    cache: tempfile::TempDir,
    disk: Arc<FakeDisk>,
    store: WeightStore,
}

impl Node {
    fn new(hub: Option<&FakeHub>) -> Self {
        Self::with(hub, |_| {})
    }

    fn with(hub: Option<&FakeHub>, change: impl FnOnce(&mut WeightsConfig)) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let mut config = WeightsConfig::new(cache.path().join("hub"));
        config.hub = hub.map(FakeHub::config);
        config.reserve = MemorySize::from_bytes(0);
        change(&mut config);
        let disk = Arc::new(FakeDisk(AtomicU64::new(1 << 40)));
        let store = Self::open(config, disk.clone());
        Self { cache, disk, store }
    }

    fn open(config: WeightsConfig, disk: Arc<FakeDisk>) -> WeightStore {
        let retry = Retry { attempts: 3, backoff: Duration::ZERO };
        WeightStore::open_on(config, disk, retry).unwrap()
    }

    async fn prepare(&self, counter: u32, model: &str) -> Result<PathBuf, WeightsError> {
        self.store.prepare(claim(counter), model, None, watch::Sender::new(None)).await
    }

    /// Names below the blobs of `a/b`.
    fn blobs(&self) -> BTreeSet<String> {
        let blobs = fs::read_dir(self.cache.path().join("hub/models--a--b/blobs")).into_iter().flatten().flatten();
        blobs.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// Weights of `a/b` that have not come whole. The small files beside them may be on their way, too.
    fn incomplete(&self) -> usize {
        let large = 64 + ".incomplete".len();
        self.blobs().iter().filter(|name| name.ends_with(".incomplete") && name.len() == large).count()
    }

    fn models(&self) -> Vec<(String, bool, bool)> {
        self.store.models().into_iter().map(|model| (model.model, model.complete, model.in_use)).collect()
    }
}

fn claim(counter: u32) -> ClaimId {
    ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter }
}
