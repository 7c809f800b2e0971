//! What the embedded tables keep besides the contract: what they are when opened again, and on a full disk.

use std::fs;

use leadway_domain::Partition;
use leadway_domain::record::Topic;
use leadway_tables::{
    Column, ColumnKind, EmbeddedOptions, Range, Row, Table, TableRow, Tables, TablesError, Value, open_declared,
    open_declared_read_only,
};
use tempfile::TempDir;

use super::cases::{at, counted, note};
use super::declarations::{ALL, MomentRow, NoteRow, PairRow};
use crate::{embedded, options};

async fn fill(tables: &dyn Tables) -> Vec<(String, Row)> {
    let writes = vec![counted("a", "t", 1, 5).upsert(), PairRow::new("x".into(), "y".into()).upsert()];
    tables.write(writes, &[at(Topic::Leads, 3, 0, 8)]).await.unwrap();
    tables.dump().await.unwrap()
}

async fn position(tables: &dyn Tables) -> u64 {
    tables.applied(Topic::Leads, Partition(3)).await.unwrap().0
}

fn marker(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("tables").join("unsynced")
}

#[tokio::test]
async fn rows_and_positions_are_there_when_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let rows = fill(&*embedded(&folder).await).await;
    let again = embedded(&folder).await;
    assert_eq!((again.dump().await.unwrap(), position(&*again).await), (rows, 8));
    let stale = again.write(vec![], &[at(Topic::Leads, 3, 0, 8)]).await;
    assert!(matches!(stale, Err(TablesError::Stale(_))), "{stale:?}");
}

#[tokio::test]
async fn other_declarations_start_empty() {
    const fn pairs(name: &'static str, columns: &'static [Column], partition_key: usize) -> Table {
        Table { name, columns, partition_key, clustering_key: 2 - partition_key, ..*PairRow::TABLE }
    }
    const COLUMNS: &[Column] = PairRow::TABLE.columns;
    const LEFT: Column = Column { name: "left", kind: ColumnKind::Text };
    const RIGHT: Column = Column { name: "right", kind: ColumnKind::Text };
    const ADDED: Column = Column { name: "added", kind: ColumnKind::Int };
    // Each differs from what is stored in one thing.
    const OTHERS: [&[&Table]; 7] = [
        &[NoteRow::TABLE, MomentRow::TABLE],
        &[NoteRow::TABLE, MomentRow::TABLE, &pairs("renamed", COLUMNS, 2)],
        &[NoteRow::TABLE, MomentRow::TABLE, &Table { by_lead: true, ..*PairRow::TABLE }],
        &[NoteRow::TABLE, MomentRow::TABLE, &pairs("pairs", COLUMNS, 1)],
        &[NoteRow::TABLE, MomentRow::TABLE, &pairs("pairs", &[LEFT, RIGHT, ADDED], 2)],
        &[NoteRow::TABLE, MomentRow::TABLE, &pairs("pairs", &[RIGHT, LEFT], 2)],
        &[NoteRow::TABLE, MomentRow::TABLE, &pairs("pairs", &[LEFT, Column { kind: ColumnKind::Int, ..RIGHT }], 2)],
    ];
    for others in OTHERS {
        let folder = tempfile::tempdir().unwrap();
        fill(&*embedded(&folder).await).await;
        let changed = open_declared(options(&folder), others).await.unwrap();
        assert_eq!((changed.dump().await.unwrap(), position(&*changed).await), (vec![], 0));
        changed.write(vec![note("a", "t", 9).upsert()], &[at(Topic::Leads, 3, 0, 1)]).await.unwrap();
        drop(changed);
        let kept = open_declared(options(&folder), others).await.unwrap();
        assert_eq!((kept.dump().await.unwrap().len(), position(&*kept).await), (1, 1));
    }
}

#[tokio::test]
async fn tables_that_were_not_declared_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let tables = open_declared(options(&folder), &[NoteRow::TABLE]).await.unwrap();
    let batch = vec![note("a", "t", 0).upsert(), PairRow::new("x".into(), "y".into()).upsert()];
    let refused = tables.write(batch, &[at(Topic::Leads, 3, 0, 1)]).await;
    assert!(matches!(refused, Err(TablesError::Mismatch { table: "pairs", .. })), "{refused:?}");
    assert_eq!((tables.dump().await.unwrap(), position(&*tables).await), (vec![], 0));
}

#[tokio::test]
async fn tables_that_were_not_synced_before_the_machine_stopped_start_empty() {
    let folder = tempfile::tempdir().unwrap();
    let rows = fill(&*embedded(&folder).await).await;
    assert!(!marker(&folder).exists(), "closing syncs");
    fs::write(marker(&folder), "another boot").unwrap();
    let refused = open_declared_read_only(&options(&folder).folder, ALL).await.err().unwrap();
    assert!(refused.to_string().contains("before they were synced"), "{refused}");
    let tables = embedded(&folder).await;
    assert_eq!((tables.dump().await.unwrap(), position(&*tables).await), (vec![], 0));
    assert_eq!(fill(&*tables).await, rows);
    drop(tables);
    assert_eq!(embedded(&folder).await.dump().await.unwrap(), rows);
}

