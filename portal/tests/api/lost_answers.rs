//! What fails after something was recorded is not told as if nothing had been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use leadway_domain::record::{PostedAs, Topic};
use leadway_domain::{LeadId, Offset, Partition, ProviderId};
use leadway_eventlog::{Address, EventLog, Fault, LogError, MemoryLog, NewRecord, Position, ReadLimit, Record, Stage};
use leadway_portal::Options;
use leadway_tables::schema::{CommandRow, QuarantineRow};
use leadway_tables::{
    Applied, Json, LogOfTables, MemoryTables, Range, Row, Table, TableRow, Tables, TablesError, Value, Write,
};
use serde_json::json;
use uuid::Uuid;

use crate::world::{PARTITIONS, World, at, provider};

/// Tables of which one cannot be read, once it is broken.
struct BrokenTables {
    tables: MemoryTables,
    broken: &'static str,
    is_broken: Arc<AtomicBool>,
}

#[async_trait]
impl Tables for BrokenTables {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        if self.is_broken.load(Ordering::Relaxed) && table.name == self.broken {
            return Err(TablesError::Unavailable("broken by the test".into()));
        }
        self.tables.get(table, key).await
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        self.tables.scan(table, partition, range).await
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        self.tables.write(writes, positions).await
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.tables.applied(topic, partition).await
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(TablesError::Unavailable("broken by the test".into()));
        }
        self.tables.wait_applied(topic, partition, next).await
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        self.tables.positions().await
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        self.tables.log().await
    }

    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        self.tables.claim(log).await
    }

    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError> {
        self.tables.set_log(log).await
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.tables.clear().await
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        self.tables.dump().await
    }

    async fn sync(&self) -> Result<(), TablesError> {
        self.tables.sync().await
    }
}

/// A log whose topic `settings` can be followed no more, once it is broken.
struct UnreadableSettings(MemoryLog, Arc<AtomicBool>);

#[async_trait]
impl EventLog for UnreadableSettings {
    fn partitions(&self, topic: Topic) -> u32 {
        self.0.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.0.append(records).await
    }

    async fn read(&self, topic: Topic, p: Partition, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, LogError> {
        if topic == Topic::Settings && self.1.load(Ordering::Relaxed) {
            return Err(LogError::Closed);
        }
        self.0.read(topic, p, from, limit).await
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.0.end(topic, partition).await
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.0.seen(topic, partition)
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        self.0.wait(positions).await
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        self.0.stage(name, input, tracked).await
    }
}

async fn with_tables(broken: &'static str) -> (World, Arc<AtomicBool>) {
    let (log, tables, is_broken) =
        (MemoryLog::new(PARTITIONS), MemoryTables::default(), Arc::new(AtomicBool::new(false)));
    let shared = BrokenTables { tables: tables.clone(), broken, is_broken: is_broken.clone() };
    let options = Options { catch_up_timeout_ms: 1, ..Options::default() };
    let world = World::made_of(log.clone(), Arc::new(log), tables, Arc::new(shared), options).await;
    world.furnish().await;
    (world, is_broken)
}

async fn recorded(world: &World, topic: Topic) -> u64 {
    let mut count = 0;
    for partition in 0..PARTITIONS {
        count += world.log.end(topic, Partition(partition)).await.unwrap().0;
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_answer_cannot_be_read_is_accepted_with_where_to_look() {
    let (world, is_broken) = with_tables("commands").await;
    world.grow_log(5).await;
    let id = world.lead_id(1, 3);
    world.write(world.lead(id, at("2024-01-15T10:00:00Z")).1).await;
    let before = recorded(&world, Topic::Leads).await;
    is_broken.store(true, Ordering::Relaxed);
    let reply = world.post(&format!("/api/leads/{id}/schedule"), json!({})).await.expect(202).json();
    assert_eq!(recorded(&world, Topic::Leads).await, before + 1);
    is_broken.store(false, Ordering::Relaxed);
    assert_eq!(world.get(reply["href"].as_str().unwrap()).await.expect(200).json()["status"], "pending");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_carried_out_is_no_failure_when_its_appointment_cannot_be_read() {
    let (world, is_broken) = with_tables("appointments").await;
    world.grow_log(5).await;
    let id = world.lead_id(1, 3);
    let command_id = world.lead_id(1, 5);
    let mut row = CommandRow::new(command_id);
    (row.lead_id, row.status) = (Some(id), Some("routed".into()));
    let rows = world.lead(id, at("2024-01-15T10:00:00Z")).1;
    world.write(rows.into_iter().chain([row.upsert()]).collect()).await;
    is_broken.store(true, Ordering::Relaxed);
    let reply = world.post(&format!("/api/leads/{id}/schedule"), json!({})).await.expect(202).json();
    assert_eq!((&reply["command_id"], &reply["status"]), (&json!(command_id.0), &json!("routed")));
}

#[tokio::test]
async fn a_change_that_is_durable_is_answered_though_it_cannot_be_followed() {
    let log = MemoryLog::new(PARTITIONS);
    let is_broken = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(UnreadableSettings(log.clone(), is_broken.clone()));
    let world = World::over(log, shared, Options::default()).await;
    is_broken.store(true, Ordering::Relaxed);
    let made = world.post("/api/providers", provider()).await.expect(201).json();
    assert!(made["key"].as_str().unwrap().starts_with("lwp_"), "its only copy: {made}");
}

async fn refused(world: &World, n: u128) -> String {
    let id = Uuid::from_u128(n);
    let mut row = QuarantineRow::new(ProviderId::new("a").unwrap(), id);
    row.posted_as = Some(Json(PostedAs::Lead));
    row.body = Some(Json(json!({"phone": "2135550123", "zip": "90210", "product": "Solar"})));
    world.write(vec![row.upsert()]).await;
    format!("/api/quarantine/a/{id}")
}

#[tokio::test]
async fn a_release_that_ends_halfway_tells_the_lead_and_can_be_repeated() {
    let (world, _) = with_tables("none").await;
    let path = refused(&world, 1).await;
    let writes = AtomicU64::new(0);
    world.log.set_faults(move || match writes.fetch_add(1, Ordering::Relaxed) {
        0 => Fault::None,
        _ => Fault::Refuse,
    });
    let reply = world.call("POST", &format!("{path}/release"), None).await.expect(503);
    world.log.clear_faults();
    let leads = recorded(&world, Topic::Leads).await;
    assert_eq!((leads, recorded(&world, Topic::Quarantine).await), (1, 0));
    let id = (0..PARTITIONS).map(|p| world.lead_id(p, 0)).find(|id| reply.text.contains(&id.to_string()));
    let id: LeadId = id.unwrap_or_else(|| panic!("names the lead: {}", reply.text));
    assert!(!reply.text.contains("othing was changed"), "{}", reply.text);

    world.write_only_lead(id, at("2024-01-01T00:00:00Z")).await;
    let again = world.call("POST", &format!("{path}/release"), None).await.expect(200).json();
    assert_eq!((&again["status"], &again["lead_id"]), (&json!("duplicate"), &json!(id.0)));
    assert_eq!((recorded(&world, Topic::Leads).await, recorded(&world, Topic::Quarantine).await), (1, 1));
}

#[tokio::test]
async fn what_is_released_or_discarded_is_told_so_though_the_tables_fail_then() {
    let (world, is_broken) = with_tables("none").await;
    let paths = [refused(&world, 1).await, refused(&world, 2).await];
    is_broken.store(true, Ordering::Relaxed);
    world.call("POST", &format!("{}/release", paths[0]), None).await.expect(200);
    world.call("DELETE", &paths[1], None).await.expect(204);
}
