//! The stage over the log and the tables in memory, with faults.

use std::collections::BTreeMap;
use std::time::Duration;

use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord};
use leadway_domain::settings::{Change, Settings, SettingsChange};
use leadway_domain::{Phone, Timestamp};
use leadway_eventlog::{Fault, LogError, MemoryLog, NewRecord, SettingsHandle};
use leadway_tables::schema::{AppointmentRow, LeadRow, SlotRow, bucket};
use leadway_tables::{Applied, MemoryTables, TableRow, get, key};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::*;
use crate::decide::tests::{NOW, at, dated, lead, put_products, put_rule, put_workspace, workspace_id};

const DATE: &str = "2024-12-01T18:30:00Z";

/// Everything that outlives a router.
#[derive(Clone)]
struct World {
    log: MemoryLog,
    tables: MemoryTables,
    clock: Clock,
}

/// A router at work.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    /// Two workspaces; Solar in 902* goes to `west`.
    async fn new(partitions: u32) -> Self {
        let world =
            Self { log: MemoryLog::new(partitions), tables: MemoryTables::default(), clock: Clock::manual(at(NOW)) };
        world.change(put_products()).await;
        world.change(put_workspace("west")).await;
        world.change(put_workspace("east")).await;
        world.change(put_rule(1, "west", "Solar", "902*", 5)).await;
        world
    }

    async fn change(&self, change: Change) -> Offset {
        let record = SettingsChange::new(&Settings::default(), "test", at(NOW), change);
        self.append(vec![NewRecord::of(&record, at(NOW))]).await.0
    }

    async fn append(&self, records: Vec<NewRecord>) -> (Offset, LeadId) {
        let last = *self.log.append(records).await.unwrap().last().unwrap();
        (last.offset, Addressing::default().id(last.partition, last.offset))
    }

    async fn receive(&self, lead: Lead) -> LeadId {
        self.append(vec![NewRecord::of(&LeadRecord::Received(Arc::new(lead)), at(NOW))]).await.1
    }

    async fn receive_all(&self, leads: Vec<Lead>) -> Vec<LeadId> {
        let records = leads.into_iter().map(|l| NewRecord::of(&LeadRecord::Received(Arc::new(l)), at(NOW)));
        let addresses = self.log.append(records.collect()).await.unwrap();
        addresses.iter().map(|a| Addressing::default().id(a.partition, a.offset)).collect()
    }

    async fn command(&self, lead_id: LeadId, action: LeadAction) -> LeadId {
        let command =
            LeadCommand { v: 1, lead_id, lead_key: lead().log_key(), actor: "test".into(), at: at(NOW), action };
        self.append(vec![NewRecord::of(&LeadRecord::Command(command), at(NOW))]).await.1
    }

    async fn start(&self) -> Running {
        self.start_with(Options::default()).await
    }

    async fn start_with(&self, options: Options) -> Running {
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
    fn start_scoring(&self) {
        let world = self.clone();
        tokio::spawn(async move {
            loop {
                world.score().await;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
    }

    async fn score(&self) {
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

    async fn row_of(&self, record: AppointmentRecord) -> Vec<leadway_tables::Write> {
        let bucket = |id| bucket(Addressing::default(), id).unwrap();
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
                vec![row.upsert(), SlotRow { taken: Some(taken), ..slot }.upsert()]
            }
            AppointmentRecord::Unrouted(u) => {
                let row = AppointmentRow {
                    decision: Some(i64::from(u.decision)),
                    routing_status: Some("unrouted".into()),
                    appointment_date: u.appointment_date,
                    next_free_slot: Some(u.appointment_date.is_none()),
                    ..AppointmentRow::new(bucket(u.lead_id), u.lead_id)
                };
                vec![row.upsert()]
            }
            AppointmentRecord::Duplicate(d) => {
                let row = LeadRow { duplicate_of: Some(d.first_lead_id), ..LeadRow::new(bucket(d.lead_id), d.lead_id) };
                vec![row.upsert()]
            }
            AppointmentRecord::Refused(_) => Vec::new(),
        }
    }

    /// Every decision in the log.
    async fn decisions(&self) -> Vec<AppointmentRecord> {
        let mut decisions = Vec::new();
        for partition in (0..self.log.partitions(Topic::Appointments)).map(Partition) {
            let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            let records = self.log.read(Topic::Appointments, partition, Offset(0), all).await.unwrap();
            decisions.extend(records.iter().map(|r| r.decode::<AppointmentRecord>().unwrap()));
        }
        decisions
    }

    /// Waits until there are so many decisions, and a little longer for one too many to show.
    async fn decisions_of(&self, count: usize) -> Vec<AppointmentRecord> {
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
fn nth(n: u64) -> Lead {
    let phone = Phone::parse(&(2_135_550_100 + n % 100).to_string()).unwrap();
    Lead { phone, submission: SubmissionKey(1_000 + u128::from(n)), ..dated(DATE) }
}

/// What was decided, by lead: `routed <workspace>`, `unrouted <code>`, `duplicate <of>`; refusals by command.
fn outcomes(decisions: &[AppointmentRecord]) -> BTreeMap<LeadId, Vec<String>> {
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

fn dates_of(decisions: &[AppointmentRecord]) -> Vec<Timestamp> {
    let routed = decisions.iter().filter_map(|d| match d {
        AppointmentRecord::Routed(a) => Some(a.appointment_date),
        _ => None,
    });
    let mut dates: Vec<Timestamp> = routed.collect();
    dates.sort();
    dates
}

#[tokio::test(start_paused = true)]
async fn each_lead_with_a_date_is_decided_once_and_one_without_waits() {
    let world = World::new(4).await;
    let router = world.start().await;
    let routed = world.receive(nth(1)).await;
    let unrouted = world.receive(Lead { product_type: "HVAC".into(), ..nth(2) }).await;
    world.receive(Lead { appointment_date: None, ..nth(3) }).await;
    let outcomes = outcomes(&world.decisions_of(2).await);
    assert_eq!(outcomes[&routed], ["routed west"]);
    assert_eq!(outcomes[&unrouted], ["unrouted no_rule"]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_decides_the_next_lead() {
    let world = World::new(1).await;
    let settings = SettingsHandle::follow(Arc::new(world.log.clone())).await.unwrap();
    let router = world.start().await;
    let before = world.receive(nth(1)).await;
    world.decisions_of(1).await;
    let change = world.change(put_rule(2, "east", "Solar", "90210", 1)).await;
    settings.wait_for(change).await.unwrap();
    let after = world.receive(nth(2)).await;
    let outcomes = outcomes(&world.decisions_of(2).await);
    assert_eq!((&*outcomes[&before], &*outcomes[&after]), (&["routed west".into()][..], &["routed east".into()][..]));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_landed_before_the_crash_is_not_repeated() {
    let world = World::new(2).await;
    let ids = world.receive_all((0..40).map(nth).collect()).await;
    world.log.set_faults(|| Fault::LandAndClose);
    let router = world.start().await;
    let error = router.task.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Log(LogError::Closed)), "{error}");
    world.log.clear_faults();
    let router = world.start().await;
    let outcomes = outcomes(&world.decisions_of(40).await);
    assert!(ids.iter().all(|id| outcomes[id] == ["routed west"]));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_refuses_for_a_while_gets_the_same_decisions_later() {
    let world = World::new(1).await;
    let ids = world.receive_all((0..5).map(nth).collect()).await;
    let mut refusals = 6;
    world.log.set_faults(move || {
        refusals -= 1;
        if refusals >= 0 { Fault::Refuse } else { Fault::None }
    });
    let router = world.start().await;
    let outcomes = outcomes(&world.decisions_of(5).await);
    assert!(ids.iter().all(|id| outcomes[id] == ["routed west"]));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_lead_gets_one_decision_whatever_fails_and_however_often_it_restarts() {
    for seed in 0..40 {
        let world = World::new(3).await;
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let ids = world.receive_all((0..60).map(nth).collect()).await;
        let dice = random.clone();
        world.log.set_faults(move || match dice.lock().u8(..10) {
            0..3 => Fault::LandAndClose,
            3..6 => Fault::Refuse,
            _ => Fault::None,
        });
        for _ in 0..8 {
            let router = world.start_with(Options { batch_records: 3, ..Options::default() }).await;
            let pause = Duration::from_millis(random.lock().u64(..60));
            tokio::time::sleep(pause).await;
            router.task.abort();
        }
        world.log.clear_faults();
        let router = world.start().await;
        let outcomes = outcomes(&world.decisions_of(60).await);
        assert!(ids.iter().all(|id| outcomes[id] == ["routed west"]), "seed {seed}: {outcomes:?}");
        router.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_was_taken_over_decides_nothing_more() {
    let world = World::new(1).await;
    let first = world.start().await;
    world.receive(nth(1)).await;
    world.decisions_of(1).await;
    let second = world.start().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.receive(nth(2)).await;
    world.decisions_of(2).await;
    let error = first.task.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Log(LogError::Fenced { .. })), "{error}");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_later_lead_of_one_submission_is_a_duplicate_also_after_a_restart() {
    let world = World::new(1).await;
    let router = world.start().await;
    let first = world.receive(nth(1)).await;
    let second = world.receive(nth(1)).await;
    let decided = outcomes(&world.decisions_of(2).await);
    assert_eq!(
        (decided[&first].as_slice(), &decided[&second]),
        (&["routed west".to_owned()][..], &vec![format!("duplicate {first}")])
    );
    router.stop().await;

    let router = world.start().await;
    let third = world.receive(nth(1)).await;
    let much_later = Lead { received_at: at("2024-11-27T12:30:00Z"), ..nth(1) };
    let fourth = world.receive(much_later).await;
    let decided = outcomes(&world.decisions_of(4).await);
    assert_eq!(decided[&third], [format!("duplicate {first}")]);
    assert_eq!(decided[&fourth], ["routed west"], "beyond the window it is a new submission");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_lead_becomes_an_appointment_and_a_second_schedule_is_refused() {
    let world = World::new(4).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(lead()).await;
    let schedule = || LeadAction::Schedule { appointment_date: Some(at(DATE)) };
    let first = world.command(id, schedule()).await;
    let second = world.command(id, schedule()).await;
    let decisions = world.decisions_of(2).await;
    let decided = outcomes(&decisions);
    assert_eq!(decided[&id], ["routed west"]);
    assert!(decided[&second][0].contains("already has an appointment"), "{decided:?}");
    let routed = decisions.iter().find_map(|d| match d {
        AppointmentRecord::Routed(a) => Some((a.command_id, a.decision, a.appointment_date)),
        _ => None,
    });
    assert_eq!(routed, Some((Some(first), 1, at(DATE))));

    let third = world.command(id, LeadAction::Retry).await;
    let decided = outcomes(&world.decisions_of(3).await);
    assert!(decided[&third][0].contains("already has an appointment"), "out of the tables: {decided:?}");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn commands_of_one_batch_see_what_the_others_did() {
    let world = World::new(1).await;
    world.start_scoring();
    let id = world.receive(Lead { product_type: "HVAC".into(), ..lead() }).await;
    let schedule = world.command(id, LeadAction::Schedule { appointment_date: Some(at(DATE)) }).await;
    let retry = world.command(id, LeadAction::Retry).await;
    world.command(id, LeadAction::Assign { workspace_id: workspace_id("east") }).await;
    let late = world.command(id, LeadAction::Assign { workspace_id: workspace_id("west") }).await;
    let router = world.start().await;
    let decisions = world.decisions_of(4).await;
    let decided = outcomes(&decisions);
    let mut of_lead = decided[&id].clone();
    of_lead.sort();
    assert_eq!(of_lead, ["routed east", "unrouted no_rule", "unrouted no_rule"]);
    assert!(decided[&late][0].contains("already has an appointment"));
    let unrouted: Vec<_> = decisions
        .iter()
        .filter_map(|d| match d {
            AppointmentRecord::Unrouted(u) => Some((u.decision, u.command_id)),
            _ => None,
        })
        .collect();
    assert_eq!(unrouted, [(1, Some(schedule)), (2, Some(retry))]);
    let routed = decisions.iter().find_map(|d| match d {
        AppointmentRecord::Routed(a) => Some((a.decision, a.appointment_date)),
        _ => None,
    });
    assert_eq!(routed, Some((3, at(DATE))), "the date of the earlier schedule is kept");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unrouted_lead_is_routed_by_a_retry_once_a_rule_takes_it() {
    let world = World::new(4).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(Lead { product_type: "HVAC".into(), ..dated(DATE) }).await;
    world.decisions_of(1).await;
    world.change(put_rule(2, "east", "HVAC", "CA", 1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.command(id, LeadAction::Retry).await;
    let decisions = world.decisions_of(2).await;
    let routed = decisions.iter().find_map(|d| match d {
        AppointmentRecord::Routed(a) => Some((a.workspace_id.as_str(), a.decision, a.appointment_date)),
        _ => None,
    });
    assert_eq!(routed, Some(("east", 2, at(DATE))));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_to_get_the_next_free_slot_keeps_that_wish_through_a_retry() {
    let world = World::new(1).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(Lead { product_type: "HVAC".into(), ..dated(DATE) }).await;
    world.command(id, LeadAction::Schedule { appointment_date: None }).await;
    world.decisions_of(2).await;
    world.change(put_rule(2, "east", "HVAC", "CA", 1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.command(id, LeadAction::Retry).await;
    assert_eq!(dates_of(&world.decisions_of(3).await), [at("2024-11-27T17:00:00Z")]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn commands_about_what_is_no_lead_are_refused() {
    let world = World::new(1).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(nth(1)).await;
    let duplicate = world.receive(nth(1)).await;
    let first_command = world.command(LeadId(id.0 + (1 << 30)), LeadAction::Retry).await;
    let cases = [(first_command, "does not exist"), (LeadId(0), "does not exist"), (duplicate, "same submission")];
    for (n, (about, part)) in cases.into_iter().enumerate() {
        let command = world.command(about, LeadAction::Retry).await;
        let decided = outcomes(&world.decisions_of(4 + n).await);
        assert!(decided[&command][0].contains(part), "{part}: {decided:?}");
    }
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leads_scheduled_by_themselves_take_one_slot_each_also_after_a_restart() {
    let world = World::new(1).await;
    world.start_scoring();
    let automatic = |n| Lead { appointment_date: None, auto_schedule: true, ..nth(n) };
    let taken_by_hand = at("2024-11-27T17:20:00Z");
    let with_date = Lead { appointment_date: Some(taken_by_hand), ..nth(1) };
    world.receive_all(vec![with_date, automatic(2), automatic(3)]).await;
    let router = world.start().await;
    let dates = dates_of(&world.decisions_of(3).await);
    assert_eq!(dates, [taken_by_hand, at("2024-11-27T18:00:00Z"), at("2024-11-27T19:00:00Z")]);
    router.stop().await;

    let router = world.start().await;
    world.receive(Lead { test: true, ..automatic(4) }).await;
    world.receive(automatic(5)).await;
    let dates = dates_of(&world.decisions_of(5).await);
    let next = at("2024-11-27T20:00:00Z");
    assert_eq!(dates.get(3..), Some(&[next, next][..]), "a test takes nobody's time");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_passed_over() {
    let world = World::new(1).await;
    let router = world.start().await;
    let mut broken = NewRecord::of(&LeadRecord::Received(Arc::new(nth(1))), at(NOW));
    broken.data = b"{\"v\":99}".to_vec().into();
    let good = NewRecord::of(&LeadRecord::Received(Arc::new(nth(2))), at(NOW));
    let (_, id) = world.append(vec![broken, good]).await;
    assert_eq!(outcomes(&world.decisions_of(1).await)[&id], ["routed west"]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_stops_while_it_waits_for_the_tables_and_decides_the_command_next_time() {
    let world = World::new(1).await;
    let router = world.start().await;
    world.receive(nth(1)).await;
    world.decisions_of(1).await;
    let id = world.receive(lead()).await;
    world.command(id, LeadAction::Schedule { appointment_date: Some(at(DATE)) }).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.decisions().await.len(), 1, "nobody applies the decisions to the tables");
    router.stop().await;

    world.start_scoring();
    let router = world.start().await;
    assert_eq!(outcomes(&world.decisions_of(2).await)[&id], ["routed west"]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_forgotten_the_routers_progress_is_not_decided_anew() {
    let world = World::new(1).await;
    let router = world.start().await;
    world.receive(Lead { appointment_date: None, ..nth(1) }).await;
    world.receive(nth(2)).await;
    world.decisions_of(1).await;
    world.score().await;
    router.stop().await;
    // The same leads and decisions, without anybody's progress.
    let forgetful = World { log: MemoryLog::new(1), ..world.clone() };
    forgetful.change(put_products()).await;
    for topic in [Topic::Leads, Topic::Appointments] {
        let records = world.log.read(topic, Partition(0), Offset(0), ReadLimit::default()).await.unwrap();
        forgetful.append(records.into_iter().map(NewRecord::copy_of).collect()).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), forgetful.start().await.task);
    let error = ended.await.expect("it must not go on").unwrap().unwrap_err();
    assert!(matches!(error, Error::Forgotten { partition: Partition(0) }), "{error}");
}
