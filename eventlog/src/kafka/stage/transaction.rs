//! One transaction: outputs and progress, together or not at all.

use std::time::Duration;

use leadway_domain::Partition;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::super::client::{Clients, refused};
use super::super::flight::{Arrivals, Flight, board};
use super::super::topics::Topics;
use crate::LogError;
use crate::record::{Address, NewRecord};

/// How long one call to the brokers may take before the thread looks around.
const TURN: Duration = Duration::from_secs(1);

/// A transactional producer.
pub(crate) struct Transactions {
    producer: BaseProducer<Arrivals>,
    /// A transaction failed and has to be aborted before the next.
    to_abort: bool,
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
        Ok(Self { producer, to_abort: false })
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
        board(&flight, work.topics, work.outputs, |message| self.producer.send(message).map_err(|(error, _)| error));
        self.send_offsets(work, &go_on)?;
        // The library's own waiting for acknowledgements takes a tenth of a second at least. They come in any case: as
        // failures, when the brokers stay away.
        while flight.under_way() && go_on() {
            self.producer.poll(Duration::from_millis(1));
        }
        // From here on it may land at any moment: nobody is told anything before it is decided.
        loop {
            match self.producer.commit_transaction(TURN) {
                Ok(()) => break,
                Err(KafkaError::Flush(_)) if go_on() => {}
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() && go_on() => {}
                Err(error) => {
                    let cause = landed.try_recv().ok().and_then(Result::err);
                    return Err(self.failed(&cause.map_or(error, KafkaError::MessageProduction)));
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
