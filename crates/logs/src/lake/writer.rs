//! Writes a Parquet file of a dataset, row group by row group, to where an object store keeps it.
//!
//! Beside what Parquet's own writer does, it writes columns that hold nothing in a row group as what they are, without making
//! a writer for them, and names those that hold nothing in the whole file at its end, so that whoever reads all of it need
//! not look at them. Invariant: one row group is in memory, encoded.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::{chunk, empty, schema};
use crate::records::Dataset;

/// How many rows a row group holds.
const ROW_GROUP: usize = 128 * 1024;
/// The name under which a file says which of its columns hold nothing, with commas between.
const EMPTY: &str = "portunus.empty";

/// A file that is being written.
pub(crate) struct Writer<'f, W> {
    form: &'f Form,
    file: SerializedFileWriter<Vec<u8>>,
    target: W,
    /// The writers of the columns of the row group at hand that hold something.
    group: Vec<Option<ArrowColumnWriter>>,
    rows: usize,
    /// Whether a column holds something in a row group that is done.
    holds: Vec<bool>,
}

/// How files of a dataset are written.
pub(crate) struct Form {
    dataset: Dataset,
    properties: WriterProperties,
    /// What makes a writer for each column alone: one takes the memory of two codecs, and most columns hold nothing.
    makers: Vec<ArrowRowGroupWriterFactory>,
}

impl Form {
    pub(crate) fn new(dataset: Dataset, properties: WriterProperties) -> Result<Self, ParquetError> {
        let columns = schema::columns(dataset);
        let alone = columns.fields().iter().map(|field| {
            let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
            let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.clone()))?;
            Ok(writer.into_serialized_writer()?.1)
        });
        let makers = alone.collect::<Result<_, ParquetError>>()?;
        Ok(Self { dataset, properties, makers })
    }
}

impl<'f, W: AsyncFileWriter> Writer<'f, W> {
    pub(crate) fn new(target: W, form: &'f Form) -> Result<Self, ParquetError> {
        let schema = schema::columns(form.dataset);
        let arrow = ArrowWriter::try_new(Vec::new(), schema, Some(form.properties.clone()))?;
        let (file, _) = arrow.into_serialized_writer()?;
        let fields = form.makers.len();
        let group = std::iter::repeat_with(|| None).take(fields).collect();
        Ok(Self { form, file, target, group, rows: 0, holds: vec![false; fields] })
    }

    /// Adds rows, in the columns of today.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let number = self.file.flushed_row_groups().len();
        let fields = self.form.dataset.fields().iter().zip(batch.schema_ref().fields());
        for (((field, arrow), (column, maker)), array) in
            fields.zip(self.group.iter_mut().zip(&self.form.makers)).zip(batch.columns())
        {
            let put = |writer: &mut ArrowColumnWriter, array: &ArrayRef| {
                compute_leaves(arrow, array)?.iter().try_for_each(|leaf| writer.write(leaf))
            };
            let writer = match column {
                Some(writer) => writer,
                None if empty::is(field.kind, array) => continue,
                None => {
                    let writer = maker.create_column_writers(number)?.pop();
                    let writer =
                        column.insert(writer.ok_or_else(|| ParquetError::General("a column has no leaf".to_owned()))?);
                    if self.rows > 0 {
                        put(writer, &empty::array(field.kind, self.rows))?;
                    }
                    writer
                }
            };
            put(writer, array)?;
        }
        self.rows += batch.num_rows();
        if self.rows >= ROW_GROUP {
            self.end_group().await?;
        }
        Ok(())
    }

    async fn end_group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        let leaves = self.file.schema_descr().columns().to_vec();
        let mut group = self.file.next_row_group()?;
        // Every column has one leaf: lists are of texts and numbers.
        let columns = self.group.iter_mut().zip(&mut self.holds).zip(self.form.dataset.fields()).zip(&leaves);
        for (((column, holds), field), leaf) in columns {
            if let Some(writer) = column.take() {
                *holds = true;
                writer.close()?.append_to_row_group(&mut group)?;
            } else {
                let (bytes, close) = chunk::of_nothing(field.kind, leaf, rows)?;
                group.append_column(&bytes, close)?;
            }
        }
        group.close()?;
        self.hand_on().await
    }

    /// Ends the file.
    pub(crate) async fn finish(&mut self) -> Result<ParquetMetaData, ParquetError> {
        if self.rows > 0 {
            self.end_group().await?;
        }
        let fields = self.form.dataset.fields().iter().zip(&self.holds);
        let names: Vec<_> = fields.filter(|(_, holds)| !**holds).map(|(field, _)| field.name).collect();
        self.file.append_key_value_metadata(KeyValue::new(EMPTY.to_owned(), names.join(",")));
        let metadata = self.file.finish()?;
        self.hand_on().await?;
        self.target.complete().await?;
        Ok(metadata)
    }

    async fn hand_on(&mut self) -> Result<(), ParquetError> {
        let bytes = std::mem::take(self.file.inner_mut());
        self.target.write(Bytes::from(bytes)).await
    }

    pub(crate) fn bytes_written(&self) -> usize {
        self.file.bytes_written()
    }
}

