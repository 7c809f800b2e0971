//! Reading: what this node follows from its memory, older records from the brokers. Whoever reads on the node, stages too,
//! reads here, so that a record comes to a node once.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Clients;
use super::cold::Cold;
use super::ends::{Answer, Ends};
use super::follower::Follower;
use super::lanes::{Lane, Lanes};
use super::stage::Node;
use super::view::{Plan, Start, View, too_late};
use crate::record::{Address, Record};
use crate::{Extent, LogError, Position, ReadLimit};

/// How often whoever waits shows that it still does: what nobody waits for is not followed for long.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// Reads for the whole node.
pub(crate) struct Reader {
    clients: Clients,
    lanes: Arc<Lanes>,
    view: Arc<View>,
    ends: Ends,
    follower: Follower,
    cold: Cold,
}

impl Reader {
    /// Starts the threads that read; they end when this is dropped.
    pub(crate) fn start(clients: &Clients, lanes: &Arc<Lanes>) -> Result<Self, LogError> {
        let view = Arc::new(View::new(lanes.count(), clients.options.tail_bytes));
        Ok(Self {
            clients: clients.clone(),
            lanes: lanes.clone(),
            ends: Ends::start(clients, lanes.clone())?,
            follower: Follower::start(clients, lanes.clone(), view.clone())?,
            cold: Cold::start(clients, lanes)?,
            view,
        })
    }

    /// Asks where the partitions begin. To be called before anything is read; records that are deleted later are missed by
    /// whoever compares [`extents`](Self::extents).
    pub(crate) async fn find_begins(&self) -> Result<(), LogError> {
        self.view.begin_at(&self.ends.begins(self.lanes.all()).await?);
        Ok(())
    }

    /// This node has written these: whoever reads here must see them from now on.
    pub(crate) fn written(&self, addresses: &[Address]) {
        for address in addresses {
            if let Some(lane) = self.lanes.of(address.topic, address.partition) {
                self.view.written(lane, address.offset.next());
            }
        }
    }

    /// Asks how far all partitions go, without waiting for the answer; `None` when too many wait for answers already.
    pub(crate) fn ask_ends(&self) -> Option<Answer> {
        self.ends.ask(self.lanes.all())
    }

    /// This node takes the place of others that wrote up to `ends`, and goes on with these partitions of `input`: whoever
    /// reads here must see what they wrote, and the partitions are followed from now on.
    pub(crate) fn take_place(&self, ends: &[Start], input: Topic, partitions: &[Partition]) {
        self.view.due(ends);
        let own = |end: &&Start| self.lanes.place(end.lane).is_some_and(|(t, p)| t == input && partitions.contains(&p));
        let own: Vec<Start> = ends.iter().filter(own).copied().collect();
        self.follower.follow(self.view.follow(&own));
    }

