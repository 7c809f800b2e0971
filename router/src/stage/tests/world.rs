//! A router, the log and the tables that it works on, and what scoring would do.

use std::collections::BTreeMap;
use std::time::Duration;

use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::record::{CommandKey, LeadAction, LeadCommand, LeadRecord};
use leadway_domain::settings::{Change, Settings, SettingsChange};
use leadway_domain::{Phone, Timestamp};
use leadway_eventlog::{MemoryLog, NewRecord, SettingsHandle};
use leadway_tables::schema::{AppointmentRow, CommandKeyRow, CommandRow, LeadRow, SlotRow, bucket};
use leadway_tables::{Applied, MemoryTables, TableRow, get, key};
use tokio::task::JoinHandle;

use crate::decide::tests::{NOW, at, dated, lead, put_products, put_rule, put_workspace};
use crate::stage::*;

pub(super) const DATE: &str = "2024-12-01T18:30:00Z";

/// Everything that outlives a router.
#[derive(Clone)]
pub(super) struct World {
    pub(super) log: MemoryLog,
    pub(super) tables: MemoryTables,
    pub(super) clock: Clock,
}

/// A router at work.
pub(super) struct Running {
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    /// Two workspaces; Solar in 902* goes to `west`.
    pub(super) async fn new(partitions: u32) -> Self {
        let world =
            Self { log: MemoryLog::new(partitions), tables: MemoryTables::default(), clock: Clock::manual(at(NOW)) };
        world.change(put_products()).await;
        world.change(put_workspace("west")).await;
        world.change(put_workspace("east")).await;
        world.change(put_rule(1, "west", "Solar", "902*", 5)).await;
        world
    }

    pub(super) async fn change(&self, change: Change) -> Offset {
        let record = SettingsChange::new(&Settings::default(), "test", at(NOW), change);
        self.append(vec![NewRecord::of(&record, at(NOW))]).await.0
    }

    pub(super) async fn append(&self, records: Vec<NewRecord>) -> (Offset, LeadId) {
        let last = *self.log.append(records).await.unwrap().last().unwrap();
        (last.offset, Addressing::default().id(last.partition, last.offset))
    }

    pub(super) async fn receive(&self, lead: Lead) -> LeadId {
        self.append(vec![NewRecord::of(&LeadRecord::Received(Arc::new(lead)), at(NOW))]).await.1
    }

    pub(super) async fn receive_all(&self, leads: Vec<Lead>) -> Vec<LeadId> {
        let records = leads.into_iter().map(|l| NewRecord::of(&LeadRecord::Received(Arc::new(l)), at(NOW)));
        let addresses = self.log.append(records.collect()).await.unwrap();
        addresses.iter().map(|a| Addressing::default().id(a.partition, a.offset)).collect()
    }

    pub(super) async fn command(&self, lead_id: LeadId, action: LeadAction) -> LeadId {
        self.named_command(lead_id, action, None).await
    }

    pub(super) async fn named_command(&self, lead_id: LeadId, action: LeadAction, name: Option<&str>) -> LeadId {
        self.command_of(lead_id, &lead(), action, name).await
    }

    pub(super) async fn command_of(
        &self,
        lead_id: LeadId,
        lead: &Lead,
        action: LeadAction,
        name: Option<&str>,
    ) -> LeadId {
        let asked_as = name.map(|name| CommandKey::new("test", name));
        let (lead_key, actor) = (lead.log_key(), "test".into());
        let command = LeadCommand { v: 1, lead_id, lead_key, actor, at: at(NOW), action, asked_as };
        self.append(vec![NewRecord::of(&LeadRecord::Command(command), at(NOW))]).await.1
    }

    pub(super) async fn start(&self) -> Running {
        self.start_with(Options::default()).await
    }

