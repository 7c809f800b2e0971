//! A batch as bytes: written before anything of it is applied, so that whoever finds it cut off can complete it.
//!
//! Tables and columns are named, so that a node of another version, whose declarations have more columns, can read it.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::batch::Batch;
use super::rows::RowChange;
use super::statements::Statements;
use crate::cells::{self, put_varint};
use crate::fold::Change;
use crate::reader::Reader;
use crate::{Applied, Column, Row, Table, Value};

/// The version of the encoding.
const ENCODING: u8 = 1;

const MERGE: u8 = 0;
const REPLACE: u8 = 1;
const DELETE: u8 = 2;
const DELETE_VERSION: u8 = 3;

/// The bytes of a batch, without its id.
pub(super) fn encode(batch: &Batch) -> Vec<u8> {
    let mut bytes = vec![ENCODING];
    bytes.extend(batch.timestamp.to_be_bytes());
    put_varint(&mut bytes, batch.positions.len() as u64);
    for Applied { topic, partition, from, next } in &batch.positions {
        put_text(&mut bytes, topic.name());
        put_varint(&mut bytes, u64::from(partition.0));
        put_varint(&mut bytes, from.0);
        put_varint(&mut bytes, next.0);
    }
    let mut tables: Vec<&'static Table> = batch.changes.iter().map(|c| c.table).collect();
    tables.dedup_by_key(|table| table.id);
    put_varint(&mut bytes, tables.len() as u64);
    for table in &tables {
        put_text(&mut bytes, table.name);
        put_varint(&mut bytes, table.columns.len() as u64);
        table.columns.iter().for_each(|column| put_text(&mut bytes, column.name));
    }
    put_varint(&mut bytes, batch.changes.len() as u64);
    for RowChange { table, key, change } in &batch.changes {
        let index = tables.iter().position(|other| other.id == table.id).unwrap_or_default();
        put_varint(&mut bytes, index as u64);
        let key: Row = key.iter().cloned().map(Some).collect();
        put_bytes(&mut bytes, &cells::encode(&key));
        match change {
            Change::Merge(cells) => put_cells(&mut bytes, MERGE, cells),
            Change::Replace(cells) => put_cells(&mut bytes, REPLACE, cells),
            Change::Delete(None) => bytes.push(DELETE),
            Change::Delete(Some(version)) => {
                bytes.push(DELETE_VERSION);
                bytes.extend(version.to_be_bytes());
            }
        }
    }
    bytes
}

/// What was encoded; tells what is wrong with bytes that are no batch of ours.
pub(super) fn decode(id: uuid::Uuid, bytes: &[u8], statements: &Statements) -> Result<Batch, String> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        ENCODING => {}
        other => return Err(format!("encoding {other} is not known")),
    }
    let timestamp = i64::from_be_bytes(reader.array()?);
    let mut positions = Vec::new();
    for _ in 0..reader.length()? {
        let name = text(&mut reader)?;
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
        let topic = topic.ok_or_else(|| format!("topic {name:?} is not known"))?;
        let partition = u32::try_from(reader.varint()?).map_err(|e| e.to_string())?;
        let (from, next) = (Offset(reader.varint()?), Offset(reader.varint()?));
        positions.push(Applied { topic, partition: Partition(partition), from, next });
    }
    let mut tables = Vec::new();
    for _ in 0..reader.length()? {
        tables.push(Stored::read(&mut reader, statements)?);
    }
    let mut changes = Vec::new();
    for _ in 0..reader.length()? {
        let stored = tables.get(reader.length()?).ok_or("a change is of no table")?;
        changes.push(stored.change(&mut reader)?);
    }
    match reader.is_empty() {
        true => Ok(Batch { id, timestamp, positions, changes }),
        false => Err("it goes on after its end".into()),
    }
}

/// A table as it was declared where the batch was made: its columns, and where each stands here.
struct Stored {
    table: &'static Table,
    columns: Vec<(usize, Column)>,
}

impl Stored {
    fn read(reader: &mut Reader<'_>, statements: &Statements) -> Result<Self, String> {
        let name = text(reader)?;
        let table = statements.named(name).ok_or_else(|| format!("table {name:?} is not known"))?;
        let mut columns = Vec::new();
        for _ in 0..reader.length()? {
            let name = text(reader)?;
            let found = table.columns.iter().enumerate().find(|(_, column)| column.name == name);
            let (index, column) = found.ok_or_else(|| format!("column {name:?} of {:?} is not known", table.name))?;
            columns.push((index, *column));
        }
        Ok(Self { table, columns })
    }

    fn change(&self, reader: &mut Reader<'_>) -> Result<RowChange, String> {
        let keys = self.table.key_columns();
        let key = self.cells(reader, 0, keys)?.into_iter().flatten().collect();
        let data = self.table.columns.len() - keys;
        let change = match reader.byte()? {
            MERGE => Change::Merge(self.cells(reader, keys, data)?),
            REPLACE => Change::Replace(self.cells(reader, keys, data)?),
            DELETE => Change::Delete(None),
            DELETE_VERSION => Change::Delete(Some(i64::from_be_bytes(reader.array()?))),
            other => return Err(format!("{other} is no change")),
        };
        Ok(RowChange { table: self.table, key, change })
    }