    /// As [`EventLog::read`](crate::EventLog::read).
    pub(crate) async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        let Some(lane) = self.lanes.of(topic, partition) else { return Ok(Vec::new()) };
        let deadline = self.deadline();
        let mut ticks = self.view.ticks();
        loop {
            ticks.mark_unchanged();
            match self.view.plan(lane, from, limit) {
                Plan::Records(records) => return Ok(records),
                Plan::Behind => {
                    self.view.refusal()?;
                    let tick = timeout_at(deadline, ticks.changed()).await;
                    tick.map_err(|_| self.late("reading what was just written"))?.map_err(|_| LogError::Closed)?;
                }
                Plan::Cold { due } => return self.read_cold(lane, from, limit, due).await,
            }
        }
    }

    async fn read_cold(
        &self,
        lane: Lane,
        from: Offset,
        limit: ReadLimit,
        due: Offset,
    ) -> Result<Vec<Record>, LogError> {
        let records = self.cold.read(lane, from.max(self.view.first(lane)), limit, due).await?;
        if let Some(last) = records.last() {
            self.view.noticed(lane, last.next());
        }
        Ok(records)
    }

    /// As [`EventLog::end`](crate::EventLog::end).
    pub(crate) async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        let Some(lane) = self.lanes.of(topic, partition) else { return Ok(Offset(0)) };
        let deadline = self.deadline();
        let mut ticks = self.view.ticks();
        self.follow(&[lane]).await?;
        let ends = self.ends.of(vec![lane]).await?;
        let until = ends.first().map_or(Offset(0), |end| end.at);
        loop {
            ticks.mark_unchanged();
            if let Some(end) = self.view.end(lane, until) {
                return Ok(end);
            }
            self.view.refusal()?;
            let tick = timeout_at(deadline, ticks.changed()).await;
            tick.map_err(|_| self.late("looking for the end of a partition"))?.map_err(|_| LogError::Closed)?;
        }
    }

    /// As [`EventLog::extents`](crate::EventLog::extents).
    pub(crate) async fn extents(&self) -> Result<Vec<Extent>, LogError> {
        let lanes = self.lanes.all();
        let (begins, ends) = futures::try_join!(self.ends.begins(lanes.clone()), self.ends.of(lanes))?;
        let extent = |(begin, end): (&Start, &Start)| {
            let (topic, partition) = self.lanes.place(begin.lane)?;
            Some(Extent { topic, partition, first: begin.at, end: end.at })
        };
        Ok(begins.iter().zip(&ends).filter_map(extent).collect())
    }

    /// As [`EventLog::seen`](crate::EventLog::seen).
    pub(crate) fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.lanes.of(topic, partition).map_or(Offset(0), |lane| self.view.seen(lane))
    }

    /// As [`EventLog::wait`](crate::EventLog::wait).
    pub(crate) async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        let start = |p: &Position| Some(Start { lane: self.lanes.of(p.topic, p.partition)?, at: p.next });
        let wanted: Vec<Start> = positions.iter().filter_map(start).collect();
        let lanes: Vec<Lane> = wanted.iter().map(|start| start.lane).collect();
        let mut ticks = self.view.ticks();
        loop {
            ticks.mark_unchanged();
            if self.view.has_any(&wanted) {
                return Ok(());
            }
            self.view.refusal()?;
            self.follow(&lanes).await?;
            if let Ok(tick) = timeout(STILL_WAITING, ticks.changed()).await {
                tick.map_err(|_| LogError::Closed)?;
            }
        }
    }

    /// Follows these lanes from now on.
    async fn follow(&self, lanes: &[Lane]) -> Result<(), LogError> {
        let missing = self.view.not_followed(lanes);
        if !missing.is_empty() {
            let ends = self.ends.of(missing).await?;
            self.follower.follow(self.view.follow(&ends));
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.clients.options.request_timeout()
    }

    fn late(&self, doing: &str) -> LogError {
        too_late(doing, self.clients.complaints.last())
    }
}

impl Node for Reader {
    /// What is on its way to this node, be it that the node wrote it, is not waited for: other partitions have records already.
    fn at_hand(&self, from: &Position, limit: ReadLimit) -> Option<Vec<Record>> {
        let Some(lane) = self.lanes.of(from.topic, from.partition) else { return Some(Vec::new()) };
        match self.view.plan(lane, from.next, limit) {
            Plan::Records(records) => Some(records),
            Plan::Behind => Some(Vec::new()),
            Plan::Cold { .. } => None,
        }
    }

    /// The partition is followed meanwhile, so that its lag is known however long this goes on.
    fn fetch(self: Arc<Self>, from: Position, limit: ReadLimit) -> BoxFuture<'static, Result<Vec<Record>, LogError>> {
        let read = async move {
            let Some(lane) = self.lanes.of(from.topic, from.partition) else { return Ok(Vec::new()) };
            self.follow(&[lane]).await?;
            self.read_cold(lane, from.next, limit, Offset(0)).await
        };
        read.boxed()
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        Self::wait(self, positions).await
    }
}
