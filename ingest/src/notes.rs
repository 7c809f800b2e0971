//! The window's notes on disk. Reading a day of the log takes minutes, reading these a moment.
//!
//! They are a copy of what the log says and nothing depends on them: what is not noted is read from the log, and notes that
//! are not whole, or not of this log, are thrown away.
//!
//! Files of blocks, one appended after the other: `magic, CRC, sequence, counts of positions and of leads, positions,
//! leads`. A block with positions says that all leads below them stand in it or before it, as far back as the window needs.
//! Nothing is synced: a block that a crash cut off is cut off here too.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use leadway_domain::lead::SubmissionKey;
use leadway_domain::record::Topic;
use leadway_domain::{ContactId, LeadId, Offset, Partition, Timestamp};
use leadway_eventlog::Position;
use uuid::Uuid;

use crate::dedupe::{First, ToNote};

/// A submission and its first lead.
pub(crate) type Noted = (SubmissionKey, First);

const MAGIC: [u8; 4] = *b"LWN2";
/// Of blocks whose leads are known by the weaker hash of older records.
const LEGACY_MAGIC: [u8; 4] = *b"LWN1";
/// Magic, CRC of what follows it, sequence, positions, leads.
const HEADER: usize = 4 + 4 + 8 + 4 + 4;
const POSITION: usize = 4 + 8;
const LEAD: usize = 16 + 16 + 8 + 8;
/// A window's leads stand in about so many files: the oldest is removed when the others hold enough.
const FILES: usize = 8;

/// The notes of one folder.
pub(crate) struct Notes {
    folder: PathBuf,
    /// How many leads the window holds.
    max_entries: usize,
    /// The next block's.
    sequence: u64,
    /// Oldest first.
    files: VecDeque<NoteFile>,
    /// The newest one, once something was written to it.
    open: Option<File>,
}

/// One of the files.
struct NoteFile {
    number: u64,
    /// Bytes of whole blocks.
    length: u64,
    leads: usize,
}

impl Notes {
    /// The notes in `folder`, and the positions up to which they are whole: none when there are none, or none that can be
    /// used.
    pub(crate) fn open(folder: &Path, max_entries: usize) -> io::Result<(Self, Vec<Position>)> {
        fs::create_dir_all(folder)?;
        let mut notes =
            Self { folder: folder.to_owned(), max_entries, sequence: 0, files: VecDeque::new(), open: None };
        let numbers = notes.numbers()?;
        let mut positions = Vec::new();
        for (at, number) in numbers.iter().enumerate() {
            let bytes = fs::read(notes.path(*number))?;
            let mut file = NoteFile { number: *number, length: 0, leads: 0 };
            while let Some(block) = Block::first_of(bytes.get(file.length as usize..).unwrap_or_default()) {
                if notes.sequence != 0 && block.sequence != notes.sequence {
                    break;
                }
                notes.sequence = block.sequence + 1;
                file.length += block.size as u64;
                file.leads += block.leads.len() / LEAD;
                positions = if block.positions.is_empty() { positions } else { block.positions().collect() };
            }
            let (whole, is_last) = (file.length == bytes.len() as u64, at + 1 == numbers.len());
            if !whole && is_last {
                // The end that a crash cut off.
                File::options().write(true).open(notes.path(*number))?.set_len(file.length)?;
            } else if !whole {
                tracing::warn!(file = %notes.path(*number).display(), "the notes of the submission window are damaged: it is loaded from the log");
                notes.forget()?;
                return Ok((notes, Vec::new()));
            }
            notes.files.push_back(file);
        }
        Ok((notes, positions))
    }

