//! Entries: what a frame's body consists of. Records, a stage's progress, and at the start of a segment what was before.

use std::ops::Range;

use bytes::Bytes;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition, Timestamp};
use uuid::Uuid;

use super::frame::Fields;
use super::lanes::{code, topic_of};
use crate::{Address, Decoded, NewRecord, Position, Record};

const RECORD: u8 = 1;
const PROGRESS: u8 = 2;
const END: u8 = 3;
const SEGMENT: u8 = 4;

/// Bytes of a position: topic, partition, offset.
const POSITION_SIZE: usize = 1 + 4 + 8;
/// Bytes of a record beside its kind, key and data: tag and length, position, id, time, lengths of kind and key.
const RECORD_SIZE: usize = 1 + 4 + POSITION_SIZE + 16 + 12 + 2 + 4;

/// Bytes that are not entries though their checksum is right: written by another version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// A record stands here; `raw` is where in the body, for [`read_record`].
    Record { address: Address, raw: Range<usize> },
    /// The stage has processed the topic up to here.
    Progress { stage: &'a str, position: Position },
    /// So far the partition reaches at the beginning of this segment.
    End(Position),
    /// First entry of a segment: its number, and how many partitions topics have.
    Segment { number: u64, partitions: u32 },
}

/// Reads the entries of a body in order.
pub(crate) struct Entries<'a> {
    fields: Fields<'a>,
    length: usize,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Self {
        Self { fields: Fields(body), length: body.len() }
    }

    fn entry(&mut self, tag: u8) -> Option<Entry<'a>> {
        match tag {
            RECORD => {
                let length = self.fields.u32()? as usize;
                let start = self.length - self.fields.0.len();
                let raw = self.fields.take(length)?;
                let Position { topic, partition, next } = position(&mut Fields(raw))?;
                Some(Entry::Record { address: Address { topic, partition, offset: next }, raw: start..start + length })
            }
            PROGRESS => {
                let length = self.fields.u16()?;
                let stage = std::str::from_utf8(self.fields.take(length.into())?).ok()?;
                Some(Entry::Progress { stage, position: position(&mut self.fields)? })
            }
            END => Some(Entry::End(position(&mut self.fields)?)),
            SEGMENT => Some(Entry::Segment { number: self.fields.u64()?, partitions: self.fields.u32()? }),
            _ => None,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.fields.u8()?;
        let entry = self.entry(tag).ok_or(Malformed("it holds an entry of unknown form"));
        if entry.is_err() {
            self.fields = Fields(&[]);
        }
        Some(entry)
    }
}

fn position(fields: &mut Fields<'_>) -> Option<Position> {
    let topic = topic_of(fields.u8()?)?;
    Some(Position { topic, partition: Partition(fields.u32()?), next: Offset(fields.u64()?) })
}

fn put_position(body: &mut Vec<u8>, topic: Topic, partition: Partition, offset: Offset) {
    body.push(code(topic));
    body.extend_from_slice(&partition.0.to_le_bytes());
    body.extend_from_slice(&offset.0.to_le_bytes());
}

/// Bytes that the record takes in a frame.
pub(crate) fn record_size(record: &NewRecord) -> usize {
    RECORD_SIZE + record.kind.len() + record.key.len() + record.data.len()
}

/// Appends a record.
pub(crate) fn put_record(frame: &mut Vec<u8>, record: &NewRecord, address: Address) {
    frame.push(RECORD);
    frame.extend_from_slice(&((record_size(record) - 5) as u32).to_le_bytes());
    put_position(frame, address.topic, address.partition, address.offset);
    frame.extend_from_slice(record.id.as_bytes());
    frame.extend_from_slice(&record.time.as_second().to_le_bytes());
    frame.extend_from_slice(&record.time.subsec_nanosecond().to_le_bytes());
    frame.extend_from_slice(&(record.kind.len() as u16).to_le_bytes());
    frame.extend_from_slice(&(record.key.len() as u32).to_le_bytes());
    frame.extend_from_slice(record.kind.as_bytes());
    frame.extend_from_slice(record.key.as_bytes());
    frame.extend_from_slice(&record.data);
}

/// Reads a record from the bytes that [`Entry::Record`] named. The record's data is a slice of `raw`.
pub(crate) fn read_record(raw: &Bytes) -> Result<Record, Malformed> {
    let mut fields = Fields(raw);
    record(&mut fields, raw).ok_or(Malformed("it holds a record of unknown form"))
}

