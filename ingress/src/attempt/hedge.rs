//! Asking one replica, and a second one where the first takes longer than almost all others do.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Errand, Opened, tried::Course};
use crate::{Ingress, choose::Chosen, failure::Failure, routes::Replica};

/// An attempt under way.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Opened, Failure>> + Send + 'a>>;

impl Ingress {
    /// The answer of `replica`, or of a second one if the first is slow and the endpoint wants that. `None` if there is
    /// none; `course` then says why.
    pub(super) async fn ask(&self, errand: Errand<'_>, chosen: Chosen, course: &mut Course) -> Option<Opened> {
        let sent = Instant::now();
        let (mut first, replica) = self.begin_attempt(chosen, errand);
        let outcome = match self.hedge_after(errand) {
            None => first.await,
            Some(patience) => match timeout(patience, first.as_mut()).await {
                Ok(outcome) => outcome,
                Err(_) => match self.second(errand, &replica, course) {
                    Some(second) => return self.race(errand, (replica, first, sent), second, course).await,
                    None => first.await,
                },
            },
        };
        self.settle(errand, replica, outcome, sent, course)
    }

    fn begin_attempt<'a>(&'a self, chosen: Chosen, errand: Errand<'a>) -> (Attempt<'a>, Replica) {
        let (Chosen { replica, known, computing, serving, trace, .. }, deadline) = (chosen, errand.pending.deadline);
        let asked = replica.clone();
        let attempt = async move {
            let outgoing = errand.outgoing.traced(trace);
            let outcome = self.attempt(&asked, serving, known, &outgoing, deadline).await;
            drop(computing);
            outcome
        };
        (Box::pin(attempt), replica)
    }

    /// How long the first replica has. Only streams have one: how soon an answer comes that comes whole depends on how
    /// long it is.
    fn hedge_after(&self, errand: Errand<'_>) -> Option<Duration> {
        let pending = errand.pending;
        let is_wanted = pending.route.streams.hedge && pending.stream && errand.rest_of.is_none();
        if is_wanted { pending.tally.slow_after(Instant::now()) } else { None }
    }

    /// The second replica to be asked, if there is one and one more attempt is not too many.
    fn second(&self, errand: Errand<'_>, first: &Replica, course: &Course) -> Option<Chosen> {
        let second = self.choose_replica(errand, &course.tried, Some(first.claim)).ok()?;
        errand.pending.tally.may_retry(Instant::now()).then_some(second)
    }

    /// The answer of whichever begins first; the other one is given up.
    async fn race<'a>(
        &'a self,
        errand: Errand<'a>,
        (first, mut first_attempt, first_sent): (Replica, Attempt<'a>, Instant),
        second: Chosen,
        course: &mut Course,
    ) -> Option<Opened> {
        let sent = Instant::now();
        let (mut second_attempt, second) = self.begin_attempt(second, errand);
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
        replica: Replica,
        outcome: Result<Opened, Failure>,
        sent: Instant,
        course: &mut Course,
    ) -> Option<Opened> {
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
