//! A key as its owner has it: `sk-shoal-ID-SECRET`.
//!
//! The id says at once which key it claims to be, so that one hash is made of it and not one compared with all; the prefix
//! lets scanners of repositories and logs find keys that were left there.

use super::KeyId;
use crate::id::base32;

/// What all keys begin with.
pub const KEY_PREFIX: &str = "sk-shoal-";
/// Characters of a secret: 256 bits in base32.
const SECRET_LEN: usize = 52;

/// The text of key `id`, whose secret is `secret`.
pub fn key_text(id: KeyId, secret: &[u8; 32]) -> String {
    format!("{KEY_PREFIX}{id}-{}", base32().encode(secret))
}

/// Which key `text` claims to be; `None` if it is no key of any mesh.
pub fn key_id(text: &str) -> Option<KeyId> {
    let (id, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('-')?;
    if secret.len() == SECRET_LEN { id.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_which_key_it_is_of() {
        let id = KeyId::from_bytes([0x1f; 10]);
        let text = key_text(id, &[0xee; 32]);
        assert_eq!((text.len(), key_id(&text)), (78, Some(id)));
        for odd in ["", "sk-shoal-", "sk-shoal--", "unused", &text[1..], &text[..77], &format!("{text}a")] {
            assert_eq!(key_id(odd), None, "{odd}");
        }
    }
}
