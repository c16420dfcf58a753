//! Files of records: sorted, compressed, described; and read back.
//!
//! A file holds the records of one day, sorted by person, application and time, so that pages and row groups of the same
//! person lie together. Invariant: what a [`DataFile`] says of a file is true of it.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray as _, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use jiff::civil::Date;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::delta::{DataFile, lower, upper};
use super::empty;
use super::place::Place;
use super::rollup;
use super::schema::{self, Key};
use super::table::TableError;
use super::writer::{Form, Writer, empty_columns};
use crate::records::Dataset;
use crate::usage::counter::Counter;
use crate::wire::Kind;

/// How many rows a page holds: what is read for one person at least.
const PAGE_ROWS: usize = 8 * 1024;
/// How much of a file's end is read at first, where its description is, in bytes.
const FOOTER: usize = 64 * 1024;

/// The columns a file is sorted by.
pub(crate) struct Sorted<'a> {
    person: &'a StringArray,
    application: &'a StringArray,
    time: &'a TimestampMicrosecondArray,
}

impl<'a> Sorted<'a> {
    pub(crate) fn of(batch: &'a RecordBatch, key: Key) -> Self {
        Self {
            person: batch.column(key.person).as_string(),
            application: batch.column(key.application).as_string(),
            time: batch.column(key.time).as_primitive::<TimestampMicrosecondType>(),
        }
    }

    /// What a row is sorted by.
    pub(crate) fn row(&self, row: usize) -> (&'a str, &'a str, i64) {
        (self.person.value(row), self.application.value(row), self.time.value(row))
    }
}

fn form(dataset: Dataset) -> Result<&'static Form, ParquetError> {
    static FORMS: LazyLock<[Result<Form, ParquetError>; Dataset::ALL.len()]> =
        LazyLock::new(|| Dataset::ALL.map(|dataset| Form::new(dataset, tuned(dataset).build())));
    FORMS[dataset.index()].as_ref().map_err(|error| ParquetError::General(error.to_string()))
}

fn tuned(dataset: Dataset) -> WriterPropertiesBuilder {
    let key = schema::key(dataset);
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("portunus ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(Some(sorting(key)));
    for (place, field) in dataset.fields().iter().enumerate() {
        let column = ColumnPath::from(field.name);
        let sorted = [key.person, key.application, key.time].contains(&place);
        if sorted || matches!(field.kind, Kind::Small | Kind::Integer) {
            properties = properties.set_column_statistics_enabled(column.clone(), EnabledStatistics::Page);
        }
        properties = match field.kind {
            // Hardly ever the same twice: a dictionary would only be tried and given up.
            Kind::Id => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, EnabledStatistics::None),
            Kind::Time => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            Kind::Count => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            // Without an order among them, the least and the greatest of a hundred thousand texts rule nothing out, and
            // finding them takes two comparisons for each. What is empty is described as such, whatever is said here.
            Kind::Text if !sorted => properties.set_column_statistics_enabled(column, EnabledStatistics::None),
            Kind::Texts | Kind::Json | Kind::Jsons => {
                properties.set_column_statistics_enabled(column, EnabledStatistics::None)
            }
            Kind::Text | Kind::Integer | Kind::Small | Kind::Flag | Kind::Integers => properties,
        };
        // Files are sorted by person, so only this tells where an application is not.
        if place == key.application {
            properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(field.name), true);
        }
    }
    properties
}

fn sorting(key: Key) -> Vec<SortingColumn> {
    let column = |place: usize| SortingColumn {
        column_idx: i32::try_from(place).unwrap_or_default(),
        descending: false,
        nulls_first: false,
    };
    [key.person, key.application, key.time].map(column).into()
}

/// Writes a file of a day's records, which come in its order.
pub(crate) async fn write(
    place: &Place,
    root: &Path,
    dataset: Dataset,
    date: Date,
    path: String,
    batches: impl Stream<Item = Result<RecordBatch, TableError>>,
) -> Result<DataFile, TableError> {
    let failed = |error| TableError::File(path.clone(), error);
    let object = Path::from(format!("{root}/{path}"));
    let target = BufWriter::new(Arc::clone(&place.store), object.clone());
    let mut writer = form(dataset).and_then(|form| Writer::new(target, form)).map_err(failed)?;
    let mut bounds = Bounds::new(schema::key(dataset));
    let mut counter = (dataset == rollup::COUNTED).then(Counter::default);
    let mut batches = std::pin::pin!(batches);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        bounds.note(&batch);
        if let Some(counter) = &mut counter {
            counter.note(&batch);
        }
        writer.write(&batch).await.map_err(failed)?;
    }
    writer.finish().await.map_err(failed)?;
    let bytes = writer.bytes_written() as u64;
    if let Some(counter) = &counter {
        rollup::write(place, root, &path, counter).await?;
    }
    place.settle(&[object]).map_err(TableError::Settle)?;
    Ok(bounds.described(path, date, bytes))
}

/// What is learned of a file while it is written.
struct Bounds {
    key: Key,
    rows: u64,
    time: Option<(i64, i64)>,
    person: Option<(String, String)>,
    application: Option<(String, String)>,
}

