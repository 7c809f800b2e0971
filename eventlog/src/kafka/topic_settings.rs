//! The settings that leadway's topics need: made with them, and checked where somebody else made them. The log is where
//! everything comes from: a topic that forgets its oldest records loses settings, leads and bills without a word.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{Context, refused};
use super::options::{Options, RECORD_OVERHEAD};
use super::topics::{NotYet, Topics};
use crate::LogError;

const MIN_INSYNC: &str = "min.insync.replicas";
const LARGEST: &str = "max.message.bytes";
const CLEANUP: &str = "cleanup.policy";
const KEPT_MS: &str = "retention.ms";
const KEPT_BYTES: &str = "retention.bytes";

/// A year, in minutes.
const SAFE_RETENTION: u64 = 365 * 24 * 60;
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// What topics are made with.
pub(super) fn settings(options: &Options) -> [(&'static str, String); 5] {
    [
        (MIN_INSYNC, options.min_insync.to_string()),
        (LARGEST, (options.max_record_bytes + RECORD_OVERHEAD).to_string()),
        (CLEANUP, "delete".to_owned()),
        (KEPT_MS, "-1".to_owned()),
        (KEPT_BYTES, "-1".to_owned()),
    ]
}

/// What is wrong with a topic's setting.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    /// Records would be lost.
    Loses { setting: &'static str, value: String, wanted: String },
    /// Less than the options ask for.
    Low { setting: &'static str, value: String, wanted: String },
    /// The brokers do not tell it.
    Hidden { setting: &'static str },
}

/// What is wrong with a topic whose settings `value` knows.
fn flaws<'v>(options: &Options, value: impl Fn(&str) -> Option<&'v str>) -> Vec<Flaw> {
    let flaw = |(setting, wanted): (&'static str, String)| {
        let Some(value) = value(setting) else { return Some(Flaw::Hidden { setting }) };
        let value = value.trim().to_owned();
        if matches!(setting, MIN_INSYNC | LARGEST) {
            let enough = value.parse::<u64>().ok() >= wanted.parse::<u64>().ok();
            return (!enough).then_some(Flaw::Low { setting, value, wanted });
        }
        (value != wanted).then_some(Flaw::Loses { setting, value, wanted })
    };
    settings(options).into_iter().filter_map(flaw).collect()
}

/// Refuses topics that forget; warns of what is low, and of what cannot be known.
pub(super) async fn check_settings(
    admin: &AdminClient<Context>,
    options: &Options,
    topics: &Topics,
) -> Result<(), NotYet> {
    let asked: Vec<ResourceSpecifier<'_>> =
        Topic::ALL.into_iter().map(|topic| ResourceSpecifier::Topic(topics.name(topic))).collect();
    let answers = match admin.describe_configs(&asked, &AdminOptions::new().request_timeout(Some(REQUEST))).await {
        Ok(answers) => answers,
        Err(error) if is_late(&error) => {
            return Err(NotYet::Wait(format!("the topics' settings cannot be read: {error}")));
        }
        Err(error) => {
            tracing::warn!(%error, "the topics' settings cannot be read, so whether they keep all records is not known");
            return Ok(());
        }
    };
    let described: Vec<ConfigResource> = answers.into_iter().filter_map(Result::ok).collect();
    for topic in Topic::ALL {
        let name = topics.name(topic);
        let is_it =
            |config: &&ConfigResource| matches!(&config.specifier, OwnedResourceSpecifier::Topic(n) if n == name);
        let config = described.iter().find(is_it);
        let flaws = flaws(options, |setting| config?.get(setting)?.value.as_deref());
        judge(name, flaws).map_err(NotYet::Never)?;
    }
    Ok(())
}

/// Fails for what loses records; the rest is told.
fn judge(topic: &str, flaws: Vec<Flaw>) -> Result<(), LogError> {
    let mut hidden = Vec::new();
    for flaw in flaws {
        match flaw {
            Flaw::Loses { setting, value, wanted } => {
                return Err(LogError::Unusable(format!(
                    "topic {topic} has {setting}={value} and must have {setting}={wanted}: the log keeps everything, and \
                     leadway cannot do without its oldest records. Set it: kafka-configs.sh --bootstrap-server … --alter \
                     --entity-type topics --entity-name {topic} --add-config {setting}={wanted}"
                )));
            }
            Flaw::Low { setting, value, wanted } => {
                tracing::warn!(
                    topic,
                    setting,
                    value,
                    wanted,
                    "a topic's setting is lower than leadway's options ask for"
                );
            }
            Flaw::Hidden { setting } => hidden.push(setting),
        }
    }
    if !hidden.is_empty() {
        tracing::warn!(
            topic,
            settings = hidden.join(", "),
            "the brokers do not tell a topic's settings, so whether it keeps all records is not known: grant the user \
             DESCRIBE_CONFIGS on it"
        );
    }
    Ok(())
}

/// Whether asking again may help.
fn is_late(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::NetworkException
                | Code::CoordinatorLoadInProgress
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
        )
    )
}

