//! How a rollout is shown.

use shoal_types::{Replicas, Rollout, RolloutPhase, Strategy};

use super::stage::Stage;

fn stage() -> Stage {
    Stage::new(|spec| {
        spec.replicas = Replicas { min: 10, max: None };
        spec.rollout = Rollout { strategy: Strategy::Canary, ..Rollout::default() };
    })
}

#[test]
fn a_status_tells_both_revisions_apart() {
    let mut stage = stage();
    stage.follow();
    let old = stage.record().revision;
    let new = stage.apply();
    stage.follow();
    stage.outcome(new, 200, 1, 150);
    stage.run(1);
    let status = stage.status();
    assert!(matches!(status.rollout, RolloutPhase::Progressing { step: 0, ready: Some(_) }));
    let told: Vec<_> = status.revisions.iter().map(|it| (it.revision, it.desired, it.ready, it.weight)).collect();
    assert_eq!(told, [(new, 1, 1, 10), (old, 9, 9, 90)]);
    assert_eq!(status.next_step.map(|next| next.since(status.since.unwrap()).as_secs()), Some(300));
    let text = status.to_string();
    assert!(text.starts_with("a: progressing, step 1 of 3, since 1970"), "{text}");
    assert!(text.contains("     200    0.5%"), "{text}");
}

#[test]
fn a_revision_that_no_steward_has_spoken_of_is_shown_as_waiting() {
    let mut stage = stage();
    assert_eq!(stage.status().reason, "no steward has spoken yet");
    stage.follow();
    stage.memory.observe(&stage.fleet.view, crate::tests::fleet::at(stage.now));
    let new = stage.apply();
    let status = stage.status();
    assert_eq!(
        status.rollout,
        RolloutPhase::Progressing { step: 0, ready: None },
        "not complete: that was the old one"
    );
    assert_eq!(status.revisions.last().map(|it| (it.revision, it.desired, it.weight)), Some((new, 0, 0)));
}
