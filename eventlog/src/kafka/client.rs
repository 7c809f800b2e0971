//! What every client of the brokers shares: how it connects, what it logs, and what its errors mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::options::{Compression, Options, RECORD_OVERHEAD, SaslMechanism, Security};
use crate::LogError;

/// Bytes of records that a broker need not wait for more of.
const ENOUGH: usize = 64 << 10;
/// How long a broker waits for a first record, in milliseconds, where it answers at every record.
const IDLE_WAIT: u64 = 100;

/// After how many milliseconds a transactional producer closes a connection on which nothing came or went, also one that waits for an
/// answer (the library takes up to two seconds off). A transaction whose group coordinator is gone looks for another only when the
/// state of some connection changes, and its timeout is not kept: without this it could hang for ever
/// (<https://github.com/confluentinc/librdkafka/issues/5511>, 5456). It can go when the library has a remedy.
const IDLE_CONNECTION: u64 = 5_000;

/// What the brokers, or the way to them, last complained about.
#[derive(Clone, Default)]
pub(crate) struct Complaints(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl Complaints {
    /// The last one, in words.
    pub(crate) fn last(&self) -> Option<String> {
        self.0.lock().as_ref().map(|(_, reason)| reason.clone())
    }

    /// The last one when waiting does not help: wrong credentials, or a certificate that is not trusted.
    pub(crate) fn hopeless(&self) -> Option<String> {
        use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed, UnsupportedSASLMechanism};
        let last = self.0.lock();
        let (code, reason) = last.as_ref()?;
        let hopeless = match code {
            Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism => true,
            // A broker that stops in the middle of a handshake is an error of TLS too.
            SSL => reason.contains("certificate"),
            _ => false,
        };
        hopeless.then(|| reason.clone())
    }

    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        // "All brokers are down" says less than what came before it.
        if code != RDKafkaErrorCode::AllBrokersDown || self.0.lock().is_none() {
            *self.0.lock() = Some((code, reason.to_owned()));
        }
    }
}

/// Where librdkafka's own messages go.
#[derive(Clone, Default)]
pub(crate) struct Context {
    pub(crate) complaints: Complaints,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(facility, message, "kafka client");
            }
            _ => tracing::debug!(facility, message, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // The end of a partition is an event, not an error.
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        self.complaints.note(code, reason);
        tracing::debug!(%error, reason, "kafka client");
    }
}

/// Makes the configurations of all clients of one log.
#[derive(Clone)]
pub(crate) struct Clients {
    base: BTreeMap<&'static str, String>,
    pub(crate) options: Arc<Options>,
    pub(crate) complaints: Complaints,
}

impl Clients {
    /// Fails when a file that the options name cannot be read.
    pub(crate) fn new(options: Options) -> Result<Self, LogError> {
        let base = base(&options)?;
        Ok(Self { base, options: Arc::new(options), complaints: Complaints::default() })
    }

    pub(crate) fn context(&self) -> Context {
        Context { complaints: self.complaints.clone() }
    }

    /// For metadata and administration.
    pub(crate) fn admin(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in &self.base {
            config.set(*key, value);
        }
        config
    }

