//! One transaction: outputs and progress, together or not at all.

use std::time::Duration;

use leadway_domain::Partition;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::super::client::{Clients, refused};
use super::super::codec;
use super::super::flight::{Arrivals, Flight, Message, messages};
use super::super::topics::Topics;
use crate::LogError;
use crate::record::{Address, NewRecord};

/// How long one call to the brokers may take before the thread looks around.
const TURN: Duration = Duration::from_secs(1);
/// How often acknowledgements are looked for.
const MOMENT: Duration = Duration::from_millis(1);

/// A transactional producer.
pub(crate) struct Transactions {
    producer: BaseProducer<Arrivals>,
    /// Bytes of a record that the producer takes at most.
    largest: usize,
    /// A transaction failed and has to be aborted before the next.
    to_abort: bool,
}

/// Why the library did not take a record.
enum Refused {
    /// Not even when nothing else is on its way.
    TooLarge,
    Error(KafkaError),
}

/// Why a commit did not land. Nothing of it has.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It may be tried again.
    Transient(LogError),
    /// The group does not know this member in this generation.
    NotOfTheGroup,
    /// The producer cannot be used any more.
    Broken(String),
    /// Trying again is of no use.
    Final(LogError),
}

impl Failed {
    /// Whether something is wrong, and not only the group being arranged anew.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::NotOfTheGroup)
    }
}

/// What is to land together.
pub(crate) struct Work<'w> {
    pub(crate) topics: &'w Topics,
    pub(crate) outputs: &'w [(NewRecord, Partition)],
    pub(crate) offsets: &'w TopicPartitionList,
    pub(crate) member: &'w ConsumerGroupMetadata,
}

impl Transactions {
    /// A producer that is not yet [ready](Self::init).
    pub(crate) fn open(clients: &Clients, id: &str) -> KafkaResult<Self> {
        let context = Arrivals(clients.context());
        let producer = BaseProducer::from_config_and_context(&clients.transactional(id), context)?;
        Ok(Self { producer, largest: clients.options.max_record_bytes, to_abort: false })
    }

    /// Fences off whoever used the id before and ends what it left open. Returns whether it is done: otherwise it goes on
    /// and is to be called again.
    pub(crate) fn init(&self) -> Result<bool, KafkaError> {
        match self.producer.init_transactions(TURN) {
            Ok(()) => Ok(true),
            Err(KafkaError::Transaction(error)) if error.is_retriable() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a transaction can be begun: first the one that failed must be aborted.
    pub(crate) fn ready(&mut self) -> Result<bool, Failed> {
        if !self.to_abort {
            return Ok(true);
        }
        self.producer.poll(Duration::ZERO);
        match self.producer.abort_transaction(TURN) {
            Ok(()) => {
                self.to_abort = false;
                Ok(true)
            }
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() => Ok(false),
            Err(error) => Err(Failed::Broken(error.to_string())),
        }
    }

    /// Commits; returns when it is known whether it landed. `go_on` is asked now and then whether there is still a point.
    pub(crate) fn commit(&mut self, work: &Work<'_>, go_on: impl Fn() -> bool) -> Result<Vec<Address>, Failed> {
        self.producer.begin_transaction().map_err(|e| self.failed(&e))?;
        self.to_abort = true;
        let places = work.outputs.iter().map(|(record, partition)| (record.topic, *partition));
        let (flight, mut landed) = Flight::new(places, None);
        for (message, (record, _)) in messages(&flight, work.topics, work.outputs).zip(work.outputs) {
            self.queue(message, &flight, &go_on).map_err(|refused| self.not_queued(refused, record))?;
        }
        self.send_offsets(work, &go_on)?;
        // The library's own waiting for acknowledgements takes a tenth of a second at least. They come in any case: as
        // failures, when the brokers stay away.
        while flight.under_way() && go_on() {
            self.wait_for_acknowledgements();
        }
        // The library commits what it has: it does not count what it refused.
        if let Some(code) = flight.error() {
            return Err(self.failed(&KafkaError::MessageProduction(code)));
        }
        // From here on it may land at any moment: nobody is told anything before it is decided.
        loop {
            match self.producer.commit_transaction(TURN) {
                Ok(()) => break,
                Err(KafkaError::Flush(_)) if go_on() => {}
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() && go_on() => {}
                Err(error) => {
                    return Err(self.failed(&flight.error().map_or(error, KafkaError::MessageProduction)));
                }
            }
        }
        self.to_abort = false;
        if work.outputs.is_empty() {
            return Ok(Vec::new());
        }
        match landed.try_recv() {
            Ok(Ok(addresses)) => Ok(addresses),
            _ => Err(Failed::Broken("a transaction was committed and its records were not acknowledged".into())),
        }
    }

    /// Takes in what has come, and waits a moment. The library's own waiting spins through its last millisecond.
    fn wait_for_acknowledgements(&self) {
        std::thread::sleep(MOMENT);
        self.producer.poll(Duration::ZERO);
    }

    /// Hands a record to the library. While its queue is full, the acknowledgements that come make room.
    fn queue(&self, mut message: Message<'_>, flight: &Flight, go_on: impl Fn() -> bool) -> Result<(), Refused> {
        loop {
            let (error, back) = match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) if self.producer.in_flight_count() == 0 => {
                    return Err(Refused::TooLarge);
                }
                Some(RDKafkaErrorCode::QueueFull) if go_on() => {}
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => return Err(Refused::TooLarge),
                _ => return Err(Refused::Error(error)),
            }
            message = back;
            self.wait_for_acknowledgements();
            if let Some(code) = flight.error() {
                return Err(Refused::Error(KafkaError::MessageProduction(code)));
            }
        }
    }

    fn not_queued(&self, refused: Refused, record: &NewRecord) -> Failed {
        match refused {
            Refused::Error(error) => self.failed(&error),
            Refused::TooLarge => Failed::Final(LogError::TooLarge {
                topic: Some(record.topic),
                bytes: codec::size(record),
                limit: self.largest,
            }),
        }
    }

    fn send_offsets(&mut self, work: &Work<'_>, go_on: impl Fn() -> bool) -> Result<(), Failed> {
        loop {
            let sent = self.producer.send_offsets_to_transaction(work.offsets, work.member, TURN);
            self.producer.poll(Duration::ZERO);
            match sent {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(e))
                    if e.is_retriable() && !e.is_fatal() && !e.txn_requires_abort() && go_on() => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    fn failed(&self, error: &KafkaError) -> Failed {
        use RDKafkaErrorCode as Code;
        let fatal = matches!(error, KafkaError::Transaction(e) if e.is_fatal());
        if fatal || self.producer.client().fatal_error().is_some() {
            return Failed::Broken(error.to_string());
        }
        match error.rdkafka_error_code() {
            Some(
                Code::IllegalGeneration | Code::UnknownMemberId | Code::FencedInstanceId | Code::RebalanceInProgress,
            ) => Failed::NotOfTheGroup,
            Some(Code::MessageSizeTooLarge) => {
                Failed::Final(LogError::Unusable(format!("Kafka refuses a record as too large: {error}")))
            }
            // Out of step with the library: a new producer brings it in step again.
            Some(Code::State) => Failed::Broken(error.to_string()),
            _ => match refused("committing", error) {
                error if error.is_transient() => Failed::Transient(error),
                error => Failed::Final(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_arranged_anew_is_no_failure() {
        assert!(!Failed::NotOfTheGroup.is_failure());
        let error = || LogError::Unavailable(String::new());
        let failures = [Failed::Transient(error()), Failed::Final(error()), Failed::Broken(String::new())];
        assert!(failures.iter().all(Failed::is_failure));
    }
}
