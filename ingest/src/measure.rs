//! What is counted, by handles that are looked up once.

use std::sync::OnceLock;

use http::StatusCode;
use leadway_domain::ProviderId;
use leadway_domain::telemetry::{HTTP_REQUESTS, HTTP_SECONDS, INGEST_BYTES, INGEST_LEADS, INGEST_RESULTS};
use metrics::{Counter, Histogram};

/// What statuses are called; the last one stands for all others.
const STATUSES: [(u16, &str); 16] = [
    (202, "202"),
    (200, "200"),
    (204, "204"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
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

/// What became of a lead, in the order of [`INGEST_RESULTS`].
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Accepted,
    Duplicate,
    Invalid,
    Refused,
    Conflict,
}

/// One provider's leads by what became of them, and the bytes in which they came.
pub(crate) struct Leads {
    results: [Counter; INGEST_RESULTS.len()],
    bytes: Counter,
}

impl Leads {
    pub(crate) fn of(provider: &ProviderId) -> Self {
        let name = || provider.as_str().to_owned();
        let counter = |result| metrics::counter!(INGEST_LEADS, "provider" => name(), "result" => result);
        Self { results: INGEST_RESULTS.map(counter), bytes: metrics::counter!(INGEST_BYTES, "provider" => name()) }
    }

    pub(crate) fn count(&self, outcome: Outcome, leads: usize) {
        if leads > 0
            && let Some(counter) = self.results.get(outcome as usize)
        {
            counter.increment(leads as u64);
        }
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.bytes.increment(bytes as u64);
    }
}
