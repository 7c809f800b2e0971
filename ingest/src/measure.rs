//! What is counted, by handles that are looked up once.

use std::sync::OnceLock;

use dashmap::DashMap;
use http::StatusCode;
use leadway_domain::ProviderId;
use leadway_domain::telemetry::{HTTP_REQUESTS, HTTP_SECONDS, INGEST_LEADS};
use metrics::{Counter, Histogram};
use rustc_hash::FxBuildHasher;

/// What statuses are called; the last one stands for all others.
const STATUSES: [(u16, &str); 14] = [
    (202, "202"),
    (200, "200"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (429, "429"),
    (503, "503"),
    (0, "other"),
];

/// The requests answered.
#[derive(Default)]
pub(crate) struct Requests {
    by_status: [OnceLock<Counter>; STATUSES.len()],
    seconds: OnceLock<Histogram>,
}

impl Requests {
    pub(crate) fn count(&self, status: StatusCode, seconds: f64) {
        let known = |(code, _): &(u16, &str)| *code == status.as_u16() || *code == 0;
        let numbered = STATUSES.iter().zip(&self.by_status).find(|(status, _)| known(status));
        if let Some(((_, name), counter)) = numbered {
            let new = || metrics::counter!(HTTP_REQUESTS, "service" => "ingest", "status" => *name);
            counter.get_or_init(new).increment(1);
        }
        self.seconds.get_or_init(|| metrics::histogram!(HTTP_SECONDS, "service" => "ingest")).record(seconds);
    }
}

/// What became of a lead.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Accepted,
    Duplicate,
    Invalid,
    Refused,
}

/// One provider's leads by what became of them.
struct Counters([Counter; 4]);

impl Counters {
    fn of(provider: &ProviderId) -> Self {
        let results = ["accepted", "duplicate", "invalid", "refused"];
        let counter =
            |result| metrics::counter!(INGEST_LEADS, "provider" => provider.as_str().to_owned(), "result" => result);
        Self(results.map(counter))
    }

    fn add(&self, outcome: Outcome, leads: usize) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.increment(leads as u64);
        }
    }
}

/// The leads posted, of providers that were ever known.
#[derive(Default)]
pub(crate) struct Leads(DashMap<ProviderId, Counters, FxBuildHasher>);

impl Leads {
    pub(crate) fn count(&self, provider: &ProviderId, outcome: Outcome, leads: usize) {
        if leads == 0 {
            return;
        }
        if let Some(known) = self.0.get(provider) {
            return known.add(outcome, leads);
        }
        self.0.entry(provider.clone()).or_insert_with(|| Counters::of(provider)).add(outcome, leads);
    }
}
