//! SQL over the lake and the journal, for one account, within bounds.
//!
//! A query sees the tables of its account and nothing else: no files, no settings, no writing. It runs on threads of its
//! own, with a bound on its memory, its time and its answer; what goes over a bound fails the query, with words that say
//! which, and nothing else. The dialect is that of DataFusion; names of datasets and fields are found in any case.
//! Invariant: a query reads only snapshots of the account it was started for.

mod answer;
mod names;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use types::{AccountId, Code};

use crate::error::QueryError;
use crate::lake::Lake;
use crate::lake::snapshot::Snapshot;
use crate::records::Dataset;
use crate::writer::Shelf;

pub use answer::{Answer, Column};
use table::LakeTable;

/// The longest text of a query, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// The most rows of an answer.
pub const MAX_ROWS: usize = 10_000;
/// How many queries run at once; others wait.
const AT_ONCE: usize = 4;
/// The stack of a thread that plans and runs queries: plans are trees, and a long condition is a deep one.
const STACK: usize = 32 * 1024 * 1024;
/// How much lower than everything else queries stand in the queue for the processor.
const NICE: i32 = 10;

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory.
    pub memory: usize,
    /// Time from start to end.
    pub time: Duration,
    /// Rows of the answer, at most [`MAX_ROWS`].
    pub rows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { memory: 1024 * 1024 * 1024, time: Duration::from_secs(60), rows: MAX_ROWS }
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is no query that can be run; the message says where and why.
    #[error("{0}")]
    Invalid(String),
    /// It needs more memory than a query may have.
    #[error("the query needs more than {} MiB of memory; narrow it by time, or group by fewer columns", .0 / 1024 / 1024)]
    Memory(usize),
    /// It takes longer than a query may.
    #[error("the query took longer than {} seconds; narrow it by time or by person", .0.as_secs())]
    Time(Duration),
    /// The lake or the journal cannot be read.
    #[error(transparent)]
    Logs(#[from] QueryError),
    /// It failed while it ran.
    #[error("the query failed: {0}")]
    Failed(String),
}

impl SqlError {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidInput,
            Self::Memory(_) | Self::Time(_) => Code::LimitExceeded,
            Self::Logs(error) => error.code(),
            Self::Failed(_) => Code::Internal,
        }
    }
}

/// How far a query is.
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl Progress {
    /// Returns how many rows the tables it reads have, as far as files that cannot matter are known.
    #[must_use]
    pub fn rows_in_range(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Returns how many rows have been read.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        let plan = self.plan.lock().clone();
        plan.map_or(0, |plan| answer::rows_read(&plan))
    }
}

/// What runs queries, made when the first one comes.
pub(crate) struct Engine {
    runtime: Option<tokio::runtime::Runtime>,
    environment: Arc<RuntimeEnv>,
    permits: Arc<tokio::sync::Semaphore>,
    threads: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may be dropped by a task, which must not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A query to run.
pub(crate) struct Job {
    pub text: String,
    pub bounds: Bounds,
    pub account: AccountId,
    /// What it may ask about.
    pub datasets: Vec<Dataset>,
    pub lake: Arc<Lake>,
    pub shelves: Arc<[Shelf; Dataset::ALL.len()]>,
    pub progress: Arc<Progress>,
}

impl Engine {
    pub(crate) fn start() -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("logs-sql")
            .thread_stack_size(STACK)
            .on_thread_start(|| crate::stand_back(NICE))
            .enable_all()
            .build()?;
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let environment =
            RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build_arc().map_err(std::io::Error::other)?;
        let permits = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        Ok(Self { runtime: Some(runtime), environment, permits, threads })
    }

    /// Runs a query. Dropping the future cancels it.
    pub(crate) async fn run(&self, job: Job) -> Result<Answer, SqlError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| QueryError::Busy)?;
        let Some(runtime) = &self.runtime else { return Err(QueryError::Busy.into()) };
        let (environment, threads) = (Arc::clone(&self.environment), self.threads);
        let (time, memory) = (job.bounds.time, job.bounds.memory);
        let running = async move {
            let _permit = permit;
            tokio::time::timeout(time, answer(environment, threads, job)).await
        };
        let mut task = Aborting(runtime.spawn(running));
        match (&mut task.0).await {
            Ok(Ok(Err(SqlError::Memory(_)))) => Err(SqlError::Memory(memory)),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(SqlError::Time(time)),
            Err(error) => Err(SqlError::Failed(error.to_string())),
        }
    }
}

