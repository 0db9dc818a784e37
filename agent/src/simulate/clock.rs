//! Times with an offset, as traces and flags have them.

use std::time::{Duration, UNIX_EPOCH};

use shoal_types::UnixMillis;

/// Reads RFC 3339, with or without seconds: `2025-10-11T00:00-07:00`, `2025-10-03T17:10:00.002281-07:00`, or with `Z`.
pub(super) fn parse(text: &str) -> Result<UnixMillis, String> {
    instant(text).ok_or_else(|| format!("`{text}` is not a time such as 2025-10-11T00:00-07:00"))
}

fn instant(text: &str) -> Option<UnixMillis> {
    let (local, east) = split_offset(text)?;
    let seconds = if local.len() == "2025-10-11T00:00".len() { ":00" } else { "" };
    let time = humantime::parse_rfc3339(&format!("{local}{seconds}Z")).ok()?;
    let millis = i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    u64::try_from(millis.checked_sub(east)?).ok().map(UnixMillis::from_millis)
}

/// The local time, and by how many milliseconds its clocks are ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix('Z') {
        return Some((local, 0));
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (sign, hours, minutes) = (offset.get(..1)?, offset.get(1..3)?, offset.get(4..6)?);
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let ahead = i64::try_from(Duration::from_secs(hours * 3600 + minutes * 60).as_millis()).ok()?;
    match (sign, offset.get(3..4)?) {
        ("+", ":") => Some((local, ahead)),
        ("-", ":") => Some((local, -ahead)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_taken_off() {
        let utc = parse("2025-10-11T07:00:00Z").unwrap();
        assert_eq!(utc.to_string(), "2025-10-11T07:00:00.000Z");
        assert_eq!(parse("2025-10-11T00:00-07:00"), Ok(utc));
        assert_eq!(parse("2025-10-11T12:30:00.0005+05:30"), Ok(utc));
        for bad in ["", "-07:00", "2025-10-11", "2025-10-11T00:00", "2025-10-11T00:00-0700", "1969-12-31T23:59Z"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
