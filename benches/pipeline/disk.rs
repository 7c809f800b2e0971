//! What the disk alone takes for a lead: the commit of its record and its appointment's, before which it cannot be delivered.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

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
