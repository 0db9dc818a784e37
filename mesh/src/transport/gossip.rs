//! Gossip messages on the wire: one per unidirectional stream, so that a lost packet delays only its own message and a
//! message may be larger than a datagram.
//!
//! First byte: what the stream carries. Second: how the rest is coded. The rest: the message.

use std::io;

use bytes::Bytes;

/// What a unidirectional stream carries.
const GOSSIP: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const HEADER_LEN: usize = 2;
/// Below this, compressing costs more than it saves.
const COMPRESS_ABOVE: usize = 1024;
/// Largest message, in bytes, before compression; above any that chitchat makes (64 KiB).
pub const GOSSIP_MAX: usize = 256 * 1024;
/// Largest stream: a message that does not compress.
pub(super) const STREAM_MAX: usize = GOSSIP_MAX + HEADER_LEN;

/// The stream of one message.
pub(super) fn encode(message: &[u8]) -> io::Result<Vec<u8>> {
    if message.len() <= COMPRESS_ABOVE {
        return Ok([&[GOSSIP, PLAIN], message].concat());
    }
    let compressed = zstd::bulk::compress(message, 1)?;
    Ok(if compressed.len() < message.len() {
        [&[GOSSIP, ZSTD], compressed.as_slice()].concat()
    } else {
        [&[GOSSIP, PLAIN], message].concat()
    })
}

/// The message of one stream; `None` if it is of another kind, damaged, or larger than [`GOSSIP_MAX`].
pub(super) fn decode(stream: &[u8]) -> Option<Bytes> {
    match stream {
        [GOSSIP, PLAIN, message @ ..] if message.len() <= GOSSIP_MAX => Some(Bytes::copy_from_slice(message)),
        [GOSSIP, ZSTD, message @ ..] => zstd::bulk::decompress(message, GOSSIP_MAX).ok().map(Bytes::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_is_received(message: Vec<u8>, repeat in 1usize..200) {
            let message = message.repeat(repeat);
            let stream = encode(&message).unwrap();
            prop_assert!(stream.len() <= message.len() + HEADER_LEN);
            prop_assert_eq!(decode(&stream).unwrap(), message);
        }

        #[test]
        fn any_stream_is_read_without_panic(stream: Vec<u8>) {
            let _ = decode(&stream);
        }
    }

    #[test]
    fn a_message_that_unpacks_to_too_much_is_dropped() {
        assert_eq!(decode(&encode(&vec![7; GOSSIP_MAX]).unwrap()).unwrap().len(), GOSSIP_MAX);
        let bomb = encode(&vec![7; GOSSIP_MAX + 1]).unwrap();
        assert!(bomb.len() < 1024);
        assert_eq!(decode(&bomb), None);
    }
}
