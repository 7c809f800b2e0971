//! Writing a batch exactly once, though many nodes write and each may die at any moment.
//!
//! 1. The whole batch is put down (`log_batches`), with its timestamp: nothing is changed yet.
//! 2. Its positions are claimed by one conditional write. From here on the batch counts, and nobody else's that begins
//!    there does.
//! 3. Its rows are written, with the batch's timestamp.
//! 4. It is marked complete (`log_applied`), and what was put down is removed.
//!
//! Who wants to write finds claims that are not complete and completes them first, from what was put down, with the same
//! timestamps. So two nodes may do it at once, and one that was stopped may wake and go on: it writes the same cells with
//! the same timestamps again, or loses to later ones, as timestamps grow along each chain of claims.

use std::collections::BTreeSet;
use std::sync::Arc;

use leadway_domain::Offset;
use parking_lot::Mutex;
use scylla::value::CqlValue;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::batch::{Batch, Stamps};
use super::bind::Bind;
use super::client::{Client, Statement, pauses};
use super::failure::Failure;
use super::positions::{Claim, Claims, Place, PositionsCql, read_claims, read_completed};
use super::redo;
use super::rows::{RowChange, requests};
use super::statements::Statements;
use crate::{Applied, TablesError};

/// Bytes of a batch that are put down in one row.
const CHUNK: usize = 256 << 10;
/// Rows of batches that are over, to be removed with the next batch: what is not removed vanishes after a day.
const MAX_OVER: usize = 64;

/// Writes batches.
pub(super) struct Writer {
    pub(super) client: Arc<Client>,
    pub(super) statements: Arc<Statements>,
    pub(super) positions: Arc<PositionsCql>,
    pub(super) stamps: Stamps,
    put: String,
    put_down: String,
    remove: String,
    /// Claims of batches that are complete, as this node saw them last.
    settled: Mutex<Claims>,
    over: Mutex<Vec<Uuid>>,
}

impl Writer {
    pub(super) fn new(
        client: Arc<Client>,
        statements: Arc<Statements>,
        positions: Arc<PositionsCql>,
        stamps: Stamps,
    ) -> Self {
        let table = format!("\"{}\".log_batches", statements.keyspace());
        Self {
            client,
            statements,
            positions,
            stamps,
            put: format!("INSERT INTO {table} (batch_id, chunk, chunks, data) VALUES (?, ?, ?, ?)"),
            put_down: format!("SELECT chunks, data FROM {table} WHERE batch_id = ?"),
            remove: format!("DELETE FROM {table} WHERE batch_id = ?"),
            settled: Mutex::default(),
            over: Mutex::default(),
        }
    }

    /// Applies the changes and the positions; tells how many rows were written.
    pub(super) async fn write(&self, changes: Vec<RowChange>, positions: &[Applied]) -> Result<u64, TablesError> {
        let rows = changes.len() as u64;
        if positions.is_empty() {
            let timestamp = self.stamps.after(0);
            self.client.apply_all(requests(&self.statements, &changes, timestamp)?).await?;
            return Ok(rows);
        }
        let before = self.stand(positions).await?;
        let batch = self.batch(changes, positions, &before);
        self.put_down(&batch).await?;
        if !self.claim(&batch, &before).await? {
            return Err(self.refused(&batch).await);
        }
        self.put_rows(&batch).await?;
        self.complete(&batch).await?;
        Ok(rows)
    }

    /// Forgets what is known of claims.
    pub(super) fn forget(&self) {
        self.settled.lock().clear();
    }

    pub(super) fn batch(&self, changes: Vec<RowChange>, positions: &[Applied], before: &Claims) -> Batch {
        let timestamp = self.stamps.after(before.values().map(|claim| claim.timestamp).max().unwrap_or(0));
        Batch { id: self.stamps.id(timestamp), timestamp, positions: positions.to_vec(), changes }
    }

    /// The claims of these positions, all of them complete and where the positions begin.
    pub(super) async fn stand(&self, positions: &[Applied]) -> Result<Claims, TablesError> {
        if let Some(settled) = self.settled_at(positions) {
            return Ok(settled);
        }
        let settled = self.settle(positions).await?;
        let mut before = Claims::new();
        for position in positions {
            let place = (position.topic, position.partition);
            let claim = settled.get(&place);
            let stands = claim.map_or(Offset(0), |claim| claim.next);
            if stands != position.from {
                return Err(TablesError::stale(position, stands));
            }
            before.extend(claim.map(|claim| (place, *claim)));
        }
        Ok(before)
    }

    /// What this node knows, if all of it is known to be where the positions begin.
    fn settled_at(&self, positions: &[Applied]) -> Option<Claims> {
        let settled = self.settled.lock();
        let known = positions.iter().map(|position| {
            let place = (position.topic, position.partition);
            settled.get(&place).filter(|claim| claim.next == position.from).map(|claim| (place, *claim))
        });
        known.collect()
    }

    /// Completes what was cut off at these positions and tells all their claims.
    async fn settle(&self, positions: &[Applied]) -> Result<Claims, TablesError> {
        let places: BTreeSet<Place> = positions.iter().map(|p| (p.topic, p.partition)).collect();
        let mut claims = read_claims(self.client.settled_rows(&self.positions.claims()).await?)?;
        claims.retain(|place, _| places.contains(place));
        for batch in self.cut_off(&claims).await? {
            self.finish(batch, &claims).await?;
        }
        self.settled.lock().extend(claims.iter().map(|(place, claim)| (*place, *claim)));
        Ok(claims)
    }

