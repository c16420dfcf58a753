//! What a query answers, and what it cost.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
#[cfg(feature = "sql")]
use arrow::datatypes::DataType;
use arrow::datatypes::SchemaRef;
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use serde_json::{Map, Value};

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `string`, `int`, `float`, `bool`, `time`, `date` or `array`.
    pub kind: &'static str,
}

/// The rows of an answer, and what they cost.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns.
    pub columns: Vec<Column>,
    /// Whether there are more rows than an answer may have.
    pub truncated: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// How many rows were read to find it.
    pub rows_read: u64,
    /// How many bytes of files were read.
    pub bytes_read: u64,
    /// How it was found, for people who know such plans.
    pub plan: String,
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
}

impl Answer {
    #[cfg(feature = "sql")]
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>, rows: usize, elapsed: Duration) -> Self {
        let columns =
            schema.fields().iter().map(|field| Column { name: field.name().clone(), kind: kind(field.data_type()) });
        Self {
            columns: columns.collect(),
            truncated: false,
            elapsed,
            rows_read: 0,
            bytes_read: 0,
            plan: String::new(),
            batches: first(batches, rows),
            schema,
        }
    }

    /// Returns how many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Returns the rows, each an object with every column; what is not there is null.
    ///
    /// # Errors
    ///
    /// A message, for a column of a type that has no JSON.
    pub fn rows(&self) -> Result<Vec<Map<String, Value>>, String> {
        if self.row_count() == 0 {
            return Ok(Vec::new());
        }
        serde_json::from_slice(&self.json()?).map_err(|error| error.to_string())
    }

    /// Returns the rows as a JSON array.
    ///
    /// # Errors
    ///
    /// As [`Answer::rows`].
    pub fn json(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut text);
        for batch in &self.batches {
            writer.write(batch).map_err(|error| error.to_string())?;
        }
        writer.finish().map_err(|error| error.to_string())?;
        drop(writer);
        if text.is_empty() {
            text.extend_from_slice(b"[]");
        }
        Ok(text)
    }

    /// Returns the rows as JSON, one a line.
    ///
    /// # Errors
    ///
    /// As [`Answer::rows`].
    pub fn json_lines(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        for row in self.rows()? {
            serde_json::to_writer(&mut text, &row).map_err(|error| error.to_string())?;
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Returns the rows as comma-separated values with a header (RFC 4180); lists are JSON.
    ///
    /// # Errors
    ///
    /// As [`Answer::rows`].
    pub fn csv(&self) -> Result<Vec<u8>, String> {
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            text.push_str(&cells.collect::<Vec<_>>().join(","));
            text.push_str("\r\n");
        };
        line(&mut self.columns.iter().map(|column| quoted(&column.name)));
        for row in self.rows()? {
            line(&mut self.columns.iter().map(|column| match row.get(&column.name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => quoted(text),
                Some(value) => quoted(&value.to_string()),
            }));
        }
        Ok(text.into_bytes())
    }

    /// Returns the rows as a Parquet file.
    ///
    /// # Errors
    ///
    /// A message, for a column of a type that Parquet does not have.
    pub fn parquet(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, Arc::clone(&self.schema), None)
            .map_err(|error| error.to_string())?;
        for batch in &self.batches {
            writer.write(batch).map_err(|error| error.to_string())?;
        }
        writer.close().map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(feature = "sql")]
fn first(batches: Vec<RecordBatch>, mut rows: usize) -> Vec<RecordBatch> {
    let mut kept = Vec::with_capacity(batches.len());
    for batch in batches {
        let some = batch.num_rows().min(rows);
        rows -= some;
        if some > 0 {
            kept.push(batch.slice(0, some));
        }
    }
    kept
}

#[cfg(feature = "sql")]
#[expect(clippy::wildcard_enum_match_arm, reason = "what has no word of its own is shown as text")]
fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "bool",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(..) => "time",
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "array",
        data_type if data_type.is_integer() => "int",
        data_type if data_type.is_numeric() => "float",
        _ => "string",
    }
}
