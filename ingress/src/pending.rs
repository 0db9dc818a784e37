//! A client's request that has no answer yet.

use std::{sync::Arc, time::Duration};

use shoal_types::KeyId;
use tokio::time::Instant;

use crate::{
    admission::Admitted,
    caller::Caller,
    choose::Affinity,
    demand::Tally,
    holding::Asker,
    records::Trail,
    routes::{Route, Wanted},
    upstream::Outgoing,
};

/// Bytes of a body per token of a prompt, about: English text in JSON.
const BYTES_PER_TOKEN: usize = 4;
/// What an answer is taken for, in tokens, unless the request says that it will be shorter. What clients allow is mostly far more
/// than what comes, and some APIs make them say it.
const ANSWER: u32 = 256;

/// A client's request that has no answer yet, and all that is needed to get it one.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Who asks.
    pub(crate) caller: Caller,
    pub(crate) wanted: Wanted,
    /// The route that it was found by, as it was then.
    pub(crate) route: Arc<Route>,
    /// The client reads events.
    pub(crate) stream: bool,
    /// Tokens that the answer may have, if that was said.
    pub(crate) longest: Option<u32>,
    /// Answers that are computed for it.
    pub(crate) choices: u32,
    /// Replicas may come where there are none.
    pub(crate) may_wake: bool,
    pub(crate) outgoing: Outgoing,
    /// What draws it to a replica.
    pub(crate) affinity: Affinity,
    /// When it had been read.
    pub(crate) since: Instant,
    /// The endpoint's timeout, and when it has passed.
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) tally: Arc<Tally>,
    /// Where it is noted who is chosen, and why.
    pub(crate) trail: Arc<Trail>,
    /// The client reads trailers.
    pub(crate) trailers: bool,
    /// Its share of the bodies that may be held.
    pub(crate) _room: Admitted,
}

impl Pending {
    /// What it asks of a queue.
    pub(crate) fn asker(&self) -> Asker<Option<KeyId>> {
        let Caller { key, priority, weight } = self.caller;
        Asker { caller: key, priority, weight, cost: cost(self.outgoing.body.len(), self.longest, self.choices) }
    }
}

/// What a request costs, in tokens: by the bytes of its `body`, and for each of its `choices` by the `longest` answer that it
/// allows if that is short.
fn cost(body: usize, longest: Option<u32>, choices: u32) -> u32 {
    let prompt = u32::try_from(body / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
    let answer = longest.map_or(ANSWER, |longest| longest.min(ANSWER));
    prompt.saturating_add(answer.saturating_mul(choices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_costs_its_prompt_and_an_answer_that_may_be_short() {
        assert_eq!(cost(4_000, None, 1), 1_256);
        assert_eq!(cost(4_000, Some(16), 1), 1_016);
        assert_eq!(cost(4_000, Some(16_000), 1), 1_256);
        assert_eq!(cost(usize::MAX, Some(u32::MAX), 1), u32::MAX);
    }

    #[test]
    fn each_answer_that_is_computed_costs() {
        assert_eq!(cost(4_000, None, 4), 1_000 + 4 * 256);
        assert_eq!(cost(4_000, Some(16), 8), 1_000 + 8 * 16);
        assert_eq!(cost(4_000, None, u32::MAX), u32::MAX);
    }
}
