//! One match among 10,000 workspaces, 100,000 rules, all ZIPs and 20 products; what the index costs in time and memory;
//! how soon a changed rule is in force in a running node, and what matching feels of it meanwhile.
//!
//! `cargo bench -p leadway-benches --bench match`
#![allow(clippy::print_stdout, reason = "what it finds is printed")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use criterion::Criterion;
use hdrhistogram::Histogram;
use leadway_domain::hours::OpeningHours;
use leadway_domain::settings::{Change, Entity, Rule, Settings, SettingsChange, Workspace};
use leadway_domain::{Money, RuleId, Timestamp, WorkspaceId, Zip, ZipDirectory};
use leadway_eventlog::{EmbeddedOptions, EventLog, NewRecord, SettingsHandle};
use leadway_router::{IndexWriter, MatchIndex, Matcher};
use uuid::Uuid;

const WORKSPACES: u32 = 10_000;
const RULES: u64 = 100_000;
const PRODUCTS: u8 = 20;
const QUERIES: usize = 1 << 20;
const CHANGES: u32 = 100;
const PAUSE_BETWEEN_CHANGES: Duration = Duration::from_millis(10);

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut market = Market::new(7);
    let settings = market.settings()?;
    let index = build(&settings);
    let queries = market.queries();

    let mut next = queries.iter().cycle();
    criterion.bench_function("match/all ZIPs", |b| b.iter(|| next.next().map(|query| query.ask(&index))));
    let mut next = queries.iter().take(1_000).cycle();
    criterion.bench_function("match/a thousand ZIPs", |b| b.iter(|| next.next().map(|query| query.ask(&index))));
    let mut writer = IndexWriter::new(ZipDirectory::builtin());
    let mut changing = settings.clone();
    writer.advance(&changing);
    let mut id = RULES;
    criterion.bench_function("one more rule, the index alone", |b| {
        b.iter(|| {
            id += 1;
            changing.apply(&put(market.rule(id)));
            writer.advance(&changing)
        });
    });
    drop((writer, index));
    criterion.final_summary();
    tokio::runtime::Runtime::new()?.block_on(in_a_running_node(market, &queries))
}

/// Where leads come from and who wants them. The same seed gives the same.
struct Market {
    random: fastrand::Rng,
    zips: Vec<(Zip, Arc<str>)>,
}

/// A product as somebody spells it, and a ZIP.
#[derive(Clone, Copy)]
struct Query {
    product: &'static str,
    zip: Zip,
}

impl Query {
    /// Who gets it; looks at the rule as the router does.
    #[inline]
    fn ask(self, index: &MatchIndex) -> Option<RuleId> {
        black_box(index.find(self.product, self.zip).map(|rule| rule.id))
    }
}

impl Market {
    fn new(seed: u64) -> Self {
        let zips = ZipDirectory::builtin().iter().map(|z| (z.zip, z.state.clone())).collect();
        Self { random: fastrand::Rng::with_seed(seed), zips }
    }

    fn settings(&mut self) -> Result<Settings> {
        let mut settings = Settings::default();
        for n in 0..WORKSPACES {
            settings.apply(&put_workspace(n)?);
        }
        (0..RULES).for_each(|n| settings.apply(&put(self.rule(n))));
        Ok(settings)
    }

