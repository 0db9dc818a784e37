//! The keys of the mesh, and which of them a request shows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};
use shoal_types::{EndpointName, KEY_PREFIX, KeyGrant, KeyHash, KeyId, KeyRecord, KeyUse, key_id};
use tokio::time::Instant;

use super::{KeyMetrics, KeyUsage, KeyVisit, limit::Excess, meter::Meter};
use crate::{caller::Caller, config::Auth, map::Map};

/// One key, as this ingress goes by it.
#[derive(Debug)]
pub(crate) struct Key {
    id: KeyId,
    record: Arc<KeyRecord>,
    pub(super) meter: Arc<Meter>,
}

/// Why a request is not served for the key that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It shows none.
    NoKey,
    /// There is none like it.
    UnknownKey,
}

impl Key {
    /// Who asks with it.
    pub(crate) fn caller(&self) -> Caller {
        let KeyGrant { priority, weight, .. } = self.record.grant;
        Caller { key: Some(self.id), priority, weight: weight.max(1) }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        self.record.name.as_str()
    }

    /// Whether it is good for `endpoint`.
    pub(crate) fn allows(&self, endpoint: &EndpointName) -> bool {
        self.record.grant.allows(endpoint)
    }

    /// Lets one more request in.
    pub(crate) fn enter(self: Arc<Self>, now: Instant) -> Result<KeyVisit, Excess> {
        self.meter.enter(&self.record.grant, now)?;
        Ok(KeyVisit::new(self))
    }

    /// Tells the client how much of its rates is left, in the headers that OpenAI's clients know.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, now: Instant) {
        let KeyGrant { requests_per_minute, tokens_per_minute, .. } = self.record.grant;
        if requests_per_minute.is_none() && tokens_per_minute.is_none() {
            return;
        }
        let (requests, tokens) = self.meter.minute(now);
        let mut tell = |limit: Option<u32>, used: u32, name: &'static str, remaining: &'static str| {
            if let Some(limit) = limit {
                headers.insert(name, HeaderValue::from(limit));
                headers.insert(remaining, HeaderValue::from(limit.saturating_sub(used)));
            }
        };
        tell(requests_per_minute, requests, "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests");
        tell(tokens_per_minute, tokens, "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens");
    }
}

/// An immutable snapshot of all keys that are good.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    keys: Map<KeyId, Arc<Key>>,
    /// Keys that are gone, until what they used has been taken.
    retired: Mutex<Vec<Arc<Key>>>,
}

impl KeyRing {
    /// The ring of `records`, which takes over the counts of `before`.
    pub(crate) fn succeed(
        before: &Self,
        records: impl IntoIterator<Item = (KeyId, Arc<KeyRecord>)>,
        metrics: &KeyMetrics,
        now: Instant,
    ) -> Self {
        let records: HashMap<KeyId, Arc<KeyRecord>> = records.into_iter().collect();
        let gone: Vec<_> = before.keys.values().filter(|key| !records.contains_key(&key.id)).cloned().collect();
        gone.iter().for_each(|key| metrics.forget(key.name()));
        let key = |(id, record): (KeyId, Arc<KeyRecord>)| {
            let known = before.keys.get(&id).map(|known| Arc::clone(&known.meter));
            let meter = known.unwrap_or_else(|| Arc::new(Meter::new(metrics.of(record.name.as_str()), now)));
            (id, Arc::new(Key { id, record, meter }))
        };
        let mut retired = std::mem::take(&mut *before.retired.lock().unwrap_or_else(PoisonError::into_inner));
        retired.extend(gone);
        Self { keys: records.into_iter().map(key).collect(), retired: Mutex::new(retired) }
    }

    /// The key that a request shows as `credential`. Where none is asked for, only what looks like one of this program is
    /// taken for one: clients must send something, and what they send then means nothing.
    pub(crate) fn identify(&self, credential: Option<&str>, auth: Auth) -> Result<Option<Arc<Key>>, Denied> {
        match (credential, auth) {
            (None, Auth::None) => Ok(None),
            (None, Auth::Keys) => Err(Denied::NoKey),
            (Some(text), Auth::None) if !text.starts_with(KEY_PREFIX) => Ok(None),
            (Some(text), Auth::None | Auth::Keys) => self.find(text).map(Some).ok_or(Denied::UnknownKey),
        }
    }

    /// One hash of 78 bytes a request (0.3 us with SHA instructions), which is less than a cache of verified keys would
    /// take, and leaves no secret in memory.
    fn find(&self, text: &str) -> Option<Arc<Key>> {
        let key = self.keys.get(&key_id(text)?)?;
        let digest: [u8; 32] = digest(&SHA256, text.as_bytes()).as_ref().try_into().ok()?;
        (KeyHash::new(digest) == key.record.hash).then(|| Arc::clone(key))
    }

    /// What was used since this was called last.
    pub(crate) fn take_usage(&self) -> Vec<KeyUsage> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = self.keys.values().chain(retired.iter()).flat_map(|key| {
            let taken = key.meter.take().into_iter();
            // All are names of endpoints.
            taken.filter_map(|(endpoint, counts)| {
                Some(KeyUsage { key: key.id, endpoint: endpoint.parse().ok()?, counts })
            })
        });
        let usage = usage.collect();
        // Whatever still runs by one has it, too.
        retired.retain(|key| Arc::strong_count(key) > 1);
        usage
    }

    /// What others should know of keys with limits.
    pub(crate) fn told(&self, now: Instant) -> HashMap<KeyId, KeyUse> {
        let limited = self.keys.values().filter(|key| key.record.grant.is_limited());
        limited.map(|key| (key.id, key.meter.told(now))).collect()
    }

    /// Others have let `elsewhere` through, all together, and all nodes `today`.
    pub(crate) fn hear(&self, elsewhere: &HashMap<KeyId, KeyUse>, today: &HashMap<KeyId, u64>) {
        for key in self.keys.values().filter(|key| key.record.grant.is_limited()) {
            let elsewhere = elsewhere.get(&key.id).copied().unwrap_or_default();
            key.meter.hear(elsewhere, today.get(&key.id).copied().unwrap_or(0));
        }
    }
}