/// A task that ends with whoever waits for it.
struct Aborting<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(environment: Arc<RuntimeEnv>, threads: usize, job: Job) -> Result<Answer, SqlError> {
    let started = Instant::now();
    let query = parse(&job.text)?;
    let context = context(environment, threads, &job)?;
    let state = context.state();
    let statement = Statement::Statement(Box::new(ast::Statement::Query(query)));
    let logical = state.statement_to_plan(statement).await.map_err(|error| refused(&error))?;
    let logical = state.optimize(&logical).map_err(|error| refused(&error))?;
    let limited = limited(logical, job.bounds.rows).map_err(|error| refused(&error))?;
    let plan = state.create_physical_plan(&limited).await.map_err(failed)?;
    *job.progress.plan.lock() = Some(Arc::clone(&plan));
    let schema = plan.schema();
    let mut stream = execute_stream(Arc::clone(&plan), context.task_ctx()).map_err(failed)?;
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(failed)?;
        rows += batch.num_rows();
        batches.push(batch);
    }
    drop(stream);
    let truncated = rows > job.bounds.rows;
    Ok(Answer::new(schema, batches, job.bounds.rows, truncated, &plan, started.elapsed()))
}

/// Reads the text of one query.
fn parse(text: &str) -> Result<Box<ast::Query>, SqlError> {
    if text.len() > MAX_TEXT {
        return Err(SqlError::Invalid(format!("the query is longer than {MAX_TEXT} bytes")));
    }
    let parsed = DFParserBuilder::new(text).with_dialect(&PostgreSqlDialect {}).build();
    let mut statements =
        parsed.and_then(|mut parser| parser.parse_statements()).map_err(|error| refused(&error))?;
    let only = statements.pop_front().ok_or_else(|| SqlError::Invalid("there is no query".to_owned()))?;
    if !statements.is_empty() {
        return Err(SqlError::Invalid("one query at a time".to_owned()));
    }
    match only {
        Statement::Statement(statement) => match *statement {
            ast::Statement::Query(mut query) => {
                names::settle(&mut query);
                Ok(query)
            }
            _ => Err(SqlError::Invalid("only SELECT is possible".to_owned())),
        },
        _ => Err(SqlError::Invalid("only SELECT is possible".to_owned())),
    }
}

/// Makes what a query sees: its account's tables.
fn context(environment: Arc<RuntimeEnv>, threads: usize, job: &Job) -> Result<SessionContext, SqlError> {
    let setup = |error: DataFusionError| SqlError::Failed(error.to_string());
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(job.bounds.memory), std::num::NonZero::<usize>::MIN);
    let environment = RuntimeEnvBuilder::from_runtime_env(&environment)
        .with_memory_pool(Arc::new(pool))
        .build_arc()
        .map_err(setup)?;
    let mut config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_information_schema(false)
        .with_default_catalog_and_schema("portunus", "logs");
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    let context = SessionContext::new_with_config_rt(config, environment);
    let url = ObjectStoreUrl::parse("lake://lake").map_err(setup)?;
    context.register_object_store(url.as_ref(), Arc::clone(&job.lake.place.store));
    for dataset in &job.datasets {
        let snapshot = Snapshot::take(&job.lake, &job.shelves[dataset.index()], job.account, *dataset)?;
        let table = LakeTable::new(snapshot, url.clone(), Arc::clone(&job.progress));
        context.register_table(dataset.as_str(), Arc::new(table)).map_err(setup)?;
    }
    Ok(context)
}

/// Bounds the rows of an answer: one more than may be, so that it shows when there are more.
fn limited(plan: LogicalPlan, rows: usize) -> Result<LogicalPlan, DataFusionError> {
    let rows = rows.min(MAX_ROWS) + 1;
    datafusion::logical_expr::LogicalPlanBuilder::from(plan).limit(0, Some(rows))?.build()
}

/// An error of the text, in the words of the planner, without its own names for things.
fn refused(error: &DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) if inner.is::<QueryError>() => failed_inner(error),
        _ => SqlError::Invalid(names::plain(error)),
    }
}

fn failed(error: DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => SqlError::Memory(0),
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::ArrowError(..) => {
            SqlError::Invalid(names::plain(&error))
        }
        _ => failed_inner(&error),
    }
}

fn failed_inner(error: &DataFusionError) -> SqlError {
    SqlError::Failed(names::plain(error))
}