    /// Tells all that is noted, oldest first, and whether it is known by older keys.
    pub(crate) fn read(&self, mut tell: impl FnMut(&mut dyn Iterator<Item = Noted>, bool)) -> io::Result<()> {
        for file in &self.files {
            let bytes = fs::read(self.path(file.number))?;
            let mut rest = bytes.as_slice();
            while let Some(block) = Block::first_of(rest) {
                tell(&mut block.leads(), block.is_legacy);
                rest = rest.get(block.size..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Removes all notes.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        (self.open, self.sequence) = (None, 0);
        self.files.clear();
        self.numbers()?.into_iter().try_for_each(|number| fs::remove_file(self.path(number)))
    }

    /// Notes leads. With positions: all leads below them are noted now.
    pub(crate) fn write(&mut self, to_note: &ToNote, positions: &[Position]) -> io::Result<()> {
        if !to_note.legacy.is_empty() {
            self.write_block(LEGACY_MAGIC, &to_note.legacy, &[])?;
        }
        self.write_block(MAGIC, &to_note.leads, positions)
    }

    fn write_block(&mut self, magic: [u8; 4], leads: &[Noted], positions: &[Position]) -> io::Result<()> {
        let block = encode(magic, self.sequence, leads, positions);
        let is_full = self.files.back().is_none_or(|newest| newest.leads >= self.max_entries.div_ceil(FILES));
        if is_full || self.open.is_none() {
            self.begin_file()?;
        }
        if let (Some(file), Some(newest)) = (&mut self.open, self.files.back_mut()) {
            file.write_all(&block)?;
            newest.length += block.len() as u64;
            newest.leads += leads.len();
            self.sequence += 1;
        }
        Ok(())
    }

    /// Begins a new file, and removes those that nobody needs any more.
    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.files.back().map_or(0, |newest| newest.number + 1);
        self.open = Some(File::options().append(true).create_new(true).open(self.path(number))?);
        self.files.push_back(NoteFile { number, length: 0, leads: 0 });
        while self.files.iter().skip(1).map(|file| file.leads).sum::<usize>() >= self.max_entries {
            let Some(oldest) = self.files.pop_front() else { break };
            fs::remove_file(self.path(oldest.number))?;
        }
        Ok(())
    }

    /// The files that are there, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = fs::read_dir(&self.folder)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>()?;
        let number = |name: &std::ffi::OsString| name.to_str()?.strip_suffix(".notes")?.parse().ok();
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.notes"))
    }
}

fn encode(magic: [u8; 4], sequence: u64, leads: &[Noted], positions: &[Position]) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER + positions.len() * POSITION + leads.len() * LEAD);
    block.extend_from_slice(&magic);
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&sequence.to_le_bytes());
    block.extend_from_slice(&(positions.len() as u32).to_le_bytes());
    block.extend_from_slice(&(leads.len() as u32).to_le_bytes());
    for position in positions {
        block.extend_from_slice(&position.partition.0.to_le_bytes());
        block.extend_from_slice(&position.next.0.to_le_bytes());
    }
    for (key, first) in leads {
        block.extend_from_slice(&key.0.to_le_bytes());
        block.extend_from_slice(first.contact_id.0.as_bytes());
        block.extend_from_slice(&first.lead_id.0.to_le_bytes());
        block.extend_from_slice(&first.received_at.as_microsecond().to_le_bytes());
    }
    let crc = crc32fast::hash(block.get(8..).unwrap_or_default());
    if let Some(place) = block.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    block
}

/// A block as it stands in a file.
struct Block<'b> {
    sequence: u64,
    is_legacy: bool,
    positions: &'b [u8],
    leads: &'b [u8],
    size: usize,
}

impl<'b> Block<'b> {
    /// The block at the beginning of `bytes`, if there is a whole one.
    fn first_of(bytes: &'b [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let number = |from: usize| take::<4>(header, from).map(u32::from_le_bytes);
        let (positions, leads) = (number(16)? as usize * POSITION, number(20)? as usize * LEAD);
        let size = HEADER + positions + leads;
        let is_legacy = header.starts_with(&LEGACY_MAGIC);
        let is_ours = is_legacy || header.starts_with(&MAGIC);
        let is_whole = is_ours && number(4)? == crc32fast::hash(bytes.get(8..size)?);
        let (positions, leads) = bytes.get(HEADER..size)?.split_at_checked(positions)?;
        let sequence = take(header, 8).map(u64::from_le_bytes)?;
        is_whole.then_some(Self { sequence, is_legacy, positions, leads, size })
    }

    fn positions(&self) -> impl Iterator<Item = Position> {
        self.positions.chunks_exact(POSITION).filter_map(|bytes| {
            let partition = Partition(u32::from_le_bytes(take(bytes, 0)?));
            Some(Position { topic: Topic::Leads, partition, next: Offset(u64::from_le_bytes(take(bytes, 4)?)) })
        })
    }

    fn leads(&self) -> impl Iterator<Item = Noted> {
        self.leads.chunks_exact(LEAD).filter_map(|bytes| {
            let key = SubmissionKey(u128::from_le_bytes(take(bytes, 0)?));
            let contact_id = ContactId(Uuid::from_bytes(take(bytes, 16)?));
            let lead_id = LeadId(u64::from_le_bytes(take(bytes, 32)?));
            let received_at = Timestamp::from_microsecond(i64::from_le_bytes(take(bytes, 40)?)).ok()?;
            Some((key, First { lead_id, contact_id, received_at }))
        })
    }
}

