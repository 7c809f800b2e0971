//! One step of scoring: gather, fold, write.

use std::sync::Arc;

use leadway_domain::Addressing;
use leadway_domain::record::UnreadableRecord;
use leadway_domain::telemetry::UNREADABLE_RECORDS;
use leadway_eventlog::{Address, EventLog, Record};
use leadway_tables::{Tables, TablesError, Write};
use rustc_hash::FxHashMap;

use crate::ahead::announce;
use crate::batch::{Batch, Cents, Till};
use crate::error::ScoringError;
use crate::fold::{Context, FoldError, decode, fold};
use crate::options::Options;
use crate::rows::Rows;
use crate::sources::{Gathered, Sources};

/// After so many records, about 50 µs, other threads may have the core: otherwise they wait until the system's clock
/// ticks, up to 4 ms.
const DECODED_BETWEEN_YIELDS: usize = 64;
const FOLDED_BETWEEN_YIELDS: usize = 16;
/// After so many other tasks of its thread have a turn, where it has some: asking the runtime costs more.
const BETWEEN_TASKS: usize = 512;

/// Follows the log with the tables.
pub(crate) struct Follower {
    pub(crate) sources: Sources,
    pub(crate) tables: Arc<dyn Tables>,
    context: Context,
    rows: Rows,
    counters: FxHashMap<(Till, Arc<str>), metrics::Counter>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) records: usize,
    /// How many of them were set aside.
    pub(crate) unreadable: usize,
    /// Whether more waited than it took.
    pub(crate) more: bool,
}

impl Follower {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        tables: Arc<dyn Tables>,
        addressing: Addressing,
        options: Options,
    ) -> Self {
        let context = Context { addressing, options };
        Self { sources: Sources::new(log), tables, context, rows: Rows::default(), counters: FxHashMap::default() }
    }

    /// Goes to where the tables stand.
    pub(crate) async fn seek_applied(&mut self) -> Result<(), ScoringError> {
        self.rows.forget();
        Ok(self.sources.seek_applied(&*self.tables).await?)
    }

    /// Applies what the log has now, up to the limits of a batch. When it fails, the same step may be tried again.
    pub(crate) async fn step(&mut self) -> Result<Step, ScoringError> {
        let gathered = self.sources.gather(self.context.options.read_limit()).await?;
        if gathered.records.is_empty() {
            return Ok(Step::default());
        }
        let folded = match self.apply(&gathered).await {
            Ok(folded) => folded,
            Err(error) => {
                // What the rows hold is not in the tables, or it is not known whether it is.
                self.rows.forget();
                return Err(error.into());
            }
        };
        self.rows.settle();
        self.sources.advance(&gathered.applied);
        // Only now: a step that fails comes again and would count them again.
        folded.set_aside.iter().for_each(report);
        self.count(folded.cents);
        let (records, unreadable) = (gathered.records.len(), folded.set_aside.len());
        Ok(Step { records, unreadable, more: gathered.more })
    }

    async fn apply(&mut self, gathered: &Gathered) -> Result<Folded, TablesError> {
        let (rows, records) = (&mut self.rows, &gathered.records);
        let mut folded = fold_all(&*self.tables, rows, &self.context, records, gathered.more).await?;
        self.tables.write(std::mem::take(&mut folded.writes), &gathered.applied).await?;
        Ok(folded)
    }

    fn count(&mut self, cents: Cents) {
        for (till, cents) in cents {
            let counter = self.counters.entry(till).or_insert_with_key(|(till, of)| till.counter(of));
            counter.increment(cents);
        }
    }
}

/// What a batch of records comes to.
pub(crate) struct Folded {
    pub(crate) writes: Vec<Write>,
    pub(crate) set_aside: Vec<SetAside>,
    cents: Cents,
}

/// A record that was passed over.
pub(crate) struct SetAside {
    address: Address,
    error: UnreadableRecord,
}

/// Folds the records into the changes that they make to the tables as they stand. Where more of them wait it catches up, and
/// gives way to no other thread.
pub(crate) async fn fold_all(
    tables: &dyn Tables,
    rows: &mut Rows,
    context: &Context,
    records: &[Record],
    catches_up: bool,
) -> Result<Folded, TablesError> {
    let mut set_aside = Vec::new();
    let mut decoded = Vec::with_capacity(records.len());
    for (n, record) in records.iter().enumerate() {
        match decode(record) {
            Ok(payload) => {
                announce(rows, record, &payload, context);
                decoded.push((record, payload));
            }
            Err(error) => set_aside.push(SetAside { address: record.address, error }),
        }
        give_way(n, DECODED_BETWEEN_YIELDS, catches_up).await;
    }
    rows.read(tables).await?;
    let mut batch = Batch::new(tables, rows, records.len());
    for (n, (record, payload)) in decoded.iter().enumerate() {
        match fold(record, payload, &mut batch, context).await {
            Ok(()) => {}
            Err(FoldError::Unreadable(error)) => {
                set_aside.push(SetAside { address: record.address, error });
            }
            Err(FoldError::Tables(error)) => return Err(error),
        }
        give_way(n, FOLDED_BETWEEN_YIELDS, catches_up).await;
    }
    let (writes, cents) = batch.finish();
    Ok(Folded { writes, set_aside, cents })
}

/// Lets others have the core after every so many records, and the runtime's other tasks more rarely.
async fn give_way(n: usize, records_between: usize, catches_up: bool) {
    if !catches_up && n % records_between == records_between - 1 {
        std::thread::yield_now();
    }
    if n % BETWEEN_TASKS == BETWEEN_TASKS - 1 {
        tokio::task::yield_now().await;
    }
}

fn report(record: &SetAside) {
    let Address { topic, partition, offset } = record.address;
    metrics::counter!(UNREADABLE_RECORDS, "topic" => topic.name()).increment(1);
    tracing::error!(
        topic = topic.name(),
        partition = partition.0,
        offset = offset.0,
        error = %record.error,
        "a record cannot be read and was set aside: it stays in the log and is in no table; \
         `leadway rebuild` with a version that can read it puts it in"
    );
}
