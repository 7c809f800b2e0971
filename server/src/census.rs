//! Counts what waits in the tables: deliveries of each client, unrouted leads, quarantine. What waits long moves no counter,
//! so nobody would notice it otherwise.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::settings::Settings;
use leadway_domain::telemetry::{DELIVERY_OLDEST_SECONDS, DELIVERY_WAITING, QUARANTINE_LEADS, UNROUTED_LEADS};
use leadway_domain::{Clock, LeadId, ProviderId, Timestamp, WorkspaceId};
use leadway_eventlog::SettingsHandle;
use leadway_tables::schema::{OpenDeliveryRow, QuarantineCountRow, UNROUTED_SHARDS, UnroutedRow};
use leadway_tables::{Cell, Key, Range, Row, Table, TableRow, Tables, TablesError, Value, key};
use tokio_util::sync::CancellationToken;

/// How often it is counted.
const PERIOD: Duration = Duration::from_secs(30);
/// Rows of one read; between two reads of an embedded store others get their turn.
const CHUNK: usize = 256;
/// Of more, nobody needs to know how many.
const MOST: usize = 10_000;
/// Rows that are looked at for the oldest: an outage leaves more, and shows anyhow.
const DATED: usize = 1_000;

/// Counts again and again until `stop`.
pub(crate) async fn run(tables: Arc<dyn Tables>, settings: SettingsHandle, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let counted = stop.run_until_cancelled(count(&*tables, &settings.load(), clock.now())).await;
        if let Some(Err(error)) = counted {
            // Reads that fail are told of by scoring, which counts its own.
            tracing::debug!(%error, "what waits could not be counted");
        }
    }
}

async fn count(tables: &dyn Tables, settings: &Settings, now: Timestamp) -> Result<(), TablesError> {
    for (id, workspace) in &settings.workspaces {
        let waiting = Waiting::of(tables, id).await?;
        let oldest = waiting
            .oldest
            .filter(|_| workspace.webhook_active)
            .map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0));
        metrics::gauge!(DELIVERY_WAITING, "workspace" => id.to_string(), "where" => "disk").set(waiting.count as f64);
        metrics::gauge!(DELIVERY_OLDEST_SECONDS, "workspace" => id.to_string()).set(oldest);
    }
    for id in settings.providers.keys() {
        let refused = quarantined(tables, id).await?;
        metrics::gauge!(QUARANTINE_LEADS, "provider" => id.to_string()).set(refused as f64);
    }
    metrics::gauge!(UNROUTED_LEADS).set(unrouted(tables).await? as f64);
    Ok(())
}

/// Deliveries of one workspace that wait on disk.
#[derive(Debug, Default, PartialEq, Eq)]
struct Waiting {
    /// All of them, tests too.
    count: usize,
    /// When the oldest that is no test was routed.
    oldest: Option<Timestamp>,
}

impl Waiting {
    async fn of(tables: &dyn Tables, workspace: &WorkspaceId) -> Result<Self, TablesError> {
        let mut waiting = Self::default();
        let mut look = |row: &Row| {
            if waiting.count < DATED {
                waiting.oldest = [waiting.oldest, routed_at(row)].into_iter().flatten().min();
            }
            waiting.count += 1;
            Some(key![Timestamp::from_value(row.get(1)?.as_ref()?).ok()?, following(row.get(2)?.as_ref()?)?])
        };
        each(tables, OpenDeliveryRow::TABLE, &[workspace.to_value()], MOST, &mut look).await?;
        Ok(waiting)
    }
}

fn routed_at(row: &Row) -> Option<Timestamp> {
    let appointment = OpenDeliveryRow::from_row(row).ok()?.appointment?.0;
    (!appointment.test).then_some(appointment.matched_at)
}

async fn unrouted(tables: &dyn Tables) -> Result<usize, TablesError> {
    let mut count = 0;
    for shard in 0..UNROUTED_SHARDS as i64 {
        let mut look = |row: &Row| {
            count += 1;
            Some(key![following(row.get(1)?.as_ref()?)?])
        };
        each(tables, UnroutedRow::TABLE, &[shard.to_value()], MOST / UNROUTED_SHARDS as usize, &mut look).await?;
    }
    Ok(count)
}

