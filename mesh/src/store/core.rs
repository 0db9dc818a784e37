//! The store itself: entries in memory and on disk, and every decision about them. Blocks on the disk; time is an
//! argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use shoal_types::{
    Endpoint, EndpointName, EndpointRecord, Hlc, HlcClock, KeyId, KeyRecord, MeshId, NodeId, Revision, UnixMillis,
};
use tracing::warn;

use super::{
    Snapshot, StoreError,
    digest::Digest,
    disk::{Batch, Disk},
    entry::{BODY_MAX, Entry, EntryKey},
    history,
    merge::{Rank, merge},
    seal::{seal, verify},
    snapshot::EndpointBody,
};
use crate::identity::{Identity, IdentityError, Roots, Succession};

/// Most entries, whatever their kind. Each is a few kilobytes, and all are in memory.
pub(super) const ENTRIES_MAX: usize = 20_000;
/// How long a deletion is remembered: the longest absence after which a node may still merge what it has.
pub(super) const TOMBSTONES_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Entries of which it is remembered that they were complained about.
const COMPLAINTS_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Core {
    identity: Arc<Identity>,
    clock: HlcClock,
    disk: Disk,
    entries: BTreeMap<EntryKey, Arc<Entry>>,
    snapshot: Snapshot,
    /// What a node that was away too long may hold although the mesh deleted it; empty once it is up to date.
    doubtful: BTreeSet<EntryKey>,
    /// Whether absence from this store means that an entry does not exist. Not so for a new or a long absent node.
    current: bool,
    /// Refused entries come again with every exchange; one warning each is enough.
    complained: BTreeSet<(EntryKey, Rank)>,
}

/// What became of entries from a peer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Now stand here.
    pub(crate) accepted: usize,
    /// Not signed by who they say, or malformed.
    pub(crate) refused: usize,
    /// From too far in the future; a later exchange brings them again.
    pub(crate) quarantined: usize,
}

/// Which write of an entry stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stamp {
    pub(super) key: EntryKey,
    pub(super) version: Hlc,
    pub(super) tombstone: bool,
}

impl Stamp {
    const fn rank(&self) -> Rank {
        self.key.rank(self.version, self.tombstone)
    }
}

