//! `leadway trace`: every record of one lead, in order, with times. Reads the data folder, also while a node runs on it.

use std::path::Path;

use anyhow::Context;
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, LeadId, Offset, Partition};
use leadway_eventlog::{Address, EventLog, ReadLimit, Record, source_of};
use leadway_tables::schema::AppointmentEventRow;
use leadway_tables::{Range, key};

/// Most records that are shown of one lead.
const MAX_RECORDS: usize = 1_000;

/// Prints the lead's records.
#[allow(clippy::print_stdout)] // the answer to a command
pub async fn run(data: &Path, addressing: Addressing, lead: LeadId) -> anyhow::Result<()> {
    let log = leadway_eventlog::open_read_only(&data.join("log")).await?;
    let tables = leadway_tables::open_read_only(&data.join("tables")).await?;
    let (partition, offset) = addressing.address(lead).with_context(|| format!("{lead} is no lead id of this log"))?;
    let received = Address { topic: Topic::Leads, partition, offset };
    let events: Vec<AppointmentEventRow> =
        leadway_tables::scan(&*tables, &key![lead], Range::first(MAX_RECORDS)).await?;
    let mut addresses: Vec<Address> = events.iter().filter_map(address_of).collect();
    if !addresses.contains(&received) {
        addresses.insert(0, received);
    }
    let mut records = Vec::new();
    for address in addresses {
        records.extend(read(&*log, address).await?);
    }
    let first = records.first().with_context(|| format!("no lead {lead} in {}", data.display()))?.clone();
    println!("lead {lead}: {} records\n", records.len());
    for record in &records {
        let after = record.time.duration_since(first.time).as_secs_f64() * 1e3;
        let at = record.address;
        println!("{}  +{after:>10.3} ms  {}", record.time, record.kind);
        println!(
            "    {} partition {} offset {}, from {}, id {}",
            at.topic.name(),
            at.partition.0,
            at.offset.0,
            source_of(at.topic),
            record.id
        );
        let json: serde_json::Value = serde_json::from_slice(&record.data).unwrap_or_default();
        for line in serde_json::to_string_pretty(&json)?.lines() {
            println!("    {line}");
        }
        println!();
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
