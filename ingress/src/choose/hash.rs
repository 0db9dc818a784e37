//! Hashes that are the same on every node, so that ingresses agree without a word. They decide where requests go, never
//! whether they may: somebody who makes two collide gets a slower answer.

use rapidhash::v3::rapidhash_v3;

/// Digits of the fractional part of pi, as in wyhash: odd, and nobody's choice.
const KEYS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];

/// Both mixed into one: the folded product of wyhash.
pub(super) const fn fold(a: u64, b: u64) -> u64 {
    let product = ((a ^ KEYS[0]) as u128) * ((b ^ KEYS[1]) as u128);
    #[allow(clippy::cast_possible_truncation)] // its two halves are what is wanted
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

/// The hash of `bytes` (rapidhash v3, which is frozen) behind what hashed to `before`.
pub(super) fn chain(before: u64, bytes: &[u8]) -> u64 {
    fold(rapidhash_v3(bytes), before)
}

/// The hash of `parts`, of which none runs into the next.
pub(crate) fn seed(parts: &[&[u8]]) -> u64 {
    parts.iter().fold(0, |seed, part| chain(seed.wrapping_add(part.len() as u64), part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other versions of this program must come to the same hashes: a prompt's home would move with every upgrade.
    #[test]
    fn hashes_stay_what_they_are() {
        let bytes: Vec<u8> = (0..=255).collect();
        // Of a whole block and of rests: those of other lengths are computed in other ways.
        for (length, expected) in [
            (256, 0x131d_066f_00f8_b65e),
            (200, 0x29b2_110c_d880_469f),
            (100, 0x17ce_d2a9_c228_0413),
            (20, 0xe720_b907_c4aa_5ed3),
            (1, 0xd96d_91aa_ce83_7cc4),
        ] {
            assert_eq!(chain(7, &bytes[..length]), expected, "{length} bytes");
        }
        assert_eq!(seed(&[b"llama", b"", b"salt"]), 0xeaa8_2625_b591_449e);
    }

    #[test]
    fn no_part_runs_into_the_next() {
        assert_ne!(seed(&[b"ab", b"c"]), seed(&[b"a", b"bc"]));
        assert_ne!(seed(&[b"", b"a"]), seed(&[b"a", b""]));
    }
}
