//! More than one process: a writer that is killed at any moment, and a reader beside it.
//!
//! The test program starts itself again as the writer, by the name of a test that is otherwise ignored.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_tables::{Range, TableRow, Tables, Value, get, key, open_declared, open_declared_read_only, scan};

use super::cases::{at, counted};
use super::declarations::{ALL, NoteRow};
use crate::options;

const FOLDER: &str = "LEADWAY_TEST_TABLES_FOLDER";
const ROWS: i64 = 50;
const ROUNDS: u64 = 4;
/// When the writer has surely died.
const GIVE_UP: Duration = Duration::from_secs(60);

struct Writer(Child);

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "contract::processes::writes_until_it_is_killed", "--ignored"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.env(FOLDER, folder).spawn().unwrap())
    }
}

impl Drop for Writer {
    /// SIGKILL on Unix.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Batch `n` sets every row to `n`, which is also the batch's position.
#[tokio::test]
#[ignore = "the other tests of this file start it as a process of its own"]
async fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    // The pipe from the test ends with the test, however that ends: then nobody is left to kill this process.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let options = leadway_tables::EmbeddedOptions { folder: folder.into(), ..Default::default() };
    let tables = open_declared(options, ALL).await.unwrap();
    let mut next = applied(&*tables).await + 1;
    loop {
        let rows = (0..ROWS).map(|row| counted("a", "t", row, next as i64).upsert()).collect();
        tables.write(rows, &[at(Topic::Leads, 0, next - 1, next)]).await.unwrap();
        next += 1;
    }
}

async fn open_reader(folder: &Path) -> std::sync::Arc<dyn Tables> {
    for _ in 0..600 {
        match open_declared_read_only(folder, ALL).await {
            Ok(reader) => return reader,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the writer made no tables");
}

async fn applied(tables: &dyn Tables) -> u64 {
    tables.applied(Topic::Leads, Partition(0)).await.unwrap().0
}

async fn counts(tables: &dyn Tables) -> Vec<i64> {
    let rows: Vec<NoteRow> = scan(tables, &[Value::Text("a".into())], Range::first(99)).await.unwrap();
    rows.into_iter().map(|row| row.count.unwrap()).collect()
}

fn assert_whole(counts: &[i64]) {
    assert_eq!(counts.len() as i64, ROWS);
    assert!(counts.iter().all(|count| *count == counts[0]), "half a batch: {counts:?}");
}

#[tokio::test]
async fn a_killed_writer_leaves_whole_batches_and_a_reader_sees_only_those() {
    let folder = tempfile::tempdir().unwrap();
    let path = options(&folder).folder;
    let mut reached = 0;
    for round in 1..=ROUNDS {
        let writer = Writer::start(&path);
        let reader = open_reader(&path).await;
        let written = reader.wait_applied(Topic::Leads, Partition(0), Offset(reached + 100));
        tokio::time::timeout(GIVE_UP, written).await.expect("the writer writes").unwrap();
        for _ in 0..100 {
            assert_whole(&counts(&*reader).await);
        }
        for _ in 0..2_000 {
            let before = applied(&*reader).await;
            let row: NoteRow = get(&*reader, &key!["a".to_owned(), "t".to_owned(), 0i64]).await.unwrap().unwrap();
            let positions = before..=applied(&*reader).await;
            assert!(positions.contains(&(row.count.unwrap() as u64)), "{row:?} is not of the batches {positions:?}");
        }
        let second = open_declared(options(&folder), ALL).await.err().unwrap();
        assert!(second.to_string().contains("in use by another leadway"), "{second}");
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        drop(writer);
        drop(reader);

        let tables = open_declared(options(&folder), ALL).await.unwrap();
        let counts = counts(&*tables).await;
        let applied = applied(&*tables).await;
        assert_whole(&counts);
        assert_eq!(counts[0] as u64, applied, "rows and position of different batches");
        assert!(applied >= reached + 100, "batches that were seen are lost");
        reached = applied;
    }
}
