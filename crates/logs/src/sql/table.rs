//! A dataset of an account as a table: the files that may matter, and the journal's part.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use jiff::civil::{Date, date};

use types::AccountId;

use super::Progress;
use crate::error::QueryError;
use crate::lake::Lake;
use crate::lake::delta::{CUT, DataFile};
use crate::lake::schema;
use crate::lake::snapshot::Snapshot;
use crate::records::Dataset;
use crate::writer::Shelf;

/// Where a table's rows are.
#[derive(Debug)]
pub(crate) struct Source {
    pub lake: Arc<Lake>,
    pub shelves: Arc<[Shelf; Dataset::ALL.len()]>,
    pub account: AccountId,
    pub dataset: Dataset,
}

/// What there is of a table at the moment a query first asks for it: every mention of it in the query sees the same.
#[derive(Debug)]
struct Moment {
    snapshot: Snapshot,
    /// The journal's part, in the columns of files.
    journal: Vec<RecordBatch>,
    /// The journal's part counts as memory of the query while it is held.
    _held: MemoryReservation,
}

/// A table of one account at one moment.
#[derive(Debug)]
pub(crate) struct LakeTable {
    source: Source,
    moment: OnceLock<Moment>,
    url: ObjectStoreUrl,
    schema: SchemaRef,
    progress: Arc<Progress>,
}

impl LakeTable {
    pub(crate) fn new(source: Source, url: ObjectStoreUrl, progress: Arc<Progress>) -> Self {
        let schema = table_schema(source.dataset).table_schema().clone();
        Self { source, moment: OnceLock::new(), url, schema, progress }
    }

    /// Returns what there is, looking only once.
    fn moment(&self, pool: &Arc<dyn MemoryPool>) -> Result<&Moment> {
        if let Some(moment) = self.moment.get() {
            return Ok(moment);
        }
        let Source { lake, shelves, account, dataset } = &self.source;
        let snapshot = Snapshot::take(lake, &shelves[dataset.index()], *account, *dataset).map_err(outside)?;
        let held = MemoryConsumer::new("journal").register(pool);
        let journal = self.journal(&snapshot, &held)?;
        Ok(self.moment.get_or_init(|| Moment { snapshot, journal, _held: held }))
    }

