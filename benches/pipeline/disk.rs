//! What the disk alone takes for a lead: the two commits that have to follow one another before it can be delivered.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::track::Percentiles;

/// Bytes of a commit: about those of a lead's record, and of its appointment's.
const BYTES: usize = 900;

/// Appends and syncs twice for each of so many leads, which come so many a second; from a lead's coming to its second commit.
pub(crate) fn two_commits(folder: &Path, leads: u32, rate: u32) -> io::Result<Percentiles> {
    let mut file = File::create(folder.join("commits"))?;
    let gap = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let mut micros = Vec::with_capacity(leads as usize);
    for lead in 0..leads {
        let comes = start + gap * lead;
        std::thread::sleep(comes.saturating_duration_since(Instant::now()));
        for _ in 0..2 {
            file.write_all(&[b'x'; BYTES])?;
            file.sync_data()?;
        }
        micros.push(u32::try_from(comes.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Percentiles::of(micros))
}
