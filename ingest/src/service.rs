//! The flow of one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use leadway_domain::intake::Intake;
use leadway_domain::settings::Provider;
use leadway_domain::{Addressing, Clock, ZipDirectory};
use leadway_eventlog::{EventLog, LogError, SettingsHandle};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Tally};
use crate::auth::{Identity, Proven, Sender};
use crate::budget::{Budget, Share};
use crate::dedupe::Window;
use crate::head::{self, Target, Written};
use crate::judge::{Judged, judge};
use crate::limits::Limits;
use crate::many::Many;
use crate::measure::{Leads, Outcome, Requests};
use crate::refusal::Refusal;
use crate::{Error, Options, body, parse};

/// After so many microseconds without a refusal of the log the next one is told of again.
const QUIET_US: i64 = 5_000_000;

/// The HTTP front for lead providers. Clones are the same front.
#[derive(Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    zips: Arc<ZipDirectory>,
    pub(crate) clock: Clock,
    pub(crate) addressing: Addressing,
    pub(crate) options: Options,
    pub(crate) window: Arc<Window>,
    limits: Limits,
    leads_in_flight: Arc<Budget>,
    buffered_bytes: Budget,
    requests: Requests,
    leads: Leads,
    is_ready: AtomicBool,
    is_stopping: AtomicBool,
    /// When the log last refused leads, in microseconds since 1970.
    refused_at: AtomicI64,
}

/// How long after the log refused leads this node calls itself not ready.
const REFUSAL_SHADOW_MICROS: i64 = 5_000_000;

impl Ingest {
    /// A front that appends to `log`. It takes leads once [`follow`](Self::follow) has loaded the submission window.
    pub fn new(
        log: Arc<dyn EventLog>,
        settings: SettingsHandle,
        zips: Arc<ZipDirectory>,
        clock: Clock,
        addressing: Addressing,
        options: Options,
    ) -> Self {
        let inner = Inner {
            window: Window::new(addressing, options.dedupe_window_seconds, options.dedupe_max_entries),
            limits: Limits::new(clock.clone()),
            leads_in_flight: Arc::new(Budget::new(options.max_in_flight)),
            buffered_bytes: Budget::new(options.max_buffered_bytes),
            requests: Requests::default(),
            leads: Leads::default(),
            is_ready: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            refused_at: AtomicI64::new(i64::MIN),
            log,
            settings,
            zips,
            clock,
            addressing,
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether requests for this path are for [`handle`](Self::handle).
    pub fn serves(path: &str) -> bool {
        head::serves(path)
    }

    /// Whether leads had better be sent here: the submission window is loaded (until it is, requests are answered 503)
    /// and the log has refused none in the last five seconds.
    pub fn is_ready(&self) -> bool {
        let since =
            self.inner.clock.now().as_microsecond().saturating_sub(self.inner.refused_at.load(Ordering::Acquire));
        self.inner.is_ready.load(Ordering::Acquire) && since > REFUSAL_SHADOW_MICROS
    }

    /// From now on posts are answered 503, to be sent to another node or later; those under way finish.
    pub fn stop_accepting(&self) {
        self.inner.is_stopping.store(true, Ordering::Release);
    }

    /// Loads the submission window from the topic `leads` and keeps it, until `stop`. After an error it may be called
    /// again; leads go on being taken meanwhile, and the router settles what the window misses.
    pub async fn follow(&self, stop: CancellationToken) -> Result<(), Error> {
        self.inner.follow(&stop).await
    }

    /// Answers one request. Never fails: what goes wrong is a problem document. When the future is dropped, leads that
    /// are being written are written nevertheless.
    pub async fn handle<B: Body<Data = Bytes>>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let inner = &*self.inner;
        let started = inner.clock.now();
        let (head, body) = request.into_parts();
        let response = match inner.respond(&head, body).await {
            Ok(response) => response,
            Err(refusal) => {
                inner.note_refusal(&head, &refusal);
                refusal.into_response(head.version, inner.options.retry_after_seconds)
            }
        };
        let seconds = inner.clock.now().duration_since(started).as_secs_f64().max(0.0);
        inner.requests.count(response.status(), seconds);
        response
    }
}

impl Inner {
    /// A log that takes nothing refuses every request: it is told of once, until it has been quiet for a while.
    fn note_refusal(&self, head: &Parts, refusal: &Refusal) {
        let path = head.uri.path();
        match refusal {
            Refusal::Log(error) if !matches!(error, LogError::TooLarge { .. }) => {
                let now = self.clock.now().as_microsecond();
                let before = self.refused_at.swap(now, Ordering::AcqRel);
                if now.saturating_sub(before) > QUIET_US {
                    tracing::error!(path, %error, "leads cannot be recorded; providers are told to come back");
                }
            }
            refusal => tracing::debug!(path, problem = refusal.problem(0).kind, "request refused"),
        }
    }