    /// One product, one to five patterns: 40 % single ZIPs, 20 % prefixes, 10 % ranges, 10 % states, 20 % radii.
    fn rule(&mut self, n: u64) -> Rule {
        let zip_codes = (0..self.random.u8(1..6)).map(|_| self.pattern()).collect();
        Rule {
            id: rule_id(n),
            workspace_id: workspace_id(self.random.u32(..WORKSPACES)),
            product_types: vec![format!("Product {}", self.random.u8(..PRODUCTS))],
            zip_codes,
            priority: self.random.i32(1..6),
            is_active: true,
            external_id: None,
            notes: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn pattern(&mut self) -> String {
        let (zip, state) = self.place();
        match self.random.u8(..10) {
            0..4 => zip.to_string(),
            4..6 => format!("{:03}*", zip.number() / 100),
            6 => {
                let from = self.random.u32(500..99_000);
                format!("{from:05}-{:05}", from + self.random.u32(1..900))
            }
            7 => state.to_string(),
            _ => format!("{zip}+{}mi", self.random.u8(5..60)),
        }
    }

    fn place(&mut self) -> (Zip, Arc<str>) {
        let chosen = self.random.choice(&self.zips).cloned();
        chosen.unwrap_or_else(|| unreachable!("the list of ZIPs is not empty"))
    }

    fn queries(&mut self) -> Vec<Query> {
        let spelled =
            (0..PRODUCTS).flat_map(|n| [format!("Product {n}"), format!("product-{n}"), format!("PRODUCT{n}")]);
        let spellings: Vec<&'static str> = spelled.map(|name| &*name.leak()).collect();
        (0..QUERIES)
            .map(|_| Query {
                product: self.random.choice(&spellings).copied().unwrap_or_default(),
                zip: self.place().0,
            })
            .collect()
    }
}

fn build(settings: &Settings) -> MatchIndex {
    let (memory, start) = (resident_bytes(), Instant::now());
    let mut writer = IndexWriter::new(ZipDirectory::builtin());
    let index = writer.advance(settings);
    let (took, grown) = (start.elapsed(), resident_bytes().saturating_sub(memory));
    println!("index of {} rules: built in {took:?}, {} MB with what changing it needs", index.rules(), grown >> 20);
    drop(writer);
    index
}

/// Settings out of the embedded log, followed as a node follows them; then one changed rule after the other.
async fn in_a_running_node(mut market: Market, queries: &[Query]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log =
        leadway_eventlog::open(EmbeddedOptions { folder: folder.path().to_owned(), ..Default::default() }).await?;
    let mut changes = (0..WORKSPACES).map(put_workspace).collect::<Result<Vec<_>>>()?;
    changes.extend((0..RULES).map(|n| put(market.rule(n))));
    for batch in changes.chunks(1_000) {
        append(&*log, Change::Batch(batch.to_vec())).await?;
    }
    let settings = SettingsHandle::follow(log.clone()).await?;
    let start = Instant::now();
    let matcher = Matcher::follow(settings.clone(), ZipDirectory::builtin());
    println!("in a node: {} rules in force {:?} after the settings", matcher.load().index.rules(), start.elapsed());

    let quiet = watch_matching(&matcher, queries, tokio::time::sleep(CHANGES * PAUSE_BETWEEN_CHANGES)).await?;
    print_latencies("matching without changes", &quiet.1);
    let busy = watch_matching(&matcher, queries, change_rules(&*log, &settings, &matcher, &mut market)).await?;
    print_latencies("matching while rules change", &busy.1);
    let mut in_force = busy.0?;
    in_force.sort_unstable();
    let (median, slowest) = (in_force.get(in_force.len() / 2), in_force.last());
    let (median, slowest) = (median.context("no change")?, slowest.context("no change")?);
    println!("a changed rule is in force, from its being appended to the log: median {median:?}, slowest {slowest:?}");
    Ok(())
}

/// How long each change took from its being appended, durably, to the index that has it.
async fn change_rules(
    log: &dyn EventLog,
    settings: &SettingsHandle,
    matcher: &Matcher,
    market: &mut Market,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for _ in 0..CHANGES {
        let id = market.random.u64(..RULES);
        let changed = Rule { priority: 0, ..market.rule(id) };
        let start = Instant::now();
        let record = append(log, put(changed.clone())).await?;
        settings.wait_for(record).await?;
        let routing = matcher.latest().await;
        took.push(start.elapsed());
        let in_force = routing.settings.rules.get(&changed.id).context("the rule is gone")?;
        ensure!(**in_force == changed, "the change is not in force");
        tokio::time::sleep(PAUSE_BETWEEN_CHANGES).await;
    }
    Ok(took)
}

/// Matches on a thread of its own while `meanwhile` goes on, by what is in force at each moment; nanoseconds per match.
async fn watch_matching<T>(
    matcher: &Matcher,
    queries: &[Query],
    meanwhile: impl Future<Output = T>,
) -> Result<(T, Histogram<u64>)> {
    const A_BATCH: usize = 64;
    let over = Arc::new(AtomicBool::new(false));
    let (matcher, queries, done) = (matcher.clone(), queries.to_vec(), over.clone());
    let matching = std::thread::spawn(move || -> Result<Histogram<u64>> {
        let mut latencies = Histogram::new(3)?;
        for batch in queries.chunks(A_BATCH).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
            let routing = matcher.load();
            for query in batch {
                let start = Instant::now();
                query.ask(&routing.index);
                latencies.record(start.elapsed().as_nanos() as u64)?;
            }
        }
        Ok(latencies)
    });
    let outcome = meanwhile.await;
    over.store(true, Ordering::Relaxed);
    let latencies = tokio::task::spawn_blocking(|| matching.join()).await?;
    Ok((outcome, latencies.map_err(|_| anyhow::anyhow!("matching failed"))??))
}

fn print_latencies(what: &str, latencies: &Histogram<u64>) {
    let at = |quantile| Duration::from_nanos(latencies.value_at_quantile(quantile));
    let (p50, p99, p9999, max) = (at(0.5), at(0.99), at(0.9999), Duration::from_nanos(latencies.max()));
    println!("{what}, the clock included: p50 {p50:?}, p99 {p99:?}, p99.99 {p9999:?}, slowest {max:?}");
}

async fn append(log: &dyn EventLog, change: Change) -> Result<leadway_domain::Offset> {
    let record = SettingsChange::new(&Settings::default(), "bench", Timestamp::UNIX_EPOCH, change);
    let addresses = log.append(vec![NewRecord::of(&record, Timestamp::UNIX_EPOCH)]).await?;
    Ok(addresses.first().context("no address")?.offset)
}

fn put(rule: Rule) -> Change {
    Change::Put(Entity::Rule(rule))
}

fn put_workspace(n: u32) -> Result<Change> {
    Ok(Change::Put(Entity::Workspace(Workspace {
        id: workspace_id(n),
        name: format!("Workspace {n}"),
        outbound_webhook_url: None,
        test_webhook_url: None,
        webhook_active: true,
        paused: false,
        past_dates: None,
        business_type: String::new(),
        payment_rate: Money::from_cents(15_050),
        signing_secrets: Vec::new(),
        webhook_credentials: Default::default(),
        ignore_answer_body: false,
        phone_format: Default::default(),
        rate_limit: None,
        max_concurrency: None,
        opening_hours: OpeningHours::default(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    })))
}

fn workspace_id(n: u32) -> WorkspaceId {
    WorkspaceId::new(&format!("workspace_{n}")).unwrap_or_else(|error| unreachable!("{error}"))
}

fn rule_id(n: u64) -> RuleId {
    RuleId(Uuid::from_u64_pair(n, 0))
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> usize {
    const PAGE: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |pages: usize| pages * PAGE)
}
