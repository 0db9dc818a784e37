//! What a node says that is not the steward: what the steward has forgotten, or not heard yet (DESIGN rule 5).

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{EndpointName, Mandate, NodeId, UnixMillis};

use crate::{memory::Heard, scene::Scene, steward::heal::rank};

/// How long the steward may say less than this node remembers. It needs a few rounds of gossip to hear of it from the
/// steward before it, who does not wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when stewards say less than this node remembers.
#[derive(Debug, Clone, Default)]
pub(super) struct Reminders(BTreeMap<EndpointName, UnixMillis>);

impl Reminders {
    /// What this node repeats of what it remembers about `endpoint`, and when to ask again.
    ///
    /// A word of a lower epoch counts nowhere. A steward that came back and never heard what was said without it would
    /// speak in vain, so whoever spoke last goes on until the steward has said as much; should that one be gone, all that
    /// remember step in.
    pub(super) fn repeat(
        &mut self,
        scene: &Scene<'_>,
        endpoint: &EndpointName,
        steward: Option<NodeId>,
    ) -> (Option<Mandate>, Option<UnixMillis>) {
        let Some(heard) = scene.memory.mandate(endpoint) else { return (None, None) };
        let said = steward.and_then(|steward| {
            let mandate = scene.view.nodes.get(&steward)?.mandates.get(endpoint)?;
            Some(Heard { by: steward, mandate: mandate.clone() })
        });
        // One that died before its own disk had its last word may use that epoch again, for another word.
        let behind = said.as_ref().is_none_or(|said| rank(said) <= rank(heard) && said != heard);
        if !behind {
            self.0.remove(endpoint);
            return (None, None);
        }
        if heard.by == scene.view.me {
            return (Some(heard.mandate.clone()), None);
        }
        if said.is_none() {
            return (None, None); // it has not spoken yet, and begins with what all remember
        }
        let until = self.0.entry(endpoint.clone()).or_insert(scene.now).plus(PATIENCE);
        if scene.now < until { (None, Some(until)) } else { (Some(heard.mandate.clone()), None) }
    }

    /// Forgets the endpoints that are not `known`.
    pub(super) fn retain(&mut self, known: impl Fn(&EndpointName) -> bool) {
        self.0.retain(|endpoint, _| known(endpoint));
    }
}
