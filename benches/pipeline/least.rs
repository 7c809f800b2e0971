//! The least that a pipeline can do which keeps its leads: the null pipeline, and beside it only what no design of a durable one
//! leaves out. It shows how near to null such a pipeline can come on this machine.
//!
//! A lead's body is parsed, its record and its appointment's are on the disk before the 202, in one commit with all that wait; its
//! webhook is signed; the outcome's record comes with a later commit, and four rows follow in a table store, in large batches.
//! Nothing is checked, normalised, recognised, matched, limited, tried again or counted, and nothing is found again after a start.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, types};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::{Condvar, Mutex};
use serde::Deserialize;
use sha2::Sha256;
use tokio::sync::{Semaphore, oneshot};

use crate::null::{self, UNDER_WAY, answer};

/// Bytes of the records of a lead and its appointment, less than leadway's.
const RECEIVED: usize = 600 + 500;
/// Bytes of the record of an outcome.
const OUTCOME: usize = 250;
/// Zeros that the log is written ahead with, so that most commits have no more to tell the file system.
const AHEAD: usize = 256 << 10;
const ROWS_EVERY: Duration = Duration::from_millis(100);
/// Bytes of a contact's row, whose key may lie anywhere, and of the rows whose keys grow: a lead's, a bill's and an index's.
const CONTACT: usize = 200;
const GROWING: [(&str, usize); 3] = [("leads", 700), ("bills", 80), ("index", 0)];

/// Takes leads, keeps them in `folder` and posts them on to `target`; without one it only keeps them.
pub(crate) async fn pipeline(target: Option<&str>, folder: &Path) -> anyhow::Result<()> {
    let target: Option<Uri> = target.map(str::parse).transpose()?;
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let pipeline =
        Arc::new(Pipeline { target, client: null::client(), room, journal: Journal::default(), last: 0.into() });
    let file = OpenOptions::new().write(true).create_new(true).open(folder.join("log"))?;
    let rows = folder.join("rows");
    std::fs::create_dir(&rows)?;
    let (journal, tables) = (pipeline.clone(), pipeline.clone());
    std::thread::spawn(move || journal.journal.write(&file));
    std::thread::spawn(move || tables.journal.write_rows(&rows));
    null::announce(null::serve(move |request| pipeline.clone().take(request)).await?).await
}

struct Pipeline {
    target: Option<Uri>,
    client: Client<HttpConnector, Full<Bytes>>,
    room: Arc<Semaphore>,
    journal: Journal,
    /// The number that the last lead got.
    last: AtomicU64,
}

/// What is read of a lead.
#[derive(Deserialize)]
struct Lead<'a> {
    phone: &'a str,
    product_type: &'a str,
    zip_code: &'a str,
}

impl Pipeline {
    async fn take(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let Ok(body) = request.into_body().collect().await else { return Ok(answer(false)) };
        let Ok(permit) = self.room.clone().acquire_owned().await else { return Ok(answer(false)) };
        let body = body.to_bytes();
        let mut parsed = body.to_vec();
        let Ok(lead) = simd_json::serde::from_slice::<Lead<'_>>(&mut parsed) else { return Ok(answer(false)) };
        black_box((lead.phone, lead.product_type, lead.zip_code));
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let kept_only = self.target.is_none().then_some(number);
        let (durable, committed) = oneshot::channel();
        self.journal.append(&body, RECEIVED, Some(durable), kept_only);
        if committed.await.is_err() {
            return Ok(answer(false));
        }
        if let Some(target) = self.target.clone() {
            tokio::spawn(async move {
                let _under_way = permit;
                if let Ok(answer) = self.client.request(signed(target, &body)).await {
                    let _ = answer.into_body().collect().await;
                    self.journal.append(&body, OUTCOME, None, Some(number));
                }
            });
        }
        Ok(answer(true))
    }
}

