//! The leadway binary.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use leadway_config::{Config, StageName};
use leadway_domain::{Addressing, LeadId};
use leadway_server::demo::{self, DemoOptions};
use leadway_server::flow::Node;
use leadway_server::identity::Accepted;
use leadway_server::{inspect, logging, migrate, output, rebuild, reseal, trace, verify};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streaming lead router and webhook dispatcher.
#[derive(Debug, Parser)]
#[command(name = "leadway", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Serve(ServeArgs),
    /// Run a node with a sample business, a client that receives webhooks, and a stream of leads. Ctrl-C ends it.
    Demo(DemoArgs),
    /// Check the settings and print them as they are in force.
    CheckConfig(CheckArgs),
    /// Tell which workspace would get a lead, and why no other.
    Explain(ExplainArgs),
    /// Print every record of one lead, in order, with times.
    Trace(TraceArgs),
    /// Make the tables anew from the log. No node that runs the stage scoring may run. The old ones stay until the new ones
    /// are complete; they are made in the data folder, which needs as much room again.
    Rebuild(RebuildArgs),
    /// Seal the secrets of the settings anew, with the first of the seal keys. With an embedded log the node must not run.
    Reseal(ResealArgs),
    /// Print whose work is in this binary, and under which terms.
    Licences,
    /// Read log and tables to their ends, and tell what is damaged or does not fit together. Changes nothing.
    Verify(Common),
    /// Copy what can be read of a damaged data folder to a new one; every record keeps its id. The node must not run.
    Salvage(SalvageArgs),
    /// Move the records of a data folder to Kafka and ScyllaDB. The node must not run.
    Migrate(MigrateArgs),
}

#[derive(Debug, Args)]
struct Common {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that holds the embedded log and tables.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    common: Common,
    /// The address to serve; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<std::net::SocketAddr>,
    /// The stages to run, separated by commas; all of them by default.
    #[arg(long, value_delimiter = ',', value_name = "STAGES")]
    stages: Vec<StageName>,
    /// Go on with a log whose oldest records were deleted, and with the tables as they are. Said once, it is kept.
    #[arg(long)]
    accept_truncated: bool,
    /// Deliver nothing: for a drill on a copy of a data folder. All other stages run.
    #[arg(long)]
    no_deliver: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The address to serve; another free port is taken when it is in use.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: std::net::SocketAddr,
    /// Leads a second.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// End after so many leads.
    #[arg(long)]
    leads: Option<u64>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    common: Common,
    /// Print the reference of all settings as Markdown instead.
    #[arg(long)]
    reference: bool,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    #[command(flatten)]
    common: Common,
    /// The product, by its name or a synonym.
    #[arg(long)]
    product_type: String,
    /// The customer's ZIP code.
    #[arg(long)]
    zip_code: String,
}

#[derive(Debug, Args)]
struct TraceArgs {
    #[command(flatten)]
    common: Common,
    /// The lead's id, as given when it was accepted.
    lead_id: u64,
}

#[derive(Debug, Args)]
struct RebuildArgs {
    #[command(flatten)]
    common: Common,
    /// Take a log that is not that of the tables, or lacks its newest records: what it lacks is lost for good.
    #[arg(long)]
    accept_loss: bool,
    /// Take a log whose oldest records were deleted: the new tables lack them.
    #[arg(long)]
    accept_truncated: bool,
}

#[derive(Debug, Args)]
struct ResealArgs {
    #[command(flatten)]
    common: Common,
    /// Make a new key first, and forget the old one in the end (embedded log only).
    #[arg(long)]
    new: bool,
    /// The log's key is lost for good: give up what only it opens. Keys and secrets have to be made anew.
    #[arg(long, conflicts_with = "new")]
    lost: bool,
}

