//! Bytes as one line of text that people carry from host to host: a prefix that says what it is, base64url, and six bytes of
//! their SHA-256, so that a bad paste is told from something wrong.

use data_encoding::BASE64URL_NOPAD;

use super::keys::sha256;

const CHECKSUM_LEN: usize = 6;
/// What is carried stays far below this.
const TEXT_MAX: usize = 8 * 1024;

/// Why a text does not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArmorError {
    /// It does not begin as such a text does.
    Other,
    /// Truncated or altered on its way here.
    Damaged,
}

/// `frame` as text.
pub(super) fn armor(prefix: &str, frame: &[u8]) -> String {
    let sealed = [frame, &sha256(frame)[..CHECKSUM_LEN]].concat();
    format!("{prefix}{}", BASE64URL_NOPAD.encode(&sealed))
}

/// The frame in `text`. Blanks and line breaks, which terminals and mails add, do not matter.
pub(super) fn unarmor(prefix: &str, text: &str) -> Result<Vec<u8>, ArmorError> {
    let text: String = text.chars().take(TEXT_MAX).filter(|character| !character.is_ascii_whitespace()).collect();
    let body = text.strip_prefix(prefix).ok_or(ArmorError::Other)?;
    let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| ArmorError::Damaged)?;
    let (frame, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(ArmorError::Damaged)?;
    if sha256(frame)[..CHECKSUM_LEN] == checksum[..] { Ok(frame.to_vec()) } else { Err(ArmorError::Damaged) }
}
