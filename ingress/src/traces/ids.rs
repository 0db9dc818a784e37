//! Ids of traces and spans: random, and never zero.

use std::{fmt, num::NonZero, str::FromStr};

use serde::{Deserialize, Serialize};

/// Not the lower-case hexadecimal digits of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of a trace is 32 lower-case hexadecimal digits, that of a span 16, and not all of them are 0")]
pub struct NoId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bits:ty, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(NonZero<$bits>);

        impl $name {
            pub(crate) fn random() -> Self {
                Self(NonZero::new(rand::random()).unwrap_or(NonZero::<$bits>::MIN))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NoId;

            fn from_str(text: &str) -> Result<Self, NoId> {
                let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                let digits = Some(text).filter(|text| is_hex && text.len() == $digits);
                let number = digits.and_then(|digits| <$bits>::from_str_radix(digits, 16).ok());
                number.and_then(NonZero::new).map(Self).ok_or(NoId)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = NoId;

            fn try_from(text: String) -> Result<Self, NoId> {
                text.parse()
            }
        }
    };
}

id!(
    /// What all spans of one request share.
    TraceId, u128, 32
);
id!(
    /// One hop of a request.
    SpanId, u64, 16
);