/// Refuses a topic of settings whose first changes are gone: what is left of them makes no state.
pub(super) async fn check_beginning(asker: &Arc<BaseConsumer<Context>>, topics: &Topics) -> Result<(), NotYet> {
    let name = topics.name(Topic::Settings).to_owned();
    let asked = {
        let (asker, name) = (asker.clone(), name.clone());
        tokio::task::spawn_blocking(move || asker.fetch_watermarks(&name, 0, REQUEST))
    };
    match asked.await {
        Ok(Ok((first, _))) => begins(&name, first).map_err(NotYet::Never),
        Ok(Err(error)) => Err(match refused("asking where the settings begin", &error) {
            error if error.is_transient() => NotYet::Wait(error.to_string()),
            error => NotYet::Never(error),
        }),
        Err(_) => Err(NotYet::Never(LogError::Closed)),
    }
}

fn begins(topic: &str, first: i64) -> Result<(), LogError> {
    if first == 0 {
        return Ok(());
    }
    Err(LogError::Unusable(format!(
        "topic {topic} begins at offset {first}: the settings before were deleted, and without them those behind mean \
         nothing. Restore the topic from a copy that begins at offset 0, or use another kafka.topic_prefix"
    )))
}

/// Brokers forget where a group stands when it has had no member for so long.
pub(super) async fn check_offsets_retention(admin: &AdminClient<Context>, broker: i32) {
    const SETTING: &str = "offsets.retention.minutes";
    let options = AdminOptions::new().request_timeout(Some(REQUEST));
    // Who may not ask for the brokers' settings is not told.
    let Ok(answers) = admin.describe_configs(&[ResourceSpecifier::Broker(broker)], &options).await else { return };
    let value =
        |config: ConfigResource| config.get(SETTING).and_then(|entry| entry.value.as_deref()?.parse::<u64>().ok());
    let minutes = answers.into_iter().filter_map(Result::ok).find_map(value);
    if let Some(minutes) = minutes.filter(|minutes| *minutes < SAFE_RETENTION) {
        tracing::warn!(
            minutes,
            "the brokers' offsets.retention.minutes is short: they forget how far a stage had come that nobody runs for \
             longer, and the router then refuses to begin until somebody sets its group's offsets. Set it to 2147483647"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(setting: &'static str, value: Option<&'static str>) -> Vec<Flaw> {
        let options = Options::default();
        let good = settings(&options);
        flaws(&options, |asked| {
            let other = good.iter().find(|(name, _)| *name == asked).map(|(_, value)| value.as_str());
            if asked == setting { value } else { other }
        })
    }

    #[test]
    fn a_topic_that_forgets_is_refused_with_the_way_out() {
        let cases =
            [(KEPT_MS, "604800000"), (KEPT_BYTES, "1073741824"), (CLEANUP, "compact"), (CLEANUP, "compact,delete")];
        for (setting, value) in cases {
            let error = judge("leadway.leads", with(setting, Some(value))).unwrap_err().to_string();
            let (_, wanted) = settings(&Options::default()).into_iter().find(|(name, _)| *name == setting).unwrap();
            assert!(error.contains(&format!("topic leadway.leads has {setting}={value}")), "{error}");
            assert!(error.contains("kafka-configs.sh") && error.contains("--entity-name leadway.leads"), "{error}");
            assert!(error.ends_with(&format!("--add-config {setting}={wanted}")), "{error}");
        }
    }

    #[test]
    fn what_is_low_or_hidden_is_no_refusal() {
        assert_eq!(with(KEPT_MS, Some("-1")), []);
        assert_eq!(with(MIN_INSYNC, Some("3")), [], "more than asked for");
        let (value, wanted) = ("1".to_owned(), "2".to_owned());
        assert_eq!(with(MIN_INSYNC, Some("1")), [Flaw::Low { setting: MIN_INSYNC, value, wanted }]);
        assert!(matches!(with(LARGEST, Some("1048588"))[..], [Flaw::Low { setting: LARGEST, .. }]));
        assert_eq!(with(CLEANUP, None), [Flaw::Hidden { setting: CLEANUP }]);
        for flaws in [with(MIN_INSYNC, Some("1")), with(CLEANUP, None)] {
            judge("t", flaws).unwrap();
        }
    }

    #[test]
    fn settings_without_their_beginning_are_refused() {
        begins("leadway.settings", 0).unwrap();
        let error = begins("leadway.settings", 12).unwrap_err().to_string();
        assert!(error.starts_with("topic leadway.settings begins at offset 12"), "{error}");
    }
}
