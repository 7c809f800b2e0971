//! Every metric that leadway exposes, specified in one place. Components use these names and no others; a test
//! compares them with what a running node exposes.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Prometheus name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// What may become of a posted lead: the label `result` of `INGEST_LEADS`.
pub const INGEST_RESULTS: [&str; 5] = ["accepted", "duplicate", "invalid", "refused", "conflict"];

macro_rules! metrics {
    ($($(#[$doc:meta])* $konst:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $konst: &str = $name;
        )*
        /// All of them.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

metrics! {
    HTTP_REQUESTS = "leadway_http_requests_total", Counter, ["service", "status"], "Requests answered, by service and status.";
    HTTP_SECONDS = "leadway_http_request_seconds", Histogram, ["service"], "Time from the request's head to the answer.";
    HTTP_CONNECTIONS = "leadway_http_connections", Gauge, [], "Open connections.";
    HTTP_HELD_BYTES = "leadway_http_held_bytes", Gauge, [], "Memory that requests under way and answers not yet read are counted with.";
    WRONG_KEYS = "leadway_wrong_keys_total", Counter, ["service"], "Requests refused for want of a valid key: by ingest, by the api.";
    INGEST_LEADS = "leadway_ingest_leads_total", Counter, ["provider", "result"], "Leads posted, by provider and result: accepted, duplicate, invalid, refused, conflict.";
    INGEST_BYTES = "leadway_ingest_bytes_total", Counter, ["provider"], "Bytes of leads that providers sent, unpacked, by provider.";
    INGEST_DEDUPE_ENTRIES = "leadway_ingest_dedupe_entries", Gauge, [], "Submissions that the deduplication window holds.";
    ROUTER_DECISIONS = "leadway_router_decisions_total", Counter, ["result"], "Routing decisions: routed, unrouted, waiting (a lead without a date), duplicate, refused.";
    ROUTER_ALREADY_DECIDED = "leadway_router_already_decided_total", Counter, [], "Leads and commands passed over because they were decided before: the router's position was moved back.";
    ROUTER_SECONDS = "leadway_router_decision_seconds", Histogram, [], "Time from the lead's arrival to its durable routing decision.";
    ROUTER_RULES = "leadway_router_rules", Gauge, [], "Active rules in the match index.";
    DELIVERY_OUTCOMES = "leadway_delivery_outcomes_total", Counter, ["workspace", "result"], "Delivery outcomes per workspace: delivered, retry, given_up, held.";
    DELIVERY_ATTEMPT_SECONDS = "leadway_delivery_attempt_seconds", Histogram, [], "Time of one delivery attempt.";
    DELIVERY_SECONDS = "leadway_delivery_seconds", Histogram, [], "Time from routing to the client's 2xx.";
    END_TO_END_SECONDS = "leadway_end_to_end_seconds", Histogram, [], "Time from the lead's arrival to the client's 2xx.";
    DELIVERY_IN_FLIGHT = "leadway_delivery_in_flight", Gauge, [], "Delivery attempts under way.";
    DELIVERY_QUEUED = "leadway_delivery_queued", Gauge, [], "Deliveries waiting in memory.";
    DELIVERY_WAITING = "leadway_delivery_waiting", Gauge, ["workspace", "where"], "Deliveries of one workspace that wait: in memory (of the node that serves it), or on disk for their next attempt (10000 means that many or more; every node that runs scoring measures the same).";
    DELIVERY_OLDEST_SECONDS = "leadway_delivery_oldest_seconds", Gauge, ["workspace"], "Age of the oldest delivery of one workspace that waits on disk, since its routing; 0 while its webhook is switched off.";
    CIRCUIT_OPEN = "leadway_delivery_circuit_open", Gauge, ["workspace"], "Whether a workspace's client is left alone because it keeps failing: 1 or 0.";
    UNROUTED_LEADS = "leadway_unrouted_leads", Gauge, [], "Leads that match nothing and wait for a rule or for a person (10000 means that many or more).";
    QUARANTINE_LEADS = "leadway_quarantine_leads", Gauge, ["provider"], "Refused leads that wait in quarantine, by provider.";
    LOG_COMMITS = "leadway_log_commits_total", Counter, [], "Commits of the log (one write and one fsync each).";
    LOG_COMMIT_SECONDS = "leadway_log_commit_seconds", Histogram, [], "Time of one commit of the log.";
    LOG_RECORDS = "leadway_log_records_total", Counter, ["topic"], "Records appended, by topic.";
    LOG_BYTES = "leadway_log_bytes", Gauge, [], "Size of the log on disk.";
    DISK_AVAILABLE_BYTES = "leadway_disk_available_bytes", Gauge, [], "Bytes free on the disk of the data folder.";
    DISK_SIZE_BYTES = "leadway_disk_size_bytes", Gauge, [], "Size of the disk of the data folder.";
    LOG_IDENTITY = "leadway_log_identity", Gauge, [], "Whether the node's log and tables belong together: 1 or 0, and at 0 the node has stopped working.";
    LOG_FAILURES = "leadway_log_failures_total", Counter, [], "Commits of the log that failed and were taken back.";
    KAFKA_APPEND_SECONDS = "leadway_kafka_append_seconds", Histogram, [], "Time of one append of ingest or the portal to Kafka.";
    KAFKA_BROKERS = "leadway_kafka_brokers", Gauge, [], "Brokers that are up.";
    KAFKA_UNDER_REPLICATED = "leadway_kafka_under_replicated_partitions", Gauge, [], "Partitions of the log that have fewer replicas in sync than replicas.";
    KAFKA_AT_MIN_ISR = "leadway_kafka_at_min_isr_partitions", Gauge, [], "Of these, those that have no more replicas in sync than an append needs.";
    STAGE_LAG = "leadway_stage_lag_records", Gauge, ["stage", "topic"], "Records that a stage has yet to process.";
    STAGE_FAILURES = "leadway_stage_failures_total", Counter, ["stage"], "Times that a stage failed and was started again.";
    TABLES_BATCH_SECONDS = "leadway_tables_batch_seconds", Histogram, [], "Time of one batch written to the tables.";
    TABLES_FAILURES = "leadway_tables_failures_total", Counter, [], "Times that records could not be read or brought into the tables; it is tried again.";
    TABLES_ROWS = "leadway_tables_rows_total", Counter, [], "Rows written to the tables.";
    LEAD_COST_CENTS = "leadway_lead_cost_cents_total", Counter, ["provider"], "Cents that leads received cost, by provider.";
    LEAD_COST_RETURNED_CENTS = "leadway_lead_cost_returned_cents_total", Counter, ["provider"], "Cents counted back for leads that turned out to be duplicates, by provider.";
    BILLED_CENTS = "leadway_billed_cents_total", Counter, ["workspace"], "Cents billed for delivered appointments, by workspace.";
    DELIVERED_COST_CENTS = "leadway_delivered_cost_cents_total", Counter, ["workspace"], "Cents that the leads of delivered appointments cost, by workspace.";
    UNREADABLE_RECORDS = "leadway_unreadable_records_total", Counter, ["topic"], "Records set aside because they could not be read.";
    DELIVERIES_OFF = "leadway_deliveries_off", Gauge, [], "1 where the node was told to deliver nothing (deliver = false), 0 elsewhere.";
    READY = "leadway_ready", Gauge, ["component"], "Whether a component of the node is ready: 1 or 0.";
    CLOCK_OFFSET_SECONDS = "leadway_clock_offset_seconds", Gauge, [], "Seconds by which the node's clock is ahead of the database's.";
    SETTINGS_INFO = "leadway_settings_info", Gauge, ["hash"], "Always 1; the hash of the settings that all nodes should share.";
    BUILD_INFO = "leadway_build_info", Gauge, ["version"], "Always 1; says which version runs.";
}
