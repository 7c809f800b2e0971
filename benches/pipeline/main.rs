//! Measures leadway against the least that a pipeline can do: load generator, webhook sink and the pipeline under test on
//! one machine, runs of the null pipeline before and after.
//!
//! `cargo run --release -p leadway-benches --bin pipeline -- --help`

mod disk;
mod lead;
mod least;
mod load;
mod measure;
mod null;
mod process;
mod report;
mod scenario;
mod sink;
mod subject;
mod track;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures leadway against the least that a pipeline can do.
#[derive(Parser)]
#[command(name = "pipeline", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    plan: Plan,
}

/// What the program starts itself as, to measure a process of its own.
#[derive(Subcommand)]
enum Role {
    /// Takes leads and posts them on, and nothing else.
    #[command(hide = true)]
    Null {
        /// Where to.
        target: String,
    },
    /// Takes leads, keeps them and posts them on, and nothing else.
    #[command(hide = true)]
    Least {
        /// Where they are kept.
        folder: PathBuf,
        /// Where to; without it they are only kept.
        target: Option<String>,
    },
    /// Takes leads and answers.
    #[command(hide = true)]
    Bare,
}

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Scenarios, one after the other.
    #[arg(long = "scenario", value_enum, default_values_t = [Scenario::Throughput, Scenario::Accepted, Scenario::Latency])]
    pub(crate) scenarios: Vec<Scenario>,
    /// Where the log is.
    #[arg(long, value_enum, default_value_t = Log::Embedded)]
    pub(crate) log: Log,
    /// Where the tables are.
    #[arg(long, value_enum, default_value_t = Tables::Embedded)]
    pub(crate) tables: Tables,
    /// Brokers, with `--log kafka`.
    #[arg(long, default_value_t = 1)]
    pub(crate) brokers: usize,
    /// Nodes that each run every stage, with `--log kafka`.
    #[arg(long, default_value_t = 1)]
    pub(crate) nodes: usize,
    /// Leads that are posted before a run is measured; on Kafka the servers need many to be warm.
    #[arg(long)]
    pub(crate) warm_up: Option<u32>,
    /// Leads of a run, or of a round; each scenario has a number of its own.
    #[arg(long)]
    pub(crate) leads: Option<u32>,
    /// Connections of the closed loop.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Leads a second of the open loop; each scenario has a rate of its own.
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// The data folder of the embedded log and tables, which is kept; a temporary one without it.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// The leadway binary to measure; without it, that of this source is built.
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,
    /// Where the figures are written as JSON.
    #[arg(long, default_value = "target/pipeline.json")]
    pub(crate) json: PathBuf,
}

/// What a run is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Leads delivered to one client, closed loop.
    Throughput,
    /// Leads accepted while deliveries are held, closed loop, beside a bare server.
    Accepted,
    /// From posting to delivery at a fixed rate.
    Latency,
    /// The same with many leads stored (`--leads`) and with none, in turns; and a start with them.
    Growth,
    /// The other clients' latency while one client takes ten seconds for each of its deliveries.
    SlowClient,
    /// A client that is down while a million deliveries wait for it (`--leads`), and its return.
    ClientDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    Embedded,
    Kafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tables {
    Embedded,
    Scylla,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // An error only says that it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.role {
        Some(Role::Null { target }) => runtime.block_on(null::pipeline(&target)),
        Some(Role::Least { folder, target }) => runtime.block_on(least::pipeline(target.as_deref(), &folder)),
        Some(Role::Bare) => runtime.block_on(null::bare()),
        None => {
            let mut plan = cli.plan;
            let binary = plan.binary.take().map_or_else(subject::build, Ok)?;
            runtime.block_on(scenario::run(&plan, &binary))
        }
    }
}
