use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use leadway_domain::record::{Payload, Topic, UnreadableRecord};
use leadway_domain::{Offset, Partition, Timestamp};
use uuid::Uuid;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// In which topic.
    pub topic: Topic,
    /// In which partition.
    pub partition: Partition,
    /// At which offset.
    pub offset: Offset,
}

/// A record to be appended.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// To which topic.
    pub topic: Topic,
    /// To exactly this partition; by key when `None`.
    pub partition: Option<Partition>,
    /// What it is partitioned by.
    pub key: Arc<str>,
    /// CloudEvents `type`.
    pub kind: Cow<'static, str>,
    /// CloudEvents `id`: UUID v7.
    pub id: Uuid,
    /// CloudEvents `time`.
    pub time: Timestamp,
    /// JSON.
    pub data: Bytes,
    /// What its data says, where that is at hand.
    pub decoded: Decoded,
}

impl NewRecord {
    /// The record of `payload`, written at `time`.
    pub fn of<P: Payload>(payload: &P, time: Timestamp) -> Self {
        Self {
            topic: P::TOPIC,
            partition: None,
            key: payload.key(),
            kind: payload.kind().into(),
            id: new_id(time),
            time,
            data: payload.encode().into(),
            decoded: Decoded(Some(Arc::new(payload.clone()))),
        }
    }

    /// The record as it stands in another log, to be written to the same partition of this one.
    pub fn copy_of(record: Record) -> Self {
        let Record { address, key, kind, id, time, data, decoded } = record;
        Self { topic: address.topic, partition: Some(address.partition), key, kind, id, time, data, decoded }
    }

    /// The record that it became.
    pub(crate) fn at(self, address: Address) -> Record {
        let Self { key, kind, id, time, data, decoded, .. } = self;
        Record { address, key, kind, id, time, data, decoded }
    }

    /// Sends it to exactly this partition.
    pub fn in_partition(mut self, partition: Partition) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands.
    pub address: Address,
    /// What it is partitioned by.
    pub key: Arc<str>,
    /// CloudEvents `type`.
    pub kind: Cow<'static, str>,
    /// CloudEvents `id`.
    pub id: Uuid,
    /// CloudEvents `time`.
    pub time: Timestamp,
    /// JSON.
    pub data: Bytes,
    /// What its data says, where that is at hand.
    pub decoded: Decoded,
}

impl Record {
    /// What its data says.
    pub fn decode<P: Payload>(&self) -> Result<P, UnreadableRecord> {
        match self.decoded.get::<P>() {
            Some(payload) => Ok(payload.clone()),
            None => P::decode(&self.kind, &self.data),
        }
    }

    /// Its position plus one: where to go on reading.
    pub fn next(&self) -> Offset {
        self.address.offset.next()
    }
}

/// A record's payload as it was before it was encoded, shared by all who read the record. Decoding the data gives its equal.
#[derive(Clone, Default)]
pub struct Decoded(Option<Arc<dyn Any + Send + Sync>>);

impl Decoded {
    fn get<P: Payload>(&self) -> Option<&P> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Decoded" } else { "Encoded" })
    }
}

/// CloudEvents `source` of the records of this kind: which component writes them. It is derived, not stored, and so it
/// cannot tell apart who wrote one kind: a lead that people released from the quarantine is a `lead.received` like any
/// other and says `leadway/ingest`, though the portal wrote it. Its `quarantine.released` record says who released it.
pub fn source_of(topic: Topic, kind: &str) -> &'static str {
    match (topic, kind) {
        (Topic::Leads, "lead.received") | (Topic::Quarantine, "quarantine.added") => "leadway/ingest",
        (Topic::Settings | Topic::Leads | Topic::Quarantine, _) => "leadway/portal",
        (Topic::Appointments, _) => "leadway/router",
        (Topic::Deliveries, _) => "leadway/dispatcher",
    }
}

/// FNV-1a of the key, modulo the number of partitions: stable over versions and machines.
pub(crate) fn partition_of(key: &str, partitions: u32) -> Partition {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    Partition((hash % u64::from(partitions.max(1))) as u32)
}

/// Where the record goes: to the partition it names, or else to its key's home.
pub(crate) fn placed_partition(record: &NewRecord, partitions: u32) -> Partition {
    record.partition.unwrap_or_else(|| partition_of(&record.key, partitions))
}

fn new_id(time: Timestamp) -> Uuid {
    let (seconds, nanos) = (time.as_second().max(0) as u64, time.subsec_nanosecond().max(0) as u32);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

#[cfg(test)]
mod tests {
    use leadway_domain::record::{AppointmentRecord, CommandRefused, QuarantinedLead};
    use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord, PostedAs, QuarantineEnd, QuarantineRecord};
    use leadway_domain::{LeadId, ProviderId};

    use super::*;

    fn source(payload: &impl Payload) -> &'static str {
        let record = NewRecord::of(payload, Timestamp::UNIX_EPOCH);
        source_of(record.topic, &record.kind)
    }

    #[test]
    fn what_people_ask_comes_from_the_portal_and_what_providers_send_from_ingest() {
        let (at, id, provider_id) = (Timestamp::UNIX_EPOCH, Uuid::nil(), ProviderId::new("a").unwrap());
        let actions = [LeadAction::Retry, LeadAction::Schedule { appointment_date: None }];
        for action in actions {
            let actor = "ops".to_owned();
            let command =
                LeadCommand { v: 1, lead_id: LeadId(1), lead_key: String::new(), actor, at, action, asked_as: None };
            assert_eq!(source(&LeadRecord::Command(command)), "leadway/portal");
        }
        assert_eq!(source_of(Topic::Leads, "lead.received"), "leadway/ingest");

        for lead_id in [None, Some(LeadId(1))] {
            let (provider_id, actor) = (provider_id.clone(), "ops".to_owned());
            let end = QuarantineEnd { v: 1, id, provider_id, actor, at, lead_id };
            assert_eq!(source(&QuarantineRecord::Ended(end)), "leadway/portal");
        }
        let (posted_as, body) = (PostedAs::Lead, Default::default());
        let lead = QuarantinedLead { v: 1, id, provider_id, posted_as, body, errors: Vec::new(), received_at: at };
        assert_eq!(source(&QuarantineRecord::Added(Box::new(lead))), "leadway/ingest");

        let (command_id, lead_id, reason) = (LeadId(2), LeadId(1), String::new());
        let refused = CommandRefused { v: 1, command_id, lead_id, reason, decided_at: at };
        assert_eq!(source(&AppointmentRecord::Refused(refused)), "leadway/router");
    }
}
