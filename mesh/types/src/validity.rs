//! From when to when certificates are valid.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// What is long-lived is spoken of this long before its end.
const NOTICE_MAX: Duration = Duration::from_secs(60 * 24 * 3600);

/// The life of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// When it was made.
    pub from: UnixMillis,
    /// Its last moment.
    pub until: UnixMillis,
}

impl Validity {
    /// All of it.
    pub const fn life(self) -> Duration {
        self.until.since(self.from)
    }

    /// Whether so little of it is left that somebody should know: less than a third, and than 60 days. What is renewed by
    /// itself is renewed at half of its life, so that this is never seen where that works.
    pub fn is_ending(self, now: UnixMillis) -> bool {
        self.until.since(now) < (self.life() / 3).min(NOTICE_MAX)
    }

    /// Whether it is over.
    pub fn is_over(self, now: UnixMillis) -> bool {
        now > self.until
    }
}

/// The lives of all that a node proves itself and others with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validities {
    /// The certificate that it shows to others.
    pub node: Validity,
    /// The one with which it signs those of others, if it is an issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Validity>,
    /// The root of its mesh.
    pub root: Validity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_near_in_the_last_third_and_sixty_days() {
        let (start, hour) = (UnixMillis::from_millis(1_000_000), Duration::from_secs(3600));
        let node = Validity { from: start, until: start.plus(hour * 72) };
        assert_eq!(node.life(), hour * 72);
        assert!(!node.is_ending(start.plus(hour * 48)) && node.is_ending(start.plus(hour * 49)));
        assert!(
            !node.is_over(node.until) && node.is_over(node.until.plus(hour)) && node.is_ending(node.until.plus(hour))
        );
        let root = Validity { from: start, until: start.plus(hour * 24 * 7300) };
        assert!(!root.is_ending(start.plus(hour * 24 * 7239)) && root.is_ending(start.plus(hour * 24 * 7241)));
    }
}
