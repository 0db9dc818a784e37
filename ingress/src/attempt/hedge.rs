//! Asking one replica, and a second one where the first takes longer than almost all others do.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Errand, Opened, tried::Course};
use crate::{Ingress, choose::Chosen, failure::Failure, routes::ReplicaRef};

/// An attempt under way.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Box<Opened>, Failure>> + Send + 'a>>;

impl Ingress {
    /// The answer of `replica`, or of a second one if the first is slow and the endpoint wants that. `None` if there is
    /// none; `course` then says why.
    pub(super) async fn ask(
        &self,
        errand: Errand<'_>,
        chosen: Box<Chosen>,
        course: &mut Course,
    ) -> Option<Box<Opened>> {
        let (sent, replica) = (chosen.at, chosen.replica);
        let Some(patience) = self.hedge_after(errand) else {
            let outcome = self.attempt(chosen, errand).await;
            return self.settle(errand, replica, outcome, sent, course);
        };
        let mut first: Attempt<'_> = Box::pin(self.attempt(chosen, errand));
        let outcome = match timeout(patience, first.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => match self.second(errand, replica, course) {
                Some(second) => return Box::pin(self.race(errand, (replica, first, sent), second, course)).await,
                None => first.await,
            },
        };
        self.settle(errand, replica, outcome, sent, course)
    }

    /// How long the first replica has. Only streams have one: how soon an answer comes that comes whole depends on how
    /// long it is.
    fn hedge_after(&self, errand: Errand<'_>) -> Option<Duration> {
        let pending = errand.pending;
        let is_wanted = pending.route.streams.hedge && pending.stream && errand.rest_of.is_none();
        if is_wanted { pending.tally.slow_after(Instant::now()) } else { None }
    }

    /// The second replica to be asked, if there is one and one more attempt is not too many.
    fn second(&self, errand: Errand<'_>, first: ReplicaRef, course: &Course) -> Option<Box<Chosen>> {
        let second = self.choose_replica(errand, &course.tried, Some(first.claim)).ok()?;
        errand.pending.tally.may_retry(Instant::now()).then_some(second)
    }

    /// The answer of whichever begins first; the other one is given up.
    async fn race<'a>(
        &'a self,
        errand: Errand<'a>,
        (first, mut first_attempt, first_sent): (ReplicaRef, Attempt<'a>, Instant),
        second: Box<Chosen>,
        course: &mut Course,
    ) -> Option<Box<Opened>> {
        let sent = second.at;
        let (second, mut second_attempt): (_, Attempt<'a>) = (second.replica, Box::pin(self.attempt(second, errand)));
        let (outcome, by_second) = tokio::select! {
            outcome = first_attempt.as_mut() => (outcome, false),
            outcome = second_attempt.as_mut() => (outcome, true),
        };
        self.metrics.streams.hedged(by_second && outcome.is_ok());
        let (one, other) = ((first, first_attempt, first_sent), (second, second_attempt, sent));
        let ((ended, _, ended_sent), (left, left_attempt, left_sent)) =
            if by_second { (other, one) } else { (one, other) };
        if let Some(opened) = self.settle(errand, ended, outcome, ended_sent, course) {
            return Some(opened);
        }
        course.current = Some((left.claim, left.revision));
        let outcome = left_attempt.await;
        self.settle(errand, left, outcome, left_sent, course)
    }

    /// Enters how an attempt went that was `sent` then.
    fn settle(
        &self,
        errand: Errand<'_>,
        replica: ReplicaRef,
        outcome: Result<Box<Opened>, Failure>,
        sent: Instant,
        course: &mut Course,
    ) -> Option<Box<Opened>> {
        match outcome {
            Ok(opened) => {
                self.note_success(errand, &opened, sent);
                Some(opened)
            }
            Err(failure) => {
                self.note_failure(errand.pending, replica, failure, course);
                None
            }
        }
    }
}
