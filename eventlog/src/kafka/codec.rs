//! Records as Kafka messages: the data as it is, CloudEvents attributes in headers (binary content mode), so that any
//! other consumer can read them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition, Timestamp};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use uuid::Uuid;

use crate::record::{Address, Decoded, NewRecord, Record, source_of};

/// The kinds that leadway writes: reading one of them makes no new string.
const KINDS: [&str; 16] = [
    "settings.changed",
    "lead.received",
    "lead.schedule_requested",
    "lead.assign_requested",
    "lead.retry_requested",
    "appointment.routed",
    "appointment.unrouted",
    "lead.duplicate",
    "command.refused",
    "delivery.delivered",
    "delivery.retry",
    "delivery.given_up",
    "delivery.held",
    "quarantine.added",
    "quarantine.released",
    "quarantine.discarded",
];

/// Bytes that the record takes in the producer's memory, about.
pub(crate) fn size(record: &NewRecord) -> usize {
    record.data.len() + record.key.len() + record.kind.len() + 256
}

/// The headers of a new record.
pub(crate) fn headers(record: &NewRecord) -> OwnedHeaders {
    let id = record.id.hyphenated().to_string();
    let time = record.time.to_string();
    let attributes: [(&str, &str); 6] = [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_source", source_of(record.topic, &record.kind)),
        ("ce_type", &record.kind),
        ("ce_time", &time),
        ("content-type", "application/json"),
    ];
    let headers = OwnedHeaders::new_with_capacity(attributes.len());
    attributes.into_iter().fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// The record that a message is. What others wrote may lack our headers: then it has no kind, no id, and the time that Kafka
/// gave it.
pub(crate) fn read(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let offset = Offset(u64::try_from(message.offset()).unwrap_or(0));
    let partition = Partition(u32::try_from(message.partition()).unwrap_or(0));
    let mut record = Record {
        address: Address { topic, partition, offset },
        key: message.key().map(|k| Arc::from(String::from_utf8_lossy(k))).unwrap_or_default(),
        kind: Cow::Borrowed(""),
        id: Uuid::nil(),
        time: Timestamp::UNIX_EPOCH,
        data: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        decoded: Decoded::default(),
    };
    let mut time = None;
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        let Some(value) = header.value.and_then(|v| std::str::from_utf8(v).ok()) else { continue };
        match header.key {
            "ce_type" => record.kind = kind(value),
            "ce_id" => record.id = value.parse().unwrap_or_default(),
            "ce_time" => time = value.parse().ok(),
            _ => {}
        }
    }
    let appended = || message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    record.time = time.or_else(appended).unwrap_or(Timestamp::UNIX_EPOCH);
    record
}

fn kind(value: &str) -> Cow<'static, str> {
    match KINDS.iter().find(|known| **known == value) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(value.to_owned()),
    }
}
