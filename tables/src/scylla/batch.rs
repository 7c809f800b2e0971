//! A batch, and the timestamps of batches.

use std::sync::atomic::{AtomicI64, Ordering};

use leadway_domain::Clock;
use parking_lot::Mutex;
use uuid::{Builder, Uuid};

use super::rows::RowChange;
use crate::Applied;

/// Changes, the positions that they lead to, and the timestamp with which all of it is written, whoever does it and
/// however often.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) id: Uuid,
    /// Microseconds.
    pub(super) timestamp: i64,
    pub(super) positions: Vec<Applied>,
    pub(super) changes: Vec<RowChange>,
}

/// Makes ids and timestamps of batches.
pub(super) struct Stamps {
    clock: Clock,
    last: AtomicI64,
    random: Mutex<fastrand::Rng>,
}

/// What may be written with one timestamp: a batch replaces rows by a delete one below its own timestamp, which must still
/// be above the timestamp of the batch before.
const STEP: i64 = 2;

impl Stamps {
    pub(super) fn new(clock: Clock, seed: u64) -> Self {
        Self { clock, last: AtomicI64::new(0), random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// A timestamp above `floor` and above all that were given out: now, if that is.
    pub(super) fn after(&self, floor: i64) -> i64 {
        let least = self.clock.now().as_microsecond().max(floor.saturating_add(STEP));
        let next = |last: i64| least.max(last.saturating_add(STEP));
        // The closure always gives a value.
        let (Ok(last) | Err(last)) =
            self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        next(last)
    }

    /// An id for a batch with this timestamp, which no other node gives.
    pub(super) fn id(&self, timestamp: i64) -> Uuid {
        let mut bytes = [0; 16];
        let (time, chance) = bytes.split_at_mut(8);
        time.copy_from_slice(&timestamp.to_be_bytes());
        chance.copy_from_slice(&self.random.lock().u64(..).to_be_bytes());
        Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use leadway_domain::Timestamp;

    use super::*;

    #[test]
    fn timestamps_grow_by_more_than_one_though_the_clock_stands_or_is_behind() {
        let clock = Clock::manual(Timestamp::from_microsecond(100).unwrap());
        let stamps = Stamps::new(clock.clone(), 1);
        assert_eq!((stamps.after(0), stamps.after(0)), (100, 102));
        assert_eq!(stamps.after(500), 502, "another node's clock is ahead");
        assert_eq!(stamps.after(0), 504);
        clock.advance_to(Timestamp::from_microsecond(900).unwrap());
        assert_eq!(stamps.after(504), 900);
    }

    #[test]
    fn batches_have_different_ids_on_every_node() {
        let ids = |seed| {
            let stamps = Stamps::new(Clock::manual(Timestamp::UNIX_EPOCH), seed);
            [stamps.id(5), stamps.id(5)]
        };
        assert_ne!(ids(1)[0], ids(1)[1]);
        assert_ne!(ids(1)[0], ids(2)[0]);
    }
}