impl Core {
    pub(super) fn open(path: &Path, identity: Arc<Identity>, now: UnixMillis) -> Result<Self, StoreError> {
        let (disk, loaded) = Disk::open(path)?;
        let current = loaded.seen.is_some_and(|seen| now.since(seen) <= TOMBSTONES_KEPT);
        let mut core = Self {
            clock: HlcClock::new(identity.node_id(), loaded.clock),
            identity,
            disk,
            entries: BTreeMap::new(),
            snapshot: Snapshot::default(),
            doubtful: BTreeSet::new(),
            current,
            complained: BTreeSet::new(),
        };
        core.follow_successions(&loaded.entries);
        for entry in loaded.entries {
            core.stand(entry);
        }
        if !current {
            let endpoints = core.entries.keys().filter(|key| matches!(key, EntryKey::Endpoint(_)));
            core.doubtful = endpoints.cloned().collect();
        }
        Ok(core)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    #[cfg(test)]
    pub(super) const fn disk(&mut self) -> &mut Disk {
        &mut self.disk
    }

    pub(super) const fn digest(&self) -> Digest {
        self.snapshot.digest
    }

    /// The record of `name` after `endpoint` was applied, and the entry that was written unless nothing changed.
    pub(super) fn apply(
        &mut self,
        endpoint: Endpoint,
        expected: Option<Hlc>,
        now: UnixMillis,
    ) -> Result<(Arc<EndpointRecord>, Option<Arc<Entry>>), StoreError> {
        let name = endpoint.metadata.name.clone();
        let before = self.snapshot.endpoints.get(&name).cloned();
        self.expect(&name, expected)?;
        if let Some(before) = before.as_ref().filter(|before| before.endpoint == endpoint) {
            return Ok((before.clone(), None));
        }
        let version = self.next_version(now)?;
        let (revision, previous) = match before {
            Some(before) => history::succeed(&before, &endpoint.spec, version),
            None => (Revision(version), Vec::new()),
        };
        let body = EndpointBody { revision, endpoint, previous };
        let (body, text) = history::fitting(body, BODY_MAX)?;
        let entry = self.write_at(EntryKey::Endpoint(name), version, Some(text), now)?;
        let EndpointBody { revision, endpoint, previous } = body;
        Ok((Arc::new(EndpointRecord { endpoint, revision, version, previous }), Some(entry)))
    }

    /// Writes the endpoint `name` again as it is, so that it has a newer version: what was decided by the old one is
    /// decided anew.
    pub(super) fn touch(
        &mut self,
        name: &EndpointName,
        expected: Option<Hlc>,
        now: UnixMillis,
    ) -> Result<(Arc<EndpointRecord>, Arc<Entry>), StoreError> {
        self.expect(name, expected)?;
        let before = self.snapshot.endpoints.get(name).cloned();
        let before = before.ok_or_else(|| StoreError::NotFound { name: name.clone() })?;
        let version = self.next_version(now)?;
        let EndpointRecord { endpoint, revision, previous, .. } = EndpointRecord::clone(&before);
        let body = EndpointBody { revision, endpoint, previous };
        let text = serde_json::to_string(&body)?;
        let entry = self.write_at(EntryKey::Endpoint(name.clone()), version, Some(text), now)?;
        Ok((Arc::new(EndpointRecord { version, ..EndpointRecord::clone(&before) }), entry))
    }

    /// The record that was deleted, and the tombstone.
    pub(super) fn delete(
        &mut self,
        name: &EndpointName,
        expected: Option<Hlc>,
        now: UnixMillis,
    ) -> Result<(Arc<EndpointRecord>, Arc<Entry>), StoreError> {
        self.expect(name, expected)?;
        let previous = self.snapshot.endpoints.get(name).cloned();
        let previous = previous.ok_or_else(|| StoreError::NotFound { name: name.clone() })?;
        let version = self.next_version(now)?;
        let entry = self.write_at(EntryKey::Endpoint(name.clone()), version, None, now)?;
        Ok((previous, entry))
    }

    /// Writes `body` under `key` in this node's name.
    pub(super) fn write(&mut self, key: EntryKey, body: String, now: UnixMillis) -> Result<Arc<Entry>, StoreError> {
        let version = self.next_version(now)?;
        self.write_at(key, version, Some(body), now)
    }

    /// Whether others take over what this node writes.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        let node = self.node();
        if self.identity.can_write() { Ok(()) } else { Err(StoreError::NotAWriter { node }) }
    }

    pub(super) fn node(&self) -> NodeId {
        self.identity.node_id()
    }

    pub(super) fn roots(&self) -> Arc<Roots> {
        self.identity.roots()
    }

    pub(super) fn follow(&self, succession: &Succession, at: UnixMillis) -> Result<(), IdentityError> {
        self.identity.succeed(succession, at)
    }

    pub(super) fn mesh(&self) -> MeshId {
        self.identity.mesh_id()
    }

    /// The version of the next write, unless others would not take over what this node writes.
    fn next_version(&mut self, now: UnixMillis) -> Result<Hlc, StoreError> {
        self.may_write()?;
        let written = self.clock.last();
        match written.since(now).checked_sub(HlcClock::MAX_AHEAD) {
            None | Some(Duration::ZERO) => Ok(self.clock.tick(now)),
            Some(wait) => {
                let (again, path) = (now.plus(wait), self.disk.path().to_owned());
                Err(StoreError::ClockSteppedBack { written, now, again, path })
            }
        }
    }

    fn write_at(
        &mut self,
        key: EntryKey,
        version: Hlc,
        body: Option<String>,
        now: UnixMillis,
    ) -> Result<Arc<Entry>, StoreError> {
        let bytes = body.as_ref().map_or(0, String::len);
        if bytes > BODY_MAX {
            return Err(StoreError::TooLarge { bytes, max: BODY_MAX });
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            return Err(StoreError::Full { max: ENTRIES_MAX });
        }
        let entry = seal(&self.identity, key, version, body)?;
        self.judge_succession(&entry).map_err(StoreError::Succession)?;
        let (clock, seen) = (self.clock.last(), self.seen(now));
        self.disk.commit(&Batch { put: vec![&entry], remove: Vec::new(), clock, seen })?;
        self.follow_succession(&entry);
        Ok(self.stand(entry))
    }

