//! What the tables on Cassandra keep besides the contract: typed columns, a schema that grows, many nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use leadway_domain::record::Topic;
use leadway_domain::secret::Secret;
use leadway_domain::{Clock, LeadId, Money, Partition, ProviderId, Timestamp, WorkspaceId};
use leadway_servers::{Cassandra, CassandraOptions, shared_cassandra};
use leadway_tables::schema::{AppointmentByWorkspaceRow, DailyRow};
use leadway_tables::{
    Column, ColumnKind, Day, Json, ScyllaOptions, Table, TableRow, Tables, TablesError, get, key, open_declared_scylla,
    open_scylla,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::{CqlValue, Row};

use super::cases::{at, counted};
use super::declarations::{ALL, DecisionRow, MomentRow, NoteRow, PairRow, WaitingRow};
use super::equal::{compare_with, steps};

/// Histories that are compared: each takes some hundred requests.
const HISTORIES: usize = 6;
/// When something has surely been forgotten.
const GIVE_UP: Duration = Duration::from_secs(120);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Options of a keyspace of one's own on the server that all tests share.
pub(crate) async fn options() -> ScyllaOptions {
    let server = tokio::task::spawn_blocking(shared_cassandra).await.unwrap();
    of(server.unwrap_or_else(|error| panic!("{error}")))
}

fn of(server: &Cassandra) -> ScyllaOptions {
    ScyllaOptions {
        nodes: server.contact_point(),
        keyspace: format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        replication: 1,
        // Many keyspaces are made at once, on a machine that does other things too.
        start_timeout_ms: 180_000,
        ..ScyllaOptions::default()
    }
}

async fn open(options: &ScyllaOptions, tables: &'static [&'static Table]) -> Result<Arc<dyn Tables>, TablesError> {
    open_declared_scylla(options.clone(), tables, Clock::system(), NEXT.fetch_add(1, Ordering::Relaxed)).await
}

/// Empty tables in a keyspace of their own.
pub(crate) async fn tables() -> Arc<dyn Tables> {
    open(&options().await, ALL).await.unwrap()
}

#[tokio::test]
async fn tables_on_cassandra_answer_as_those_in_memory() {
    let tables = tables().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..HISTORIES {
        tables.clear().await.unwrap();
        let steps = steps().new_tree(&mut runner).unwrap().current();
        compare_with(&*tables, &steps).await.unwrap_or_else(|error| panic!("{error}\n{steps:#?}"));
    }
}

async fn ask(session: &Session, question: &str) -> Vec<Vec<Option<CqlValue>>> {
    let rows = session.query_unpaged(question, ()).await.unwrap().into_rows_result().unwrap();
    rows.rows::<Row>().unwrap().map(|row| row.unwrap().columns).collect()
}

