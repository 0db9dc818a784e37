//! What Prometheus is told of keys. Their names are labels, as many as there is room for.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Most keys that have series of their own, four each; all further ones share [`OTHER`].
const KEYS_SHOWN_MAX: usize = 200;
/// The label of all keys that found no room. No key has this name: it is no DNS label.
const OTHER: &str = "(other)";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    key: Arc<str>,
    r#type: &'static str,
}

/// The families, and who has a label.
#[derive(Debug, Default)]
pub(crate) struct KeyMetrics {
    requests: Family<KeyLabels, Counter>,
    refused: Family<KeyLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    denied: Counter,
    labels: Mutex<HashSet<Arc<str>>>,
}

/// The counters of one key, found once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    requests: Counter,
    refused: Counter,
    prompt: Counter,
    completion: Counter,
}

impl KeyMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("shoal_ingress");
        registry.register("key_requests", "Requests that ended, by key", self.requests.clone());
        registry.register("key_requests_refused", "Requests over a limit of their key", self.refused.clone());
        registry.register("requests_denied", "Requests without a key that is good", self.denied.clone());
        registry.register("key_tokens", "Tokens of prompts and answers, by key", self.tokens.clone());
    }

    /// A request showed no key that is good.
    pub(crate) fn denied(&self) {
        self.denied.inc();
    }

    /// The counters of the key called `name`.
    pub(super) fn of(&self, name: &str) -> Shown {
        let key = self.label(name);
        let labels = KeyLabels { key: Arc::clone(&key) };
        let tokens = |r#type| self.tokens.get_or_create(&TokenLabels { key: Arc::clone(&key), r#type }).clone();
        Shown {
            requests: self.requests.get_or_create(&labels).clone(),
            refused: self.refused.get_or_create(&labels).clone(),
            prompt: tokens("prompt"),
            completion: tokens("completion"),
        }
    }

    fn label(&self, name: &str) -> Arc<str> {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = labels.get(name) {
            return Arc::clone(known);
        }
        if labels.len() >= KEYS_SHOWN_MAX {
            return OTHER.into();
        }
        let label: Arc<str> = name.into();
        labels.insert(Arc::clone(&label));
        label
    }

    /// Forgets a key that is gone, so that there is room for another.
    pub(super) fn forget(&self, name: &str) {
        let Some(key) = self.labels.lock().unwrap_or_else(PoisonError::into_inner).take(name) else { return };
        for r#type in ["prompt", "completion"] {
            self.tokens.remove(&TokenLabels { key: Arc::clone(&key), r#type });
        }
        let labels = KeyLabels { key };
        self.requests.remove(&labels);
        self.refused.remove(&labels);
    }
}

impl Shown {
    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn ended(&self, prompt: u32, completion: u32) {
        self.requests.inc();
        self.prompt.inc_by(prompt.into());
        self.completion.inc_by(completion.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_while_there_is_room() {
        let metrics = KeyMetrics::default();
        for index in 0..KEYS_SHOWN_MAX + 50 {
            metrics.of(&format!("key-{index}")).ended(1, 2);
        }
        metrics.forget("key-0");
        metrics.of("late").ended(3, 4);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let series = text.lines().filter(|line| line.starts_with("shoal_ingress_key_requests_total")).count();
        assert_eq!(series, KEYS_SHOWN_MAX + 1);
        assert!(text.contains(r#"shoal_ingress_key_requests_total{key="(other)"} 50"#), "{text}");
        assert!(text.contains(r#"shoal_ingress_key_tokens_total{key="late",type="completion"} 4"#), "{text}");
        assert!(!text.contains("\"key-0\""));
    }
}