fn record(fields: &mut Fields<'_>, raw: &Bytes) -> Option<Record> {
    let Position { topic, partition, next } = position(fields)?;
    let id = Uuid::from_bytes(fields.array()?);
    let time = Timestamp::new(fields.array().map(i64::from_le_bytes)?, fields.array().map(i32::from_le_bytes)?).ok()?;
    let (kind_length, key_length) = (fields.u16()?, fields.u32()?);
    let kind = std::str::from_utf8(fields.take(kind_length.into())?).ok()?;
    let key = std::str::from_utf8(fields.take(key_length as usize)?).ok()?;
    Some(Record {
        address: Address { topic, partition, offset: next },
        key: key.into(),
        kind: kind.to_owned().into(),
        id,
        time,
        data: raw.slice(raw.len() - fields.0.len()..),
        decoded: Decoded::default(),
    })
}

/// Bytes that a stage's progress takes in a frame.
pub(crate) fn progress_size(stage: &str) -> usize {
    1 + 2 + stage.len() + POSITION_SIZE
}

/// Appends a stage's progress.
pub(crate) fn put_progress(frame: &mut Vec<u8>, stage: &str, position: Position) {
    frame.push(PROGRESS);
    frame.extend_from_slice(&(stage.len() as u16).to_le_bytes());
    frame.extend_from_slice(stage.as_bytes());
    put_position(frame, position.topic, position.partition, position.next);
}

/// Appends how far a partition reaches.
pub(crate) fn put_end(frame: &mut Vec<u8>, topic: Topic, partition: Partition, end: Offset) {
    frame.push(END);
    put_position(frame, topic, partition, end);
}

/// Appends what a segment begins with.
pub(crate) fn put_segment(frame: &mut Vec<u8>, number: u64, partitions: u32) {
    frame.push(SEGMENT);
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&partitions.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address() -> Address {
        Address { topic: Topic::Deliveries, partition: Partition(3), offset: Offset(1 << 40) }
    }

    proptest! {
        #[test]
        fn a_record_reads_back(key: String, data: Vec<u8>, id: u128, second in -1_000_000i64..4_000_000_000, nanos in 0i32..1_000_000_000) {
            let new = NewRecord {
                topic: Topic::Deliveries,
                partition: None,
                key: key.as_str().into(),
                kind: "delivery.retry".into(),
                id: Uuid::from_u128(id),
                time: Timestamp::new(second.abs(), nanos).unwrap(),
                data: data.clone().into(),
                decoded: Decoded::default(),
            };
            let mut body = Vec::new();
            put_record(&mut body, &new, address());
            prop_assert_eq!(body.len(), record_size(&new));
            let entries: Vec<_> = Entries::of(&body).collect();
            let raw = 5..body.len();
            prop_assert_eq!(&entries, &vec![Ok(Entry::Record { address: address(), raw: raw.clone() })]);
            let read = read_record(&Bytes::from(body).slice(raw)).unwrap();
            prop_assert_eq!((read.address, &*read.key, &*read.kind), (address(), &*key, "delivery.retry"));
            prop_assert_eq!((read.id, read.time, &read.data[..]), (new.id, new.time, &data[..]));
        }

        #[test]
        fn arbitrary_bodies_never_panic(body: Vec<u8>) {
            let body = Bytes::from(body);
            for entry in Entries::of(&body) {
                if let Ok(Entry::Record { raw, .. }) = entry {
                    let _ = read_record(&body.slice(raw));
                }
            }
            let _ = read_record(&body);
        }
    }

    #[test]
    fn the_other_entries_read_back() {
        let position = Position { topic: Topic::Leads, partition: Partition(2), next: Offset(9) };
        let mut body = Vec::new();
        put_segment(&mut body, 5, 4);
        put_end(&mut body, Topic::Leads, Partition(2), Offset(9));
        put_progress(&mut body, "router", position);
        let entries: Result<Vec<_>, _> = Entries::of(&body).collect();
        let expected = vec![
            Entry::Segment { number: 5, partitions: 4 },
            Entry::End(position),
            Entry::Progress { stage: "router", position },
        ];
        assert_eq!(entries, Ok(expected));
    }
}
