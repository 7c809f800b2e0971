//! A frame: what one commit writes. Header, then a body of entries; one checksum over length, sequence and body.
//!
//! ```text
//! magic 4 | length of the body 4 | sequence 8 | crc32 4 | body
//! ```
//!
//! Numbers are little-endian. The sequence counts all frames of a log from 0, over segments. The magic begins with a
//! byte that no UTF-8 text contains, so that records' JSON is not taken for a frame when damage is searched.

/// Bytes before the body.
pub(crate) const HEADER: usize = 20;
/// The first bytes of every frame; the last one is the version of the format.
pub(crate) const MAGIC: [u8; 4] = [0xF7, b'L', b'W', 1];

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole frame of `length` bytes, header included.
    Frame { sequence: u64, length: usize },
    /// More bytes are needed to tell: at least so many in all.
    Short { need: usize },
    /// Zeros: where nothing was ever written.
    Empty,
    /// Anything else.
    Bad(&'static str),
}

/// Reads the frame that `bytes` begins with.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Parsed::Short { need: HEADER } };
    if header == &[0; HEADER] {
        return Parsed::Empty;
    }
    let mut fields = Fields(header);
    let (Some(magic), Some(length), Some(sequence), Some(crc)) =
        (fields.array::<4>(), fields.u32(), fields.u64(), fields.u32())
    else {
        return Parsed::Bad("its header is cut");
    };
    if magic != MAGIC {
        return Parsed::Bad("no frame begins here");
    }
    let Some(body) = rest.get(..length as usize) else { return Parsed::Short { need: HEADER + length as usize } };
    if checksum(length, sequence, body) != crc {
        return Parsed::Bad("its checksum does not match");
    }
    Parsed::Frame { sequence, length: HEADER + length as usize }
}

/// An empty frame with room for `body` bytes; entries are appended to it, [`finish`] completes it.
pub(crate) fn begin(body: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + body);
    frame.extend_from_slice(&[0; HEADER]);
    frame
}

/// Fills in the header of a frame made by [`begin`].
pub(crate) fn finish(frame: &mut [u8], sequence: u64) {
    let Some((header, body)) = frame.split_first_chunk_mut::<HEADER>() else { return };
    let length = body.len() as u32;
    let crc = checksum(length, sequence, body);
    let fields = MAGIC.into_iter().chain(length.to_le_bytes()).chain(sequence.to_le_bytes()).chain(crc.to_le_bytes());
    for (to, from) in header.iter_mut().zip(fields) {
        *to = from;
    }
}

fn checksum(length: u32, sequence: u64, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    crc.update(&sequence.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

/// Takes fields off the front of some bytes; `None` when they do not suffice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(sequence: u64, body: &[u8]) -> Vec<u8> {
        let mut frame = begin(body.len());
        frame.extend_from_slice(body);
        finish(&mut frame, sequence);
        frame
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(sequence: u64, body: Vec<u8>, after: Vec<u8>) {
            let mut bytes = frame(sequence, &body);
            let length = bytes.len();
            bytes.extend(after);
            prop_assert_eq!(parse(&bytes), Parsed::Frame { sequence, length });
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_are_no_frame(bytes: Vec<u8>) {
            let is_frame = matches!(parse(&bytes), Parsed::Frame { .. });
            prop_assert!(!is_frame);
        }

        #[test]
        fn one_flipped_bit_is_found(sequence: u64, body: Vec<u8>, at: prop::sample::Index, bit in 0u32..8) {
            let mut bytes = frame(sequence, &body);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let is_frame = matches!(parse(&bytes), Parsed::Frame { .. });
            prop_assert!(!is_frame, "byte {} bit {}", at, bit);
        }

        #[test]
        fn a_cut_frame_asks_for_the_rest(body: Vec<u8>, at: prop::sample::Index) {
            let bytes = frame(7, &body);
            let at = at.index(bytes.len());
            let need = if at < HEADER { HEADER } else { bytes.len() };
            prop_assert_eq!(parse(&bytes[..at]), Parsed::Short { need });
        }
    }

    #[test]
    fn zeros_are_empty_space() {
        assert_eq!(parse(&[0; 64]), Parsed::Empty);
    }
}
