//! A provider's quarantine as a batch sees it: what is stored, and what the batch has added and removed.

use std::collections::{BTreeMap, VecDeque};

use leadway_domain::{ProviderId, Timestamp};
use leadway_tables::schema::QuarantineRow;
use leadway_tables::{Cell, Range, Tables, TablesError, get, key, scan};
use rustc_hash::FxHashSet;
use uuid::Uuid;

use crate::rows::kept_time;

/// Which refused leads there are and which is the oldest, without reading more rows than asked for.
pub(crate) struct Shelf {
    provider: ProviderId,
    /// Added by this batch and still there.
    added: BTreeMap<Uuid, Timestamp>,
    /// Removed by this batch; may be stored.
    removed: FxHashSet<Uuid>,
    /// The oldest stored rows, read ahead.
    front: VecDeque<(Uuid, Timestamp)>,
    reading: Reading,
}

/// How far the stored rows have been read.
enum Reading {
    NotBegun,
    UpTo(Uuid),
    Done,
}

/// Rows have bodies: few are read ahead, and only once something has left. Usually nothing must go, and the first row
/// is enough to tell.
const READ_AHEAD: usize = 32;

impl Shelf {
    pub(crate) fn new(provider: ProviderId) -> Self {
        Self {
            provider,
            added: BTreeMap::new(),
            removed: FxHashSet::default(),
            front: VecDeque::new(),
            reading: Reading::NotBegun,
        }
    }

    pub(crate) async fn contains(&self, tables: &dyn Tables, id: Uuid) -> Result<bool, TablesError> {
        if self.added.contains_key(&id) {
            return Ok(true);
        }
        if self.removed.contains(&id) {
            return Ok(false);
        }
        Ok(get::<QuarantineRow>(tables, &[self.provider.to_value(), id.to_value()]).await?.is_some())
    }

    /// Its arrival is kept as the tables keep it, so that its age does not depend on whether it was stored between.
    pub(crate) fn add(&mut self, id: Uuid, received_at: Timestamp) {
        self.added.insert(id, kept_time(received_at));
    }

    pub(crate) fn remove(&mut self, id: Uuid) {
        self.added.remove(&id);
        self.removed.insert(id);
    }

    /// The one with the smallest id: ids are UUID v7, in order of arrival.
    pub(crate) async fn oldest(&mut self, tables: &dyn Tables) -> Result<Option<(Uuid, Timestamp)>, TablesError> {
        let stored = self.oldest_stored(tables).await?;
        let added = self.added.first_key_value().map(|(id, at)| (*id, *at));
        Ok(stored.into_iter().chain(added).min_by_key(|(id, _)| *id))
    }

    async fn oldest_stored(&mut self, tables: &dyn Tables) -> Result<Option<(Uuid, Timestamp)>, TablesError> {
        loop {
            while let Some(first) = self.front.front() {
                if !self.removed.contains(&first.0) {
                    return Ok(Some(*first));
                }
                self.front.pop_front();
            }
            let (range, after) = match self.reading {
                Reading::Done => return Ok(None),
                Reading::NotBegun => (Range::first(1), None),
                // Reading goes on at the last row read, which comes once more.
                Reading::UpTo(id) => (Range::first(READ_AHEAD + 1).from(key![id]), Some(id)),
            };
            let asked = range.limit;
            let rows = scan::<QuarantineRow>(tables, &[self.provider.to_value()], range).await?;
            self.reading = match rows.last() {
                Some(last) if rows.len() == asked => Reading::UpTo(last.id),
                _ => Reading::Done,
            };
            let news = rows.into_iter().filter(|row| Some(row.id) != after);
            self.front.extend(news.map(|row| (row.id, row.received_at.unwrap_or_default())));
        }
    }
}

#[cfg(test)]
mod tests {
    use leadway_tables::{MemoryTables, TableRow};

    use super::*;

    #[tokio::test]
    async fn one_row_is_read_until_something_goes_and_then_some_ahead() {
        let tables = MemoryTables::default();
        let provider = ProviderId::new("a").unwrap();
        let row = |n| QuarantineRow::new(provider.clone(), Uuid::from_u128(n)).upsert();
        tables.write((1..=100).map(row).collect(), &[]).await.unwrap();
        let mut shelf = Shelf::new(provider);
        let (mut order, mut read) = (Vec::new(), Vec::new());
        while let Some((id, _)) = shelf.oldest(&tables).await.unwrap() {
            shelf.oldest(&tables).await.unwrap();
            order.push(id.as_u128());
            read.push(shelf.front.len());
            shelf.remove(id);
        }
        assert_eq!(order, (1..=100).collect::<Vec<_>>());
        assert_eq!(read[..3], [1, READ_AHEAD, READ_AHEAD - 1]);
    }
}
