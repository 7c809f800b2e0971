//! The window in which a lead posted again is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::telemetry::INGEST_DEDUPE_ENTRIES;
use leadway_domain::{Addressing, ContactId, LeadId, Offset, Partition, Timestamp};
use metrics::Gauge;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::ages::Ages;
use crate::many::Many;
use crate::own::{Own, Stretch};

/// So many leads may always wait to be noted.
const MIN_TO_NOTE: usize = 10_000;

/// The first lead of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) lead_id: LeadId,
    pub(crate) contact_id: ContactId,
    pub(crate) received_at: Timestamp,
}

#[derive(Debug)]
enum Slot {
    /// The first one is being appended. `wake` is there when somebody waits for the outcome.
    Pending { owner: u64, wake: Option<Arc<Notify>> },
    /// The first one is in the log.
    Known(First),
}

/// Submissions of the last while, bounded in time and number. Shared by requests and the follower of the log.
pub(crate) struct Window {
    /// A submission's key is a hash already: mixing it a little spreads it.
    slots: DashMap<SubmissionKey, Slot, FxBuildHasher>,
    known: Mutex<Known>,
    entries: Gauge,
    addressing: Addressing,
    span_us: i64,
    max_entries: usize,
    owners: AtomicU64,
    /// Until then, in microseconds since 1970, submissions may stand here under the key of an older record.
    legacy_until: AtomicI64,
}

/// What is known of the submissions beside their slots.
#[derive(Default)]
struct Known {
    ages: Ages,
    /// What this node itself appended: the follower of the log passes over it.
    own: Own,
    /// What is to be noted on disk, where notes are kept.
    to_note: Option<ToNote>,
}

/// Leads to be noted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ToNote {
    pub(crate) leads: Vec<(SubmissionKey, First)>,
    /// Those known by older keys.
    pub(crate) legacy: Vec<(SubmissionKey, First)>,
}

/// How a lead is known to stand in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// This node just appended it.
    Append,
    /// It was read there.
    Log,
    /// It was read there in an older record.
    OldLog,
    /// It was noted.
    Notes,
}

/// What the window says of a submission.
pub(crate) enum Reserved {
    /// It is new, and the asker's to append.
    New,
    /// It is in the log already.
    Duplicate(First),
    /// Another customer's lead with the same key is.
    Conflict(First, Cause),
    /// Somebody is appending it. Ask again after this.
    Pending(OwnedNotified),
}

/// Which of a lead's keys is another customer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    IdempotencyKey,
    ExternalId,
}

/// The keys of a lead, in the order in which they count: its submission, the one by the provider's own id besides, and what
/// an older record may say of it.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'l> {
    pub(crate) lead: &'l Lead,
    pub(crate) legacy: Option<SubmissionKey>,
}

impl Keys<'_> {
    fn cause(&self, key: SubmissionKey) -> Cause {
        let by_id = Some(key) == self.lead.also || (self.lead.also.is_none() && self.lead.external_id.is_some());
        if by_id { Cause::ExternalId } else { Cause::IdempotencyKey }
    }

    /// What is said of a lead whose `key` is that of `first`.
    fn compare(&self, key: SubmissionKey, first: First) -> Reserved {
        if first.contact_id == self.lead.contact_id {
            Reserved::Duplicate(first)
        } else {
            Reserved::Conflict(first, self.cause(key))
        }
    }
}

