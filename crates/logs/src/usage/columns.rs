//! Counts as columns, and as a Parquet file with a row group or more for each view.
//!
//! The file can be read by any engine: `view`, `application`, `key`, the measures, and the sketches in the form of Apache
//! DataSketches. Persons stand twice, by application and, as `person_first`, by person. Invariant: the same rows give the
//! same bytes.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::View;
use super::counter::{Cell, Counter, Counts};

/// How many rows a page holds at most.
const PAGE_ROWS: usize = 4 * 1024;
/// How many bytes of sketches make a page, about: what is read of them for one application. It is looked at after so many
/// rows.
const SKETCHES: usize = 32 * 1024;
const ROWS_AT_ONCE: usize = 64;
/// The names of the columns that hold a number of each measure, in the order of [`measures`].
pub(crate) const MEASURES: [&str; 7] =
    ["requests", "blocked", "uploads", "messages", "bytes_sent", "bytes_received", "errors"];
/// The places of the other columns.
pub(crate) const VIEW: usize = 0;
pub(crate) const APPLICATION: usize = 1;
pub(crate) const KEY: usize = 2;
pub(crate) const FIRST_MEASURE: usize = 3;
pub(crate) const PEOPLE: usize = FIRST_MEASURE + MEASURES.len();
pub(crate) const DEVICES: usize = PEOPLE + 1;

/// A part of a file: the counts of a view in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// By application, then by what the view divides by.
    ByApplication(View),
    /// [`View::Person`], by person, then by application.
    PersonFirst,
}

impl Part {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        View::ALL.into_iter().map(Self::ByApplication).chain([Self::PersonFirst])
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ByApplication(view) => view.as_str(),
            Self::PersonFirst => "person_first",
        }
    }

    pub(crate) const fn view(self) -> View {
        match self {
            Self::ByApplication(view) => view,
            Self::PersonFirst => View::Person,
        }
    }
}

pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name| Field::new(name, DataType::Utf8, false);
        let mut fields = vec![text("view"), Field::new("application", DataType::Int64, false), text("key")];
        fields.extend(MEASURES.map(|name| Field::new(name, DataType::Int64, false)));
        fields.extend(["people", "devices"].map(|name| Field::new(name, DataType::Binary, true)));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// Returns the counts of a part as columns.
pub(crate) fn batch(counter: &Counter, part: Part) -> Result<RecordBatch, ArrowError> {
    let counts = &counter.views[part.view().index()];
    let mut cells: Vec<&Cell> = counts.cells.iter().collect();
    let name = |cell: &Cell| counts.names.text(cell.name);
    match part {
        Part::ByApplication(_) => {
            cells.sort_unstable_by(|a, b| (a.application, name(a)).cmp(&(b.application, name(b))));
        }
        Part::PersonFirst => cells.sort_unstable_by(|a, b| (name(a), a.application).cmp(&(name(b), b.application))),
    }
    columns(counts, part, &cells)
}

fn columns(counts: &Counts, part: Part, cells: &[&Cell]) -> Result<RecordBatch, ArrowError> {
    let number = |of: fn(&Cell) -> u64| -> ArrayRef {
        Arc::new(cells.iter().map(|cell| i64::try_from(of(cell)).unwrap_or(i64::MAX)).collect::<Int64Array>())
    };
    let sketch = |of: fn(&Cell) -> Option<Vec<u8>>| -> ArrayRef {
        Arc::new(cells.iter().map(|cell| of(cell)).collect::<BinaryArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(cells.iter().map(|_| part.name()))),
        Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| cell.application))),
        Arc::new(StringArray::from_iter_values(cells.iter().map(|cell| counts.names.text(cell.name)))),
        number(|cell| cell.measures.requests),
        number(|cell| cell.measures.blocked),
        number(|cell| cell.measures.uploads),
        number(|cell| cell.measures.messages),
        number(|cell| cell.measures.bytes_sent),
        number(|cell| cell.measures.bytes_received),
        number(|cell| cell.measures.errors),
        sketch(|cell| cell.people.as_ref().map(|people| people.sketch.serialize())),
        sketch(|cell| cell.devices.as_ref().map(|devices| devices.sketch.serialize())),
    ];
    RecordBatch::try_new(schema(), columns)
}

/// Returns the file of some counts.
pub(crate) fn file(counter: &Counter) -> Result<Vec<u8>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by("portunus".to_owned())
        // A decoder of zstd is made for each page; what is read for every report has many small ones.
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(ROWS_AT_ONCE)
        .set_statistics_enabled(EnabledStatistics::None);
    for name in ["view", "application", "key"] {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Page);
    }
    for name in MEASURES {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["people", "devices"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_data_page_size_limit(ColumnPath::from(name), SKETCHES)
            .set_column_compression(ColumnPath::from(name), Compression::ZSTD(ZstdLevel::default()));
    }
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties.build()))?;
    for part in Part::all() {
        writer.write(&batch(counter, part)?)?;
        writer.flush()?;
    }
    writer.into_inner()
}
