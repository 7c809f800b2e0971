//! leadway's topics on the brokers: made where they are missing, checked where they exist.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use leadway_domain::Addressing;
use leadway_domain::record::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::client::{Clients, Context};
use super::options::Options;
use super::topic_settings::{check_beginning, check_offsets_retention, check_settings, settings};
use crate::LogError;

/// Pause between two looks at brokers that are not ready.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a topic may be missing before it is missing for good: others may be making it.
const APPEARING: Duration = Duration::from_secs(5);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Names of the topics and how many partitions each has.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    names: BTreeMap<Topic, String>,
    partitions: u32,
    /// One of the brokers.
    broker: i32,
}

impl Topics {
    pub(crate) fn name(&self, topic: Topic) -> &str {
        self.names.get(&topic).map_or("", String::as_str)
    }

    pub(crate) fn of_name(&self, name: &str) -> Option<Topic> {
        self.names.iter().find(|(_, known)| *known == name).map(|(topic, _)| *topic)
    }

    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        if topic == Topic::Settings { 1 } else { self.partitions }
    }
}

/// What the brokers know of a topic.
struct Found {
    partitions: u32,
    /// Replicas of the partition that has the fewest.
    replicas: usize,
    /// Whether every partition has a leader.
    led: bool,
}

/// Why the topics are not ready.
pub(super) enum NotYet {
    /// It may be better in a moment.
    Wait(String),
    Never(LogError),
}