    /// For records, each acknowledged by all replicas in sync, once, in order.
    pub(crate) fn producer(&self) -> ClientConfig {
        let options = &*self.options;
        let mut config = self.admin();
        let compression = match options.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        let largest = options.max_record_bytes + RECORD_OVERHEAD;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", compression)
            .set("linger.ms", options.linger_ms.to_string())
            .set("message.timeout.ms", options.request_timeout_ms.to_string())
            .set("request.timeout.ms", options.request_timeout_ms.to_string())
            .set("message.max.bytes", largest.to_string())
            // The bound that callers meet is counted before records come here: see `Appender`.
            .set("queue.buffering.max.kbytes", queue_kbytes(options).to_string())
            .set("queue.buffering.max.messages", "10000000")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "500");
        config
    }

    /// For a producer whose records count when its transaction is committed.
    pub(crate) fn transactional(&self, id: &str) -> ClientConfig {
        let timeout = self.options.transaction_timeout_ms;
        let mut config = self.producer();
        config
            .set("transactional.id", id)
            .set("connections.max.idle.ms", IDLE_CONNECTION.to_string())
            .set("transaction.timeout.ms", timeout.to_string())
            .set("message.timeout.ms", self.options.request_timeout_ms.min(timeout).to_string());
        config
    }

    /// For reading what has been committed. `buffered` bytes wait in the client at most.
    pub(crate) fn consumer(&self, group: &str, buffered: usize) -> ClientConfig {
        let wait = self.options.fetch_wait_ms;
        let (enough, wait) = if wait == 0 { (1, IDLE_WAIT) } else { (ENOUGH, wait) };
        let mut config = self.admin();
        config
            .set("group.id", format!("{}{group}", self.options.group_prefix))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            // An answer at every record would be hundreds a second, and each names every partition that is read.
            .set("fetch.min.bytes", enough.to_string())
            .set("fetch.wait.max.ms", wait.to_string())
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.message.max.bytes", (1 << 20).to_string())
            .set("fetch.max.bytes", (8 << 20).to_string())
            .set("queued.max.messages.kbytes", (buffered >> 10).max(64).to_string())
            .set("receive.message.max.bytes", (self.options.max_record_bytes + (16 << 20)).to_string())
            .set("check.crcs", "true");
        config
    }

    /// For a member of the group `name`, which shares partitions with its peers.
    pub(crate) fn member(&self, name: &str, buffered: usize) -> ClientConfig {
        let options = &*self.options;
        let mut config = self.consumer(name, buffered);
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", options.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", heartbeat(options).to_string())
            .set("max.poll.interval.ms", (options.max_busy_ms / 2).max(options.session_timeout_ms).to_string());
        config
    }
}

/// How often a member says that it is there, in milliseconds. In the answer it learns that the group is being arranged anew: for
/// so long nobody has the partitions of a member that leaves.
fn heartbeat(options: &Options) -> u64 {
    (options.session_timeout_ms / 4).min(300)
}

/// The library's own queue, in KiB: larger than what may wait for its acknowledgement, and than any record.
fn queue_kbytes(options: &Options) -> usize {
    let largest = (options.max_record_bytes + RECORD_OVERHEAD).div_ceil(1 << 10);
    (options.max_waiting_bytes / 256).max(1 << 12).max(largest)
}

fn base(options: &Options) -> Result<BTreeMap<&'static str, String>, LogError> {
    let protocol = match options.security {
        Security::Plaintext => "plaintext",
        Security::Tls => "ssl",
        Security::SaslPlaintext => "sasl_plaintext",
        Security::SaslTls => "sasl_ssl",
    };
    let mut base = BTreeMap::from([
        ("bootstrap.servers", options.brokers.clone()),
        ("client.id", "leadway".to_owned()),
        ("security.protocol", protocol.to_owned()),
        ("socket.timeout.ms", options.request_timeout_ms.to_string()),
        ("socket.connection.setup.timeout.ms", options.request_timeout_ms.clamp(1_000, 10_000).to_string()),
        ("socket.keepalive.enable", "true".to_owned()),
        ("socket.nagle.disable", "true".to_owned()),
        ("reconnect.backoff.ms", "50".to_owned()),
        ("reconnect.backoff.max.ms", "1000".to_owned()),
        ("topic.metadata.refresh.interval.ms", "30000".to_owned()),
        ("log.connection.close", "false".to_owned()),
    ]);
    if options.sasl() {
        let mechanism = match options.sasl_mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        base.insert("sasl.mechanism", mechanism.to_owned());
        base.insert("sasl.username", options.user.clone());
        base.insert("sasl.password", password(options)?);
    }
    if options.tls() {
        let files = [
            ("ssl.ca.location", "kafka.ca_file", &options.ca_file),
            ("ssl.certificate.location", "kafka.certificate_file", &options.certificate_file),
            ("ssl.key.location", "kafka.key_file", &options.key_file),
        ];
        for (key, setting, file) in files {
            if let Some(file) = file {
                readable(setting, file)?;
                base.insert(key, file.display().to_string());
            }
        }
        // The library brings its own OpenSSL, which does not know where this system keeps its authorities.
        base.entry("ssl.ca.location").or_insert_with(|| "probe".to_owned());
    }
    Ok(base)
}

