//! From a body to judged leads: unpack, limit, parse, judge. Pure work of the processor, here or on another thread.

use std::sync::Arc;

use bytes::Bytes;
use leadway_domain::Timestamp;
use leadway_domain::intake::{Idempotency, Intake};
use leadway_domain::record::PostedAs;
use leadway_domain::settings::{Provider, Settings};

use crate::body;
use crate::budget::Share;
use crate::charset;
use crate::gate::Gate;
use crate::head::{Packing, Written};
use crate::judge::{Judged, judge};
use crate::large::LARGE;
use crate::many::Many;
use crate::measure::Outcome;
use crate::parse::{self, Most};
use crate::refusal::Refusal;
use crate::service::Inner;

/// A body that has come, and everything that its reading depends on.
pub(crate) struct Sent {
    pub(crate) provider: Arc<Provider>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) posted_as: PostedAs,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) now: Timestamp,
    pub(crate) written: Written,
    pub(crate) body: Bytes,
    /// What it holds of the bytes kept in memory.
    pub(crate) buffered: Share,
}

/// What a body came to.
pub(crate) struct Read {
    pub(crate) judged: Many<Judged>,
    /// Whether it was one lead on its own.
    pub(crate) single: bool,
    pub(crate) in_flight: Share,
}

impl Inner {
    /// Reads the leads of a body. A large one waits for its turn and is read on another thread; there it goes on when
    /// nobody waits for it any more.
    pub(crate) async fn read(self: &Arc<Self>, mut sent: Sent) -> Result<Read, Refusal> {
        // Limits first: what is packed costs work before its leads can be counted, so the request counts as one.
        let paid = usize::from(sent.written.packing != Packing::Plain || sent.body.len() > LARGE);
        if paid > 0 {
            let taken = self.limits.take(&sent.provider, paid);
            taken.inspect_err(|_| sent.gate.leads.count(Outcome::Refused, 1))?;
        }
        if sent.body.len() <= LARGE {
            match body::unpack(&sent.body, sent.written.packing, LARGE, &mut sent.buffered) {
                Ok(unpacked) => return self.read_unpacked(&unpacked, &sent, paid),
                Err(Refusal::UnpackedTooLarge { .. }) if self.options.max_unpacked_bytes > LARGE => {}
                Err(refusal) => return Err(self.unreadable(&sent, paid, 0, refusal)),
            }
        }
        let turn = self.turns.wait(&sent.gate).await;
        let turn = turn.inspect_err(|_| sent.gate.leads.count(Outcome::Refused, 1))?;
        let inner = Arc::clone(self);
        let work = move || {
            let _turn = turn;
            let limit = inner.options.max_unpacked_bytes;
            // What was unpacked in vain is held a little longer than it need be.
            match body::unpack(&sent.body, sent.written.packing, limit, &mut sent.buffered) {
                Ok(unpacked) => inner.read_unpacked(&unpacked, &sent, paid),
                Err(refusal) => Err(inner.unreadable(&sent, paid, 0, refusal)),
            }
        };
        // It ends without an answer only with the runtime, or where it panicked, which is told by then.
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(Refusal::Busy))
    }

    /// `paid` is what the rate limit was already charged.
    fn read_unpacked(&self, unpacked: &[u8], sent: &Sent, paid: usize) -> Result<Read, Refusal> {
        let (options, leads) = (&self.options, &sent.gate.leads);
        let unreadable = |refusal| self.unreadable(sent, paid, unpacked.len(), refusal);
        let text = charset::text(unpacked, sent.written.charset);
        let most = Most { leads: options.max_leads_per_request, values: options.max_values_per_request };
        parse::at_desk(|desk| {
            let posted = parse::parse(&sent.written, &text, desk, most).map_err(unreadable)?;
            let count = posted.leads.len();
            let refused = |refusal: Refusal| {
                leads.count(Outcome::Refused, count);
                refusal
            };
            if count > paid {
                self.limits.take(&sent.provider, count - paid).map_err(|too_fast| refused(too_fast.into()))?;
            }
            let mut in_flight = sent.gate.in_flight.share();
            in_flight.grow(count).map_err(|_| refused(Refusal::Busy))?;
            // After everything that says "later": what is sent again is not to use up the day.
            sent.gate.take_bytes(&sent.provider, unpacked.len(), sent.now).map_err(refused)?;
            let intake = Intake {
                provider: &sent.provider,
                settings: &sent.settings,
                zips: &self.zips,
                posted_as: sent.posted_as,
                idempotency: sent.idempotency_key.as_deref().map(|key| Idempotency { key, part: 0, single: true }),
                max_bytes: options.max_lead_bytes,
                now: sent.now,
            };
            let single = posted.single;
            Ok(Read { judged: judge(self, posted, intake), single, in_flight })
        })
    }

    /// What cannot be read counts as one lead: it costs as much work, and the limit holds for it too.
    fn unreadable(&self, sent: &Sent, paid: usize, bytes: usize, refusal: Refusal) -> Refusal {
        sent.gate.leads.count(Outcome::Refused, 1);
        if paid == 0
            && let Err(too_fast) = self.limits.take(&sent.provider, 1)
        {
            return too_fast.into();
        }
        sent.gate.take_bytes(&sent.provider, bytes, sent.now).err().unwrap_or(refusal)
    }
}
