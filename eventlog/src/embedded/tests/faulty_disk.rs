//! A disk that fails when it is told to, in the ways that real ones do.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::embedded::disk::{Disk, DiskFile, OsDisk};

/// What the disk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Write,
    WriteZeros,
    SetLen,
    Sync,
    SyncFolder,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It fails. A write has written this many thousandths of its bytes. A sync has put this many thousandths of the
    /// sectors on disk, in no order, and the others are lost though the system takes them for written from now on.
    Fail(u16),
}

type Script = Box<dyn FnMut(Op) -> Fault + Send>;

#[derive(Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<Script>>);

struct FaultyFile {
    file: File,
    script: Arc<Mutex<Script>>,
    /// Written since the last sync, as (position, length).
    unsynced: Vec<(u64, u64)>,
    rng: fastrand::Rng,
}

const SECTOR: u64 = 64;

impl FaultyDisk {
    /// Asks the script before everything it does.
    pub(super) fn new(script: impl FnMut(Op) -> Fault + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(script))))
    }

    pub(super) fn set_script(&self, script: impl FnMut(Op) -> Fault + Send + 'static) {
        *self.0.lock() = Box::new(script);
    }

    fn ask(&self, op: Op) -> io::Result<()> {
        match (self.0.lock())(op) {
            Fault::None => Ok(()),
            Fault::Fail(_) => Err(failure(op)),
        }
    }

    fn file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let rng = fastrand::Rng::with_seed(7);
        Ok(Box::new(FaultyFile { file, script: self.0.clone(), unsynced: Vec::new(), rng }))
    }
}

fn failure(op: Op) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, format!("{op:?} failed as the test wanted"))
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.ask(Op::Create)?;
        OsDisk.create(path)?;
        self.file(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.file(path)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.ask(Op::SyncFolder)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        let fault = (self.script.lock())(Op::Write);
        let count = match fault {
            Fault::None => bytes.len(),
            // Never all of it: a write that fails has not written everything.
            Fault::Fail(thousandths) => (bytes.len() * usize::from(thousandths) / 1_000).min(bytes.len() - 1),
        };
        self.file.write_all_at(&bytes[..count], position)?;
        self.unsynced.push((position, count as u64));
        if fault == Fault::None { Ok(()) } else { Err(failure(Op::Write)) }
    }

    fn write_zeros(&mut self, range: Range<u64>) -> io::Result<()> {
        let zeros = vec![0; (range.end - range.start) as usize];
        match (self.script.lock())(Op::WriteZeros) {
            Fault::None => self.file.write_all_at(&zeros, range.start),
            Fault::Fail(_) => Err(failure(Op::WriteZeros)),
        }
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        match (self.script.lock())(Op::SetLen) {
            Fault::None => self.file.set_len(bytes),
            Fault::Fail(_) => Err(failure(Op::SetLen)),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let fault = (self.script.lock())(Op::Sync);
        let unsynced = std::mem::take(&mut self.unsynced);
        let Fault::Fail(thousandths) = fault else { return Ok(()) };
        for (position, length) in unsynced {
            let end = (position + length).min(self.file.metadata()?.len());
            let mut sector = position;
            while sector < end {
                let size = SECTOR.min(end - sector);
                if self.rng.u16(0..1_000) >= thousandths {
                    self.file.write_all_at(&vec![0; size as usize], sector)?;
                }
                sector += size;
            }
        }
        Err(failure(Op::Sync))
    }
}
