//! Leads that were refused of late: one that comes again is the same entry in the quarantine, not another one.

use std::collections::{HashMap, VecDeque};

use leadway_domain::lead::SubmissionKey;
use leadway_domain::record::{PostedAs, QuarantineRecord};
use leadway_domain::{ProviderId, Timestamp};
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use uuid::Uuid;

/// So many are remembered; the oldest go first.
const MAX: usize = 50_000;

/// What a refused lead is known by.
pub(crate) fn key(provider: &ProviderId, posted_as: PostedAs, json: &[u8]) -> SubmissionKey {
    let posted_as = match posted_as {
        PostedAs::Lead => "lead",
        PostedAs::Appointment => "appointment",
    };
    SubmissionKey::of_refused(provider, posted_as, json)
}

/// The last refused leads that stand in the quarantine.
#[derive(Default)]
pub(crate) struct Refused(Mutex<Known>);

#[derive(Default)]
struct Known {
    entries: HashMap<SubmissionKey, Uuid, FxBuildHasher>,
    keys: HashMap<Uuid, SubmissionKey, FxBuildHasher>,
    /// In the order in which they were learnt; some may be gone.
    order: VecDeque<Uuid>,
}

impl Refused {
    /// The entry of this lead, if it was refused in the `seconds` before `now` and nobody has dealt with it.
    pub(crate) fn entry(&self, key: SubmissionKey, seconds: u32, now: Timestamp) -> Option<Uuid> {
        let id = self.0.lock().entries.get(&key).copied()?;
        let (made, _) = id.get_timestamp()?.to_unix();
        let since = u64::try_from(now.as_second()).unwrap_or(0).saturating_sub(made);
        (since < u64::from(seconds)).then_some(id)
    }

    /// Takes in what happened in the quarantine.
    pub(crate) fn learn(&self, record: &QuarantineRecord) {
        match record {
            QuarantineRecord::Added(lead) => {
                let Ok(json) = serde_json::to_vec(&lead.body) else { return };
                self.0.lock().add(key(&lead.provider_id, lead.posted_as, &json), lead.id);
            }
            QuarantineRecord::Ended(end) => self.0.lock().remove(end.id),
        }
    }
}

impl Known {
    fn add(&mut self, key: SubmissionKey, id: Uuid) {
        if self.keys.insert(id, key).is_none() {
            self.order.push_back(id);
        }
        self.entries.insert(key, id);
        while self.order.len() > MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, id: Uuid) {
        let Some(key) = self.keys.remove(&id) else { return };
        if self.entries.get(&key) == Some(&id) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_is_told_until_it_is_dealt_with() {
        let mut known = Known::default();
        let [one, two] = [1, 2].map(Uuid::from_u128);
        let key = SubmissionKey(7);
        known.add(key, one);
        known.add(key, two);
        known.add(key, two);
        assert_eq!((known.entries.get(&key), known.order.len()), (Some(&two), 2));
        known.remove(one);
        assert_eq!(known.entries.get(&key), Some(&two));
        known.remove(two);
        assert!(known.entries.is_empty() && known.keys.is_empty());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut known = Known::default();
        for n in 0..MAX as u128 + 10 {
            known.add(SubmissionKey(n), Uuid::from_u128(n));
        }
        assert_eq!((known.entries.len(), known.keys.len(), known.order.len()), (MAX, MAX, MAX));
        assert!(!known.entries.contains_key(&SubmissionKey(9)));
    }
}
