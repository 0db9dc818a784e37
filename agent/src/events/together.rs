//! One list of what several nodes tell.

use std::{collections::HashMap, time::Duration};

use super::event::{Event, Subject};

/// Within it, the same that several nodes tell is one thing that happened: longer than failure detectors of two nodes differ.
const SAME: Duration = Duration::from_secs(30);

/// All of `events`, the newest last; what several nodes saw is there once, as who saw it first tells it.
pub(crate) fn together(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by(|a, b| (a.at, &a.node, a.number).cmp(&(b.at, &b.node, b.number)));
    let mut list: Vec<Event> = Vec::with_capacity(events.len());
    // Where in the list each was told last.
    let mut told: HashMap<(String, Subject), usize> = HashMap::new();
    for event in events {
        let what = (event.reason.clone(), event.about.clone());
        let first = told.get(&what).and_then(|&place| list.get_mut(place));
        match first.filter(|first| event.at.since(first.at) <= SAME && first.is_also(&event)) {
            Some(first) => first.also.push(event.node),
            None => {
                told.insert(what, list.len());
                list.push(event);
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use shoal_types::UnixMillis;

    use super::{
        super::event::{Draft, Reason, Subject},
        *,
    };

    fn event(node: &str, at: u64, reason: Reason, about: &str) -> Event {
        Draft::new(reason, Subject::node(about), "").told(at, UnixMillis::from_millis(at), node)
    }

    #[test]
    fn what_several_nodes_saw_is_told_once() {
        let told = together(vec![
            event("b", 1_500, Reason::NodeSilent, "c"),
            event("a", 1_000, Reason::NodeSilent, "c"),
            event("a", 1_200, Reason::NodeSilent, "d"),
            event("a", 9_000, Reason::NodeSilent, "c"),
            event("b", 90_000, Reason::NodeSilent, "c"),
        ]);
        let lines: Vec<_> = told.iter().map(|e| (e.at.as_millis(), e.node.as_str(), e.also.len())).collect();
        // The same node telling it again says that it happened again.
        assert_eq!(lines, [(1_000, "a", 1), (1_200, "a", 0), (9_000, "a", 0), (90_000, "b", 0)]);
    }
}
