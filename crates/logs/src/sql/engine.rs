//! Runs queries: DataFusion with one account's tables, on threads of its own.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array as _, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use futures_util::StreamExt as _;
use types::AccountId;

use super::table::{LakeTable, Source};
use super::{
    Answer, Bounds, MAX_ANSWER, MAX_ROWS, MAX_TEXT, Parameter, Parameters, Progress, SqlError, distinct, names, runs,
};
use crate::error::QueryError;
use crate::lake::Lake;
use crate::records::Dataset;
use crate::writer::Shelf;

/// How many queries run at once; others wait.
const AT_ONCE: usize = 4;
/// The stack of a thread that plans and runs queries: plans are trees, and a long condition is a deep one.
const STACK: usize = 32 * 1024 * 1024;
/// How many operators with two sides a query has: planning takes time with the square of them.
const MAX_OPERATORS: usize = 500;
/// How much lower than everything else queries stand in the queue for the processor.
const NICE: i32 = 10;

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
    pub parameters: Parameters,
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
        let (time, memory) = (job.bounds.time, job.bounds.memory);
        // Whoever waits for a place waits no longer than a query may take.
        let place = tokio::time::timeout(time, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = place.map_err(|_| QueryError::Busy)?.map_err(|_| QueryError::Busy)?;
        let Some(runtime) = &self.runtime else { return Err(QueryError::Busy.into()) };
        let (environment, threads) = (Arc::clone(&self.environment), self.threads);
        let running = async move {
            let _permit = permit;
            answer(environment, threads, job).await
        };
        let mut task = Aborting(runtime.spawn(running));
        // The clock runs outside of the task, which may be busy without a pause for longer than it has.
        match tokio::time::timeout(time, &mut task.0).await {
            Ok(Ok(Err(SqlError::Memory(_)))) => Err(SqlError::Memory(memory)),
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(SqlError::Failed(error.to_string())),
            Err(_) => Err(SqlError::Time(time)),
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
    let logical = filled(logical, &job.parameters).map_err(|error| refused(&error))?;
    let logical = state.optimize(&logical).map_err(|error| refused(&error))?;
    let limited = limited(logical, job.bounds.rows).map_err(|error| refused(&error))?;
    let plan = state.create_physical_plan(&limited).await.map_err(failed)?;
    let counted = Arc::clone(&plan);
    job.progress.count_with(Box::new(move || rows_read(&counted)));
    let schema = plain_schema(&plan.schema());
    let mut stream = execute_stream(Arc::clone(&plan), context.task_ctx()).map_err(failed)?;
    let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while let Some(batch) = stream.next().await {
        let batch = plain(&batch.map_err(failed)?, &schema).map_err(failed)?;
        rows += batch.num_rows();
        bytes += size(&batch);
        if bytes > MAX_ANSWER {
            return Err(SqlError::Answer);
        }
        batches.push(batch);
    }
    drop(stream);
    let truncated = rows > job.bounds.rows;
    let mut answer = Answer::new(schema, batches, job.bounds.rows, started.elapsed());
    answer.truncated = truncated;
    answer.rows_read = job.progress.rows_read();
    answer.bytes_read = sum(&plan, "bytes_scanned");
    answer.plan = DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(false).to_string();
    Ok(answer)
}

/// Returns the columns of an answer: texts that point into what was read become texts of their own.
fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(plain_field);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what holds no view stays")]
fn plain_field(field: &Arc<Field>) -> Arc<Field> {
    let plain = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::List(element) => DataType::List(plain_field(element)),
        _ => return Arc::clone(field),
    };
    Arc::new(Field::clone(field).with_data_type(plain))
}

fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<Vec<_>, _>>()?, &rows)?)
}

/// Puts values where a query names them.
fn filled(plan: LogicalPlan, parameters: &Parameters) -> Result<LogicalPlan, DataFusionError> {
    let values = parameters.iter().map(|(name, parameter)| {
        let value = match parameter {
            Parameter::Text(text) => ScalarValue::Utf8(Some(text.clone())),
            Parameter::Time(time) => {
                ScalarValue::TimestampMicrosecond(Some(time.as_microsecond()), Some(Arc::from("UTC")))
            }
        };
        (*name, value)
    });
    plan.with_param_values(values.collect::<Vec<_>>())
}

/// Returns how many bytes the rows of a batch are, which may be a part of what its buffers hold.
fn size(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 1_024)).sum()
}

/// Reads the text of one query.
pub(super) fn parse(text: &str) -> Result<Box<ast::Query>, SqlError> {
    if text.len() > MAX_TEXT {
        return Err(SqlError::Invalid(format!("the query is longer than {MAX_TEXT} bytes")));
    }
    let parsed = DFParserBuilder::new(text).with_dialect(&PostgreSqlDialect {}).build();
    let mut statements = parsed.and_then(|mut parser| parser.parse_statements()).map_err(|error| refused(&error))?;
    let only = statements.pop_front().ok_or_else(|| SqlError::Invalid("there is no query".to_owned()))?;
    if !statements.is_empty() {
        return Err(SqlError::Invalid("one query at a time".to_owned()));
    }
    let Statement::Statement(statement) = only else { return Err(not_a_query()) };
    let ast::Statement::Query(mut query) = *statement else { return Err(not_a_query()) };
    if names::settle(&mut query) > MAX_OPERATORS {
        return Err(SqlError::Invalid(format!(
            "the query has more than {MAX_OPERATORS} operators; a long list of values is shorter as IN (…)"
        )));
    }
    Ok(query)
}

fn not_a_query() -> SqlError {
    SqlError::Invalid("only SELECT is possible".to_owned())
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
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment)
        .with_default_features()
        .with_optimizer_rules(distinct::rules())
        .with_physical_optimizer_rule(Arc::new(runs::LeaveOutRuns))
        .build();
    let context = SessionContext::new_with_state(state);
    let url = ObjectStoreUrl::parse("lake://lake").map_err(setup)?;
    context.register_object_store(url.as_ref(), Arc::clone(&job.lake.place.store));
    for dataset in &job.datasets {
        let source = Source {
            lake: Arc::clone(&job.lake),
            shelves: Arc::clone(&job.shelves),
            account: job.account,
            dataset: *dataset,
        };
        let table = LakeTable::new(source, url.clone(), Arc::clone(&job.progress));
        context.register_table(dataset.as_str(), Arc::new(table)).map_err(setup)?;
    }
    Ok(context)
}

/// Bounds the rows of an answer: one more than may be, so that it shows when there are more.
fn limited(plan: LogicalPlan, rows: usize) -> Result<LogicalPlan, DataFusionError> {
    let rows = rows.min(MAX_ROWS) + 1;
    LogicalPlanBuilder::from(plan).limit(0, Some(rows))?.build()
}

/// An error of the text, in the words of the planner, without its own names for things.
fn refused(error: &DataFusionError) -> SqlError {
    if let DataFusionError::External(inner) = error.find_root()
        && inner.is::<QueryError>()
    {
        return failed_inner(error);
    }
    SqlError::Invalid(names::plain(error))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not the author's to mend has failed")]
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

/// Returns how many rows the files below a plan gave; the journal's part is not counted by its plan.
fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let below = plan.children();
    if below.is_empty() {
        return plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default() as u64;
    }
    below.into_iter().map(rows_read).sum()
}

fn sum(plan: &Arc<dyn ExecutionPlan>, name: &str) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name(name)).map_or(0, |value| value.as_usize() as u64);
    own + plan.children().into_iter().map(|child| sum(child, name)).sum::<u64>()
}
