//! The disk itself: what it takes alone for a lead (the commit of its record and its appointment's, before which it cannot be
//! delivered), and whether it is quiet.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::measure::PATIENCE;
use crate::track::Percentiles;

/// Bytes of a commit: about those of a lead's record and of its appointment's.
const BYTES: usize = 1_800;

/// Appends and syncs for each of so many leads, which come so many a second; from a lead's coming to its commit.
pub(crate) fn commits(folder: &Path, leads: u32, rate: u32) -> io::Result<Percentiles> {
    let mut file = File::create(folder.join("commits"))?;
    let gap = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let mut micros = Vec::with_capacity(leads as usize);
    for lead in 0..leads {
        let comes = start + gap * lead;
        std::thread::sleep(comes.saturating_duration_since(Instant::now()));
        file.write_all(&[b'x'; BYTES])?;
        file.sync_data()?;
        micros.push(u32::try_from(comes.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Percentiles::of(micros))
}

/// What may wait to be written while the disk counts as quiet, in KiB.
const LITTLE: u64 = 64 << 10;

/// Waits until the system has written what was left to it: leads are stored then, and what comes next does not pay for it.
pub(crate) async fn quiet() -> anyhow::Result<()> {
    let started = Instant::now();
    while unwritten()? > LITTLE {
        ensure!(started.elapsed() < PATIENCE * 10, "the disk does not become quiet");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// KiB of pages that wait for the disk.
fn unwritten() -> anyhow::Result<u64> {
    let report = std::fs::read_to_string("/proc/meminfo")?;
    let mut kib = 0;
    for line in report.lines().filter(|l| l.starts_with("Dirty:") || l.starts_with("Writeback:")) {
        let number = line.split_whitespace().nth(1).context("/proc/meminfo has numbers")?;
        kib += number.parse::<u64>()?;
    }
    Ok(kib)
}
