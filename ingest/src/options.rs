use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the HTTP front for providers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where the node notes its submission window, to know it at the next start without reading the log of a day. Where it
    /// cannot be made, or another process has it, nothing is noted.
    #[serde(skip)]
    pub notes: Option<PathBuf>,
    /// Largest request body as sent, in bytes. Larger ones are answered 413.
    pub max_body_bytes: usize,
    /// Largest gzip body once unpacked, in bytes. Larger ones are answered 413.
    pub max_unpacked_bytes: usize,
    /// Most values, lists and objects in one request. Larger ones are answered 413.
    pub max_values_per_request: usize,
    /// Most requests of one provider that this node handles at one moment, unless the provider has a `max_concurrent` of its
    /// own. More are answered 429.
    pub max_concurrent_per_provider: usize,
    /// How many large bodies (above 64 KiB, unpacked) are read at one moment, each on a thread of its own; 0 stands for half
    /// of the cores. One provider has at most half of them.
    pub large_bodies: usize,
    /// How many large bodies of one provider may be read or wait for it. More are answered 429.
    pub large_bodies_per_provider: usize,
    /// How long a sender may take to send its body, in milliseconds. Slower ones are answered 408.
    pub body_timeout_ms: u64,
    /// Most leads in one request. Larger ones are answered 413.
    pub max_leads_per_request: usize,
    /// Most leads of all requests that may await their durability at one moment; those of one provider have half of it. More
    /// are answered 503.
    pub max_in_flight: usize,
    /// Most bytes of request bodies, as sent and unpacked, kept in memory at one moment; those of one provider have half of it.
    /// More are answered 503.
    pub max_buffered_bytes: usize,
    /// The part of it for bodies whose signature is still to be checked: until they are whole, anybody may have sent them.
    pub max_unproven_bytes: usize,
    /// What `Retry-After` says when this node cannot take leads now, in seconds.
    pub retry_after_seconds: u64,
    /// How long a lead posted again is answered as a duplicate of the first, in seconds; at least 600.
    pub dedupe_window_seconds: u32,
    /// Most submissions that the window holds; the oldest go first. One takes about 180 bytes, and twice as much above 917,000,
    /// where the map that holds them doubles.
    pub dedupe_max_entries: usize,
    /// Largest lead, in bytes of JSON. Larger ones are answered 422.
    pub max_lead_bytes: usize,
    /// Largest refused lead that is kept in quarantine, in bytes of JSON.
    pub quarantine_max_lead_bytes: usize,
    /// Pause between two looks at what peers accepted, in milliseconds. A longer one costs less and lets more leads
    /// posted twice to two nodes reach the router, which settles them.
    pub follow_pause_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            notes: None,
            max_body_bytes: 1 << 20,
            max_unpacked_bytes: 4 << 20,
            max_values_per_request: 100_000,
            max_concurrent_per_provider: 2_000,
            large_bodies: 0,
            large_bodies_per_provider: 16,
            body_timeout_ms: 10_000,
            max_leads_per_request: 1_000,
            max_in_flight: 20_000,
            max_buffered_bytes: 256 << 20,
            max_unproven_bytes: 16 << 20,
            retry_after_seconds: 2,
            dedupe_window_seconds: 86_400,
            dedupe_max_entries: 900_000,
            max_lead_bytes: 64 << 10,
            quarantine_max_lead_bytes: 64 << 10,
            follow_pause_ms: 10,
        }
    }
}