    fn expect(&self, name: &EndpointName, expected: Option<Hlc>) -> Result<(), StoreError> {
        let current = self.snapshot.endpoints.get(name).map(|record| record.version);
        if expected.is_none() || expected == current {
            Ok(())
        } else {
            Err(StoreError::Conflict { name: name.clone(), current })
        }
    }

    /// Takes over what is newer among `entries`, as far as it is what its writer signed.
    pub(super) fn merge(&mut self, from: NodeId, entries: Vec<Entry>, now: UnixMillis) -> Result<Merged, StoreError> {
        let mut merged = Merged::default();
        let mut accepted: BTreeMap<EntryKey, Entry> = BTreeMap::new();
        let (mut of_roots, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.key.is_of_roots());
        // Whichever comes first: one may count only once another does.
        while let Some(next) = of_roots.iter().position(|entry| self.judge(entry, true).is_ok()) {
            self.consider((from, of_roots.remove(next)), now, &mut accepted, &mut merged);
        }
        for entry in of_roots.into_iter().chain(others) {
            self.consider((from, entry), now, &mut accepted, &mut merged);
        }
        if accepted.is_empty() {
            return Ok(merged);
        }
        let put = accepted.values().collect();
        let (clock, seen) = (self.clock.last(), self.seen(now));
        self.disk.commit(&Batch { put, remove: Vec::new(), clock, seen })?;
        merged.accepted = accepted.len();
        for entry in accepted.into_values() {
            self.stand(entry);
        }
        Ok(merged)
    }

    fn consider(
        &mut self,
        (from, entry): (NodeId, Entry),
        now: UnixMillis,
        accepted: &mut BTreeMap<EntryKey, Entry>,
        merged: &mut Merged,
    ) {
        self.doubtful.remove(&entry.key);
        if !self.is_news(&entry, now) {
            return;
        }
        let room = self.entries.len() + accepted.len() < ENTRIES_MAX || self.entries.contains_key(&entry.key);
        if let Err(reason) = self.judge(&entry, room) {
            merged.refused += 1;
            self.complain(from, &entry, &reason, "an entry was refused");
        } else if !self.clock.observe(entry.version, now) {
            merged.quarantined += 1;
            let reason = format!("it was written at {}, this host's clock says {now}", entry.version.time);
            self.complain(from, &entry, &reason, "an entry from the future is not taken over; compare the clocks");
        } else {
            // At once, as what comes after it may be verified with it only.
            self.follow_succession(&entry);
            let entry = match accepted.remove(&entry.key) {
                Some(other) => merge(other, entry),
                None => entry,
            };
            accepted.insert(entry.key.clone(), entry);
        }
    }

    /// Whether it is newer than what stands, and not a deletion that everybody is about to forget.
    fn is_news(&self, entry: &Entry, now: UnixMillis) -> bool {
        let newer = self.entries.get(&entry.key).is_none_or(|known| entry.rank() > known.rank());
        newer && !is_forgotten(entry, now)
    }

    fn judge(&self, entry: &Entry, room: bool) -> Result<(), String> {
        entry.check()?;
        if !room {
            return Err(format!("the store is full: it holds {ENTRIES_MAX} entries"));
        }
        verify(&self.identity, entry).map_err(|error| error.to_string())?;
        self.judge_succession(entry)
    }

    fn complain(&mut self, from: NodeId, entry: &Entry, reason: &str, message: &'static str) {
        if self.complained.len() >= COMPLAINTS_MAX {
            self.complained.clear();
        }
        if self.complained.insert((entry.key.clone(), entry.rank())) {
            warn!(%from, key = %entry.key, writer = %entry.version.node, %reason, "{message}");
        }
    }

    /// `entry`, which is on disk, stands from now on.
    fn stand(&mut self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let old = self.entries.insert(entry.key.clone(), entry.clone());
        self.snapshot.replace(old.as_deref(), &entry);
        self.doubtful.remove(&entry.key);
        entry
    }

    /// Writes down that this node was here, if it is current, and forgets deletions that all nodes have heard of. To be
    /// called every hour or so. Returns whether anything was forgotten.
    pub(super) fn sweep(&mut self, now: UnixMillis) -> Result<bool, StoreError> {
        let old = self.entries.values().filter(|entry| is_forgotten(entry, now)).map(|entry| entry.key.clone());
        let old: Vec<EntryKey> = old.collect();
        self.remove(&old, self.seen(now))?;
        Ok(!old.is_empty())
    }

