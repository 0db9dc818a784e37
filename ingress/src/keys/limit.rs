//! Whether one more request is within the limits of its key. Pure.

use shoal_types::{KeyGrant, KeyUse};

/// What a key has used, here and elsewhere together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) requests: u32,
    pub(super) tokens: u32,
    pub(super) inflight: u32,
    pub(super) today: u64,
}

impl Used {
    /// With what others have let through.
    pub(super) const fn and(self, elsewhere: &KeyUse) -> Self {
        Self {
            requests: self.requests.saturating_add(elsewhere.requests),
            tokens: self.tokens.saturating_add(elsewhere.tokens),
            inflight: self.inflight.saturating_add(elsewhere.inflight),
            // What was spent today is told for all nodes together.
            today: self.today,
        }
    }
}

/// Which limit of a key is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Requests,
    Tokens,
    Day,
    Concurrency,
}

impl Limit {
    /// As the value of `x-shoal-reason`.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Requests => "key-requests-per-minute",
            Self::Tokens => "key-tokens-per-minute",
            Self::Day => "key-tokens-per-day",
            Self::Concurrency => "key-concurrency",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::Day => "tokens per day",
            Self::Concurrency => "requests at once",
        }
    }
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) limit: Limit,
    /// What is allowed.
    pub(crate) allowed: u64,
    /// Seconds after which it is worth trying again.
    pub(crate) retry_after: u16,
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} over all nodes", self.allowed, self.limit.unit())
    }
}

/// The first limit of `grant` that one request more would pass, and what it allows. Tokens are known when they have been
/// generated, so theirs is reached when nothing of it is left.
pub(super) fn reached(grant: &KeyGrant, used: Used) -> Option<(Limit, u64)> {
    let full = |used: u64, allowed: Option<u64>| allowed.filter(|allowed| used >= *allowed);
    let checks = [
        (Limit::Concurrency, full(used.inflight.into(), grant.concurrency.map(u64::from))),
        (Limit::Requests, full(used.requests.into(), grant.requests_per_minute.map(u64::from))),
        (Limit::Tokens, full(used.tokens.into(), grant.tokens_per_minute.map(u64::from))),
        (Limit::Day, full(used.today, grant.tokens_per_day)),
    ];
    checks.into_iter().find_map(|(limit, allowed)| Some((limit, allowed?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_reached_by_its_own_count() {
        let grant = KeyGrant {
            requests_per_minute: Some(2),
            tokens_per_minute: Some(3),
            tokens_per_day: Some(4),
            concurrency: Some(5),
            ..KeyGrant::default()
        };
        let below = Used { requests: 1, tokens: 2, inflight: 4, today: 3 };
        assert_eq!(reached(&grant, below), None);
        assert_eq!(reached(&grant, Used { requests: 2, ..below }), Some((Limit::Requests, 2)));
        assert_eq!(reached(&grant, Used { tokens: 9, ..below }), Some((Limit::Tokens, 3)));
        assert_eq!(reached(&grant, Used { today: 4, ..below }), Some((Limit::Day, 4)));
        assert_eq!(reached(&grant, Used { inflight: 5, ..below }), Some((Limit::Concurrency, 5)));
        let most = Used { requests: u32::MAX, tokens: u32::MAX, inflight: u32::MAX, today: u64::MAX };
        assert_eq!(reached(&KeyGrant::default(), most), None, "no limit is none");
        let elsewhere = KeyUse { requests: 1, ..KeyUse::default() };
        assert_eq!(reached(&grant, below.and(&elsewhere)), Some((Limit::Requests, 2)));
    }
}
