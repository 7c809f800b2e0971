//! Where the rows of leads stand in the file.
//!
//! A lead's id is its offset in the log and, in the lowest bits, its partition, so that ids grow with time. But partitions
//! do not keep step: after millions of leads one is thousands of offsets ahead of another, and in the order of ids each row
//! of a batch would stand between older ones, on a page of its own, which is then written for that row alone. So the leads of
//! one log partition, a *strand*, stand together: two bytes before the id say which. A scan merges the strands.

use std::borrow::Cow;

use leadway_domain::Addressing;

use crate::{Table, key};

/// Bytes that name a strand.
const SIZE: usize = 2;

/// The key under which a row stands in the file: `key` itself, or what is made of it in `memory`.
pub(super) fn placed<'k>(table: &Table, key: &'k [u8], memory: &'k mut Vec<u8>) -> Result<&'k [u8], String> {
    if !table.by_lead {
        return Ok(key);
    }
    let (partition, clustering) = key::split(table, key, table.partition_key)?;
    let lead = key::first_number(clustering)?.cast_unsigned();
    let strand = (lead % u64::from(Addressing::MAX_PARTITIONS)) as u16;
    memory.clear();
    memory.reserve(key.len() + SIZE);
    [partition, &strand.to_be_bytes(), clustering].iter().for_each(|part| memory.extend_from_slice(part));
    Ok(memory)
}

/// The key of the row that stands there.
pub(super) fn key_of<'k>(table: &Table, placed: &'k [u8]) -> Result<Cow<'k, [u8]>, String> {
    if !table.by_lead {
        return Ok(Cow::Borrowed(placed));
    }
    let (partition, behind) = key::split(table, placed, table.partition_key)?;
    let clustering = behind.get(SIZE..).ok_or("its strand is missing")?;
    Ok(Cow::Owned([partition, clustering].concat()))
}

/// What the keys of a partition's strands begin with, in order. `next` tells the first key from some bytes on: it is asked once
/// for each strand and once at the end. There are at most as many strands as the log has partitions.
pub(super) fn of_partition<E>(
    table: &Table,
    partition: &[u8],
    mut next: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<Vec<u8>>, E> {
    if !table.by_lead {
        return Ok(vec![partition.to_vec()]);
    }
    let (mut strands, mut from) = (Vec::new(), Some(partition.to_vec()));
    while let Some(start) = from {
        let found = next(&start)?.filter(|key| key.starts_with(partition));
        let strand = found.and_then(|key| key.get(..partition.len() + SIZE).map(<[u8]>::to_vec));
        from = strand.as_deref().and_then(key::after);
        strands.extend(strand);
    }
    Ok(strands)
}

#[cfg(test)]
mod tests {
    use leadway_domain::{LeadId, Timestamp, WorkspaceId};

    use super::*;
    use crate::key;
    use crate::schema::{self, BillingEventRow, OpenDeliveryRow};

    #[test]
    fn a_lead_stands_in_the_strand_of_its_partition_of_the_log() {
        let table = BillingEventRow::TABLE;
        let (workspace, day) = (WorkspaceId::new("w").unwrap(), schema::day(Timestamp::UNIX_EPOCH));
        let part = key::encode(&key![workspace.clone(), day]);
        let key = |lead: u64| key::encode(&key![workspace.clone(), day, LeadId(lead)]);
        let mut memory = Vec::new();
        for (lead, strand) in [(4_096, [0, 0]), (4_096 + 258, [1, 2]), (8_191, [0x0F, 0xFF])] {
            let found = placed(table, &key(lead), &mut memory).unwrap().to_vec();
            assert_eq!(found, [&part[..], &strand, &key(lead)[part.len()..]].concat());
            assert_eq!(key_of(table, &found).unwrap(), key(lead));
        }
    }

    #[test]
    fn the_rows_of_other_tables_stand_under_their_keys() {
        let by_lead = schema::ALL.iter().filter(|table| table.by_lead).map(|table| table.name);
        let expected = [
            "leads",
            "appointments",
            "appointments_by_workspace",
            "unrouted",
            "appointment_events",
            "billing_events",
            "deliveries",
            "command_keys",
        ];
        assert_eq!(by_lead.collect::<Vec<_>>(), expected);
        let key = b"anything";
        assert_eq!(placed(OpenDeliveryRow::TABLE, key, &mut Vec::new()).unwrap(), &key[..]);
        assert_eq!(key_of(OpenDeliveryRow::TABLE, key).unwrap(), &key[..]);
    }
}
