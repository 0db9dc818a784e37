//! Quantities with their unit: in a spec they are text (`80GiB`, `10m`), inside the program they are these types.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// Not a size with a binary or decimal unit.
    #[error("`{0}` is not a size: write a number and a unit, such as `80GiB` (KiB, MiB, GiB, TiB, KB, MB, GB, TB)")]
    Size(String),
    /// Not a duration with units.
    #[error("`{0}` is not a duration: write numbers with units, such as `800ms`, `30s` or `1h30m`")]
    Duration(String),
}

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(u64);

impl MemorySize {
    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `gib` times 2^30 bytes.
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemorySize {
    /// In the largest binary unit that is at least one, with one decimal where it is not whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS[..4].iter().copied().find(|&(_, unit)| self.0 >= unit).unwrap_or(("B", 1));
        if self.0.is_multiple_of(unit) {
            write!(f, "{}{name}", self.0 / unit)
        } else {
            #[allow(clippy::cast_precision_loss)] // for people: one decimal
            let value = self.0 as f64 / unit as f64;
            write!(f, "{value:.1}{name}")
        }
    }
}

impl FromStr for MemorySize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let error = || ParseUnitError::Size(text.to_owned());
        let (name, unit) = UNITS.iter().find(|(name, _)| text.ends_with(name)).ok_or_else(error)?;
        let number: f64 = text[..text.len() - name.len()].trim().parse().map_err(|_| error())?;
        #[allow(clippy::cast_precision_loss)]
        let bytes = number * *unit as f64;
        // 2^53: beyond it, f64 no longer counts single bytes; 8 PiB is more than any host has.
        if !(0.0..=9_007_199_254_740_992.0).contains(&bytes) {
            return Err(error());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range, see above
        Ok(Self(bytes.round() as u64))
    }
}

/// A span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.0).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

impl FromStr for HumanDuration {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        humantime::parse_duration(text).map(Self).map_err(|_| ParseUnitError::Duration(text.to_owned()))
    }
}

macro_rules! text_unit {
    ($name:ident, $pattern:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "description": $description})
            }
        }
    };
}

text_unit!(MemorySize, r"^[0-9.]+ ?([KMGT]i?)?B$", "A size with its unit, such as 80GiB.");
text_unit!(HumanDuration, r"^([0-9]+(ns|us|ms|s|m|h|d) ?)+$", "A duration with its units, such as 1h30m.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_with_units() {
        assert_eq!("80GiB".parse(), Ok(MemorySize::from_gib(80)));
        assert_eq!("1.5 KiB".parse(), Ok(MemorySize::from_bytes(1536)));
        assert_eq!("2GB".parse(), Ok(MemorySize::from_bytes(2_000_000_000)));
        assert_eq!(MemorySize::from_bytes(85_520_809_984).to_string(), "79.6GiB");
        for bad in ["80", "GiB", "-1GiB", "80 gigs", "1e30TiB", "NaNB"] {
            assert!(bad.parse::<MemorySize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_and_shown_with_units() {
        assert_eq!("1h30m".parse(), Ok(HumanDuration::from_secs(5400)));
        assert_eq!(HumanDuration::from_millis(90_500).to_string(), "1m30s500ms");
        assert!("10".parse::<HumanDuration>().is_err());
    }
}
