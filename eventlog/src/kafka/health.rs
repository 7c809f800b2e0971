//! How the brokers are, as a node sees them: told in metrics, and nothing here depends on it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use leadway_domain::telemetry::{KAFKA_AT_MIN_ISR, KAFKA_BROKERS, KAFKA_UNDER_REPLICATED};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

use super::client::{Clients, Context};
use super::lanes::Lanes;
use crate::LogError;

/// How often it is looked.
const PAUSE: Duration = Duration::from_secs(15);
/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks now and then, until it is dropped.
pub(crate) struct Health {
    _until_dropped: Sender<()>,
}

impl Health {
    /// Starts the thread that asks.
    pub(crate) fn watch(clients: &Clients, lanes: Arc<Lanes>) -> Result<Self, LogError> {
        let consumer = BaseConsumer::from_config_and_context(&clients.admin(), clients.context())
            .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
        let (sender, end) = channel();
        let min_insync = usize::from(clients.options.min_insync);
        let watch = move || look_again_and_again(&consumer, &lanes, min_insync, &end);
        std::thread::Builder::new()
            .name("kafka-health".into())
            .spawn(watch)
            .map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
        Ok(Self { _until_dropped: sender })
    }
}

fn look_again_and_again(consumer: &BaseConsumer<Context>, lanes: &Lanes, min_insync: usize, end: &Receiver<()>) {
    loop {
        match consumer.fetch_metadata(None, PATIENCE) {
            Ok(metadata) => tell(&metadata, lanes, min_insync),
            // The node itself is cut off from them: it knows of none.
            Err(error) => {
                tracing::debug!(%error, "the brokers do not say how they are");
                metrics::gauge!(KAFKA_BROKERS).set(0.0);
            }
        }
        // Serves what the client has to say.
        while consumer.poll(Duration::ZERO).is_some() {}
        if end.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn tell(metadata: &Metadata, lanes: &Lanes, min_insync: usize) {
    let own = metadata.topics().iter().filter(|topic| lanes.topics.of_name(topic.name()).is_some());
    let replicas = own.flat_map(|topic| topic.partitions()).map(|p| (p.replicas().len(), p.isr().len()));
    let (under, at_min) = lacking(replicas, min_insync);
    metrics::gauge!(KAFKA_BROKERS).set(metadata.brokers().len() as f64);
    metrics::gauge!(KAFKA_UNDER_REPLICATED).set(under as f64);
    metrics::gauge!(KAFKA_AT_MIN_ISR).set(at_min as f64);
}

/// Of partitions with so many replicas, so many of them in sync: how many lack some, and how many of these have none to spare.
fn lacking(partitions: impl Iterator<Item = (usize, usize)>, min_insync: usize) -> (usize, usize) {
    let lacking = partitions.filter(|(replicas, in_sync)| in_sync < replicas);
    lacking.fold((0, 0), |(under, at_min), (_, in_sync)| (under + 1, at_min + usize::from(in_sync <= min_insync)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_lack_replicas_are_counted() {
        let partitions = [(3, 3), (3, 2), (3, 1), (4, 3), (2, 2)];
        assert_eq!(lacking(partitions.into_iter(), 2), (3, 2));
        assert_eq!(lacking([(1, 1), (2, 2)].into_iter(), 2), (0, 0), "those that never had more lack nothing");
    }
}