#[derive(Debug, Args)]
struct SalvageArgs {
    /// The damaged data folder. It stays as it is.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, Args)]
struct MigrateArgs {
    /// The settings file, which says where Kafka and ScyllaDB are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Where to.
    #[arg(long, value_name = "PLACE")]
    to: Destination,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Destination {
    /// The log to Kafka, the tables to ScyllaDB.
    #[value(name = "kafka+scylla")]
    KafkaScylla,
}

fn main() -> ExitCode {
    // Leads and secrets are the owner's alone, whatever the shell's umask is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("the runtime cannot start")),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

#[allow(clippy::print_stderr)] // the last word of a command that failed
fn failed(error: &anyhow::Error) -> ExitCode {
    match logging::is_json() {
        true => tracing::error!(error = format!("{error:#}"), "leadway ends"),
        false => eprintln!("leadway: {error:#}"),
    }
    ExitCode::FAILURE
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve(args).await,
        Command::Demo(args) => {
            let mut config = leadway_config::load(None, [])?;
            config.listen = args.listen;
            config.logging.filter = "warn".into();
            logging::start(&config.logging)?;
            demo::run(config, DemoOptions { rate: args.rate, leads: args.leads }, interrupted()).await
        }
        Command::CheckConfig(args) => check_config(&args),
        Command::Licences => output::print(include_str!("../THIRD-PARTY.txt")),
        Command::Explain(args) => {
            let config = config(&args.common)?;
            inspect::explain(&config, &args.product_type, &args.zip_code).await
        }
        Command::Trace(args) => {
            let config = config(&args.common)?;
            trace::run(&config, Addressing::default(), LeadId(args.lead_id)).await
        }
        Command::Rebuild(RebuildArgs { common, accept_loss: loss, accept_truncated: truncated }) => {
            let config = config(&common)?;
            logging::start(&config.logging)?;
            Box::pin(rebuild::run(&config, Accepted { loss, truncated, ..Accepted::default() })).await
        }
        Command::Reseal(args) => {
            let config = config(&args.common)?;
            logging::start(&config.logging)?;
            Box::pin(reseal::run(&config, args.new, args.lost)).await
        }
        Command::Verify(common) => {
            let config = config(&common)?;
            logging::start(&config.logging)?;
            verify::verify(&config).await
        }
        Command::Salvage(args) => verify::salvage(&args.from, &args.to).await,
        Command::Migrate(MigrateArgs { config, from, to: Destination::KafkaScylla }) => {
            let config = self::config(&Common { config, data: None })?;
            logging::start(&config.logging)?;
            Box::pin(migrate::run(&from, config)).await
        }
    }
}

/// The settings: file, environment, then the command line.
fn config(common: &Common) -> anyhow::Result<Config> {
    let mut config = leadway_config::load(common.config.as_deref(), std::env::vars())?;
    logging::filter(&config.logging)?;
    if let Some(data) = &common.data {
        config.data = data.clone();
    }
    Ok(config)
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let mut config = config(&args.common)?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if !args.stages.is_empty() {
        config.stages = args.stages;
    }
    config.accept_truncated = args.accept_truncated;
    config.deliver &= !args.no_deliver;
    logging::start(&config.logging)?;
    begin(&config);
    let stop = interrupted();
    let admin_key = std::env::var("LEADWAY_ADMIN_KEY").ok().filter(|k| !k.is_empty());
    let Some(started) = stop.run_until_cancelled(Node::start(config, admin_key)).await else {
        return Ok(()); // stopped before it was ready
    };
    let node = started?;
    announce(&node);
    stop.cancelled().await;
    tracing::info!("stopping: no new requests; what is under way finishes");
    node.stop().await
}

/// The first record: what runs here, on what.
fn begin(config: &Config) {
    let stages: Vec<&str> = config.stages.iter().map(|stage| stage.as_str()).collect();
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let (log, tables, listen) = (format!("{:?}", config.log), format!("{:?}", config.tables), config.listen);
    let (version, stages, data) = (env!("CARGO_PKG_VERSION"), stages.join(","), data.display());
    tracing::info!(version, %data, stages, log, tables, %listen, "leadway starts");
}

/// Tells where the node is, and its first key, on standard output: this is for people and scripts that start it.
#[allow(clippy::print_stdout)]
fn announce(node: &Node) {
    let ready = format!("leadway {} is ready", env!("CARGO_PKG_VERSION"));
    if logging::is_json() {
        let mut fields = serde_json::Map::from_iter([("message".to_owned(), ready.into())]);
        fields.extend(
            node.addresses.by_name().into_iter().map(|(what, at)| (what.into(), format!("http://{at}").into())),
        );
        fields.extend(node.admin_key.iter().map(|key| ("admin_key".to_owned(), key.clone().into())));
        let timestamp = leadway_domain::Clock::system().now();
        println!(
            "{}",
            serde_json::json!({"timestamp": timestamp, "level": "INFO", "fields": fields, "target": "leadway"})
        );
        return;
    }
    println!("{ready}");
    for (what, address) in node.addresses.by_name() {
        println!("  {what:<10} http://{address}");
    }
    if let Some(key) = &node.admin_key {
        println!("  admin key  {key}  (made at this first start; it is not shown again)");
    }
}

fn check_config(args: &CheckArgs) -> anyhow::Result<()> {
    if args.reference {
        return output::print(&leadway_config::reference());
    }
    let config = config(&args.common)?;
    output::print(&toml::to_string(&config).context("the settings cannot be printed")?)
}

/// Cancelled at the first SIGINT or SIGTERM; a second one ends the process at once.
fn interrupted() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        signal().await;
        cancel.cancel();
        signal().await;
        std::process::exit(130);
    });
    stop
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
