//! How far the log has been applied: what is claimed, by which batch, and what is complete.
//!
//! `log_claims` says which batch takes each partition of the log forward, and how far; it changes by conditional writes
//! only. All of it is one partition of the database, so that a batch claims all its positions as one. `log_applied` says
//! how far the rows are complete. A claim that is ahead of it belongs to a batch that is under way, or that was cut off.

use std::collections::HashMap;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use scylla::value::CqlValue;
use uuid::Uuid;

use super::batch::Batch;
use super::bind::Bind;
use super::client::{Cells, Statement};
use crate::{Applied, TablesError, Value};

/// A partition of the log.
pub(super) type Place = (Topic, Partition);

/// Who took a partition of the log how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) next: Offset,
    pub(super) batch: Uuid,
    /// The batch's timestamp.
    pub(super) timestamp: i64,
}

/// The claims of all partitions of the log; one that is missing has not been claimed yet.
pub(super) type Claims = HashMap<Place, Claim>;

/// How far each partition of the log is complete.
pub(super) type Complete = HashMap<Place, Offset>;

/// The statements about positions, for one keyspace.
pub(super) struct PositionsCql {
    claim: String,
    claims: String,
    complete: String,
    completed: String,
    completed_one: String,
    mark: String,
    marked: String,
}

/// The key of all rows.
const ALL: Bind = Bind::Int(0);
/// Stands in the place of a topic while the tables are being emptied.
const CLEARING: &str = "(clearing)";

impl PositionsCql {
    pub(super) fn new(keyspace: &str) -> Self {
        let (claims, applied) = (format!("\"{keyspace}\".log_claims"), format!("\"{keyspace}\".log_applied"));
        let one = "k = ? AND topic = ? AND log_partition = ?";
        Self {
            claim: format!(
                "UPDATE {claims} SET next = ?, batch_id = ?, batch_timestamp = ? WHERE {one} IF next = ? AND batch_id = ?"
            ),
            claims: format!("SELECT topic, log_partition, next, batch_id, batch_timestamp FROM {claims} WHERE k = ?"),
            complete: format!(
                "INSERT INTO {applied} (k, topic, log_partition, next) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
            ),
            completed: format!("SELECT topic, log_partition, next FROM {applied} WHERE k = ?"),
            completed_one: format!("SELECT topic, log_partition, next FROM {applied} WHERE {one}"),
            mark: format!("INSERT INTO {claims} (k, topic, log_partition, next) VALUES (?, ?, ?, ?) IF NOT EXISTS"),
            marked: format!("SELECT next FROM {claims} WHERE {one}"),
        }
    }

    /// Claims the batch's positions, on the condition that they stand where `before` says.
    pub(super) fn claim(&self, batch: &Batch, before: &Claims) -> Vec<Statement> {
        let claim = |position: &Applied| {
            let place = (position.topic, position.partition);
            let stands = before.get(&place);
            let mut values = vec![offset(position.next), Bind::Uuid(batch.id), Bind::Long(batch.timestamp)];
            values.extend(at(place));
            values.push(stands.map_or(Bind::Null, |claim| offset(claim.next)));
            values.push(stands.map_or(Bind::Null, |claim| Bind::Uuid(claim.batch)));
            Statement::new(self.claim.as_str(), values)
        };
        batch.positions.iter().map(claim).collect()
    }

    /// Asks for all claims.
    pub(super) fn claims(&self) -> Statement {
        Statement::new(self.claims.as_str(), vec![ALL])
    }

    /// Says that the batch is complete.
    pub(super) fn complete(&self, batch: &Batch) -> Vec<Statement> {
        let complete = |position: &Applied| {
            let mut values: Vec<Bind> = at((position.topic, position.partition)).into();
            values.extend([offset(position.next), Bind::Long(batch.timestamp)]);
            Statement::new(self.complete.as_str(), values)
        };
        batch.positions.iter().map(complete).collect()
    }

    /// Asks how far everything is complete.
    pub(super) fn completed(&self) -> Statement {
        Statement::new(self.completed.as_str(), vec![ALL])
    }

    /// Asks how far one partition of the log is complete.
    pub(super) fn completed_one(&self, place: Place) -> Statement {
        Statement::new(self.completed_one.as_str(), at(place).into())
    }

    /// Says that the tables are being emptied. The mark goes with the claims, which are emptied last.
    pub(super) fn mark_clearing(&self) -> Statement {
        let clearing = Bind::Value(Value::Text(CLEARING.into()));
        Statement::new(self.mark.as_str(), vec![ALL, clearing, Bind::Int(0), Bind::Long(1)])
    }

    /// Asks whether the tables are being emptied.
    pub(super) fn marked_clearing(&self) -> Statement {
        Statement::new(self.marked.as_str(), vec![ALL, Bind::Value(Value::Text(CLEARING.into())), Bind::Int(0)])
    }
}

/// Offsets were checked to fit.
fn offset(offset: Offset) -> Bind {
    Bind::Long(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

fn at((topic, partition): Place) -> [Bind; 3] {
    let number = i32::try_from(partition.0).unwrap_or(i32::MAX);
    [ALL, Bind::Value(Value::Text(topic.name().to_owned())), Bind::Int(number)]
}

/// Reads the answer to [`PositionsCql::claims`].
pub(super) fn read_claims(rows: Vec<Cells>) -> Result<Claims, TablesError> {
    let mut claims = Claims::new();
    for row in rows {
        let [Some(CqlValue::Text(topic)), partition, next, batch, timestamp] = &row[..] else { return unreadable() };
        if topic == CLEARING {
            return Err(TablesError::Unavailable("the tables are being emptied".into()));
        }
        let place = place(topic, partition)?;
        let (Some(CqlValue::Uuid(batch)), Some(CqlValue::BigInt(timestamp))) = (batch, timestamp) else {
            return unreadable();
        };
        claims.insert(place, Claim { next: read_offset(next)?, batch: *batch, timestamp: *timestamp });
    }
    Ok(claims)
}

/// Reads the answer to [`PositionsCql::completed`].
pub(super) fn read_completed(rows: Vec<Cells>) -> Result<Complete, TablesError> {
    let read = |row: Cells| match &row[..] {
        [Some(CqlValue::Text(topic)), partition, next] => Ok((place(topic, partition)?, read_offset(next)?)),
        _ => unreadable(),
    };
    rows.into_iter().map(read).collect()
}

fn place(topic: &str, partition: &Option<CqlValue>) -> Result<Place, TablesError> {
    let topic = Topic::ALL.into_iter().find(|known| known.name() == topic);
    match (topic, partition) {
        (Some(topic), Some(CqlValue::Int(partition))) => Ok((topic, Partition(partition.cast_unsigned()))),
        _ => unreadable(),
    }
}

fn read_offset(cell: &Option<CqlValue>) -> Result<Offset, TablesError> {
    match cell {
        Some(CqlValue::BigInt(next)) => u64::try_from(*next).map(Offset).or_else(|_| unreadable()),
        _ => unreadable(),
    }
}

fn unreadable<T>() -> Result<T, TablesError> {
    Err(TablesError::Unusable("a position is stored that cannot be read: rebuild the tables".into()))
}