    /// Returns the files in which a row may be for which the filters hold.
    fn matching(&self, moment: &Moment, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Arc<DataFile>> {
        let files: Vec<_> = moment.snapshot.state.files.values().cloned().collect();
        let Some(predicate) = predicate else { return files };
        let described = Described { dataset: self.source.dataset, files: &files };
        let kept = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .try_build(Arc::clone(predicate))
            .and_then(|pruning| pruning.prune(&described));
        match kept {
            Ok(kept) => files.into_iter().zip(kept).filter_map(|(file, kept)| kept.then_some(file)).collect(),
            // What cannot be pruned is read.
            Err(_) => files,
        }
    }

    fn scan_files(
        &self,
        state: &dyn Session,
        files: &[Arc<DataFile>],
        predicate: Option<Arc<dyn PhysicalExpr>>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let environment = state.runtime_env();
        let store = environment.object_store(&self.url)?;
        let cache = environment.cache_manager.get_file_metadata_cache();
        let mut source = ParquetSource::new(table_schema(self.source.dataset))
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)))
            .with_pushdown_filters(true)
            .with_reorder_filters(true);
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let config = FileScanConfigBuilder::new(self.url.clone(), Arc::new(source))
            .with_file_groups(self.groups(files, state.config().target_partitions()))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Spreads files over `partitions`, about as many bytes in each.
    fn groups(&self, files: &[Arc<DataFile>], partitions: usize) -> Vec<FileGroup> {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let mut groups: Vec<(u64, Vec<PartitionedFile>)> =
            vec![(0, Vec::new()); partitions.clamp(1, files.len().max(1))];
        for file in files {
            if let Some(group) = groups.iter_mut().min_by_key(|group| group.0) {
                group.0 += file.bytes;
                group.1.push(self.partitioned(file));
            }
        }
        groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
    }

    fn partitioned(&self, file: &DataFile) -> PartitionedFile {
        let path = format!("{}/{}/{}", self.source.account, self.source.dataset, file.path);
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(file.rows).unwrap_or(usize::MAX));
        PartitionedFile::new(path, file.bytes)
            .with_partition_values(vec![ScalarValue::Date32(Some(days(file.date)))])
            .with_statistics(Arc::new(statistics))
    }

    /// Returns the journal's part in columns, as far as there is memory for it.
    fn journal(&self, snapshot: &Snapshot, held: &MemoryReservation) -> Result<Vec<RecordBatch>> {
        let (mut batches, mut refused) = (Vec::new(), None);
        let read = snapshot.journal(&mut |batch| {
            if let Err(error) = held.try_grow(batch.get_array_memory_size()) {
                refused = Some(error);
                return Err(QueryError::Busy);
            }
            batches.push(batch);
            Ok(())
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        read.map_err(outside)?;
        Ok(batches)
    }

    /// Returns columns of rows of the journal, as the table has them.
    fn projected(&self, batch: &RecordBatch, schema: &SchemaRef, places: &[usize]) -> Result<RecordBatch> {
        let columns = places.iter().zip(schema.fields()).map(|(place, field)| match batch.columns().get(*place) {
            Some(column) => cast(column, field.data_type()),
            // Only the last column is not in files.
            None => Ok(self.days_of(batch)),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
    }

    fn days_of(&self, batch: &RecordBatch) -> ArrayRef {
        let times = batch.column(schema::key(self.source.dataset).time);
        let times = times.as_any().downcast_ref::<TimestampMicrosecondArray>();
        Arc::new(times.into_iter().flatten().map(|micros| micros.map(day_of)).collect::<Date32Array>())
    }
}

fn outside(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Returns the columns of a dataset as queries see them: texts as views, which point into what was read instead of copying it.
fn table_schema(dataset: Dataset) -> TableSchema {
    let columns = schema::columns(dataset);
    let viewed = columns.fields().iter().map(|field| {
        let is_text = *field.data_type() == DataType::Utf8;
        if is_text { Arc::new(Field::clone(field).with_data_type(DataType::Utf8View)) } else { Arc::clone(field) }
    });
    let viewed = Arc::new(Schema::new(viewed.collect::<Vec<_>>()));
    let date = Arc::new(Field::new(schema::DATE, DataType::Date32, false));
    TableSchema::builder(viewed).with_table_partition_cols(vec![date]).build()
}

fn days(day: Date) -> i32 {
    day.since(date(1970, 1, 1)).map_or(0, |span| span.get_days())
}

fn day_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(24 * 3600 * 1_000_000)).unwrap_or_default()
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = DFSchema::try_from(Schema::clone(&self.schema))?;
        let predicate =
            conjunction(filters.to_vec()).map(|filter| state.create_physical_expr(filter, &table)).transpose()?;
        let moment = self.moment(&state.runtime_env().memory_pool)?;
        let files = self.matching(moment, predicate.as_ref());
        let journal = &moment.journal;
        let in_files = files.iter().map(|file| file.rows).sum();
        let in_journal = journal.iter().map(|batch| batch.num_rows() as u64).sum();
        self.progress.expect_rows(in_files, in_journal);
        let places: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&places)?);
        let journal =
            journal.iter().map(|batch| self.projected(batch, &schema, &places)).collect::<Result<Vec<_>>>()?;
        let journal = MemorySourceConfig::try_new_exec(&[journal], schema, None)?;
        if files.is_empty() {
            return Ok(journal);
        }
        UnionExec::try_new(vec![self.scan_files(state, &files, predicate, projection, limit)?, journal])
    }
}

/// What is known of files without opening them.
struct Described<'a> {
    dataset: Dataset,
    files: &'a [Arc<DataFile>],
}

impl Described<'_> {
    fn bounds(&self, column: &Column, highest: bool) -> Option<ArrayRef> {
        let key = schema::key(self.dataset);
        let fields = self.dataset.fields();
        let name = |place: usize| fields.get(place).map_or("", |field| field.name);
        let side = |pair: &(String, String)| {
            let text = if highest { &pair.1 } else { &pair.0 };
            // What was cut off may go on in any way.
            (!text.ends_with(CUT)).then(|| text.clone())
        };
        let array: ArrayRef = if column.name == schema::DATE {
            Arc::new(Date32Array::from_iter_values(self.files.iter().map(|file| days(file.date))))
        } else if column.name == name(key.time) {
            let times = self.files.iter().map(|file| if highest { file.time.1 } else { file.time.0 });
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        } else if column.name == name(key.person) {
            Arc::new(self.files.iter().map(|file| side(&file.person)).collect::<StringArray>())
        } else if column.name == name(key.application) {
            Arc::new(self.files.iter().map(|file| side(&file.application)).collect::<StringArray>())
        } else {
            return None;
        };
        Some(array)
    }
}

impl PruningStatistics for Described<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, true)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