    /// The batches of these claims that are not complete.
    async fn cut_off(&self, claims: &Claims) -> Result<BTreeSet<Uuid>, TablesError> {
        let complete = read_completed(self.client.rows(&self.positions.completed()).await?)?;
        let open = |(place, claim): &(&Place, &Claim)| complete.get(place).is_none_or(|next| *next < claim.next);
        Ok(claims.iter().filter(open).map(|(_, claim)| claim.batch).collect())
    }

    /// Completes a batch that its writer left, or is just about to complete itself.
    async fn finish(&self, id: Uuid, claims: &Claims) -> Result<(), TablesError> {
        let asked = Statement::new(self.put_down.as_str(), vec![Bind::Uuid(id)]);
        let rows = self.client.rows(&asked).await?;
        let chunks = rows.first().and_then(|row| row.first().cloned().flatten());
        let whole = matches!(chunks, Some(CqlValue::Int(chunks)) if usize::try_from(chunks) == Ok(rows.len()));
        if !whole {
            // It is removed once the batch is complete: somebody else completed it just now.
            return match self.cut_off(claims).await?.contains(&id) {
                false => Ok(()),
                true => Err(TablesError::Unusable(format!(
                    "batch {id} was cut off more than a day ago and what it was to write is gone: \
                     stop all nodes and run `leadway rebuild`"
                ))),
            };
        }
        let mut bytes = Vec::new();
        for row in rows {
            match row.into_iter().nth(1).flatten() {
                Some(CqlValue::Blob(chunk)) => bytes.extend(chunk),
                _ => return Err(TablesError::Unusable(format!("batch {id} cannot be read: a chunk of it is empty"))),
            }
        }
        let batch = redo::decode(id, &bytes, &self.statements).map_err(|reason| {
            TablesError::Unusable(format!("batch {id}, made by another version, cannot be read: {reason}"))
        })?;
        tracing::warn!(%id, rows = batch.changes.len(), "a batch that was cut off is being completed");
        self.put_rows(&batch).await?;
        self.complete(&batch).await
    }

    /// Step 1. What is over of earlier batches goes at the same time.
    pub(super) async fn put_down(&self, batch: &Batch) -> Result<(), TablesError> {
        let bytes = redo::encode(batch);
        let chunks = i32::try_from(bytes.len().div_ceil(CHUNK)).unwrap_or(i32::MAX);
        let put = |(number, chunk): (i32, &[u8])| {
            let values = vec![Bind::Uuid(batch.id), Bind::Int(number), Bind::Int(chunks), Bind::Blob(chunk.to_vec())];
            vec![Statement::new(self.put.as_str(), values)]
        };
        let mut requests: Vec<_> = (0..).zip(bytes.chunks(CHUNK)).map(put).collect();
        let over = std::mem::take(&mut *self.over.lock());
        requests.extend(over.into_iter().map(|id| vec![Statement::new(self.remove.as_str(), vec![Bind::Uuid(id)])]));
        self.client.apply_all(requests).await
    }

    /// Step 2; tells whether the positions are the batch's. After an error that is not known.
    pub(super) async fn claim(&self, batch: &Batch, before: &Claims) -> Result<bool, TablesError> {
        {
            let mut settled = self.settled.lock();
            settled.retain(|place, _| batch.positions.iter().all(|p| (p.topic, p.partition) != *place));
        }
        let statements = self.positions.claim(batch, before);
        let deadline = self.client.deadline();
        let mut reason = String::from("it does not answer in time");
        for pause in pauses() {
            match timeout_at(deadline, self.client.try_conditional(&statements)).await {
                Ok(Ok(true)) => return Ok(true),
                Ok(Ok(false)) => return self.is_claimed_by(batch).await,
                Ok(Err(Failure::Final(message))) => return Err(TablesError::Unusable(message)),
                Ok(Err(Failure::Transient(message))) => reason = message,
                Err(_) => break,
            }
            if Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Err(TablesError::Unavailable(format!("the database: {reason}")))
    }

    /// Whether the batch has claimed its positions: a claim that seemed to fail may have been made, and is then refused when
    /// it is made again.
    async fn is_claimed_by(&self, batch: &Batch) -> Result<bool, TablesError> {
        let claims = read_claims(self.client.settled_rows(&self.positions.claims()).await?)?;
        Ok(batch.positions.iter().all(|p| claims.get(&(p.topic, p.partition)).is_some_and(|c| c.batch == batch.id)))
    }

    /// Step 3.
    pub(super) async fn put_rows(&self, batch: &Batch) -> Result<(), TablesError> {
        self.client.apply_all(requests(&self.statements, &batch.changes, batch.timestamp)?).await
    }

    /// Step 4.
    pub(super) async fn complete(&self, batch: &Batch) -> Result<(), TablesError> {
        self.client.apply(&self.positions.complete(batch)).await?;
        let claim = |p: &Applied| Claim { next: p.next, batch: batch.id, timestamp: batch.timestamp };
        let mut settled = self.settled.lock();
        for position in &batch.positions {
            let (place, claim) = ((position.topic, position.partition), claim(position));
            // What this node knows may be newer, when it has completed an old batch that another completed, too.
            if settled.get(&place).is_none_or(|known| known.next < claim.next) {
                settled.insert(place, claim);
            }
        }
        drop(settled);
        let mut over = self.over.lock();
        if over.len() < MAX_OVER {
            over.push(batch.id);
        }
        Ok(())
    }

    /// Somebody else has claimed the positions: completes that, so that who goes on reads all of it.
    async fn refused(&self, batch: &Batch) -> TablesError {
        if let Err(error) = self.settle(&batch.positions).await {
            return error;
        }
        match self.stand(&batch.positions).await {
            Err(error) => error,
            Ok(_) => {
                TablesError::Stale("another writer has claimed these positions and they were emptied since".into())
            }
        }
    }
}