#[tokio::test]
async fn a_sync_holds_until_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let tables = embedded(&folder).await;
    fill(&*tables).await;
    assert!(marker(&folder).exists());
    tables.sync().await.unwrap();
    assert!(!marker(&folder).exists());
    tables.write(vec![note("a", "t", 0).upsert()], &[]).await.unwrap();
    assert!(marker(&folder).exists());
}

#[tokio::test]
async fn a_folder_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let first = embedded(&folder).await;
    let second = open_declared(options(&folder), ALL).await.err().unwrap();
    assert!(second.to_string().contains("in use by another leadway"), "{second}");
    drop(first);
    embedded(&folder).await;
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = options(&folder).folder;
    fs::create_dir_all(&path).unwrap();
    let foreign = "somebody's diary".repeat(1_000);
    fs::write(path.join("data.mdb"), &foreign).unwrap();
    let refused = open_declared(options(&folder), ALL).await.err().unwrap();
    assert!(refused.to_string().contains("cannot be opened"), "{refused}");
    assert_eq!(fs::read_to_string(path.join("data.mdb")).unwrap(), foreign);
}

#[tokio::test]
async fn a_reader_sees_the_rows_and_may_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = options(&folder).folder;
    let none = open_declared_read_only(&path, ALL).await.err().unwrap();
    assert!(none.to_string().contains("there are none"), "{none}");
    let rows = fill(&*embedded(&folder).await).await;
    let other = open_declared_read_only(&path, &[NoteRow::TABLE]).await.err().unwrap();
    assert!(other.to_string().contains("another version"), "{other}");
    let reader = open_declared_read_only(&path, ALL).await.unwrap();
    assert_eq!((reader.dump().await.unwrap(), position(&*reader).await), (rows, 8));
    let stored = reader.scan(NoteRow::TABLE, &[Value::Text("a".into())], Range::first(9)).await.unwrap();
    assert_eq!(stored, [counted("a", "t", 1, 5).to_row()]);
    let refused =
        [reader.write(vec![note("a", "t", 1).upsert()], &[]).await, reader.clear().await, reader.sync().await];
    for refused in refused {
        assert!(matches!(&refused, Err(TablesError::Unusable(why)) if why.contains("reading only")), "{refused:?}");
    }
}

#[tokio::test]
async fn a_full_map_refuses_a_batch_whole_and_takes_it_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let small = EmbeddedOptions { map_bytes: 2 << 20, ..options(&folder) };
    let tables = open_declared(small, ALL).await.unwrap();
    let batch = |from: i64| -> Vec<_> {
        let row = |n| NoteRow { text: Some("x".repeat(1_000)), ..note("a", "t", n) };
        (from..from + 100).map(|n| row(n).upsert()).collect()
    };
    let mut next = 0;
    let (full, refused) = loop {
        match tables.write(batch(next * 100), &[at(Topic::Leads, 3, next as u64, next as u64 + 1)]).await {
            Ok(()) => next += 1,
            Err(error) => break (next, error),
        }
    };
    assert!(refused.is_transient() && refused.to_string().contains("tables.map_bytes"), "{refused}");
    assert!(full > 3, "{full}");
    assert_eq!(position(&*tables).await, full as u64);
    assert_eq!(tables.dump().await.unwrap().len() as i64, full * 100);

    let key = |n| vec![Value::Text("a".into()), Value::Text("t".into()), Value::Int(n)];
    tables.write((0..300).map(|n| NoteRow::delete(key(n))).collect(), &[]).await.unwrap();
    tables.write(vec![note("b", "t", 0).upsert()], &[]).await.unwrap();
    tables.write(batch(full * 100), &[at(Topic::Leads, 3, full as u64, full as u64 + 1)]).await.unwrap();
    assert_eq!(position(&*tables).await, full as u64 + 1);
    assert_eq!(tables.dump().await.unwrap().len() as i64, full * 100 - 300 + 1 + 100);
}

#[tokio::test]
async fn tables_made_aside_take_the_place_of_the_old_ones_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let aside = EmbeddedOptions { folder: folder.path().join("aside"), ..options(&folder) };
    let old = embedded(&folder).await;
    old.write(vec![note("old", "t", 1).upsert()], &[at(Topic::Leads, 3, 0, 5)]).await.unwrap();
    let log = leadway_tables::LogOfTables::unsettled(uuid::Uuid::from_u128(1));
    old.set_log(&log).await.unwrap();
    let new = open_declared(aside.clone(), ALL).await.unwrap();
    let rows = fill(&*new).await;
    // As long as one of them is open, nothing is touched.
    let target = options(&folder).folder;
    assert!(leadway_tables::replace(&target, &aside.folder).await.is_err());
    drop(old);
    assert!(leadway_tables::replace(&target, &aside.folder).await.is_err());
    assert_eq!(position(&*embedded(&folder).await).await, 5);
    drop(new);
    leadway_tables::replace(&target, &aside.folder).await.unwrap();
    let tables = embedded(&folder).await;
    assert_eq!((tables.dump().await.unwrap(), position(&*tables).await), (rows, 8));
    assert_eq!(tables.log().await.unwrap(), Some(log), "which log they are of is said by who replaced them");
    assert!(!aside.folder.exists());
}
