//! Instants as clouds write them.

use std::time::{SystemTime, UNIX_EPOCH};

use shoal_types::UnixMillis;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads RFC 3339 in UTC (AWS, and whoever writes by hand) and the date of HTTP (Azure).
pub(super) fn instant(text: &str) -> Option<UnixMillis> {
    let text = text.trim();
    humantime::parse_rfc3339_weak(text).ok().and_then(unix_millis).or_else(|| http_date(text))
}

/// `None` before 1970.
pub(super) fn unix_millis(time: SystemTime) -> Option<UnixMillis> {
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMillis::from_millis(u64::try_from(since_epoch.as_millis()).ok()?))
}

/// Such as `Mon, 19 Sep 2016 18:29:47 GMT` (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<UnixMillis> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok().and_then(unix_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_all_clouds_are_read() {
        let expected = Some(UnixMillis::from_millis(1_795_356_300_000));
        for text in ["2026-11-22T14:05:00Z", " 2026-11-22T14:05:00.000Z\n", "Sun, 22 Nov 2026 14:05:00 GMT"] {
            assert_eq!(instant(text), expected, "{text}");
        }
        assert_eq!(instant("Thu, 5 Mar 2026 01:02:03 GMT"), instant("2026-03-05T01:02:03Z"));
        for text in ["", "60s", "Sun, 22 Foo 2026 14:05:00 GMT", "Sun, 22 Nov 2026 14:05:00 CET", "22 Nov 2026", "é"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