fn password(options: &Options) -> Result<String, LogError> {
    match &options.password_file {
        Some(file) if options.password.is_empty() => Ok(readable("kafka.password_file", file)?.trim().to_owned()),
        _ => Ok(options.password.expose().to_owned()),
    }
}

fn readable(setting: &str, file: &std::path::Path) -> Result<String, LogError> {
    std::fs::read_to_string(file)
        .map_err(|e| LogError::Unusable(format!("{setting} names {}, which cannot be read: {e}", file.display())))
}

/// What an error of a request means for the caller, with the way out where waiting is none: whether trying again can help.
pub(crate) fn refused(doing: &str, error: &KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    let right = match code {
        Some(Code::TopicAuthorizationFailed) => "the user may not use the topic: grant DESCRIBE, READ and WRITE on it",
        Some(Code::GroupAuthorizationFailed) => {
            "the user may not use the consumer group: grant DESCRIBE and READ on it"
        }
        Some(Code::TransactionalIdAuthorizationFailed) => {
            "the user may not use the transactional id: grant DESCRIBE and WRITE on it"
        }
        Some(Code::ClusterAuthorizationFailed) => "the user may not do this in the cluster: grant IDEMPOTENT_WRITE",
        Some(Code::InvalidSessionTimeout) => {
            "set kafka.session_timeout_ms to what the brokers allow: not less than their group.min.session.timeout.ms \
             (6000 where it is not set) and not more than group.max.session.timeout.ms"
        }
        Some(Code::SaslAuthenticationFailed | Code::Authentication) => {
            "the brokers refused the user or the password: check kafka.user and kafka.password"
        }
        _ => return LogError::Unavailable(format!("Kafka, {doing}: {error}")),
    };
    LogError::Unusable(format!("Kafka, {doing}: {error}; {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rights_are_missing_is_said_and_everything_else_may_be_tried_again() {
        let missing = refused("reading", &KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(!missing.is_transient() && missing.to_string().contains("grant DESCRIBE, READ"), "{missing}");
        let away = refused("reading", &KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure));
        assert!(away.is_transient() && !away.may_have_landed(), "{away}");
    }

    #[test]
    fn a_session_timeout_that_the_brokers_refuse_is_named() {
        let error = refused("joining", &KafkaError::MessageConsumption(RDKafkaErrorCode::InvalidSessionTimeout));
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains("set kafka.session_timeout_ms"), "{error}");
    }

    #[test]
    fn the_queue_takes_every_record_that_may_be() {
        let sizes = [(1 << 20, 1 << 10), (1 << 20, 64 << 20), (1 << 30, 4 << 20)];
        for (max_waiting_bytes, max_record_bytes) in sizes {
            let options = Options { max_waiting_bytes, max_record_bytes, ..Options::default() };
            assert!(queue_kbytes(&options) << 10 >= max_record_bytes + RECORD_OVERHEAD, "{max_record_bytes}");
            assert!(queue_kbytes(&options) << 10 >= max_waiting_bytes, "{max_waiting_bytes}");
        }
    }

    #[test]
    fn a_password_file_that_is_not_there_is_named() {
        let options = Options {
            security: Security::SaslTls,
            password_file: Some("/nowhere/password".into()),
            ..Options::default()
        };
        let Err(error) = Clients::new(options) else { panic!("a file that is not there was read") };
        assert!(error.to_string().starts_with("kafka.password_file names /nowhere/password"), "{error}");
    }
}
