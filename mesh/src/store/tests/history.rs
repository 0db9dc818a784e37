//! The revisions that an endpoint had, across restarts, peers and versions of the program.

use shoal_types::{Endpoint, EndpointRecord};

use super::*;
use crate::store::entry::BODY_MAX;

fn record(core: &Core) -> Arc<EndpointRecord> {
    core.snapshot().endpoints[&"e".parse().unwrap()].clone()
}

fn apply(core: &mut Core, model: &str, now: UnixMillis) -> Arc<EndpointRecord> {
    core.apply(endpoint("e", model, 1), None, now).unwrap().0
}

fn models(record: &EndpointRecord) -> Vec<&str> {
    record.previous.iter().map(|past| past.spec.model.as_str()).collect()
}

/// An endpoint whose description has this many bytes at least.
fn long(model: &str, bytes: usize) -> Endpoint {
    let mut endpoint = endpoint("e", model, 1);
    endpoint.spec.aliases = ["x".repeat(bytes)].into();
    endpoint
}

#[test]
fn rule_2_an_undo_is_the_revision_that_was_on_every_node_and_after_a_restart() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let (mut on_a, mut on_b) = (a.open(now), b.open(now));
    let first = apply(&mut on_a, "m1", now);
    let second = apply(&mut on_a, "m2", now);
    on_b.merge(a.id(), everything(&on_a), now).unwrap();
    drop((on_a, on_b));
    let (mut on_a, mut on_b) = (a.open(now), b.open(now));
    assert_eq!((record(&on_b), models(&record(&on_b))), (second.clone(), vec!["m1"]));
    // The other node undoes it, and the first one hears of that.
    let undone = apply(&mut on_b, "m1", now);
    assert_eq!((undone.revision, models(&undone)), (first.revision, vec!["m2"]));
    assert!(undone.version > second.version);
    on_a.merge(b.id(), everything(&on_b), now).unwrap();
    drop(on_a);
    let mut on_a = a.open(now);
    assert_eq!(record(&on_a), undone);
    let redone = apply(&mut on_a, "m2", now);
    assert_eq!((redone.revision, models(&redone)), (second.revision, vec!["m1"]));
}

#[test]
fn rule_2_of_two_writes_at_once_one_stands_with_its_own_past() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let (mut on_a, mut on_b) = (a.open(now), b.open(now));
    let first = apply(&mut on_a, "m1", now);
    on_b.merge(a.id(), everything(&on_a), now).unwrap();
    let (here, there) = (apply(&mut on_a, "m2", now), apply(&mut on_b, "m3", now.plus(Duration::from_secs(1))));
    let (from_a, from_b) = (everything(&on_a), everything(&on_b));
    on_a.merge(b.id(), from_b, now).unwrap();
    on_b.merge(a.id(), from_a, now).unwrap();
    assert_eq!((record(&on_a), record(&on_b)), (there.clone(), there));
    assert_eq!(record(&on_a).spec_of(first.revision).unwrap().model, "m1");
    assert!(record(&on_a).spec_of(here.revision).is_none(), "what never stood is nothing to go back to");
    let again = apply(&mut on_a, "m2", now);
    assert_ne!(again.revision, here.revision);
    assert_eq!(models(&again), ["m3", "m1"]);
}

#[test]
fn what_was_deleted_begins_anew() {
    let (a, now) = (Host::first(), clock::now());
    let mut core = a.open(now);
    let first = apply(&mut core, "m1", now);
    apply(&mut core, "m2", now);
    core.delete(&"e".parse().unwrap(), None, now).unwrap();
    let anew = apply(&mut core, "m1", now);
    assert!(anew.previous.is_empty());
    assert_eq!(anew.revision, Revision(anew.version));
    assert!(anew.revision > first.revision);
}

#[test]
fn a_past_that_does_not_fit_is_forgotten_and_a_spec_that_does_not_is_refused() {
    let (a, now) = (Host::first(), clock::now());
    let b = a.joins(true);
    let mut core = a.open(now);
    let third = BODY_MAX * 3 / 10;
    let mut revisions = Vec::new();
    for model in ["m1", "m2", "m3", "m4"] {
        revisions.push(core.apply(long(model, third), None, now).unwrap().0.revision);
    }
    let last = record(&core);
    assert_eq!(models(&last), ["m3", "m2"], "the oldest goes first");
    let (near, _) = core.apply(long("m5", BODY_MAX - 1_000), None, now).unwrap();
    assert!(near.previous.is_empty());
    assert_eq!(record(&core), near, "what was answered is what stands");
    let mut on_b = b.open(now);
    assert_eq!(on_b.merge(a.id(), everything(&core), now).unwrap(), accepted(1));
    let error = core.apply(long("m6", BODY_MAX), None, now).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { max: BODY_MAX, .. }), "{error:?}");
    assert_eq!(record(&core), near);
}

/// As programs wrote it that remembered nothing.
#[test]
fn an_entry_without_a_past_gets_one() {
    let (a, now) = (Host::first(), clock::now());
    let mut core = a.open(now);
    let first = apply(&mut core, "m1", now);
    let body = everything(&core).remove(0).body.unwrap();
    assert!(!body.contains("previous"), "nor is it another entry for them");
    apply(&mut core, "m2", now);
    core.write(EntryKey::Endpoint("e".parse().unwrap()), body, now).unwrap();
    assert_eq!((record(&core).revision, models(&record(&core))), (first.revision, vec![]));
    assert_eq!(models(&apply(&mut core, "m2", now)), ["m1"]);
}

#[test]
fn a_past_that_only_newer_programs_understand_does_not_hide_the_present() {
    let (a, now) = (Host::first(), clock::now());
    let mut core = a.open(now);
    apply(&mut core, "m1", now);
    apply(&mut core, "m2", now);
    let third = apply(&mut core, "m3", now);
    let body = everything(&core).remove(0).body.unwrap();
    // The newest of the past revisions ran on another engine.
    let at = body.find("\"previous\"").unwrap();
    let strange = body[..at].to_owned() + &body[at..].replacen("\"sim\"", "\"warp\"", 1);
    core.write(EntryKey::Endpoint("e".parse().unwrap()), strange, now).unwrap();
    let read = record(&core);
    assert_eq!((read.revision, models(&read)), (third.revision, vec!["m1"]));
}