    pub(super) async fn start_with(&self, options: Options) -> Running {
        let settings = SettingsHandle::follow(Arc::new(self.log.clone())).await.unwrap();
        let zips = ZipDirectory::builtin();
        let deps = Deps {
            log: Arc::new(self.log.clone()),
            tables: Arc::new(self.tables.clone()),
            matcher: Matcher::follow(settings, zips.clone()),
            zips,
            clock: self.clock.clone(),
            addressing: Addressing::default(),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(Router::new(deps, options).run(stop.clone()));
        Running { stop, task }
    }

    /// Applies `appointments` to the tables the way scoring does, for as long as the test runs.
    pub(super) fn start_scoring(&self) {
        let world = self.clone();
        tokio::spawn(async move {
            loop {
                world.score().await;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
    }

    pub(super) async fn score(&self) {
        self.score_names_of_commands().await;
        for partition in (0..self.log.partitions(Topic::Appointments)).map(Partition) {
            let from = self.tables.applied(Topic::Appointments, partition).await.unwrap();
            for record in self.log.read(Topic::Appointments, partition, from, ReadLimit::default()).await.unwrap() {
                let write = self.row_of(record.decode().unwrap()).await;
                let position =
                    Applied { topic: Topic::Appointments, partition, from: record.address.offset, next: record.next() };
                self.tables.write(write, &[position]).await.unwrap();
            }
        }
    }

    async fn score_names_of_commands(&self) {
        for partition in (0..self.log.partitions(Topic::Leads)).map(Partition) {
            let from = self.tables.applied(Topic::Leads, partition).await.unwrap();
            for record in self.log.read(Topic::Leads, partition, from, ReadLimit::default()).await.unwrap() {
                let id = Addressing::default().id(partition, record.address.offset);
                let named = match record.decode() {
                    Ok(LeadRecord::Command(LeadCommand { lead_id, asked_as: Some(name), .. })) => {
                        vec![CommandKeyRow::new(lead_id, name.as_str().to_owned(), id).upsert()]
                    }
                    _ => Vec::new(),
                };
                let position =
                    Applied { topic: Topic::Leads, partition, from: record.address.offset, next: record.next() };
                self.tables.write(named, &[position]).await.unwrap();
            }
        }
    }

    pub(super) async fn row_of(&self, record: AppointmentRecord) -> Vec<leadway_tables::Write> {
        let bucket = |id| bucket(Addressing::default(), id).unwrap();
        let answered = |command: Option<LeadId>| command.map(|id| CommandRow::new(id).upsert());
        match record {
            AppointmentRecord::Routed(a) => {
                let slot = SlotRow::new(a.workspace_id.clone(), a.appointment_date);
                let key = key![a.workspace_id.clone(), a.appointment_date];
                let taken = get::<SlotRow>(&self.tables, &key).await.unwrap().and_then(|row| row.taken);
                let row = AppointmentRow {
                    decision: Some(i64::from(a.decision)),
                    routing_status: Some("routed".into()),
                    ..AppointmentRow::new(bucket(a.appointment_id), a.appointment_id)
                };
                let taken = taken.unwrap_or(0) + i64::from(!a.test);
                let rows = [row.upsert(), SlotRow { taken: Some(taken), ..slot }.upsert()];
                rows.into_iter().chain(answered(a.command_id)).collect()
            }
            AppointmentRecord::Unrouted(u) => {
                let row = AppointmentRow {
                    decision: Some(i64::from(u.decision)),
                    routing_status: Some("unrouted".into()),
                    appointment_date: u.appointment_date,
                    next_free_slot: Some(u.appointment_date.is_none()),
                    ..AppointmentRow::new(bucket(u.lead_id), u.lead_id)
                };
                [row.upsert()].into_iter().chain(answered(u.command_id)).collect()
            }
            AppointmentRecord::Duplicate(d) => {
                let row = LeadRow { duplicate_of: Some(d.first_lead_id), ..LeadRow::new(bucket(d.lead_id), d.lead_id) };
                vec![row.upsert()]
            }
            AppointmentRecord::Refused(refused) => answered(Some(refused.command_id)).into_iter().collect(),
        }
    }

    /// The same settings, leads and decisions in a log that says the router stands at `offset` of every partition; its
    /// tables are empty.
    pub(super) async fn with_progress_at(&self, offset: u64) -> Self {
        let partitions = self.log.partitions(Topic::Leads);
        let moved = Self { log: MemoryLog::new(partitions), tables: MemoryTables::default(), ..self.clone() };
        let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        for topic in [Topic::Settings, Topic::Leads, Topic::Appointments] {
            for partition in (0..self.log.partitions(topic)).map(Partition) {
                let records = self.log.read(topic, partition, Offset(0), all).await.unwrap();
                moved.log.append(records.into_iter().map(NewRecord::copy_of).collect()).await.unwrap();
            }
        }
        let mut stage = moved.log.stage(STAGE, Topic::Leads, &[]).await.unwrap();
        let at = |partition| Position { topic: Topic::Leads, partition, next: Offset(offset) };
        assert!(matches!(stage.next(ReadLimit::default()).await, Ok(StageEvent::Assigned(_))));
        stage.commit(&[], &(0..partitions).map(|n| at(Partition(n))).collect::<Vec<_>>()).await.unwrap();
        moved
    }

    /// Every decision in the log.
    pub(super) async fn decisions(&self) -> Vec<AppointmentRecord> {
        let mut decisions = Vec::new();
        for partition in (0..self.log.partitions(Topic::Appointments)).map(Partition) {
            let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            let records = self.log.read(Topic::Appointments, partition, Offset(0), all).await.unwrap();
            decisions.extend(records.iter().map(|r| r.decode::<AppointmentRecord>().unwrap()));
        }
        decisions
    }

    /// Waits until there are so many decisions, and a little longer for one too many to show.
    pub(super) async fn decisions_of(&self, count: usize) -> Vec<AppointmentRecord> {
        for _ in 0..10_000 {
            if self.decisions().await.len() >= count {
                tokio::time::sleep(Duration::from_millis(50)).await;
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let decisions = self.decisions().await;
        assert_eq!(decisions.len(), count, "{decisions:#?}");
        decisions
    }
}

/// A lead with a date, of its own phone and submission.
pub(super) fn nth(n: u64) -> Lead {
    let phone = Phone::parse(&(2_135_550_100 + n % 100).to_string()).unwrap();
    Lead { phone, submission: SubmissionKey(1_000 + u128::from(n)), ..dated(DATE) }
}

/// What was decided, by lead: `routed <workspace>`, `unrouted <code>`, `duplicate <of>`; refusals by command.
pub(super) fn outcomes(decisions: &[AppointmentRecord]) -> BTreeMap<LeadId, Vec<String>> {
    let mut outcomes: BTreeMap<LeadId, Vec<String>> = BTreeMap::new();
    for decision in decisions {
        let (id, outcome) = match decision {
            AppointmentRecord::Routed(a) => (a.appointment_id, format!("routed {}", a.workspace_id)),
            AppointmentRecord::Unrouted(u) => (u.lead_id, format!("unrouted {}", u.reason.code)),
            AppointmentRecord::Duplicate(d) => (d.lead_id, format!("duplicate {}", d.first_lead_id)),
            AppointmentRecord::Refused(r) => (r.command_id, format!("refused: {}", r.reason)),
        };
        outcomes.entry(id).or_default().push(outcome);
    }
    outcomes
}

pub(super) fn dates_of(decisions: &[AppointmentRecord]) -> Vec<Timestamp> {
    let routed = decisions.iter().filter_map(|d| match d {
        AppointmentRecord::Routed(a) => Some(a.appointment_date),
        _ => None,
    });
    let mut dates: Vec<Timestamp> = routed.collect();
    dates.sort();
    dates
}
