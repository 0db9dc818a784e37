//! The one codec of frames between nodes: a version byte, then bincode 2.
//!
//! bincode is prescribed and unmaintained (RUSTSEC-2025-0141); nothing outside this module names it. It is not
//! self-describing: fields and variants of frame types are only ever added at the end, together with a new version, and
//! only sent to nodes that speak it. As long as no frame has changed otherwise, all are marked with the oldest version, so
//! that what a node of that version knows it also reads from a newer one.
//! Documents whose fields may grow (specs) travel inside frames as JSON bytes.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

/// The newest frame version that this program speaks; others know it by the facts of its node. 2 added the keys of clients
/// to what stores compare, 3 roots that were replaced.
pub const PROTOCOL: u8 = 3;
/// The oldest frame version that it still reads, and what it marks its frames with.
pub const PROTOCOL_MIN: u8 = 1;
/// Largest frame, in bytes: bounds what a peer can make us allocate.
pub const FRAME_MAX: usize = 1 << 20;
/// Most frames are no larger, in bytes, and need not grow while they are written.
const FRAME_USUAL: usize = 1 << 10;

type Config = Configuration<LittleEndian, Fixint, Limit<FRAME_MAX>>;

const CONFIG: Config = bincode::config::standard().with_fixed_int_encoding().with_limit::<FRAME_MAX>();

/// Why a frame cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The sender is newer or older than we can read.
    #[error("peer sent frame version {0}; this node reads {PROTOCOL_MIN} to {PROTOCOL}: upgrade the older of the two")]
    Version(u8),
    /// Larger than [`FRAME_MAX`].
    #[error("frame of {0} bytes is over the limit of {FRAME_MAX}")]
    TooLarge(usize),
    /// Damaged, or not a frame of the expected type.
    #[error("malformed frame: {0}")]
    Malformed(String),
}

/// One frame: version byte and body.
///
/// # Errors
/// [`WireError::TooLarge`] if it would not be read by a peer, [`WireError::Malformed`] if it is of a type that cannot be written.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::with_capacity(FRAME_USUAL);
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// Writes the frame of `value` behind what is in `bytes`, and says how long it is.
fn append<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<usize, WireError> {
    let before = bytes.len();
    bytes.push(PROTOCOL_MIN);
    bincode::serde::encode_into_std_write(value, bytes, CONFIG)
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    let length = bytes.len() - before;
    if length > FRAME_MAX { Err(WireError::TooLarge(length)) } else { Ok(length) }
}

/// The value of one whole frame.
///
/// # Errors
/// If the version is foreign, the frame too large, damaged, or longer than its value.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, WireError> {
    if frame.len() > FRAME_MAX {
        return Err(WireError::TooLarge(frame.len()));
    }
    let Some((&version, body)) = frame.split_first() else {
        return Err(WireError::Malformed("it is empty".to_owned()));
    };
    if !(PROTOCOL_MIN..=PROTOCOL).contains(&version) {
        return Err(WireError::Version(version));
    }
    match bincode::serde::decode_from_slice(body, CONFIG) {
        Ok((value, read)) if read == body.len() => Ok(value),
        Ok((_, read)) => Err(WireError::Malformed(format!("{} bytes follow its end", body.len() - read))),
        Err(error) => Err(WireError::Malformed(error.to_string())),
    }
}

/// One frame behind its length (u32, big endian), as it stands on a stream.
///
/// # Errors
/// As [`encode`].
pub fn encode_prefixed<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::with_capacity(FRAME_USUAL);
    append_prefixed(&mut bytes, value)?;
    Ok(bytes)
}

/// As [`encode_prefixed`], behind what is in `bytes`, where several frames are sent at once.
///
/// # Errors
/// As [`encode`]; `bytes` are then as they were.
pub fn append_prefixed<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), WireError> {
    let before = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let length = append(bytes, value).and_then(|length| u32::try_from(length).map_err(|_| WireError::TooLarge(length)));
    match length {
        Ok(length) => bytes[before..before + 4].copy_from_slice(&length.to_be_bytes()),
        Err(error) => {
            bytes.truncate(before);
            return Err(error);
        }
    }
    Ok(())
}

/// The length of the frame that follows `prefix` on a stream.
///
/// # Errors
/// [`WireError::TooLarge`], so that a reader never allocates more than [`FRAME_MAX`].
pub fn frame_len(prefix: [u8; 4]) -> Result<usize, WireError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > FRAME_MAX { Err(WireError::TooLarge(length)) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ClaimId, NodeId, UnixMillis};

    proptest! {
        #[test]
        fn what_is_written_is_read(node: [u8; 16], generation: u64, counter: u32, text: String, bytes: Vec<u8>) {
            let claim = ClaimId { node: NodeId::from_bytes(node), generation: UnixMillis::from_millis(generation), counter };
            let value = (claim, text, bytes);
            prop_assert_eq!(decode::<(ClaimId, String, Vec<u8>)>(&encode(&value).unwrap()).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = decode::<(ClaimId, String, Vec<String>)>(&bytes);
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut frame = vec![PROTOCOL_MIN];
        frame.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Vec<u8>>(&frame), Err(WireError::Malformed(_))));
        assert_eq!(decode::<u8>(&[PROTOCOL + 1, 0]), Err(WireError::Version(PROTOCOL + 1)));
        assert!(matches!(decode::<u8>(&[PROTOCOL, 0, 0]), Err(WireError::Malformed(_))));
    }

    #[test]
    fn frames_follow_each_other_and_what_is_too_large_leaves_nothing_behind() {
        let mut bytes = b"before".to_vec();
        append_prefixed(&mut bytes, &7u8).unwrap();
        assert!(append_prefixed(&mut bytes, &vec![0u8; FRAME_MAX]).is_err());
        append_prefixed(&mut bytes, &"b").unwrap();
        let expected = [&b"before"[..], &encode_prefixed(&7u8).unwrap(), &encode_prefixed(&"b").unwrap()].concat();
        assert_eq!(bytes, expected);
    }
}