impl Bounds {
    const fn new(key: Key) -> Self {
        Self { key, rows: 0, time: None, person: None, application: None }
    }

    fn note(&mut self, batch: &RecordBatch) {
        let sorted = Sorted::of(batch, self.key);
        self.rows += batch.num_rows() as u64;
        let mut before = None;
        for row in 0..batch.num_rows() {
            let (person, application, time) = sorted.row(row);
            self.time = Some(self.time.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
            // Rows of one person and application lie together.
            if before != Some((person, application)) {
                widen(&mut self.person, person);
                widen(&mut self.application, application);
                before = Some((person, application));
            }
        }
    }

    fn described(self, path: String, date: Date, bytes: u64) -> DataFile {
        let cut = |bounds: Option<(String, String)>| {
            bounds.map(|(low, high)| (lower(&low), upper(&high))).unwrap_or_default()
        };
        DataFile {
            path,
            date,
            bytes,
            rows: self.rows,
            time: self.time.unwrap_or_default(),
            person: cut(self.person),
            application: cut(self.application),
        }
    }
}

fn widen(bounds: &mut Option<(String, String)>, text: &str) {
    match bounds {
        None => *bounds = Some((text.to_owned(), text.to_owned())),
        Some((low, _)) if text < low.as_str() => text.clone_into(low),
        Some((_, high)) if text > high.as_str() => text.clone_into(high),
        Some(_) => {}
    }
}

/// Reads the parts of a file that are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    store: Arc<dyn ObjectStore>,
    object: Path,
    bytes: u64,
}

impl AsyncFileReader for Parts {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.store.get_range(&self.object, range).await.map_err(unreadable) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.object, &ranges).await.map_err(unreadable) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let pages = options.map_or(PageIndexPolicy::Skip, ArrowReaderOptions::offset_index_policy);
        let bytes = self.bytes;
        let reader = ParquetMetaDataReader::new().with_page_index_policy(pages).with_prefetch_hint(Some(FOOTER));
        async move { Ok(Arc::new(reader.load_and_finish(self, bytes).await?)) }.boxed()
    }
}

fn unreadable(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// An opened file.
pub(crate) struct Opened {
    reader: Parts,
    pub metadata: ArrowReaderMetadata,
}

/// Opens a file to read. One whose columns are of other types than ours, which some other program has written, is refused.
pub(crate) async fn open(
    place: &Place,
    root: &Path,
    dataset: Dataset,
    file: &DataFile,
) -> Result<Opened, ParquetError> {
    let object = Path::from(format!("{root}/{}", file.path));
    let mut reader = Parts { store: Arc::clone(&place.store), object, bytes: file.bytes };
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await?;
    for ours in schema::columns(dataset).fields() {
        if let Ok(theirs) = metadata.schema().field_with_name(ours.name())
            && theirs.data_type() != ours.data_type()
        {
            return Err(ParquetError::General(format!(
                "column {} is of type {}, not {}",
                ours.name(),
                theirs.data_type(),
                ours.data_type()
            )));
        }
    }
    Ok(Opened { reader, metadata })
}

impl Opened {
    pub(crate) fn builder(&self) -> ParquetRecordBatchStreamBuilder<Parts> {
        ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone())
    }

    /// Returns the place of a column in this file, which may be older than the column.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.metadata.schema().index_of(name).ok()
    }
}

/// Reads a whole file in the columns of today.
pub(crate) fn rows(
    opened: &Opened,
    dataset: Dataset,
    batch: usize,
) -> Result<impl Stream<Item = Result<RecordBatch, ParquetError>> + use<>, ParquetError> {
    let metadata = opened.metadata.metadata();
    let nothing: Vec<_> = empty_columns(metadata).collect();
    let columns = opened.metadata.schema().fields().iter().enumerate();
    let older: Vec<_> = dataset.fields().iter().map(|field| opened.place(field.name).is_none()).collect();
    let held = columns.filter(|(_, field)| !nothing.contains(&field.name().as_str())).map(|(place, _)| place);
    let mask = ProjectionMask::roots(opened.metadata.parquet_schema(), held);
    let stream: ParquetRecordBatchStream<_> = opened.builder().with_projection(mask).with_batch_size(batch).build()?;
    Ok(stream.map(move |batch| Ok(of_today(&batch?, dataset, &older)?)))
}

/// Returns a batch with the columns of today. Those that it does not have hold nothing; those that its file is `older` than are
/// null.
fn of_today(batch: &RecordBatch, dataset: Dataset, older: &[bool]) -> Result<RecordBatch, ArrowError> {
    let schema = schema::columns(dataset);
    if batch.schema_ref().fields() == schema.fields() {
        return RecordBatch::try_new(schema, batch.columns().to_vec());
    }
    let columns = dataset.fields().iter().zip(older).map(|(field, older)| {
        let there = batch.column_by_name(field.name).cloned();
        there.unwrap_or_else(|| match older {
            true => new_null_array(&schema::data_type(field.kind), batch.num_rows()),
            false => empty::array(field.kind, batch.num_rows()),
        })
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}