impl Window {
    pub(crate) fn new(addressing: Addressing, seconds: u32, max_entries: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: DashMap::default(),
            known: Mutex::default(),
            entries: metrics::gauge!(INGEST_DEDUPE_ENTRIES),
            addressing,
            span_us: i64::from(seconds) * 1_000_000,
            max_entries,
            owners: AtomicU64::new(0),
            legacy_until: AtomicI64::new(i64::MIN),
        })
    }

    /// Reservations for one append.
    pub(crate) fn reservations(self: &Arc<Self>) -> Reservations {
        let owner = self.owners.fetch_add(1, Ordering::Relaxed);
        Reservations { window: Arc::clone(self), owner, held: Many::new() }
    }

    /// Takes in leads that stand in the log, and forgets what is too old or too much.
    pub(crate) fn learn(&self, leads: impl IntoIterator<Item = (SubmissionKey, First)>, now: Timestamp) {
        self.take_in(leads, Source::Log, now);
    }

    /// The same for leads of older records.
    pub(crate) fn learn_legacy(&self, leads: impl IntoIterator<Item = (SubmissionKey, First)>, now: Timestamp) {
        let leads = leads.into_iter().inspect(|(_, first)| self.expect_legacy(first.received_at));
        self.take_in(leads, Source::OldLog, now);
    }

    /// The same for leads that are noted already.
    pub(crate) fn learn_noted(&self, leads: impl IntoIterator<Item = (SubmissionKey, First)>, now: Timestamp) {
        self.take_in(leads, Source::Notes, now);
    }

    /// What this node appended from this position on, which it knows without reading it.
    pub(crate) fn own_from(&self, partition: Partition, next: Offset) -> Stretch {
        self.known.lock().own.pass(partition, next)
    }

    /// From now on what is learnt is to be noted. What this node appended before, unnoted, is to be read in the log.
    pub(crate) fn keep_notes(&self) {
        let mut known = self.known.lock();
        if known.to_note.is_none() {
            (known.to_note, known.own) = (Some(ToNote::default()), Own::default());
        }
    }

    /// What is to be noted since this was last asked; `None` when nothing is noted any more.
    pub(crate) fn take_notes(&self) -> Option<ToNote> {
        self.known.lock().to_note.as_mut().map(std::mem::take)
    }

    /// Nothing is to be noted any more.
    pub(crate) fn end_notes(&self) {
        self.known.lock().to_note = None;
    }

    /// Whether it was news.
    fn insert(&self, key: SubmissionKey, first: First) -> bool {
        let waking = match self.slots.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(Slot::Known(first));
                None
            }
            Entry::Occupied(slot) if matches!(slot.get(), Slot::Known(present) if !self.replaces(&first, present)) => {
                return false;
            }
            Entry::Occupied(mut slot) => match slot.insert(Slot::Known(first)) {
                Slot::Pending { wake, .. } => wake,
                Slot::Known(_) => None,
            },
        };
        if let Some(waiting) = waking {
            waiting.notify_waiters();
        }
        true
    }

    /// Whether `later` is the first of a window of its own, or precedes `present` in the log after all: the owner of
    /// their partition will call the one at the lower offset the first.
    fn replaces(&self, later: &First, present: &First) -> bool {
        let in_log = |lead: &First| self.addressing.address(lead.lead_id);
        let precedes = matches!(
            (in_log(later), in_log(present)),
            (Some((p, offset)), Some((q, present))) if p == q && offset < present
        );
        precedes || !self.covers(present, later.received_at)
    }

    /// Whether what arrives `at` is still a duplicate of `first`.
    fn covers(&self, first: &First, at: Timestamp) -> bool {
        at.as_microsecond().saturating_sub(first.received_at.as_microsecond()) < self.span_us
    }

    fn take_in(&self, leads: impl IntoIterator<Item = (SubmissionKey, First)>, source: Source, now: Timestamp) {
        let leads = leads.into_iter().map(|(key, first)| (key, first, self.insert(key, first)));
        let leads: Many<_> = leads.collect();
        let horizon = now.as_second().saturating_sub(self.span_us / 1_000_000);
        let mut gone = Many::new();
        let mut guard = self.known.lock();
        let Known { ages, own, to_note } = &mut *guard;
        for (key, first, is_news) in leads {
            if source == Source::Append
                && let Some((partition, offset)) = self.addressing.address(first.lead_id)
            {
                own.add(partition, offset);
            }
            if is_news {
                ages.add(first.received_at.as_second(), key);
            }
            if source != Source::Notes
                && let Some(to_note) = to_note
            {
                let list = if source == Source::OldLog { &mut to_note.legacy } else { &mut to_note.leads };
                list.push((key, first));
            }
        }
        if to_note
            .as_ref()
            .is_some_and(|notes| notes.leads.len() + notes.legacy.len() > self.max_entries.max(MIN_TO_NOTE))
        {
            // Nobody takes them any more. What is missing on disk is read from the log.
            *to_note = None;
        }
        gone.extend(std::iter::from_fn(|| ages.next_gone(horizon, self.max_entries)));
        let count = ages.count();
        drop(guard);
        self.entries.set(count as f64);
        for (second, key) in gone {
            let same = |slot: &Slot| matches!(slot, Slot::Known(first) if first.received_at.as_second() == second);
            self.slots.remove_if(&key, |_, slot| same(slot));
        }
    }

    /// Takes in that leads of older records are known, under keys of their own.
    pub(crate) fn expect_legacy(&self, received_at: Timestamp) {
        self.legacy_until.fetch_max(received_at.as_microsecond().saturating_add(self.span_us), Ordering::Relaxed);
    }

    /// Whether older records may matter yet.
    pub(crate) fn has_legacy(&self, now: Timestamp) -> bool {
        now.as_microsecond() < self.legacy_until.load(Ordering::Relaxed)
    }

    /// The lead of another customer that has one of the keys.
    pub(crate) fn conflict(&self, keys: Keys<'_>, now: Timestamp) -> Option<(First, Cause)> {
        let known = [Some(keys.lead.submission), keys.lead.also, keys.legacy].into_iter().flatten();
        let mut known = known.filter_map(|key| Some((key, self.known(key, now)?)));
        // A lead that is its customer's own by the first key that is known is a duplicate, whatever the others say.
        match known.next().map(|(key, first)| keys.compare(key, first)) {
            Some(Reserved::Conflict(first, cause)) => Some((first, cause)),
            _ => None,
        }
    }

    fn known(&self, key: SubmissionKey, now: Timestamp) -> Option<First> {
        match *self.slots.get(&key)? {
            Slot::Known(first) => Some(first).filter(|first| self.covers(first, now)),
            Slot::Pending { .. } => None,
        }
    }

    fn reserve(&self, key: SubmissionKey, now: Timestamp, owner: u64) -> Slotted {
        match self.slots.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(Slot::Pending { owner, wake: None });
                Slotted::New
            }
            Entry::Occupied(mut slot) => match slot.get_mut() {
                Slot::Known(first) if self.covers(first, now) => Slotted::Known(*first),
                Slot::Pending { wake, .. } => {
                    // Made under the slot's lock, so that no outcome can slip in between.
                    Slotted::Pending(Arc::clone(wake.get_or_insert_default()).notified_owned())
                }
                expired @ Slot::Known(_) => {
                    *expired = Slot::Pending { owner, wake: None };
                    Slotted::New
                }
            },
        }
    }

    fn release(&self, key: SubmissionKey, owner: u64) {
        let mine = |slot: &Slot| matches!(slot, Slot::Pending { owner: o, .. } if *o == owner);
        if let Some((_, Slot::Pending { wake: Some(waiting), .. })) = self.slots.remove_if(&key, |_, slot| mine(slot)) {
            waiting.notify_waiters();
        }
    }
}