fn texts(rows: Vec<Vec<Option<CqlValue>>>) -> Vec<Vec<String>> {
    let text = |cell: Option<CqlValue>| match cell {
        Some(CqlValue::Text(text)) => text,
        other => panic!("{other:?} is no text"),
    };
    rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

/// What somebody at `cqlsh` gets.
#[tokio::test]
async fn an_analyst_finds_typed_columns_by_workspace_and_day() {
    let options = options().await;
    let tables = open_scylla(options.clone(), Clock::system(), 1).await.unwrap();
    let matched_at: Timestamp = "2024-01-15T10:30:00.123Z".parse().unwrap();
    let workspace = WorkspaceId::new("solar_west").unwrap();
    let row = AppointmentByWorkspaceRow {
        matched_at: Some(matched_at),
        provider_id: Some(ProviderId::new("a").unwrap()),
        price: Some(Money::from_cents(-15_005)),
        test: Some(false),
        ..AppointmentByWorkspaceRow::new(workspace, Day::of(matched_at), LeadId(4_097))
    };
    let daily = DailyRow::new(
        Day::of(matched_at),
        0,
        ProviderId::new("a").unwrap(),
        String::new(),
        "Solar".into(),
        "leads".into(),
        Partition(0),
    );
    let daily = DailyRow { routing_latency: Some(Json::default()), ..daily };
    tables.write(vec![row.upsert(), daily.upsert()], &[]).await.unwrap();

    let session = SessionBuilder::new().known_node(&options.nodes).build().await.unwrap();
    let keyspace = &options.keyspace;
    let question = format!(
        "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = '{keyspace}' \
         AND table_name = 'appointments_by_workspace'"
    );
    let mut columns = texts(ask(&session, &question).await);
    columns.sort();
    let expected = [
        ["appointment_date", "timestamp", "regular"],
        ["appointment_id", "bigint", "clustering"],
        ["customer_zip", "text", "regular"],
        ["day", "date", "partition_key"],
        ["matched_at", "timestamp", "regular"],
        ["price", "decimal", "regular"],
        ["provider_id", "text", "regular"],
        ["service_type", "text", "regular"],
        ["test", "boolean", "regular"],
        ["workspace_id", "text", "partition_key"],
    ];
    assert_eq!(columns, expected);
    let question = format!(
        "SELECT CAST(price AS text), CAST(matched_at AS text), provider_id FROM {keyspace}.appointments_by_workspace \
         WHERE workspace_id = 'solar_west' AND day = '2024-01-15'"
    );
    assert_eq!(texts(ask(&session, &question).await), [["-150.05", "2024-01-15T10:30:00.123Z", "a"]]);
    let question = format!("SELECT routing_latency FROM {keyspace}.daily WHERE day = '2024-01-15'");
    let text = texts(ask(&session, &question).await).remove(0).remove(0);
    assert_eq!(Some(Json(serde_json::from_str(&text).unwrap())), daily.routing_latency, "JSON stays text");
}

#[tokio::test]
async fn nodes_that_start_at_once_make_the_schema_together() {
    let options = options().await;
    let opened = join_all((0..5).map(|_| open(&options, ALL))).await;
    let nodes: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    for (n, node) in (0..).zip(&nodes) {
        node.write(vec![counted("a", "t", n, n).upsert()], &[at(Topic::Leads, 0, n as u64, n as u64 + 1)])
            .await
            .unwrap();
    }
    assert_eq!(nodes[0].dump().await.unwrap().len(), nodes.len());
}

#[tokio::test]
async fn columns_of_a_later_version_are_added_and_rows_stay() {
    const BEFORE: &Table = &Table { columns: NoteRow::TABLE.columns.split_at(4).0, ..*NoteRow::TABLE };
    let options = options().await;
    let old = open(&options, &[BEFORE, MomentRow::TABLE, PairRow::TABLE, DecisionRow::TABLE]).await.unwrap();
    let mut row = counted("a", "t", 1, 5).to_row();
    row.truncate(4);
    row[3] = Some(leadway_tables::Value::Text("old".into()));
    old.write(vec![leadway_tables::Write::upsert(BEFORE, &row)], &[]).await.unwrap();
    let new = open(&options, ALL).await.unwrap();
    new.write(vec![counted("a", "t", 1, 7).upsert()], &[]).await.unwrap();
    let stored: NoteRow = get(&*new, &key!["a".to_owned(), "t".to_owned(), 1i64]).await.unwrap().unwrap();
    assert_eq!(stored, NoteRow { text: Some("old".into()), ..counted("a", "t", 1, 7) });
    assert_eq!(old.dump().await.unwrap().len(), 1, "the older version goes on beside it");
    assert!(open(&options, ALL).await.is_ok());
}

#[tokio::test]
async fn a_schema_that_cannot_be_changed_is_refused_with_the_way_out() {
    const COLUMNS: &[Column] = &[
        Column { name: "owner", kind: ColumnKind::Text },
        Column { name: "number", kind: ColumnKind::Int },
        Column { name: "version", kind: ColumnKind::Int },
        Column { name: "reason", kind: ColumnKind::Date },
    ];
    const OTHER_KIND: &Table = &Table { columns: COLUMNS, ..*WaitingRow::TABLE };
    const OTHER_KEY: &Table = &Table { clustering_key: 0, versioned: 0, ..*WaitingRow::TABLE };
    const UNVERSIONED: &Table = &Table { versioned: 0, ..*WaitingRow::TABLE };
    const OTHERS: [&[&Table]; 3] = [&[OTHER_KIND], &[OTHER_KEY], &[UNVERSIONED]];
    let options = options().await;
    open(&options, ALL).await.unwrap();
    for others in OTHERS {
        let error = open(&options, others).await.err().unwrap();
        assert!(!error.is_transient() && error.to_string().contains("waiting"), "{error}");
        assert!(error.to_string().contains("leadway rebuild"), "{error}");
    }
}

/// Raises the count of a row with each position, whatever happens to the database, as scoring does. Tells how often
/// a call failed.
async fn count_to(tables: &dyn Tables, end: u64, reached: &AtomicU64) -> usize {
    let mut failures = 0;
    loop {
        match count_once(tables, end).await {
            Ok(next) if next >= end => return failures,
            Ok(next) => reached.store(next, Ordering::Relaxed),
            Err(TablesError::Stale(_)) => {}
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                failures += 1;
            }
        }
    }
}

