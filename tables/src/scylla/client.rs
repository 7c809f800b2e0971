//! Requests to the database: prepared once, bounded in number and time, tried again where that is harmless.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{StreamExt, TryStreamExt};
use parking_lot::RwLock;
use scylla::client::session::Session;
use scylla::response::query_result::QueryResult;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row as CqlRow};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::bind::Bind;
use super::failure::Failure;
use super::options::{Consistency as Asked, Options};
use super::patience::Answers;
use crate::TablesError;

/// Rows of one page of an answer.
const PAGE: i32 = 1_000;
/// Statements that are kept prepared: each table has some, and scans one for each shape of their bounds.
const MAX_PREPARED: usize = 4_096;

/// A statement with its values.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) cql: Arc<str>,
    pub(super) values: Vec<Bind>,
}

impl Statement {
    pub(super) fn new(cql: impl Into<Arc<str>>, values: Vec<Bind>) -> Self {
        Self { cql: cql.into(), values }
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        64 + self.values.iter().map(Bind::size).sum::<usize>()
    }
}

/// The cells of a row of an answer.
pub(super) type Cells = Vec<Option<CqlValue>>;

/// The connections to the database.
pub(super) struct Client {
    session: Session,
    /// The consistency of questions that settle what is under way.
    serial: Consistency,
    timeout: Duration,
    permits: Semaphore,
    pub(super) answers: Answers,
    most: usize,
    prepared: RwLock<HashMap<Arc<str>, PreparedStatement>>,
}

impl Client {
    pub(super) fn new(session: Session, options: &Options) -> Self {
        let serial = match options.consistency {
            Asked::LocalQuorum => Consistency::LocalSerial,
            Asked::Quorum => Consistency::Serial,
        };
        Self {
            session,
            serial,
            timeout: options.request_timeout(),
            permits: Semaphore::new(options.max_concurrent_requests),
            answers: Answers::new(),
            most: options.max_concurrent_requests,
            prepared: RwLock::default(),
        }
    }

    /// Until when a request that begins now must be answered.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Carries out statements of one partition as one. They must do no harm when they are carried out more than once.
    pub(super) async fn apply(&self, statements: &[Statement]) -> Result<(), TablesError> {
        self.until_answered(|| self.apply_once(statements)).await
    }

    /// Carries out many requests, some of them at once.
    pub(super) async fn apply_all(&self, requests: Vec<Vec<Statement>>) -> Result<(), TablesError> {
        let requests = futures::stream::iter(requests.into_iter().map(|r| async move { self.apply(&r).await }));
        requests.buffer_unordered(self.most).try_collect().await
    }

    /// The answer to a question whose answer is small.
    pub(super) async fn rows(&self, question: &Statement) -> Result<Vec<Cells>, TablesError> {
        self.until_answered(|| self.rows_once(question, None)).await
    }

    /// The same, from a database that may take until then to answer anything.
    pub(super) async fn rows_by(&self, deadline: Instant, question: &Statement) -> Result<Vec<Cells>, TablesError> {
        self.answered_by(deadline, || self.rows_once(question, None)).await
    }

    /// The answers to many questions, each small, in the order of the questions.
    pub(super) async fn rows_each(&self, questions: Vec<Statement>) -> Result<Vec<Vec<Cells>>, TablesError> {
        let questions = futures::stream::iter(questions.into_iter().map(|q| async move { self.rows(&q).await }));
        questions.buffered(self.most).try_collect().await
    }

    /// The answer as of this moment: also what conditional writes under way may still do is settled before.
    pub(super) async fn settled_rows(&self, question: &Statement) -> Result<Vec<Cells>, TablesError> {
        self.until_answered(|| self.rows_once(question, Some(self.serial))).await
    }

    /// The answer to a question, page by page.
    pub(super) async fn all_rows(&self, question: &Statement) -> Result<Vec<Cells>, TablesError> {
        self.until_answered(|| self.pages_once(question)).await
    }

    /// Carries out conditional statements of one partition, or none of them; tells whether it did. Asks once: whether a
    /// request that failed was carried out is not known.
    pub(super) async fn try_conditional(&self, statements: &[Statement]) -> Result<bool, Failure> {
        let _permit = self.permit().await?;
        let mut batch = self.batch_of(BatchType::Logged, statements).await?;
        batch.set_is_idempotent(false);
        let values: Vec<&Vec<Bind>> = statements.iter().map(|s| &s.values).collect();
        let rows = cells(self.session.batch(&batch, values).await?)?;
        match rows.first().and_then(|row| row.first()) {
            Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
            _ => Err(Failure::unexpected("a conditional write that does not tell whether it was applied")),
        }
    }