async fn quarantined(tables: &dyn Tables, provider: &ProviderId) -> Result<i64, TablesError> {
    let Some(row) = tables.get(QuarantineCountRow::TABLE, &[provider.to_value()]).await? else { return Ok(0) };
    Ok(QuarantineCountRow::from_row(&row)?.count.unwrap_or(0))
}

/// The id behind the one in this cell.
fn following(id: &Value) -> Option<LeadId> {
    LeadId::from_value(id).ok().map(|LeadId(id)| LeadId(id.saturating_add(1)))
}

/// Shows `look` the rows of a partition, `most` at most; it tells where to go on behind a row.
async fn each(
    tables: &dyn Tables,
    table: &'static Table,
    partition: &[Value],
    most: usize,
    look: &mut (dyn FnMut(&Row) -> Option<Key> + Send),
) -> Result<(), TablesError> {
    let (mut from, mut left) = (None, most);
    while left > 0 {
        let limit = left.min(CHUNK);
        let rows = tables.scan(table, partition, Range { from, limit, ..Range::default() }).await?;
        left -= rows.len();
        from = rows.iter().fold(None, |_, row| look(row));
        if rows.len() < limit || from.is_none() {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadway_domain::record::{Appointment, RoutingMethod};
    use leadway_domain::{ContactId, Money, Phone, Zip};
    use leadway_tables::{Json, MemoryTables, Write};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn open(workspace: &WorkspaceId, id: u64, routed: i64, test: bool) -> Write {
        let (phone, provider_id) = (Phone::parse("2135550123").unwrap(), ProviderId::new("a").unwrap());
        let appointment = Appointment {
            v: 1,
            appointment_id: LeadId(id),
            decision: 1,
            command_id: None,
            contact_id: ContactId::derive(phone, &provider_id),
            provider_id,
            workspace_id: workspace.clone(),
            rule_id: None,
            routing_method: RoutingMethod::Auto,
            customer_name: "Ann Example".into(),
            customer_phone: phone,
            customer_email: None,
            service_type: "Solar".into(),
            customer_zip: Zip::parse("90210").unwrap(),
            appointment_date: at(routed),
            estimated_value: None,
            notes: String::new(),
            price: Money::from_cents(15_000),
            cost: Money::from_cents(7_500),
            test,
            received_at: at(routed),
            matched_at: at(routed),
        };
        // Due in the opposite order: the oldest has failed most often and waits longest.
        let mut row = OpenDeliveryRow::new(workspace.clone(), at(1_000_000 - routed), LeadId(id));
        (row.attempts, row.appointment) = (Some(3), Some(Json(appointment)));
        row.upsert()
    }

    #[tokio::test]
    async fn what_waits_on_disk_is_counted_beyond_one_read_and_dated_without_tests() {
        let tables = MemoryTables::default();
        let (w, other) = (WorkspaceId::new("w").unwrap(), WorkspaceId::new("other").unwrap());
        let many = 2 * CHUNK as u64 + 3;
        let mut rows: Vec<Write> = (0..many).map(|n| open(&w, n, 5_000 + n as i64, false)).collect();
        rows.extend([open(&w, many, 100, true), open(&other, many + 1, 50, false)]);
        tables.write(rows, &[]).await.unwrap();
        let waiting = Waiting::of(&tables, &w).await.unwrap();
        assert_eq!(waiting, Waiting { count: many as usize + 1, oldest: Some(at(5_000)) });
        let nothing = Waiting::of(&tables, &WorkspaceId::new("nobody").unwrap()).await.unwrap();
        assert_eq!(nothing, Waiting::default());
    }

    #[tokio::test]
    async fn unrouted_leads_of_all_shards_are_counted() {
        let tables = MemoryTables::default();
        let row = |n| UnroutedRow::new((n % UNROUTED_SHARDS) as i64, LeadId(n)).upsert();
        tables.write((0..1_000).map(row).collect(), &[]).await.unwrap();
        assert_eq!(unrouted(&tables).await.unwrap(), 1_000);
    }
}