fn take<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(n: u64) -> Noted {
        let received_at = Timestamp::from_microsecond(1_700_000_000_000_000 + n as i64).unwrap();
        (SubmissionKey(n.into()), First { lead_id: LeadId(n), contact_id: ContactId(Uuid::from_u128(7)), received_at })
    }

    fn at(next: u64) -> Vec<Position> {
        vec![Position { topic: Topic::Leads, partition: Partition(3), next: Offset(next) }]
    }

    fn all(notes: &Notes) -> Vec<Noted> {
        let mut found = Vec::new();
        notes.read(|leads, _| found.extend(leads)).unwrap();
        found
    }

    fn to_note(range: std::ops::Range<u64>) -> ToNote {
        ToNote { leads: leads(range), legacy: Vec::new() }
    }

    fn leads(range: std::ops::Range<u64>) -> Vec<Noted> {
        range.map(noted).collect()
    }

    #[test]
    fn what_is_noted_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let (mut notes, positions) = Notes::open(folder.path(), 100).unwrap();
        assert!(positions.is_empty() && all(&notes).is_empty());
        notes.write(&to_note(0..3), &at(3)).unwrap();
        notes.write(&to_note(3..5), &[]).unwrap();
        for start in 0..3 {
            let (mut notes, positions) = Notes::open(folder.path(), 100).unwrap();
            assert_eq!((positions, all(&notes)), (at(3 + start), leads(0..5 + start)));
            notes.write(&to_note(5 + start..6 + start), &at(4 + start)).unwrap();
        }
    }

    #[test]
    fn notes_of_older_keys_are_read_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let (mut notes, _) = Notes::open(folder.path(), 100).unwrap();
        notes.write(&ToNote { leads: leads(2..3), legacy: leads(0..2) }, &at(3)).unwrap();
        let (mut notes, positions) = Notes::open(folder.path(), 100).unwrap();
        assert_eq!(positions, at(3));
        notes.write(&to_note(3..4), &at(4)).unwrap();
        let mut found = Vec::new();
        notes.read(|leads, is_legacy| found.push((leads.count(), is_legacy))).unwrap();
        assert_eq!(found, [(2, true), (1, false), (1, false)]);
    }

    #[test]
    fn the_oldest_go_when_the_others_are_enough() {
        let folder = tempfile::tempdir().unwrap();
        let (mut notes, _) = Notes::open(folder.path(), 80).unwrap();
        (0..400).for_each(|n| notes.write(&to_note(n..n + 1), &at(n)).unwrap());
        let (notes, positions) = Notes::open(folder.path(), 80).unwrap();
        let kept = all(&notes);
        assert!((80..=100).contains(&kept.len()), "{}", kept.len());
        assert_eq!((positions, kept.last()), (at(399), Some(&noted(399))));
    }

    #[test]
    fn a_torn_end_is_cut_off_and_written_over() {
        for cut in [1, 30, 90] {
            let folder = tempfile::tempdir().unwrap();
            let (mut notes, _) = Notes::open(folder.path(), 100).unwrap();
            notes.write(&to_note(0..3), &at(3)).unwrap();
            notes.write(&to_note(3..5), &at(5)).unwrap();
            let file = File::options().write(true).open(notes.path(0)).unwrap();
            file.set_len(file.metadata().unwrap().len() - cut).unwrap();
            let (mut notes, positions) = Notes::open(folder.path(), 100).unwrap();
            assert_eq!((positions, all(&notes)), (at(3), leads(0..3)));
            notes.write(&to_note(3..4), &at(4)).unwrap();
            let (notes, positions) = Notes::open(folder.path(), 100).unwrap();
            assert_eq!((positions, all(&notes)), (at(4), leads(0..4)));
        }
    }

    /// A file before the last that is damaged, too short or gone: nobody could say what is missing.
    #[test]
    fn damage_before_the_end_makes_all_useless() {
        let damages: [fn(&Path); 3] = [
            |file| {
                let mut bytes = fs::read(file).unwrap();
                bytes[40] ^= 1;
                fs::write(file, bytes).unwrap();
            },
            |file| {
                let bytes = fs::read(file).unwrap();
                fs::write(file, &bytes[..HEADER + POSITION + LEAD]).unwrap();
            },
            |file| fs::remove_file(file).unwrap(),
        ];
        for damage in damages {
            let folder = tempfile::tempdir().unwrap();
            let (mut notes, _) = Notes::open(folder.path(), 16).unwrap();
            (0..10).for_each(|n| notes.write(&to_note(n..n + 1), &at(n)).unwrap());
            damage(&notes.path(2));
            let (mut notes, positions) = Notes::open(folder.path(), 16).unwrap();
            assert!(positions.is_empty() && all(&notes).is_empty());
            notes.write(&to_note(7..8), &at(8)).unwrap();
            let (notes, positions) = Notes::open(folder.path(), 16).unwrap();
            assert_eq!((positions, all(&notes)), (at(8), leads(7..8)));
        }
    }
}