/// Makes those of the topics in `may_make` that are missing, waits until all have leaders, and checks that they fit
/// together. Several nodes may do it at the same moment. Another topic that is missing beside existing ones had records.
pub(crate) async fn open(clients: &Clients, may_make: &[Topic]) -> Result<Topics, LogError> {
    let admin = AdminClient::from_config_and_context(&clients.admin(), clients.context())
        .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
    let asker = BaseConsumer::from_config_and_context(&clients.admin(), clients.context())
        .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
    let asker = Arc::new(asker);
    let options = &clients.options;
    let names: BTreeMap<Topic, String> =
        Topic::ALL.into_iter().map(|topic| (topic, format!("{}{}", options.topic_prefix, topic.name()))).collect();
    let deadline = Instant::now() + Duration::from_millis(options.start_timeout_ms);
    let missing_since = OnceLock::new();
    loop {
        let ask =
            Preparing { asker: &asker, admin: &admin, options, names: &names, may_make, missing_since: &missing_since };
        let reason = match ask.prepare().await {
            Ok(topics) => {
                check_offsets_retention(&admin, topics.broker).await;
                return Ok(topics);
            }
            Err(NotYet::Never(error)) => return Err(error),
            Err(NotYet::Wait(reason)) => reason,
        };
        if let Some(reason) = clients.complaints.hopeless() {
            let help = "check kafka.security, kafka.user, kafka.password and kafka.ca_file";
            return Err(LogError::Unusable(format!("Kafka at {}: {reason}; {help}", options.brokers)));
        }
        if Instant::now() >= deadline {
            let said = clients.complaints.last().map(|last| format!(" ({last})")).unwrap_or_default();
            return Err(LogError::Unavailable(format!("Kafka at {}: {reason}{said}", options.brokers)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What it takes to look at the topics once.
struct Preparing<'a> {
    asker: &'a Arc<BaseConsumer<Context>>,
    admin: &'a AdminClient<Context>,
    options: &'a Options,
    names: &'a BTreeMap<Topic, String>,
    may_make: &'a [Topic],
    /// Since when brokers that answered lacked a topic: they may come up late.
    missing_since: &'a OnceLock<Instant>,
}

impl Preparing<'_> {
    async fn prepare(&self) -> Result<Topics, NotYet> {
        let Self { asker, admin, options, names, .. } = *self;
        let (broker, found) = find(asker, names).await?;
        let missing: Vec<Topic> = names.keys().copied().filter(|topic| !found.contains_key(topic)).collect();
        if !missing.is_empty() {
            self.check_makeable(&found, &missing).await?;
            create(admin, options, names, &missing).await?;
            return Err(NotYet::Wait("the topics were made and are not known to all brokers yet".into()));
        }
        if let Some((topic, _)) = found.iter().find(|(_, f)| !f.led) {
            let name = names.get(topic).map_or("", String::as_str);
            return Err(NotYet::Wait(format!("topic {name} has a partition without a leader: too few brokers are up")));
        }
        let topics = check(options, names, &found, broker).map_err(NotYet::Never)?;
        check_settings(admin, options, &topics).await?;
        check_beginning(asker, &topics).await?;
        Ok(topics)
    }

    /// Whether the missing topics may be made: all of them never held records. Where another node is making them at this
    /// moment, or a broker that was just started does not know all topics yet, a later look finds them.
    async fn check_makeable(&self, found: &BTreeMap<Topic, Found>, missing: &[Topic]) -> Result<(), NotYet> {
        let name = |topic: &Topic| self.names.get(topic).map_or("", String::as_str);
        let names: Vec<&str> = missing.iter().map(name).collect();
        let reason = match missing.iter().all(|topic| self.may_make.contains(topic)) {
            true => match self.with_records(found).await? {
                None => return Ok(()),
                Some(topic) => format!("topic {} has records", name(&topic)),
            },
            false if found.is_empty() => "the tables were made of such topics, or this command makes none".to_owned(),
            false => "others of the same log exist, or the tables were made of it".to_owned(),
        };
        let error = missing_topics(&names, &reason);
        match self.missing_since.get_or_init(Instant::now).elapsed() < APPEARING {
            true => Err(NotYet::Wait(error)),
            false => Err(NotYet::Never(LogError::Unusable(error))),
        }
    }

    /// One of the topics that ever held a record.
    async fn with_records(&self, found: &BTreeMap<Topic, Found>) -> Result<Option<Topic>, NotYet> {
        for (topic, found) in found {
            let Some(name) = self.names.get(topic) else { continue };
            for partition in 0..found.partitions {
                let (asker, name) = (self.asker.clone(), name.clone());
                let number = i32::try_from(partition).unwrap_or(i32::MAX);
                let asked = tokio::task::spawn_blocking(move || asker.fetch_watermarks(&name, number, REQUEST)).await;
                let (_, end) = match asked {
                    Ok(Ok(watermarks)) => watermarks,
                    Ok(Err(error)) => return Err(NotYet::Wait(format!("where topics end is not known yet: {error}"))),
                    Err(_) => return Err(NotYet::Never(LogError::Closed)),
                };
                if end > 0 {
                    return Ok(Some(*topic));
                }
            }
        }
        Ok(None)
    }
}

fn missing_topics(names: &[&str], reason: &str) -> String {
    let (topics, is, was) = match names {
        [one] => (format!("topic {one}"), "does not exist", "it was"),
        many => (format!("topics {}", many.join(", ")), "do not exist", "they were"),
    };
    format!(
        "{topics} {is}, and {reason}: {was} deleted, or kafka.topic_prefix or kafka.brokers names another log. Nothing is made \
         in the place of records that are lost. Correct the settings, or restore the brokers' volumes (docs/operations.md, \
         Backups). If the records are lost for good, make the topics by hand and run `leadway rebuild --accept-loss`"
    )
}

/// One of the brokers, and the topics that exist. All topics are asked for, because asking for one by name may make it.
async fn find(
    asker: &Arc<BaseConsumer<Context>>,
    names: &BTreeMap<Topic, String>,
) -> Result<(i32, BTreeMap<Topic, Found>), NotYet> {
    let asked = {
        let asker = asker.clone();
        tokio::task::spawn_blocking(move || {
            let metadata = asker.fetch_metadata(None, Duration::from_secs(2));
            // Brings in what the client has to complain about.
            while asker.poll(Duration::from_millis(1)).is_some() {}
            metadata
        })
    };
    let metadata = match asked.await {
        Ok(Ok(metadata)) => metadata,
        Ok(Err(error)) => return Err(NotYet::Wait(format!("no broker answers: {error}; check kafka.brokers"))),
        Err(_) => return Err(NotYet::Never(LogError::Closed)),
    };
    let mut found = BTreeMap::new();
    for topic in metadata.topics() {
        let Some((own, _)) = names.iter().find(|(_, name)| *name == topic.name()) else { continue };
        if topic.error().is_some() || topic.partitions().is_empty() {
            continue;
        }
        let partitions = topic.partitions();
        found.insert(
            *own,
            Found {
                partitions: partitions.len() as u32,
                replicas: partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0),
                led: partitions.iter().all(|p| p.leader() >= 0),
            },
        );
    }
    Ok((metadata.brokers().first().map_or(-1, |broker| broker.id()), found))
}

async fn create(
    admin: &AdminClient<Context>,
    options: &Options,
    names: &BTreeMap<Topic, String>,
    missing: &[Topic],
) -> Result<(), NotYet> {
    let settings = settings(options);
    let of = |topic: &Topic| {
        let partitions = if *topic == Topic::Settings { 1 } else { options.partitions };
        let replication = TopicReplication::Fixed(i32::from(options.replication));
        let name = names.get(topic).map_or("", String::as_str);
        let new = NewTopic::new(name, i32::try_from(partitions).unwrap_or(i32::MAX), replication);
        settings.iter().fold(new, |new, (setting, value)| new.set(setting, value))
    };
    let new: Vec<NewTopic<'_>> = missing.iter().map(of).collect();
    let timeout = Some(Duration::from_secs(5));
    let wait = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
    let answers = admin.create_topics(&new, &wait).await;
    let answers = answers.map_err(|e| NotYet::Wait(format!("the topics cannot be made: {e}")))?;
    for answer in answers {
        match answer {
            Ok(topic) => tracing::info!(topic, "made a topic of the log"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(not_created(&name, code, options)),
        }
    }
    Ok(())
}

fn not_created(name: &str, code: RDKafkaErrorCode, options: &Options) -> NotYet {
    use RDKafkaErrorCode as Code;
    let never = |help: &str| {
        let settings: Vec<String> = settings(options).iter().map(|(name, value)| format!("{name}={value}")).collect();
        let made = format!(
            "{} partitions, the topic settings 1; {} replicas; {}",
            options.partitions,
            options.replication,
            settings.join(", ")
        );
        NotYet::Never(LogError::Unusable(format!(
            "topic {name} does not exist and cannot be made: {code}; {help} ({made})"
        )))
    };
    match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            never("grant the user CREATE on the cluster, or make the topics by hand")
        }
        Code::PolicyViolation | Code::InvalidConfig => {
            never("make the topics by hand, as the cluster's rules want them")
        }
        Code::InvalidReplicationFactor => NotYet::Wait(format!(
            "topic {name} cannot be made with {} replicas: fewer brokers are up. Start them, or lower kafka.replication",
            options.replication
        )),
        code => NotYet::Wait(format!("topic {name} cannot be made: {code}")),
    }
}

/// Whether the topics that are there can be used together.
fn check(
    options: &Options,
    names: &BTreeMap<Topic, String>,
    found: &BTreeMap<Topic, Found>,
    broker: i32,
) -> Result<Topics, LogError> {
    let name = |topic: &Topic| names.get(topic).map_or("", String::as_str);
    let unusable = |message: String| Err(LogError::Unusable(message));
    let keyed: Vec<(&Topic, u32)> =
        found.iter().filter(|(t, _)| **t != Topic::Settings).map(|(t, f)| (t, f.partitions)).collect();
    let partitions = keyed.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if let Some((topic, fewer)) = keyed.iter().find(|(_, count)| *count != partitions) {
        return unusable(format!(
            "topic {} has {fewer} partitions and others have {partitions}: leadway's topics need the same number, because a \
             stage reads and writes the same partition of several. Add partitions to the smaller ones before leads are in \
             them, or use another kafka.topic_prefix",
            name(topic)
        ));
    }
    if partitions > Addressing::MAX_PARTITIONS {
        return unusable(format!("the topics have {partitions} partitions; ids allow {}", Addressing::MAX_PARTITIONS));
    }
    if let Some(settings) = found.get(&Topic::Settings).filter(|f| f.partitions != 1) {
        let (name, count) = (name(&Topic::Settings), settings.partitions);
        return unusable(format!(
            "topic {name} has {count} partitions and must have 1, because settings have one order"
        ));
    }
    if partitions != options.partitions {
        tracing::info!(
            partitions,
            asked = options.partitions,
            "the topics exist; the number of their partitions counts"
        );
    }
    for (topic, found) in found.iter().filter(|(_, f)| f.replicas < usize::from(options.replication)) {
        let (topic, replicas, asked) = (name(topic), found.replicas, options.replication);
        tracing::warn!(topic, replicas, asked, "a topic has fewer replicas than kafka.replication asks for");
    }
    Ok(Topics { names: names.clone(), partitions, broker })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(counts: [u32; 5]) -> Result<Topics, LogError> {
        let names = Topic::ALL.into_iter().map(|t| (t, t.name().to_owned())).collect();
        let found = |partitions| Found { partitions, replicas: 3, led: true };
        let found = Topic::ALL.into_iter().zip(counts).map(|(t, count)| (t, found(count))).collect();
        check(&Options::default(), &names, &found, 0)
    }

    #[test]
    fn topics_that_exist_keep_their_number_of_partitions_if_they_fit_together() {
        let topics = checked([1, 5, 5, 5, 5]).unwrap();
        assert_eq!((topics.partitions(Topic::Leads), topics.partitions(Topic::Settings)), (5, 1));
        let error = checked([1, 5, 5, 4, 5]).unwrap_err().to_string();
        assert!(error.contains("deliveries has 4 partitions and others have 5"), "{error}");
        let error = checked([2, 5, 5, 5, 5]).unwrap_err().to_string();
        assert!(error.contains("settings has 2 partitions and must have 1"), "{error}");
        assert!(checked([1, 5_000, 5_000, 5_000, 5_000]).is_err());
    }

    #[test]
    fn a_topic_that_is_missing_is_named_with_the_way_out() {
        let one = missing_topics(&["leadway.leads"], "topic leadway.settings has records");
        assert!(one.starts_with("topic leadway.leads does not exist, and topic leadway.settings has records"), "{one}");
        assert!(one.contains("restore") && one.contains("leadway rebuild --accept-loss"), "{one}");
        let two = missing_topics(&["a", "b"], "others exist");
        assert!(two.starts_with("topics a, b do not exist, and others exist: they were deleted"), "{two}");
    }

    #[test]
    fn missing_rights_are_final_and_missing_brokers_are_not() {
        let options = Options::default();
        let never = not_created("t", RDKafkaErrorCode::TopicAuthorizationFailed, &options);
        let NotYet::Never(error) = never else { panic!("waiting does not help") };
        let text = error.to_string();
        let parts =
            ["grant the user CREATE", "12 partitions", "3 replicas", "min.insync.replicas=2", "retention.ms=-1"];
        let others = ["retention.bytes=-1", "cleanup.policy=delete", "max.message.bytes=4198400"];
        for part in parts.into_iter().chain(others) {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(matches!(not_created("t", RDKafkaErrorCode::InvalidReplicationFactor, &options), NotYet::Wait(_)));
    }
}
