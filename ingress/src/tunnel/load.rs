//! The load of a replica as it is written among the headers of an answer.

use shoal_types::Load;

/// What it is called there. It only ever crosses the mesh.
pub(super) const NAME: &str = "x-shoal-load";

/// Three counts, a percentage, and what is between them.
const TEXT_MAX: usize = 3 * 10 + 3 + 3;

/// `load` as text.
pub(super) fn text(load: Load) -> String {
    let Load { inflight, running, waiting, kv_cache } = load;
    let (mut text, mut digits) = (String::with_capacity(TEXT_MAX), itoa::Buffer::new());
    text.push_str(digits.format(inflight));
    for number in [running, waiting, kv_cache.map(u32::from)] {
        text.push(',');
        text.push_str(number.map_or("", |number| digits.format(number)));
    }
    text
}

/// The load that `text` says, if it can be read; what follows it is for later versions.
pub(super) fn read(text: &[u8]) -> Option<Load> {
    let mut numbers = std::str::from_utf8(text).ok()?.split(',');
    let inflight = numbers.next()?.parse().ok()?;
    let mut next = || match numbers.next()? {
        "" => Some(None),
        number => number.parse::<u32>().ok().map(Some),
    };
    let (running, waiting, kv_cache) = (next()?, next()?, next()?);
    Some(Load { inflight, running, waiting, kv_cache: kv_cache.and_then(|percent| u8::try_from(percent).ok()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_a_load() {
        for text in ["", "1", "1,2", "-1,,,", "1,x,,", "4294967296,,,", "\u{e4},,,"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(b"\xff,,,"), None);
        assert_eq!(read(b"7,,,,and more"), Some(Load { inflight: 7, ..Load::default() }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(inflight: u32, running: Option<u32>, waiting: Option<u32>, kv_cache: Option<u8>) {
            let load = Load { inflight, running, waiting, kv_cache };
            let text = text(load);
            prop_assert!(text.len() <= TEXT_MAX);
            prop_assert_eq!(read(text.as_bytes()), Some(load));
        }
    }
}