fn signed(target: Uri, body: &Bytes) -> Request<Full<Bytes>> {
    let mut request = null::post(target, body.clone());
    let signature = Hmac::<Sha256>::new_from_slice(b"the secret of a client system").ok().map(|mut mac| {
        mac.update(body);
        STANDARD.encode(mac.finalize().into_bytes())
    });
    if let Some(signature) = signature.and_then(|signature| HeaderValue::try_from(signature).ok()) {
        request.headers_mut().insert("webhook-signature", signature);
    }
    request
}

/// The log, and the leads whose rows are to be written.
#[derive(Default)]
struct Journal {
    waiting: Mutex<Waiting>,
    some: Condvar,
    rows: Mutex<Vec<u64>>,
}

/// What the next commit makes durable.
#[derive(Default)]
struct Waiting {
    frame: Vec<u8>,
    durable: Vec<oneshot::Sender<()>>,
    /// Leads with whose record all is said.
    done: Vec<u64>,
}

impl Journal {
    /// A record of so many bytes, what it says being a part of them.
    fn append(&self, says: &[u8], bytes: usize, durable: Option<oneshot::Sender<()>>, done: Option<u64>) {
        let mut waiting = self.waiting.lock();
        if waiting.frame.is_empty() {
            self.some.notify_one();
        }
        let end = waiting.frame.len() + bytes;
        waiting.frame.extend(says.iter().take(bytes));
        waiting.frame.resize(end, b' ');
        waiting.durable.extend(durable);
        waiting.done.extend(done);
    }

    /// Writes what waits, one commit after the other.
    fn write(&self, file: &File) -> anyhow::Result<()> {
        let (mut end, mut allocated, zeros, mut spare) = (0, 0, vec![0; AHEAD], Vec::new());
        loop {
            let mut waiting = self.waiting.lock();
            self.some.wait_while(&mut waiting, |waiting| waiting.frame.is_empty());
            let next = Waiting { frame: std::mem::take(&mut spare), ..Waiting::default() };
            let Waiting { mut frame, durable, done } = std::mem::replace(&mut *waiting, next);
            drop(waiting);
            while end + frame.len() as u64 > allocated {
                file.write_all_at(&zeros, allocated)?;
                allocated += AHEAD as u64;
            }
            black_box(crc32fast::hash(&frame));
            file.write_all_at(&frame, end)?;
            file.sync_data()?;
            end += frame.len() as u64;
            for durable in durable {
                // Whoever waited may have gone.
                let _ = durable.send(());
            }
            self.rows.lock().extend(done);
            frame.clear();
            spare = frame;
        }
    }

    /// Writes the rows of leads, one batch after the other.
    fn write_rows(&self, folder: &Path) -> anyhow::Result<()> {
        let mut options = EnvOpenOptions::new();
        options.map_size(64 << 30).max_dbs(1 + GROWING.len() as u32);
        // SAFETY: the folder is new, and nobody else's.
        #[allow(unsafe_code)]
        let env = unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_READ_AHEAD).open(folder)? };
        let create = |name| {
            let made = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
                opener
                    .create_database::<types::Bytes, types::Bytes>(txn, Some(name))
                    .map(CommitOrAbort::<_, ()>::Commit)
            });
            made?.commit().context("no database was made")
        };
        let contacts = create("contacts")?;
        let growing = GROWING
            .iter()
            .map(|(name, bytes)| anyhow::Ok((create(name)?, vec![7; *bytes])))
            .collect::<Result<Vec<_>, _>>()?;
        loop {
            std::thread::sleep(ROWS_EVERY);
            let mut leads = std::mem::take(&mut *self.rows.lock());
            leads.sort_unstable();
            let mut anywhere: Vec<_> = leads.iter().map(|lead| lead.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
            anywhere.sort_unstable();
            let mut txn = env.write_txn()?;
            for contact in anywhere {
                contacts.put(&mut txn, &contact.to_be_bytes(), &[7; CONTACT])?;
            }
            for (rows, row) in &growing {
                for lead in &leads {
                    rows.put(&mut txn, &lead.to_be_bytes(), row)?;
                }
            }
            txn.commit()?;
        }
    }
}
