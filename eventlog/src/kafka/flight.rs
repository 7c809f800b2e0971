//! Records on their way to the brokers, and who waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext};
use tokio::sync::oneshot;

use super::client::Context;
use super::codec;
use super::topics::Topics;
use crate::record::{Address, NewRecord};

/// What became of a call's records: their addresses, or the first error that one of them met.
pub(crate) type Landed = Result<Vec<Address>, RDKafkaErrorCode>;

/// Bytes that wait for their acknowledgement; given back when dropped.
pub(crate) struct Waiting {
    pub(crate) total: Arc<AtomicUsize>,
    pub(crate) bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The records of one call. When the last of them is acknowledged, or given up, the caller is told.
pub(crate) struct Flight(Mutex<State>);

struct State {
    addresses: Vec<Address>,
    waiting: usize,
    error: Option<RDKafkaErrorCode>,
    answer: Option<oneshot::Sender<Landed>>,
    /// Held until the last record is settled, whether or not somebody still waits for the answer.
    held: Option<Waiting>,
}

impl Flight {
    /// Of records that go to these places; where in them is not known yet.
    pub(crate) fn new(
        places: impl Iterator<Item = (Topic, Partition)>,
        held: Option<Waiting>,
    ) -> (Arc<Self>, oneshot::Receiver<Landed>) {
        let (answer, landed) = oneshot::channel();
        let at = |(topic, partition)| Address { topic, partition, offset: Offset(0) };
        let addresses: Vec<Address> = places.map(at).collect();
        let waiting = addresses.len();
        let state = State { addresses, waiting, error: None, answer: Some(answer), held };
        (Arc::new(Self(Mutex::new(state))), landed)
    }

    /// Whether some of the records are not settled yet.
    pub(crate) fn under_way(&self) -> bool {
        self.0.lock().waiting > 0
    }

    /// What the first record met that failed.
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        self.0.lock().error
    }

    /// One of the records has landed at this offset, or failed.
    pub(crate) fn settle(&self, number: usize, offset: Result<Offset, RDKafkaErrorCode>) {
        let mut state = self.0.lock();
        match offset {
            Ok(offset) => {
                if let Some(address) = state.addresses.get_mut(number) {
                    address.offset = offset;
                }
            }
            Err(code) => state.error = state.error.or(Some(code)),
        }
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0
            && let Some(answer) = state.answer.take()
        {
            state.held = None;
            let landed = match state.error {
                Some(code) => Err(code),
                None => Ok(std::mem::take(&mut state.addresses)),
            };
            // Nobody waits when the caller went away: the records have landed all the same.
            let _gone = answer.send(landed);
        }
    }
}

/// One record of a flight, as librdkafka carries it along.
pub(crate) struct Passenger {
    flight: Arc<Flight>,
    number: usize,
}

/// Settles flights when the brokers have answered.
pub(crate) struct Arrivals(pub(crate) Context);

impl ClientContext for Arrivals {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Arrivals {
    type DeliveryOpaque = Box<Passenger>;

    fn delivery(&self, result: &DeliveryResult<'_>, passenger: Box<Passenger>) {
        let offset = match result {
            Ok(message) => u64::try_from(message.offset()).map(Offset).map_err(|_| RDKafkaErrorCode::Unknown),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        passenger.flight.settle(passenger.number, offset);
    }
}

/// A record on its way into the library.
pub(crate) type Message<'r> = BaseRecord<'r, str, [u8], Box<Passenger>>;

/// The records as the library takes them, in their order.
pub(crate) fn messages<'r>(
    flight: &Arc<Flight>,
    topics: &'r Topics,
    records: &'r [(NewRecord, Partition)],
) -> impl Iterator<Item = Message<'r>> {
    records.iter().enumerate().map(|(number, (record, partition))| {
        let passenger = Box::new(Passenger { flight: flight.clone(), number });
        BaseRecord::with_opaque_to(topics.name(record.topic), passenger)
            .partition(i32::try_from(partition.0).unwrap_or(i32::MAX))
            .key(&*record.key)
            .payload(&record.data[..])
            .timestamp(record.time.as_millisecond())
            .headers(codec::headers(record))
    })
}

/// Hands the records to `send`, one after the other. What `send` refuses is settled as failed.
pub(crate) fn board(
    flight: &Arc<Flight>,
    topics: &Topics,
    records: &[(NewRecord, Partition)],
    mut send: impl FnMut(Message<'_>) -> Result<(), KafkaError>,
) {
    for (number, message) in messages(flight, topics, records).enumerate() {
        if let Err(error) = send(message) {
            flight.settle(number, Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)));
        }
    }
}
