//! The body of a tunnelled answer: bytes in, pieces out. No I/O.

use bytes::{Buf as _, Bytes, BytesMut};
use shoal_types::wire::{self, WireError};

use super::Trailer;

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the answer; a chunk that arrives in parts is passed on in parts.
    Data(Bytes),
    /// The proper end.
    End(Trailer),
}

/// Where in the body we are.
#[derive(Debug, Default)]
pub(crate) enum ChunkDecoder {
    /// Before the length of a chunk.
    #[default]
    Length,
    /// Within a chunk, with so many bytes to come.
    Data(usize),
    /// After the chunk of length 0.
    Trailer,
}

impl ChunkDecoder {
    /// Takes the next piece out of `buffer`, or `None` if more bytes are needed.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, WireError> {
        loop {
            match *self {
                Self::Length => {
                    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
                    let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
                    buffer.advance(4);
                    *self = if length == 0 { Self::Trailer } else { Self::Data(length) };
                }
                Self::Data(_) if buffer.is_empty() => return Ok(None),
                Self::Data(left) => {
                    let data = buffer.split_to(left.min(buffer.len())).freeze();
                    *self = if data.len() == left { Self::Length } else { Self::Data(left - data.len()) };
                    return Ok(Some(Piece::Data(data)));
                }
                Self::Trailer => return Ok(take_frame(buffer)?.map(Piece::End)),
            }
        }
    }
}

/// Takes one whole frame out of `buffer`, or `None` if more bytes are needed.
pub(crate) fn take_frame<T: serde::de::DeserializeOwned>(buffer: &mut BytesMut) -> Result<Option<T>, WireError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = wire::frame_len(*prefix)?;
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let frame = wire::decode(&buffer[4..4 + length]);
    buffer.advance(4 + length);
    frame.map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_types::Load;

    use super::*;

    fn encoded(chunks: &[Vec<u8>], trailer: Trailer) -> Vec<u8> {
        let mut bytes = Vec::new();
        for chunk in chunks {
            bytes.extend_from_slice(&u32::try_from(chunk.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(chunk);
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&wire::encode_prefixed(&trailer).unwrap());
        bytes
    }

    proptest! {
        /// However the stream is cut, the same bytes come out, and the end only at the end.
        #[test]
        fn a_body_survives_any_cuts(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            cut in 1usize..20,
        ) {
            let trailer = Trailer::from(Load { inflight: 7, ..Load::default() });
            let (mut decoder, mut buffer) = (ChunkDecoder::default(), BytesMut::new());
            let (mut body, mut end) = (Vec::new(), None);
            for part in encoded(&chunks, trailer).chunks(cut) {
                prop_assert!(end.is_none());
                buffer.extend_from_slice(part);
                while end.is_none() && let Some(piece) = decoder.decode(&mut buffer).unwrap() {
                    match piece {
                        Piece::Data(data) => body.extend_from_slice(&data),
                        Piece::End(trailer) => end = Some(trailer),
                    }
                }
            }
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(end, Some(trailer));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let (mut decoder, mut buffer) = (ChunkDecoder::default(), BytesMut::from(bytes.as_slice()));
            while let Ok(Some(Piece::Data(_))) = decoder.decode(&mut buffer) {}
        }
    }
}