/// What the window says of one key.
enum Slotted {
    New,
    Known(First),
    Pending(OwnedNotified),
}

/// The submissions that one append carries. Those not settled when this is dropped are given back: whoever waits for
/// them takes over.
///
/// Never wait for another's submission while holding some: two requests could wait for each other.
pub(crate) struct Reservations {
    window: Arc<Window>,
    owner: u64,
    held: Many<Held>,
}

/// One lead's keys.
struct Held {
    keys: [Option<SubmissionKey>; 2],
    contact_id: ContactId,
    received_at: Timestamp,
}

impl Reservations {
    /// Asks for the submissions of a lead. All are reserved or none.
    pub(crate) fn reserve(&mut self, keys: Keys<'_>, now: Timestamp) -> Reserved {
        let Keys { lead, legacy } = keys;
        if let Some((key, first)) = legacy.and_then(|key| Some((key, self.window.known(key, now)?))) {
            return keys.compare(key, first);
        }
        let mut reserved = [None; 2];
        for (key, place) in [Some(lead.submission), lead.also].into_iter().zip(&mut reserved) {
            let Some(key) = key else { continue };
            let told = match self.window.reserve(key, now, self.owner) {
                Slotted::New => {
                    *place = Some(key);
                    continue;
                }
                Slotted::Known(first) => keys.compare(key, first),
                Slotted::Pending(outcome) => Reserved::Pending(outcome),
            };
            reserved.into_iter().flatten().for_each(|key| self.window.release(key, self.owner));
            return told;
        }
        self.held.push(Held { keys: reserved, contact_id: lead.contact_id, received_at: lead.received_at });
        Reserved::New
    }

    /// The leads reserved, in order, stand in the log under these ids.
    pub(crate) fn settle(mut self, ids: &[LeadId], now: Timestamp) {
        let settled = ids.len().min(self.held.len());
        let leads = self.held.drain(..settled).zip(ids).flat_map(|(held, &lead_id)| {
            let first = First { lead_id, contact_id: held.contact_id, received_at: held.received_at };
            held.keys.into_iter().flatten().map(move |key| (key, first))
        });
        self.window.take_in(leads, Source::Append, now);
    }
}

impl Drop for Reservations {
    fn drop(&mut self) {
        for held in self.held.drain(..) {
            held.keys.into_iter().flatten().for_each(|key| self.window.release(key, self.owner));
        }
    }
}

#[cfg(test)]
mod tests;
