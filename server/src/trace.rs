//! `leadway trace`: every record of one lead, in order, with times. Reads log and tables, also while nodes use them.

use std::fmt::Write;

use anyhow::Context;
use leadway_config::Config;
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, LeadId, Offset, Partition, Timestamp};
use leadway_eventlog::{Address, EventLog, ReadLimit, Record, source_of};
use leadway_tables::schema::{AppointmentEventRow, history};

use crate::{output, storage};

/// Most records that are shown of one lead.
const MAX_RECORDS: usize = 1_000;

/// Prints the lead's records.
pub async fn run(config: &Config, addressing: Addressing, lead: LeadId) -> anyhow::Result<()> {
    let log = storage::log_to_read(config).await?;
    let tables = storage::tables_to_read(config).await?;
    storage::expect_same(config, &*log, &*tables).await?;
    let unknown = || format!("{lead} is no lead id of this log");
    let (partition, offset) = addressing.address(lead).with_context(unknown)?;
    let received = Address { topic: Topic::Leads, partition, offset };
    let events = history(&*tables, addressing, lead, None, MAX_RECORDS).await?;
    let mut addresses: Vec<Address> = events.iter().filter_map(address_of).collect();
    if !addresses.contains(&received) {
        addresses.insert(0, received);
    }
    let mut records = Vec::new();
    for address in addresses {
        records.extend(read(&*log, address).await?);
    }
    let first = records.first().with_context(|| format!("the log has no lead {lead}"))?.clone();
    let mut out = format!("lead {lead}: {} records\n", records.len());
    for record in &records {
        describe(&mut out, record, first.time)?;
    }
    output::print(&out)
}

fn describe(out: &mut String, record: &Record, start: Timestamp) -> anyhow::Result<()> {
    let Address { topic, partition, offset } = record.address;
    let after = record.time.duration_since(start).as_secs_f64() * 1e3;
    let source = source_of(topic, &record.kind);
    writeln!(out, "\n{}  +{after:>10.3} ms  {}", record.time, record.kind)?;
    writeln!(
        out,
        "    {} partition {} offset {}, from {source}, id {}",
        topic.name(),
        partition.0,
        offset.0,
        record.id
    )?;
    let json: serde_json::Value = serde_json::from_slice(&record.data).unwrap_or_default();
    for line in serde_json::to_string_pretty(&json)?.lines() {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn address_of(event: &AppointmentEventRow) -> Option<Address> {
    let topic = Topic::ALL.into_iter().find(|t| t.name() == event.topic)?;
    Some(Address { topic, partition: event.log_partition, offset: event.log_offset })
}

async fn read(log: &dyn EventLog, at: Address) -> anyhow::Result<Option<Record>> {
    let one = ReadLimit { records: 1, ..ReadLimit::default() };
    let (partition, offset): (Partition, Offset) = (at.partition, at.offset);
    let records = log.read(at.topic, partition, offset, one).await?;
    Ok(records.into_iter().find(|r| r.address.offset == offset))
}