async fn count_once(tables: &dyn Tables, end: u64) -> Result<u64, TablesError> {
    let from = tables.applied(Topic::Leads, Partition(0)).await?.0;
    if from >= end {
        return Ok(from);
    }
    let mut writes = Vec::new();
    for n in 0..20 {
        let stored: Option<NoteRow> = get(tables, &key![format!("owner {n}"), "t".to_owned(), 0i64]).await?;
        let count = stored.and_then(|row| row.count).unwrap_or(0);
        writes.push(counted(&format!("owner {n}"), "t", 0, count + 1).upsert());
    }
    tables.write(writes, &[at(Topic::Leads, 0, from, from + 1)]).await?;
    Ok(from + 1)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_or_sleeps_in_mid_write_loses_and_doubles_nothing() {
    let server = Arc::new(blocking(|| Cassandra::start().unwrap_or_else(|error| panic!("{error}"))).await);
    let options = ScyllaOptions { request_timeout_ms: 2_000, ..of(&server) };
    let tables = open(&options, ALL).await.unwrap();
    let reached = Arc::new(AtomicU64::new(0));
    let (counting, seen) = (tables.clone(), reached.clone());
    let end = 150;
    let counted = tokio::spawn(async move { count_to(&*counting, end, &seen).await });
    let until = |least: u64| {
        let reached = reached.clone();
        async move {
            while reached.load(Ordering::Relaxed) < least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(GIVE_UP, until(30)).await.unwrap();
    let dying = server.clone();
    blocking(move || dying.kill().unwrap()).await;
    let refused = tables.get(NoteRow::TABLE, &key!["x".to_owned(), "t".to_owned(), 0i64]).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    let coming = server.clone();
    blocking(move || coming.restart().unwrap_or_else(|error| panic!("{error}"))).await;
    tokio::time::timeout(GIVE_UP, until(90)).await.unwrap();
    server.pause().unwrap();
    let asleep = tables.get(NoteRow::TABLE, &key!["x".to_owned(), "t".to_owned(), 0i64]).await.unwrap_err();
    assert!(asleep.is_transient(), "{asleep}");
    server.resume().unwrap();
    let failures = tokio::time::timeout(GIVE_UP, counted).await.unwrap().unwrap();
    assert!(failures > 0, "it was away while the writer wrote");
    let counts: Vec<_> = tables.dump().await.unwrap().into_iter().map(|(_, row)| row[4].clone()).collect();
    assert_eq!(counts, vec![Some(leadway_tables::Value::Int(end as i64)); 20]);
}

#[tokio::test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature tls")]
async fn a_password_and_encryption_are_used_as_set() {
    let asked = CassandraOptions { password: true, tls: true, ..CassandraOptions::default() };
    let server = blocking(move || Cassandra::start_with(&asked).unwrap_or_else(|error| panic!("{error}"))).await;
    let credentials = server.credentials().clone();
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, format!("{}\n", credentials.password.clone().unwrap())).unwrap();
    let right = ScyllaOptions {
        user: credentials.username.unwrap(),
        password_file: Some(password_file),
        tls: true,
        ca_file: credentials.ca_file,
        start_timeout_ms: 20_000,
        ..of(&server)
    };
    let tables = open(&right, &[NoteRow::TABLE]).await.unwrap();
    tables.write(vec![counted("a", "t", 0, 1).upsert()], &[at(Topic::Leads, 0, 0, 1)]).await.unwrap();
    assert_eq!(tables.dump().await.unwrap().len(), 1);

    let wrong = ScyllaOptions { password: Secret::new("open sesame"), ..right.clone() };
    let refused = open(&wrong, &[NoteRow::TABLE]).await.err().unwrap();
    assert!(!refused.is_transient() && refused.to_string().contains("scylla.user"), "{refused}");
    assert!(!refused.to_string().contains("sesame"), "{refused}");
    let stranger = ScyllaOptions { ca_file: None, start_timeout_ms: 1_000, ..right };
    let refused = open(&stranger, &[NoteRow::TABLE]).await.err().unwrap();
    assert!(refused.to_string().contains("scylla.nodes"), "{refused}");
}
