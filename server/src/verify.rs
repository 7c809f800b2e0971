//! `leadway verify` and `leadway salvage`: what log and tables hold, and what of a damaged log can be kept.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use leadway_config::{Config, LogKind, TablesKind};
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, Offset, Partition};
use leadway_eventlog::{Damage, EventLog, Hole, Inspection, Position, ReadLimit, check_record};
use leadway_tables::Tables;

use crate::{output, storage};

/// Ids that are named of a hole; of a larger one the first and the last.
const NAMED: u64 = 20;

/// Reads log and tables to their ends and prints what is wrong with them. Fails when something is.
pub async fn verify(config: &Config) -> anyhow::Result<()> {
    let (ends, log_is_whole) = match config.log {
        LogKind::Embedded => {
            let found = leadway_eventlog::inspect(&config.data.join("log")).await?;
            output::print(&report(&found))?;
            (found.ends.clone(), !found.is_damaged())
        }
        LogKind::Kafka => read_through(&*storage::log_to_read(config).await?).await?,
    };
    // Printed first: files that are badly damaged may end whoever reads them.
    let tables_are_whole = match check_tables(config, &ends).await {
        Ok(whole) => whole,
        Err(error) => {
            output::print(&format!("tables: {error:#}\n"))?;
            false
        }
    };
    ensure!(
        log_is_whole,
        "the log is damaged; restore it from a backup, or keep what can be read with `leadway salvage`"
    );
    ensure!(tables_are_whole, "the tables are not those of this log, or damaged; `leadway rebuild` makes them anew");
    output::print("log and tables are whole\n")
}

/// Copies what can be read of a damaged embedded log to a new data folder.
pub async fn salvage(from: &Path, to: &Path) -> anyhow::Result<()> {
    ensure!(from.join("log").is_dir(), "--from {}: there is no log of leadway", from.display());
    ensure!(!to.join("log").exists(), "--to {}: there is a log already; name another folder", to.display());
    std::fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    let found = leadway_eventlog::salvage(&from.join("log"), &to.join("log")).await?;
    let beside = copy_files(from, to).and_then(|()| copy_files(&from.join("log"), &to.join("log")));
    beside.with_context(|| format!("the files of {} cannot be copied", from.display()))?;
    output::print(&report(&found))?;
    let lost: u64 = found.holes.iter().map(|hole| hole.to.0 - hole.from.0).sum();
    output::print(&format!(
        "{} records were copied to {}, each to its place; {lost} are lost, and records of the kind record.lost stand in \
         theirs. The tables are made of the log at the first start: leadway serve --data {}\n",
        found.records,
        to.display(),
        to.display()
    ))
}

