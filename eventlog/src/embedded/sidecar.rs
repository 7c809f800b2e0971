//! Sidecars: what the index holds of a full segment, stored beside it so that a start need not read the segment.
//! One frame; whatever is wrong with it, it is made anew from the segment.

use std::io;
use std::path::{Path, PathBuf};

use leadway_domain::Partition;

use super::frame::{self, Fields, HEADER, Parsed};
use super::lanes::{Lanes, code, topic_of};
use super::view::{IndexEntry, SegmentInfo};

/// A full segment in brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    pub(crate) segment: SegmentInfo,
    /// Sequence of its first frame.
    pub(crate) first: u64,
    /// Sequence of the frame after its last one.
    pub(crate) next: u64,
    /// Its part of the index, by lane.
    pub(crate) index: Vec<(usize, IndexEntry)>,
}

impl Sidecar {
    /// The file beside segment `number`.
    pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number:012}.idx"))
    }

    /// Stores it. Not made durable: a lost one is made anew.
    pub(crate) fn store(&self, folder: &Path, lanes: Lanes) -> io::Result<()> {
        let target = Self::path(folder, self.segment.number);
        let partial = target.with_extension("idx.partial");
        std::fs::write(&partial, self.encode(lanes))?;
        std::fs::rename(partial, target)
    }

    /// Reads it; `None` when it is missing, damaged, or not of this segment.
    pub(crate) fn load(folder: &Path, number: u64, lanes: Lanes) -> Option<Self> {
        let bytes = std::fs::read(Self::path(folder, number)).ok()?;
        Self::decode(&bytes, lanes).filter(|sidecar| sidecar.segment.number == number)
    }

    fn encode(&self, lanes: Lanes) -> Vec<u8> {
        let places: Vec<_> = lanes.all().collect();
        let mut bytes = frame::begin(24 + self.index.len() * 21);
        for number in [self.segment.number, self.segment.length, self.next] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (lane, entry) in &self.index {
            let Some((topic, partition)) = places.get(*lane) else { continue };
            bytes.push(code(*topic));
            bytes.extend_from_slice(&partition.0.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
        }
        frame::finish(&mut bytes, self.first);
        bytes
    }

    fn decode(bytes: &[u8], lanes: Lanes) -> Option<Self> {
        let Parsed::Frame { sequence: first, length } = frame::parse(bytes) else { return None };
        let mut fields = Fields(bytes.get(HEADER..length)?);
        let (number, length, next) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let mut index = Vec::with_capacity(fields.0.len() / 21);
        while !fields.0.is_empty() {
            let lane = lanes.of(topic_of(fields.u8()?)?, Partition(fields.u32()?))?;
            index.push((lane, IndexEntry { offset: fields.u64()?, segment: number, position: fields.u64()? }));
        }
        Some(Self { segment: SegmentInfo { number, length }, first, next, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar() -> Sidecar {
        let entry = |offset, position| IndexEntry { offset, segment: 7, position };
        Sidecar {
            segment: SegmentInfo { number: 7, length: 4_096 },
            first: 40,
            next: 90,
            index: vec![(0, entry(3, 100)), (2, entry(9, 100)), (2, entry(30, 2_000))],
        }
    }

    #[test]
    fn a_sidecar_reads_back() {
        let (folder, lanes) = (tempfile::tempdir().unwrap(), Lanes::new(2));
        sidecar().store(folder.path(), lanes).unwrap();
        assert_eq!(Sidecar::load(folder.path(), 7, lanes), Some(sidecar()));
    }

    #[test]
    fn a_damaged_or_foreign_sidecar_is_none() {
        let (folder, lanes) = (tempfile::tempdir().unwrap(), Lanes::new(2));
        sidecar().store(folder.path(), lanes).unwrap();
        std::fs::copy(Sidecar::path(folder.path(), 7), Sidecar::path(folder.path(), 8)).unwrap();
        assert_eq!(Sidecar::load(folder.path(), 8, lanes), None);
        let mut bytes = std::fs::read(Sidecar::path(folder.path(), 7)).unwrap();
        bytes[30] ^= 1;
        std::fs::write(Sidecar::path(folder.path(), 7), bytes).unwrap();
        assert_eq!(Sidecar::load(folder.path(), 7, lanes), None);
    }
}