    /// Empties a table.
    pub(super) async fn truncate(&self, keyspace: &str, table: &str) -> Result<(), TablesError> {
        let cql = format!("TRUNCATE \"{keyspace}\".\"{table}\"");
        Ok(super::migrate::run(&self.session, &cql, None).await?)
    }

    /// Asks again and again until there is an answer, or it took too long.
    pub(super) async fn until_answered<T, F>(&self, ask: impl FnMut() -> F) -> Result<T, TablesError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.answered_by(self.deadline(), ask).await
    }

    async fn answered_by<T, F>(&self, deadline: Instant, mut ask: impl FnMut() -> F) -> Result<T, TablesError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut reason = "it does not answer in time".to_owned();
        for pause in pauses() {
            match timeout_at(deadline, ask()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::Transient(message))) => reason = message,
                Ok(Err(failure)) => return Err(failure.into()),
                Err(_) => break,
            }
            if Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Err(TablesError::Unavailable(format!("the database: {reason}")))
    }

    async fn apply_once(&self, statements: &[Statement]) -> Result<(), Failure> {
        let _permit = self.permit().await?;
        match statements {
            [] => return Ok(()),
            [one] => {
                let prepared = self.prepare(&one.cql).await?;
                self.session.execute_unpaged(&prepared, &one.values).await?;
            }
            many => {
                let mut batch = self.batch_of(BatchType::Unlogged, many).await?;
                batch.set_is_idempotent(true);
                let values: Vec<&Vec<Bind>> = many.iter().map(|s| &s.values).collect();
                self.session.batch(&batch, values).await?;
            }
        }
        self.answers.note();
        Ok(())
    }

    async fn batch_of(&self, kind: BatchType, statements: &[Statement]) -> Result<Batch, Failure> {
        let mut batch = Batch::new(kind);
        for statement in statements {
            batch.append_statement(self.prepare(&statement.cql).await?);
        }
        Ok(batch)
    }

    async fn rows_once(&self, question: &Statement, consistency: Option<Consistency>) -> Result<Vec<Cells>, Failure> {
        let _permit = self.permit().await?;
        let mut prepared = self.prepare(&question.cql).await?;
        if let Some(consistency) = consistency {
            prepared.set_consistency(consistency);
        }
        let answer = self.session.execute_unpaged(&prepared, &question.values).await?;
        self.answers.note();
        cells(answer)
    }

    async fn pages_once(&self, question: &Statement) -> Result<Vec<Cells>, Failure> {
        let _permit = self.permit().await?;
        let prepared = self.prepare(&question.cql).await?;
        let pager = self.session.execute_iter(prepared, &question.values).await?;
        let mut rows = pager.rows_stream::<CqlRow>().map_err(Failure::unexpected)?;
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await? {
            self.answers.note();
            found.push(row.columns);
        }
        Ok(found)
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.permits.acquire().await.map_err(|_| Failure::Final("the tables are closed".into()))
    }

    async fn prepare(&self, cql: &Arc<str>) -> Result<PreparedStatement, Failure> {
        if let Some(prepared) = self.prepared.read().get(cql) {
            return Ok(prepared.clone());
        }
        let mut prepared = self.session.prepare(&**cql).await?;
        prepared.set_is_idempotent(true);
        prepared.set_page_size(PAGE);
        let mut known = self.prepared.write();
        if known.len() >= MAX_PREPARED {
            known.clear();
        }
        known.insert(cql.clone(), prepared.clone());
        Ok(prepared)
    }
}

/// Pauses before a request is made again. They have no end of their own: a deadline ends them.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let curve = ExponentialBuilder::new().with_min_delay(Duration::from_millis(10)).with_factor(2.0);
    curve.with_max_delay(Duration::from_millis(500)).without_max_times().build()
}

fn cells(answer: QueryResult) -> Result<Vec<Cells>, Failure> {
    let rows = answer.into_rows_result().map_err(Failure::unexpected)?;
    let rows = rows.rows::<CqlRow>().map_err(Failure::unexpected)?;
    rows.map(|row| row.map(|row| row.columns).map_err(Failure::unexpected)).collect()
}
