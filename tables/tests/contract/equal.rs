//! The embedded tables and those in memory answer alike, whatever is done to them.

use leadway_domain::Partition;
use leadway_domain::record::Topic;
use leadway_tables::{MemoryTables, Range, Row, Table, Tables, TablesError, Value, Write};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::cases::at;
use super::declarations::{DecisionRow, MomentRow, NoteRow, PairRow, StoryRow};
use crate::embedded;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// With positions: of which partition, how far from where the tables stand it begins, and how far it goes.
    Write(Vec<Write>, Vec<(u32, u64, u64)>),
    Get(&'static Table, Vec<Value>),
    Scan(&'static Table, Vec<Value>, Range),
    Clear,
    Sync,
    Reopen,
}

fn table() -> impl Strategy<Value = &'static Table> {
    prop_oneof![
        Just(NoteRow::TABLE),
        Just(MomentRow::TABLE),
        Just(PairRow::TABLE),
        Just(DecisionRow::TABLE),
        Just(StoryRow::TABLE)
    ]
}

/// Few values, so that steps meet the same rows.
fn value(kind: leadway_tables::ColumnKind) -> BoxedStrategy<Value> {
    use leadway_tables::ColumnKind::*;
    match kind {
        Text => "[ab\u{0}]{0,2}".prop_map(Value::Text).boxed(),
        // Taken for leads' ids, some are of one partition of the log.
        Int => prop_oneof![3 => -2i64..2, 1 => 4_095i64..4_098].prop_map(Value::Int).boxed(),
        Money => (-2i64..2).prop_map(Value::Money).boxed(),
        Date => (-2i32..2).prop_map(Value::Date).boxed(),
        Timestamp => (-2i64..2).prop_map(Value::Timestamp).boxed(),
        Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Uuid => (0u128..2).prop_map(|n| Value::Uuid(self::Uuid::from_u128(n << 127))).boxed(),
    }
}

fn values(table: &'static Table, columns: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Value>> {
    table.columns[columns].iter().map(|column| value(column.kind)).collect::<Vec<_>>()
}

fn row(table: &'static Table) -> impl Strategy<Value = Row> {
    let data = table.data_columns().iter().map(|column| proptest::option::of(value(column.kind))).collect::<Vec<_>>();
    let keys = values(table, 0..table.key_columns());
    (keys, data, 1i64..4).prop_map(move |(key, mut data, version)| {
        if table.versioned > 0 && data[..table.versioned].iter().any(Option::is_some) {
            // Two upserts with one version say the same.
            let said = [Value::Int(version), Value::Text(version.to_string()), Value::Date(version as i32)];
            let said = said.map(|value| (version != 2 || value == Value::Int(2)).then_some(value));
            data.splice(..table.versioned, said);
        }
        key.into_iter().map(Some).chain(data).collect()
    })
}

fn write() -> impl Strategy<Value = Write> {
    table().prop_flat_map(|table| {
        prop_oneof![
            3 => row(table).prop_map(move |row| Write::upsert(table, &row)),
            1 => values(table, 0..table.key_columns()).prop_map(move |key| {
                // Of rows with versions the one column that has none would be left: such a delete is refused.
                Write::delete(table, &key, None)
            }),
        ]
    })
}

fn scan() -> impl Strategy<Value = Step> {
    table().prop_flat_map(|table| {
        let bound = || {
            let whole = values(table, table.partition_key..table.key_columns());
            proptest::option::of((whole, 0..=table.clustering_key).prop_map(|(mut bound, length)| {
                bound.truncate(length);
                bound
            }))
        };
        let range = (bound(), bound(), any::<bool>(), 0usize..6).prop_map(|(from, before, descending, limit)| Range {
            from,
            before,
            descending,
            limit,
        });
        (values(table, 0..table.partition_key), range)
            .prop_map(move |(partition, range)| Step::Scan(table, partition, range))
    })
}

fn step() -> impl Strategy<Value = Step> {
    let begins = prop_oneof![6 => Just(0u64), 1 => 1u64..3];
    let positions = vec((0u32..2, begins, 1u64..4), 0..3);
    prop_oneof![
        8 => (vec(write(), 0..8), positions).prop_map(|(writes, positions)| Step::Write(writes, positions)),
        3 => table().prop_flat_map(|table| values(table, 0..table.key_columns())
            .prop_map(move |key| Step::Get(table, key))),
        6 => scan(),
        1 => Just(Step::Clear),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

/// What a step answered, in words that do not depend on the provider.
async fn answer(tables: &dyn Tables, step: &Step) -> String {
    let kind = |error: TablesError| match error {
        TablesError::Stale(_) => "stale".to_owned(),
        other => other.to_string(),
    };
    match step.clone() {
        Step::Write(writes, positions) => {
            let stand = |p| async move { tables.applied(Topic::Leads, Partition(p)).await.unwrap().0 };
            let mut batch = vec![];
            for (partition, begins, length) in positions {
                let from = stand(partition).await + begins;
                batch.push(at(Topic::Leads, partition, from, from + length));
            }
            let positions = batch;
            format!("{:?}", tables.write(writes, &positions).await.map_err(kind))
        }
        Step::Get(table, key) => format!("{:?}", tables.get(table, &key).await.map_err(kind)),
        Step::Scan(table, partition, range) => {
            format!("{:?}", tables.scan(table, &partition, range).await.map_err(kind))
        }
        Step::Clear => format!("{:?}", tables.clear().await.map_err(kind)),
        Step::Sync | Step::Reopen => format!("{:?}", tables.sync().await.map_err(kind)),
    }
}

async fn positions(tables: &dyn Tables) -> Vec<u64> {
    let mut all = vec![];
    for partition in 0..2 {
        all.push(tables.applied(Topic::Leads, Partition(partition)).await.unwrap().0);
    }
    all
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..40)
}

/// Does the steps to another provider and to tables in memory.
pub(crate) async fn compare_with(tables: &dyn Tables, steps: &[Step]) -> Result<(), TestCaseError> {
    let memory = MemoryTables::default();
    for step in steps {
        prop_assert_eq!(answer(tables, step).await, answer(&memory, step).await, "{:?}", step);
        prop_assert_eq!(positions(tables).await, positions(&memory).await, "{:?}", step);
    }
    prop_assert_eq!(tables.dump().await.unwrap(), memory.dump().await.unwrap());
    Ok(())
}

async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let memory = MemoryTables::default();
    let mut disk = embedded(&folder).await;
    for step in &steps {
        prop_assert_eq!(answer(&*disk, step).await, answer(&memory, step).await, "{:?}", step);
        if matches!(step, Step::Reopen) {
            drop(disk);
            disk = embedded(&folder).await;
        }
        prop_assert_eq!(positions(&*disk).await, positions(&memory).await, "{:?}", step);
    }
    prop_assert_eq!(disk.dump().await.unwrap(), memory.dump().await.unwrap());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_tables_answer_as_those_in_memory(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(steps))?;
    }
}
