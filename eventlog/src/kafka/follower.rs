//! The thread that follows partitions for everybody on the node who reads or waits: one fetch for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::bell::Bell;
use super::client::{Clients, Context, refused};
use super::codec;
use super::lanes::{Lane, Lanes, kafka, ours};
use super::view::{Start, View};
use crate::LogError;
use crate::record::Record;

/// Records taken in before those who wait are told.
const BATCH: usize = 2_000;
/// Bytes that the client fetches ahead.
const BUFFERED: usize = 16 << 20;
/// How long the thread sleeps at most.
const NAP: Duration = Duration::from_millis(50);
/// How often it looks for partitions that nobody asks about.
const IDLE_CHECK: Duration = Duration::from_secs(5);
/// How long moving to another offset may take.
const SEEK: Duration = Duration::from_secs(2);

impl ConsumerContext for Context {}

/// Follows partitions.
pub(crate) struct Follower {
    starts: mpsc::Sender<Vec<Start>>,
    bell: Bell,
    stop: Arc<AtomicBool>,
}

impl Follower {
    /// Starts the thread; it ends when this is dropped.
    pub(crate) fn start(clients: &Clients, lanes: Arc<Lanes>, view: Arc<View>) -> Result<Self, LogError> {
        let mut consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&clients.consumer("reader", BUFFERED), clients.context())
                .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
        let (starts, asked) = mpsc::channel();
        let (bell, stop) = (Bell::default(), Arc::new(AtomicBool::new(false)));
        let wake = bell.clone();
        consumer.set_nonempty_callback(move || wake.ring());
        let reading = Reading {
            consumer,
            lanes,
            view,
            asked,
            bell: bell.clone(),
            stop: stop.clone(),
            assigned: BTreeSet::new(),
            later: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("kafka-follower".into());
        thread
            .spawn(move || reading.run())
            .map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
        Ok(Self { starts, bell, stop })
    }

    /// Reads these lanes from there on.
    pub(crate) fn follow(&self, starts: Vec<Start>) {
        if self.starts.send(starts).is_err() {
            tracing::error!("the thread that follows Kafka has ended");
        }
        self.bell.ring();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}

struct Reading {
    consumer: BaseConsumer<Context>,
    lanes: Arc<Lanes>,
    view: Arc<View>,
    asked: mpsc::Receiver<Vec<Start>>,
    bell: Bell,
    stop: Arc<AtomicBool>,
    /// What the consumer has, paused or not.
    assigned: BTreeSet<Lane>,
    /// Starts that failed and are tried again.
    later: Vec<Start>,
}

impl Reading {
    fn run(mut self) {
        self.lanes.meet(&self.consumer);
        let mut idle_check = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            let mut starts = std::mem::take(&mut self.later);
            starts.extend(self.asked.try_iter().flatten());
            self.begin(starts);
            while self.drain() {}
            if idle_check.elapsed() > IDLE_CHECK {
                idle_check = Instant::now();
                self.pause_idle();
            }
            self.bell.wait(NAP);
        }
    }

    /// Takes in what has arrived; tells whether there may be more.
    fn drain(&mut self) -> bool {
        let mut records = Vec::new();
        while records.len() < BATCH
            && let Some(polled) = self.consumer.poll(Duration::ZERO)
        {
            self.take(polled, &mut records);
        }
        let full = records.len() >= BATCH;
        let passed = self.positions();
        let again = self.view.publish(records, &passed);
        self.begin(again);
        if full {
            return true;
        }
        // A poll that does not wait may end at an event that is no record: look once more.
        let mut rest = Vec::new();
        if let Some(polled) = self.consumer.poll(Duration::from_millis(1)) {
            self.take(polled, &mut rest);
            let again = self.view.publish(rest, &[]);
            self.begin(again);
            return true;
        }
        false
    }

    fn take(&self, polled: Result<BorrowedMessage<'_>, KafkaError>, records: &mut Vec<(Lane, Record)>) {
        match polled {
            Ok(message) => {
                let Some(lane) = self.lanes.of_kafka(message.topic(), message.partition()) else { return };
                let Some((topic, _)) = self.lanes.place(lane) else { return };
                records.push((lane, codec::read(topic, &message)));
            }
            Err(error) => {
                tracing::debug!(%error, "following Kafka");
                let told = refused("following the log", &error);
                if !told.is_transient() {
                    self.view.refused(told);
                }
            }
        }
    }

    /// How far each lane has been read, marks of transactions included.
    fn positions(&self) -> Vec<Start> {
        let Ok(positions) = self.consumer.position() else { return Vec::new() };
        let position = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            Some(Start { lane: self.lanes.of_kafka(e.topic(), e.partition())?, at: ours(e.offset())? })
        };
        positions.elements().iter().filter_map(position).collect()
    }

    fn begin(&mut self, starts: Vec<Start>) {
        let (known, new): (Vec<Start>, Vec<Start>) =
            starts.into_iter().partition(|start| self.assigned.contains(&start.lane));
        if !new.is_empty() {
            let mut list = TopicPartitionList::with_capacity(new.len());
            new.iter().for_each(|start| self.lanes.add(&mut list, start.lane, kafka(start.at)));
            match self.consumer.incremental_assign(&list) {
                Ok(()) => {
                    self.assigned.extend(new.iter().map(|start| start.lane));
                    self.view.started(&new);
                }
                Err(error) => self.try_later(new, &error),
            }
        }
        for start in known {
            // Seeking waits until the client has forgotten its former position: only then do positions tell the truth.
            match self.seek(start) {
                Ok(()) => self.view.started(&[start]),
                Err(error) => self.try_later(vec![start], &error),
            }
        }
    }

    fn seek(&self, start: Start) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        self.lanes.add(&mut list, start.lane, kafka(start.at));
        let done = self.consumer.seek_partitions(list, SEEK)?;
        done.elements().iter().try_for_each(|element| element.error())?;
        self.consumer.resume(&self.list(&[start.lane]))
    }

    fn try_later(&mut self, starts: Vec<Start>, error: &KafkaError) {
        tracing::debug!(%error, "a partition cannot be followed yet");
        self.later.extend(starts);
    }

    fn pause_idle(&mut self) {
        let idle = self.view.drop_idle();
        if !idle.is_empty()
            && let Err(error) = self.consumer.pause(&self.list(&idle))
        {
            tracing::debug!(%error, "partitions cannot be paused");
        }
    }

    fn list(&self, lanes: &[Lane]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(lanes.len());
        lanes.iter().for_each(|lane| self.lanes.add(&mut list, *lane, KafkaOffset::Invalid));
        list
    }
}