    /// This node has everything that a current peer has. What it held from before a long absence, and that peer did
    /// not, was deleted meanwhile. Returns how many entries those were.
    pub(super) fn catch_up(&mut self, now: UnixMillis) -> Result<usize, StoreError> {
        let gone: Vec<EntryKey> = self.doubtful.iter().cloned().collect();
        self.remove(&gone, Some(now))?;
        self.current = true;
        Ok(gone.len())
    }

    /// This node and another have the same: that is all there is, as far as anybody can tell.
    pub(super) fn settle(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        self.doubtful.clear();
        self.current = true;
        self.remove(&[], self.seen(now))
    }

    /// What to write down as the time at which this node was last up to date. A node that is not must not: restarted,
    /// it would take itself for current, and offer what others have deleted and forgotten.
    fn seen(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.current.then_some(now)
    }

    fn remove(&mut self, keys: &[EntryKey], seen: Option<UnixMillis>) -> Result<(), StoreError> {
        let remove = keys.iter().collect();
        self.disk.commit(&Batch { put: Vec::new(), remove, clock: self.clock.last(), seen })?;
        for key in keys {
            if let Some(old) = self.entries.remove(key) {
                self.snapshot.remove(&old);
            }
            self.doubtful.remove(key);
        }
        Ok(())
    }

    pub(super) const fn is_current(&self) -> bool {
        self.current
    }

    /// Which writes stand here; without what is in doubt if a current peer is to send all it has.
    pub(super) fn stamps(&self, doubtful_too: bool) -> Vec<Stamp> {
        let wanted = self.entries.values().filter(|entry| doubtful_too || !self.doubtful.contains(&entry.key));
        let stamp = |entry: &Arc<Entry>| Stamp {
            key: entry.key.clone(),
            version: entry.version,
            tombstone: entry.is_tombstone(),
        };
        wanted.map(stamp).collect()
    }

    /// What stands here and is newer than `theirs` or not among them, and which of `theirs` is newer than what stands
    /// here.
    pub(super) fn compare(&self, theirs: Vec<Stamp>, now: UnixMillis) -> (Vec<Arc<Entry>>, Vec<EntryKey>) {
        let theirs: BTreeMap<EntryKey, Rank> =
            theirs.into_iter().map(|stamp| (stamp.key.clone(), stamp.rank())).collect();
        let newer = |entry: &&Arc<Entry>| theirs.get(&entry.key).is_none_or(|rank| entry.rank() > *rank);
        let newer_here =
            self.entries.values().filter(newer).filter(|entry| !is_forgotten(entry, now)).cloned().collect();
        let older = |key: &EntryKey, rank: &Rank| self.entries.get(key).is_none_or(|entry| *rank > entry.rank());
        let newer_there = theirs.iter().filter(|(key, rank)| older(key, rank)).map(|(key, _)| key.clone()).collect();
        (newer_here, newer_there)
    }

    /// The entries under `keys`, as far as there are any.
    pub(super) fn get(&self, keys: &[EntryKey]) -> Vec<Arc<Entry>> {
        keys.iter().filter_map(|key| self.entries.get(key).cloned()).collect()
    }

    /// All entries whose keys lie between `first` and `last`, both included.
    pub(super) fn range(&self, first: EntryKey, last: EntryKey) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.range(first..=last).map(|(_, entry)| entry)
    }

    /// All entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// The endpoint `name` as it stands.
    pub(super) fn endpoint(&self, name: &EndpointName) -> Option<&Arc<EndpointRecord>> {
        self.snapshot.endpoints.get(name)
    }

    /// The key `id` of a client, unless it was revoked.
    pub(super) fn key(&self, id: KeyId) -> Option<&Arc<KeyRecord>> {
        self.snapshot.keys.get(&id)
    }

    pub(super) fn contains(&self, key: &EntryKey) -> bool {
        self.entries.contains_key(key)
    }
}

/// Whether it is a deletion that is no longer remembered.
fn is_forgotten(entry: &Entry, now: UnixMillis) -> bool {
    entry.is_tombstone() && now.since(entry.version.time) > TOMBSTONES_KEPT
}
