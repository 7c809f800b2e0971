//! Keeping the window's notes, off the runtime's threads.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::Timestamp;
use leadway_domain::record::Topic;
use leadway_eventlog::{EventLog, LogError, Position};
use tokio::time::Instant;

use crate::Options;
use crate::dedupe::{ToNote, Window};
use crate::notes::Notes;

/// After a crash, so much of the log is read besides the notes.
const PAUSE: Duration = Duration::from_secs(1);

/// The notes of a node that keeps some.
pub(crate) struct Notebook {
    window: Arc<Window>,
    notes: Option<Notes>,
    /// Nobody else keeps notes there while this is open.
    _lock: Option<File>,
    /// What was noted last.
    positions: Vec<Position>,
    due: Instant,
}

impl Notebook {
    /// Lets the window learn what is noted. Tells up to where that reaches: nowhere where nothing is noted.
    pub(crate) async fn open(
        window: &Arc<Window>,
        options: &Options,
        log: &dyn EventLog,
        now: Timestamp,
    ) -> Result<(Self, Vec<Position>), LogError> {
        let (window_of_book, due) = (Arc::clone(window), Instant::now());
        let mut book = Self { window: window_of_book, notes: None, _lock: None, positions: Vec::new(), due };
        let Some(folder) = options.notes.clone() else { return Ok((book, Vec::new())) };
        let max_entries = options.dedupe_max_entries;
        let opened = blocking(move || {
            let lock = lock(&folder)?;
            Ok((lock, Notes::open(&folder, max_entries)?))
        });
        let Some((lock, (notes, positions))) = opened.await else { return Ok((book, Vec::new())) };
        book._lock = Some(lock);
        let is_of_log = is_of(&positions, log).await?;
        let window = Arc::clone(window);
        book.notes = blocking(move || learn(notes, is_of_log, &window, now)).await;
        if book.notes.is_some() {
            book.window.keep_notes();
        }
        let is_known = is_of_log && book.notes.is_some();
        Ok((book, if is_known { positions } else { Vec::new() }))
    }

    /// Notes what the window learnt since the last time. With positions: it knows all leads below them.
    pub(crate) async fn note(&mut self, positions: &[Position]) {
        let Some(leads) = self.window.take_notes() else { return };
        let moved = !positions.is_empty() && positions != self.positions;
        if leads == ToNote::default() && !moved {
            return;
        }
        let Some(mut notes) = self.notes.take() else { return };
        let noted = positions.to_vec();
        self.notes = blocking(move || notes.write(&leads, &noted).map(|()| notes)).await;
        if moved {
            self.positions = positions.to_vec();
        }
        if self.notes.is_none() {
            self.window.end_notes();
        }
    }

    /// The same, once a second.
    pub(crate) async fn note_now_and_then(&mut self, positions: &[Position]) {
        let now = Instant::now();
        if now >= self.due {
            self.due = now + PAUSE;
            self.note(positions).await;
        }
    }
}

/// Nodes on one machine may be given one folder: the first has it.
fn lock(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    for _ in 0..10 {
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        // Whoever is just ending lets go within moments.
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other(format!("another process keeps its notes in {}", folder.display())))
}

/// Whether notes up to these positions can be of this log: one that was put back from a backup ends before them.
async fn is_of(positions: &[Position], log: &dyn EventLog) -> Result<bool, LogError> {
    for position in positions {
        if position.next > log.end(position.topic, position.partition).await? {
            return Ok(false);
        }
    }
    Ok(positions.len() == log.partitions(Topic::Leads) as usize)
}

fn learn(mut notes: Notes, is_of_log: bool, window: &Window, now: Timestamp) -> io::Result<Notes> {
    match is_of_log {
        true => notes.read(|leads, is_legacy| {
            let leads = leads.inspect(|(_, first)| {
                if is_legacy {
                    window.expect_legacy(first.received_at);
                }
            });
            window.learn_noted(leads, now);
        })?,
        false => notes.forget()?,
    }
    Ok(notes)
}

/// The notes are worth nobody's waiting: where they cannot be kept, there are none.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the submission window cannot be noted; the next start reads it from the log");
            None
        }
        Err(_) => None,
    }
}
