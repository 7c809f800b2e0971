//! Starts and stops real Kafka and Cassandra for trying leadway on many nodes.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program answers on its terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leadway_servers::detached::{UpOptions, down, settings_of, status, up};
use leadway_servers::{Jars, Result, fetch};

/// Real Kafka brokers and a real Cassandra on this machine, as plain Java processes.
#[derive(Parser)]
#[command(name = "leadway-servers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start them, wait until they answer, print the settings for leadway, and leave them running.
    Up {
        /// Number of Kafka brokers.
        #[arg(long, default_value_t = 3)]
        brokers: usize,
        /// Port of the first broker; the others have the following ones.
        #[arg(long, default_value_t = 9092)]
        kafka_port: u16,
        /// Port of Cassandra.
        #[arg(long, default_value_t = 9042)]
        cassandra_port: u16,
        #[command(flatten)]
        place: Place,
    },
    /// Stop them and remove their folder, data included.
    Down(Place),
    /// Tell which of them run.
    Status(Place),
    /// Only fetch the jars.
    Fetch,
}

#[derive(clap::Args)]
struct Place {
    /// Folder for their data, settings and logs.
    #[arg(long, default_value = "target/servers")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leadway-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { brokers, kafka_port, cassandra_port, place } => {
            let options = UpOptions { folder: place.folder, brokers, kafka_port, cassandra_port };
            let settings = up(&options)?;
            println!(
                "# Kafka and Cassandra answer; this is also {}/leadway.toml\n{settings}",
                options.folder.display()
            );
        }
        Command::Down(place) => println!("stopped: {}", list(&down(&place.folder)?)),
        Command::Status(place) => {
            for server in status(&place.folder)? {
                let state = server.process.map_or_else(|| "dead".to_owned(), |id| format!("runs, process {id}"));
                println!("{}: {state}", server.name);
            }
            println!("\n{}", settings_of(&place.folder)?);
        }
        Command::Fetch => {
            for jars in [Jars::Kafka, Jars::Cassandra] {
                println!("{}", fetch(jars)?.display());
            }
        }
    }
    Ok(())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing ran".to_owned() } else { names.join(", ") }
}
