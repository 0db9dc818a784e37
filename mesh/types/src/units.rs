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
    /// Not a percentage.
    #[error("`{0}` is not a percentage: write a number from 0 to 100 and a percent sign, such as `10%` or `0.5%`")]
    Percent(String),
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

/// A share, to a hundredth of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// `percent` hundredths of the whole; at most 100.
    pub const fn from_whole(percent: u8) -> Self {
        Self(if percent > 100 { 10_000 } else { percent as u16 * 100 })
    }

    /// As a factor from 0 to 1.
    pub fn as_ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// So much of `whole`, rounded up.
    pub fn of(self, whole: u32) -> u32 {
        let parts = u64::from(whole) * u64::from(self.0);
        u32::try_from(parts.div_ceil(10_000)).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

impl FromStr for Percent {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let error = || ParseUnitError::Percent(text.to_owned());
        let number: f64 = text.strip_suffix('%').ok_or_else(error)?.trim().parse().map_err(|_| error())?;
        if !(0.0..=100.0).contains(&number) {
            return Err(error());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most 10000, see above
        Ok(Self((number * 100.0).round() as u16))
    }
}

/// A number that is not negative, to six decimals: exact, so that specs can be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(u64);

const MILLIONTHS: u64 = 1_000_000;

impl Decimal {
    /// A whole number.
    pub const fn from_whole(number: u32) -> Self {
        Self(number as u64 * MILLIONTHS)
    }

    /// `millionths` of one.
    pub const fn from_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// The nearest one; `None` below zero, above 10^12, and for what is no number.
    pub fn from_f64(number: f64) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range
        (0.0..=1e12).contains(&number).then(|| Self((number * 1e6).round() as u64))
    }

    /// In millionths.
    pub const fn as_millionths(self) -> u64 {
        self.0
    }

    /// As a float.
    #[allow(clippy::cast_precision_loss)] // beyond 2^53 millionths the last decimals are lost
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_f64().fmt(f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0 / MILLIONTHS, self.0 % MILLIONTHS) {
            (whole, 0) => serializer.serialize_u64(whole),
            _ => serializer.serialize_f64(self.as_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::from_f64(number).ok_or_else(|| D::Error::custom(format!("{number} is not a number from 0 to 10^12")))
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "description": "A number, to six decimals."})
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
text_unit!(Percent, r"^[0-9.]+ ?%$", "A share with its percent sign, such as 10%.");
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

    #[test]
    fn shares_are_read_and_shown_with_their_sign() {
        assert_eq!("10%".parse(), Ok(Percent::from_whole(10)));
        assert_eq!("0.5%".parse::<Percent>().unwrap().to_string(), "0.5%");
        assert_eq!(Percent::from_whole(25).of(5), 2, "rounded up");
        for bad in ["10", "101%", "-1%", "%", "NaN%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_survive_text_exactly() {
        for (text, millionths) in [("0.8", 800_000), ("4.5", 4_500_000), ("8", 8_000_000), ("0.000001", 1)] {
            let number: Decimal = serde_json::from_str(text).unwrap();
            assert_eq!(number.as_millionths(), millionths);
            assert_eq!(serde_json::to_string(&number).unwrap().parse::<f64>().unwrap(), number.as_f64());
        }
        assert!(serde_json::from_str::<Decimal>("-1").is_err());
    }
}