    pub(crate) fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    async fn respond<B: Body<Data = Bytes>>(&self, head: &Parts, body: B) -> Result<Response<Full<Bytes>>, Refusal> {
        let target = Target::of(head)?;
        self.check_open()?;
        let settings = self.settings.load();
        // A key is checked before anything of the body is read; a signature cannot be.
        let now = self.clock.now();
        let sender = Sender::of(head, target, &settings, now)?;
        let written = Written::of(&head.headers)?;
        let idempotency_key = head::idempotency_key(&head.headers)?;

        let mut buffered = self.buffered_bytes.share();
        let body = body::read(body, &self.options, &mut buffered).await?;
        let Proven { provider, identity } = sender.prove(head, target, &settings, &body, now)?;
        let idempotency_key = match &identity {
            Identity::Header => idempotency_key,
            Identity::Id(id) => Some(id.as_str()),
            Identity::ContentAlone => None,
        };

        let intake = Intake {
            provider: &provider,
            settings: &settings,
            zips: &self.zips,
            posted_as: target.posted_as(),
            idempotency_key: idempotency_key.map(|key| (key, 0)),
            now: self.clock.now(),
        };
        let Read { judged, single, in_flight } = self.read_leads(&body, written, intake)?;
        drop((body, buffered));

        let count = judged.len();
        let answers = self.submit(judged, in_flight, intake.now).await;
        let answers = answers.inspect_err(|_| self.leads.count(&provider.id, Outcome::Refused, count))?;
        let tally = Tally::of(&answers);
        self.leads.count(&provider.id, Outcome::Accepted, tally.accepted);
        self.leads.count(&provider.id, Outcome::Duplicate, tally.duplicate);
        self.leads.count(&provider.id, Outcome::Invalid, tally.invalid);
        Ok(if single { answer::of_one(answers) } else { answer::of_many(&answers, tally) })
    }

    fn check_open(&self) -> Result<(), Refusal> {
        if self.is_stopping.load(Ordering::Acquire) {
            Err(Refusal::Stopping)
        } else if !self.is_ready.load(Ordering::Acquire) {
            Err(Refusal::NotReady)
        } else {
            Ok(())
        }
    }

    /// Unpacks, parses, limits and judges: everything between the body and the log.
    fn read_leads(&self, body: &[u8], written: Written, intake: Intake<'_>) -> Result<Read, Refusal> {
        let (options, provider) = (&self.options, intake.provider);
        let unreadable = |refusal| self.unreadable(provider, refusal);
        let unpacked = body::unpack(body, written.packing, options.max_unpacked_bytes).map_err(unreadable)?;
        let text = parse::without_mark(&unpacked);
        parse::at_desk(|desk| {
            let posted = parse::parse(written.format, text, desk, options.max_leads_per_request).map_err(unreadable)?;
            let count = posted.leads.len();
            let refused = |refusal: Refusal| {
                self.leads.count(&provider.id, Outcome::Refused, count);
                refusal
            };
            self.limits.take(provider, count).map_err(|too_fast| refused(too_fast.into()))?;
            let mut in_flight = self.leads_in_flight.owned_share();
            in_flight.grow(count).map_err(|_| refused(Refusal::Busy))?;
            let single = posted.single;
            Ok(Read { judged: judge(posted, intake, options.quarantine_max_lead_bytes), single, in_flight })
        })
    }

    /// What cannot be read counts as one lead: it costs as much work, and the limit holds for it too.
    fn unreadable(&self, provider: &Provider, refusal: Refusal) -> Refusal {
        self.leads.count(&provider.id, Outcome::Refused, 1);
        self.limits.take(provider, 1).err().map_or(refusal, Refusal::from)
    }
}

/// What a body came to.
struct Read {
    judged: Many<Judged>,
    /// Whether it was one lead on its own.
    single: bool,
    in_flight: Share<Arc<Budget>>,
}
