//! The flow of one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use leadway_domain::{Addressing, Clock, ZipDirectory};
use leadway_eventlog::{EventLog, LogError, SettingsHandle};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Tally};
use crate::auth::{Identity, Proven, Sender};
use crate::dedupe::Window;
use crate::gate::Gates;
use crate::head::{self, Carrier, Target, Written};
use crate::judge::Posting;
use crate::large::{self, Turns};
use crate::limits::Limits;
use crate::measure::{Outcome, Requests};
use crate::read::{Read, Sent};
use crate::refusal::Refusal;
use crate::refused::Refused;
use crate::{Error, Options, auth, body, cors};

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
    pub(crate) zips: Arc<ZipDirectory>,
    pub(crate) clock: Clock,
    pub(crate) addressing: Addressing,
    pub(crate) options: Options,
    pub(crate) window: Arc<Window>,
    pub(crate) refused: Refused,
    pub(crate) limits: Limits,
    gates: Gates,
    pub(crate) turns: Turns,
    requests: Requests,
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
        let large = large::at_once(options.large_bodies);
        let gates = Gates::new(&options, large);
        let inner = Inner {
            window: Window::new(addressing, options.dedupe_window_seconds, options.dedupe_max_entries),
            limits: Limits::new(clock.clone()),
            refused: Refused::default(),
            turns: Turns::new(large, options.large_bodies_per_provider),
            gates,
            requests: Requests::default(),
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
        let inner = &self.inner;
        let started = inner.clock.now();
        let (head, body) = request.into_parts();
        let origin = cors::allowed(&head, &inner.settings);
        let mut response = match inner.respond(&head, body, origin.is_some()).await {
            Ok(response) => response,
            Err(refusal) => {
                inner.note_refusal(&head, &refusal);
                refusal.into_response(head.version, inner.options.retry_after_seconds)
            }
        };
        if let Some(origin) = origin {
            cors::show(response.headers_mut(), origin);
        }
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

    async fn respond<B: Body<Data = Bytes>>(
        self: &Arc<Self>,
        head: &Parts,
        body: B,
        is_allowed_page: bool,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        if is_allowed_page && cors::is_question(head) {
            return Ok(cors::leave());
        }
        let (target, carrier) = Target::of(head)?;
        self.check_open()?;
        let settings = self.settings.load();
        // A key is checked before anything of the body is read; a signature cannot be.
        if carrier == Carrier::Query && !auth::has_key(head) {
            // What link checkers and test buttons send.
            return Err(Refusal::MethodNotAllowed);
        }
        let now = self.clock.now();
        let sender = Sender::of(head, target, &settings, now)?;
        let mut written = Written::of(&head.headers)?;
        let idempotency_key = head::idempotency_key(&head.headers)?;

        let (known, mut buffered) = match &sender {
            Sender::Known(provider) => {
                let place = self.gates.of(&provider.id).enter(provider)?;
                let buffered = place.buffered.share();
                (Some(place), buffered)
            }
            Sender::SignedBody { named, .. } | Sender::SignedMessage { named, .. } => {
                (None, self.gates.of(&named.id).unproven.share())
            }
        };
        let mut body = body::read(body, &self.options, &mut buffered).await?;
        let Proven { provider, identity } = sender.prove(head, target, &settings, &body, now)?;
        let place = match known {
            Some(place) => place,
            None => {
                let place = self.gates.of(&provider.id).enter(&provider)?;
                buffered.move_to(&place.buffered).map_err(|_| Refusal::Busy)?;
                place
            }
        };
        let is_by_key = matches!(identity, Identity::Header);
        if !is_by_key {
            // Only the body is signed: whoever saw it could send it again and have another name read out of it.
            written.charset = None;
        }
        let idempotency_key = match identity {
            Identity::Header => idempotency_key.map(str::to_owned),
            Identity::Id(id) => Some(id),
            Identity::ContentAlone => None,
        };
        if carrier == Carrier::Query && !provider.posting.allow_get {
            return Err(Refusal::MethodNotAllowed);
        }
        // A signature says nothing of the query.
        if provider.posting.allow_get && is_by_key && body.trim_ascii().is_empty() {
            body = head::form_of(head.uri.query().unwrap_or_default());
            buffered.grow(body.len()).map_err(|_| Refusal::Busy)?;
            written = Written::FORM;
        }
        let now = self.clock.now();
        let sent = Sent {
            gate: Arc::clone(&place),
            settings,
            posted_as: target.posted_as(),
            idempotency_key,
            now,
            written,
            body,
            buffered,
            provider: Arc::clone(&provider),
        };
        let posting = Posting { provider: &provider.id, posted_as: sent.posted_as, at: now };
        let Read { judged, single, in_flight } = self.read(sent).await?;

        let count = judged.len();
        let answers = self.submit(judged, in_flight, posting).await;
        let answers = answers.inspect_err(|_| place.leads.count(Outcome::Refused, count))?;
        let tally = Tally::of(&answers);
        place.leads.count(Outcome::Accepted, tally.accepted);
        place.leads.count(Outcome::Duplicate, tally.duplicate);
        place.leads.count(Outcome::Invalid, tally.invalid);
        place.leads.count(Outcome::Conflict, tally.conflict);
        let success = provider.posting.success_status;
        Ok(if single { answer::of_one(answers, success) } else { answer::of_many(&answers, tally, success) })
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
}