/// What stands beside the records, such as keys.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
        let is_made_anew = matches!(extension, Some("log" | "idx" | "partial")) || target.exists();
        if entry.file_type()?.is_file() && !is_made_anew {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What was found of an embedded log, for people.
fn report(found: &Inspection) -> String {
    let mut text = format!(
        "log: {} records in {} frames, {} bytes in {} files\n",
        found.records, found.frames, found.bytes, found.files
    );
    for Damage { file, position, bytes, reason } in &found.damage {
        // A `String` takes everything.
        let _ = writeln!(text, "damaged: {file}, {bytes} bytes from byte {position}: {reason}");
    }
    for hole in &found.holes {
        let _ = writeln!(text, "lost: {}", lost(hole));
    }
    if let Some(Damage { file, position, bytes, .. }) = &found.tail {
        let _ = writeln!(
            text,
            "behind the last frame: {file}, {bytes} bytes from byte {position} are no frame. A start leaves them out, as the \
             rest of a write that the machine did not complete; what was acknowledged is lost by it only if the disk lied"
        );
    }
    if found.unreadable > 0 {
        let _ = writeln!(
            text,
            "{} records are whole, but of a kind or form that this version does not know:",
            found.unreadable
        );
        for address in &found.unreadable_at {
            let place = place(address.topic, address.partition);
            let _ = writeln!(text, "  {place} offset {}", address.offset.0);
        }
    }
    text
}

fn lost(hole: &Hole) -> String {
    let (count, last) = (hole.to.0 - hole.from.0, Offset(hole.to.0.saturating_sub(1)));
    let mut text = format!("{} offsets {} to {}", place(hole.topic, hole.partition), hole.from.0, last.0);
    if hole.topic != Topic::Leads {
        return text;
    }
    let id = |offset| Addressing::default().id(hole.partition, offset).to_string();
    let ids = if count <= NAMED {
        (hole.from.0..hole.to.0).map(|offset| id(Offset(offset))).collect::<Vec<_>>().join(", ")
    } else {
        format!("{} to {}, every {}th", id(hole.from), id(last), Addressing::MAX_PARTITIONS)
    };
    let _ = write!(text, ": leads or commands {ids}");
    text
}

fn place(topic: Topic, partition: Partition) -> String {
    format!("topic {} partition {}", topic.name(), partition.0)
}

/// Reads every record of a log that looks after its own files. Returns its ends, and whether all was there.
async fn read_through(log: &dyn EventLog) -> anyhow::Result<(Vec<Position>, bool)> {
    let (mut ends, mut whole, mut records) = (Vec::new(), true, 0_u64);
    for topic in Topic::ALL {
        for partition in (0..log.partitions(topic)).map(Partition) {
            let end = log.end(topic, partition).await?;
            ends.push(Position { topic, partition, next: end });
            let mut next = Offset(0);
            while next < end {
                let read = log.read(topic, partition, next, ReadLimit::default()).await;
                let read = read.with_context(|| format!("{} offset {}", place(topic, partition), next.0));
                let read = match read {
                    Ok(read) => read,
                    Err(error) => {
                        whole = false;
                        output::print(&format!("damaged: {error:#}\n"))?;
                        break;
                    }
                };
                let Some(last) = read.last() else { break };
                for record in &read {
                    if let Err(error) = check_record(record) {
                        output::print(&format!(
                            "{} offset {}: {error}\n",
                            place(topic, partition),
                            record.address.offset.0
                        ))?;
                    }
                }
                records += read.len() as u64;
                next = last.next();
            }
        }
    }
    output::print(&format!("log: {records} records\n"))?;
    Ok((ends, whole))
}

/// Reads the tables, and compares how far they are applied with where the log ends. Whether they are whole.
async fn check_tables(config: &Config, ends: &[Position]) -> anyhow::Result<bool> {
    if config.tables == TablesKind::Embedded && !config.data.join("tables").is_dir() {
        output::print("tables: there are none; the next start makes them of the log\n")?;
        return Ok(true);
    }
    let tables = storage::tables_to_read(config).await?;
    let (mut whole, mut rows) = (true, 0);
    for table in tables.inspect().await? {
        rows += table.rows;
        if table.unreadable > 0 {
            whole = false;
            let (name, count, reason) = (table.table, table.unreadable, table.reason.unwrap_or_default());
            output::print(&format!("damaged: table {name}, {count} rows cannot be read: {reason}\n"))?;
        }
    }
    let behind = compare(&*tables, ends, &mut whole).await?;
    output::print(&format!("tables: {rows} rows were read; {behind} records of the log are not applied yet\n"))?;
    Ok(whole)
}

/// Names the partitions of which the tables hold more than the log has; returns how many records they lack.
async fn compare(tables: &dyn Tables, ends: &[Position], whole: &mut bool) -> anyhow::Result<u64> {
    let mut behind = 0;
    for end in ends {
        let applied = tables.applied(end.topic, end.partition).await?;
        behind += end.next.0.saturating_sub(applied.0);
        if applied > end.next {
            *whole = false;
            output::print(&format!(
                "{}: the tables are applied up to offset {}, and the log ends at {}: they were made of another log\n",
                place(end.topic, end.partition),
                applied.0,
                end.next.0
            ))?;
        }
    }
    Ok(behind)
}