/// Returns the names of the columns of a file in which nothing is.
pub(crate) fn empty_columns(metadata: &ParquetMetaData) -> impl Iterator<Item = &str> {
    let said = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let names = said.filter(|said| said.key == EMPTY).filter_map(|said| said.value.as_deref());
    names.flat_map(|names| names.split(','))
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::compute::concat_batches;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;
    use uuid::Uuid;

    use super::{Form, ROW_GROUP, Writer, empty_columns};
    use crate::AsRecord as _;
    use crate::lake::columns::Columns;
    use crate::lake::schema;
    use crate::records::{Dataset, GatewayHttp};

    /// So many requests; `full` is the number of the first that has everything.
    fn requests(rows: usize, full: usize) -> RecordBatch {
        let mut columns = Columns::new(Dataset::GatewayHttp);
        let mut body = Vec::new();
        for row in 0..rows {
            let mut record = GatewayHttp { http_host: format!("host{}.example", row % 7), ..GatewayHttp::default() };
            if row >= full {
                record.group_names = vec!["Engineering".to_owned(), String::new()];
                record.application_ids = vec![row as i64, 0];
                record.rule_trace = Some(serde_json::json!({"row": row}));
                record.error = format!("error {row}");
                record.http_status_code = 502;
                record.worker_micros = 7;
            }
            body.clear();
            record.as_record().encode(&mut body);
            columns.push(Uuid::from_u128(row as u128), &body).unwrap();
        }
        columns.finish().unwrap()
    }

    async fn survives(batch: &RecordBatch, at_once: usize) -> (usize, Vec<String>) {
        let mut bytes = Vec::new();
        let form = Form::new(Dataset::GatewayHttp, WriterProperties::default()).unwrap();
        let mut writer = Writer::new(&mut bytes, &form).unwrap();
        for start in (0..batch.num_rows()).step_by(at_once) {
            writer.write(&batch.slice(start, at_once.min(batch.num_rows() - start))).await.unwrap();
        }
        let metadata = writer.finish().await.unwrap();
        drop(writer);
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap();
        let read: Vec<_> = reader.map(Result::unwrap).collect();
        let read = concat_batches(&schema::columns(Dataset::GatewayHttp), &read).unwrap();
        assert!(read == *batch, "what was read is what was written");
        let empty = empty_columns(&metadata).map(str::to_owned).collect();
        (metadata.num_row_groups(), empty)
    }

    #[tokio::test]
    async fn rows_survive_whatever_is_empty() {
        for (rows, full, at_once) in [(1, 1, 1), (1, 0, 1), (300, 300, 64), (300, 290, 64), (300, 0, 64)] {
            let (groups, empty) = survives(&requests(rows, full), at_once).await;
            assert_eq!(groups, 1);
            for name in ["GroupNames", "ApplicationIDs", "RuleTrace", "Error", "HTTPStatusCode", "WorkerMicros"] {
                assert_eq!(empty.iter().any(|empty| empty == name), full >= rows, "{name} of {rows} from {full}");
            }
            assert!(!empty.iter().any(|empty| empty == "HTTPHost"));
            assert!(empty.iter().any(|empty| empty == "MCPTool"));
        }
    }

    #[tokio::test]
    async fn a_column_may_be_empty_in_one_row_group_and_not_in_the_next() {
        let (groups, empty) = survives(&requests(ROW_GROUP + 10, ROW_GROUP + 5), 4_096).await;
        assert_eq!(groups, 2);
        assert!(!empty.iter().any(|empty| empty == "Error"));
        assert!(empty.iter().any(|empty| empty == "MCPTool"));
    }
}