    /// The cells of `many` columns from `first` on, as they are declared here.
    fn cells(&self, reader: &mut Reader<'_>, first: usize, many: usize) -> Result<Row, String> {
        let length = reader.length()?;
        let mut row: Vec<Option<Value>> = vec![None; many];
        let here = first..first + many;
        let columns: Vec<(usize, Column)> = match first {
            0 => self.columns.iter().take(many).copied().collect(),
            _ => self.columns.iter().skip(first).copied().collect(),
        };
        let declared: Vec<Column> = columns.iter().map(|(_, column)| *column).collect();
        let mut stored = Row::new();
        cells::decode(&declared, reader.take(length)?, &mut stored)?;
        for ((index, column), cell) in columns.into_iter().zip(stored) {
            let place = index.checked_sub(here.start).and_then(|index| row.get_mut(index));
            *place.ok_or_else(|| format!("column {:?} stands elsewhere", column.name))? = cell;
        }
        Ok(row)
    }
}

fn put_bytes(bytes: &mut Vec<u8>, put: &[u8]) {
    put_varint(bytes, put.len() as u64);
    bytes.extend(put);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_bytes(bytes, text.as_bytes());
}

fn put_cells(bytes: &mut Vec<u8>, kind: u8, cells: &Row) {
    bytes.push(kind);
    put_bytes(bytes, &cells::encode(cells));
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, String> {
    let length = reader.length()?;
    std::str::from_utf8(reader.take(length)?).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::samples::{ALL_KINDS, value_of};
    use crate::schema::UnroutedRow;

    fn change() -> impl Strategy<Value = RowChange> {
        let values = |columns: &[Column]| columns.iter().map(|c| value_of(c.kind)).collect::<Vec<_>>();
        let cells = ALL_KINDS.data_columns().iter().map(|c| proptest::option::of(value_of(c.kind))).collect::<Vec<_>>();
        let changed = prop_oneof![
            cells.clone().prop_map(Change::Merge),
            cells.prop_map(Change::Replace),
            Just(Change::Delete(None)),
            any::<i64>().prop_map(|version| Change::Delete(Some(version))),
        ];
        let key = values(&ALL_KINDS.columns[..ALL_KINDS.key_columns()]);
        (key, changed).prop_map(|(key, change)| RowChange { table: ALL_KINDS, key, change })
    }

    fn batch(changes: Vec<RowChange>) -> Batch {
        let at = |topic, partition| Applied {
            topic,
            partition: Partition(partition),
            from: Offset(3),
            next: Offset(1 << 40),
        };
        let positions = vec![at(Topic::Leads, 0), at(Topic::Settings, 4_095)];
        Batch { id: Uuid::from_u128(7), timestamp: -5, positions, changes }
    }

    const TABLES: &[&Table] = &[ALL_KINDS, UnroutedRow::TABLE];

    #[test]
    fn a_batch_is_read_where_a_table_has_more_columns() {
        const SHORTER: &Table = &Table { columns: ALL_KINDS.columns.split_at(12).0, ..*ALL_KINDS };
        let key = ALL_KINDS.columns[..7].iter().map(|column| match column.kind {
            crate::ColumnKind::Text => Value::Text("a".into()),
            crate::ColumnKind::Bool => Value::Bool(true),
            crate::ColumnKind::Uuid => Value::Uuid(Uuid::nil()),
            crate::ColumnKind::Int => Value::Int(1),
            crate::ColumnKind::Money => Value::Money(1),
            crate::ColumnKind::Date => Value::Date(1),
            crate::ColumnKind::Timestamp => Value::Timestamp(1),
        });
        let mut cells = vec![None; 5];
        cells[1] = Some(Value::Int(5));
        let old = batch(vec![RowChange { table: SHORTER, key: key.collect(), change: Change::Merge(cells.clone()) }]);
        let bytes = encode(&old);
        let new = decode(old.id, &bytes, &Statements::new("ks", TABLES)).unwrap();
        cells.resize(ALL_KINDS.data_columns().len(), None);
        assert_eq!(new.changes[0].change, Change::Merge(cells));
        assert!(decode(old.id, &bytes, &Statements::new("ks", &[UnroutedRow::TABLE])).is_err());
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(changes in proptest::collection::vec(change(), 0..5)) {
            let batch = batch(changes);
            let bytes = encode(&batch);
            prop_assert_eq!(decode(batch.id, &bytes, &Statements::new("ks", TABLES)), Ok(batch.clone()));
            prop_assert!(decode(batch.id, &bytes[..bytes.len() - 1], &Statements::new("ks", TABLES)).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(Uuid::nil(), &[vec![ENCODING], bytes].concat(), &Statements::new("ks", TABLES));
        }
    }
}
