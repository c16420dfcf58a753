//! Turns records as the journal keeps them into columns, without a record in between.
//!
//! A field that a record does not hold costs nothing: a column is padded up to the next row that holds it. Invariant:
//! every column of a finished batch has as many values as there were records.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use serde_json::Value;
use uuid::Uuid;

use super::schema::{self, element};
use crate::records::Dataset;
use crate::wire::{Fields, Kind, Raw, unzigzag};

/// The columns of some records.
#[derive(Debug)]
pub(crate) struct Columns {
    dataset: Dataset,
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

/// A record that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a damaged record")]
pub(crate) struct Damaged;

impl Columns {
    pub(crate) fn new(dataset: Dataset) -> Self {
        let columns = dataset.fields().iter().map(|field| Column::new(field.kind)).collect();
        Self { dataset, schema: schema::columns(dataset), columns, rows: 0 }
    }

    /// Adds a record in the journal's present form. What can be read of a damaged one is added, too.
    pub(crate) fn push(&mut self, id: Uuid, body: &[u8]) -> Result<(), Damaged> {
        let read = self.push_fields(body);
        self.end_row(id);
        read
    }

    fn push_fields(&mut self, body: &[u8]) -> Result<(), Damaged> {
        for field in Fields::new(body) {
            let (place, raw) = field.ok_or(Damaged)?;
            // A place this program does not know was written by a newer one.
            let Some(column) = self.columns.get_mut(place) else { continue };
            match column.len().cmp(&self.rows) {
                Ordering::Less => column.pad(self.rows),
                Ordering::Equal => {}
                // Only a damaged record says something twice.
                Ordering::Greater => return Err(Damaged),
            }
            column.push(raw).ok_or(Damaged)?;
        }
        Ok(())
    }

    /// Adds a record of a time when the journal held JSON.
    pub(crate) fn push_json(&mut self, id: Uuid, json: &[u8]) -> Result<(), Damaged> {
        self.push(id, &present_form(self.dataset, json)?)
    }

    fn end_row(&mut self, id: Uuid) {
        if let Some(column) = self.columns.first_mut() {
            let mut text = Uuid::encode_buffer();
            // Always text, which always fits.
            let _ = column.push(Raw::Bytes(id.as_hyphenated().encode_lower(&mut text).as_bytes()));
        }
        self.rows += 1;
    }

    /// Returns the columns, and starts anew, with as much room as these took.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.columns.iter_mut().map(|column| {
            column.pad(rows);
            column.finish()
        });
        RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect::<Result<_, _>>()?)
    }
}

/// Returns a record of a time when the journal held JSON as the journal holds it now.
pub(crate) fn present_form(dataset: Dataset, json: &[u8]) -> Result<Vec<u8>, Damaged> {
    let text = str::from_utf8(json).map_err(|_| Damaged)?;
    let mut record = crate::Record::from_json(dataset, text).map_err(|_| Damaged)?;
    let mut body = Vec::new();
    crate::AsRecord::as_record(&mut record).encode(&mut body);
    Ok(body)
}

/// Texts, one after the other.
#[derive(Debug)]
struct Texts {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }
}

impl Texts {
    const fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn pad(&mut self, rows: usize) {
        let end = self.end();
        self.offsets.resize(rows + 1, end);
    }

    /// Batches are bounded far below 2 GiB of text.
    fn end(&self) -> i32 {
        i32::try_from(self.bytes.len()).unwrap_or(i32::MAX)
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.offsets.push(self.end());
    }

    /// Takes the texts out; what comes next is expected to be as long.
    fn take(&mut self) -> Self {
        let offsets = begun(self.offsets.len());
        Self { offsets: std::mem::replace(&mut self.offsets, offsets), bytes: taken(&mut self.bytes) }
    }

    fn finish(self, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
        if str::from_utf8(&self.bytes).is_err() {
            return self.mended().finish(nulls);
        }
        StringArray::try_new(offsets(self.offsets), Buffer::from_vec(self.bytes), nulls)
    }

    /// Returns the texts with what is not UTF-8 replaced, so that one damaged record does not hold up the others.
    fn mended(&self) -> Self {
        let mut mended = Self::default();
        for bounds in self.offsets.windows(2) {
            let text = self.bytes.get(bounds[0] as usize..bounds[1] as usize).unwrap_or_default();
            mended.push(String::from_utf8_lossy(text).as_bytes());
        }
        mended
    }
}

/// Takes numbers out; what comes next is expected to be as many.
fn taken<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

/// Returns the ends of lists before there is one, with room for some.
fn begun(room: usize) -> Vec<i32> {
    let mut ends = Vec::with_capacity(room);
    ends.push(0);
    ends
}

fn offsets(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

/// The values of one field.
#[derive(Debug)]
enum Column {
    Text(Texts),
    /// Texts with what is there and what is not.
    Json(Texts, BooleanBufferBuilder),
    Long(Vec<i64>, Kind),
    Int(Vec<i32>),
    Flag(BooleanBufferBuilder),
    TextList(Vec<i32>, Texts),
    LongList(Vec<i32>, Vec<i64>),
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text | Kind::Id => Self::Text(Texts::default()),
            Kind::Json | Kind::Jsons => Self::Json(Texts::default(), BooleanBufferBuilder::new(0)),
            Kind::Integer | Kind::Count | Kind::Time => Self::Long(Vec::new(), kind),
            Kind::Small => Self::Int(Vec::new()),
            Kind::Flag => Self::Flag(BooleanBufferBuilder::new(0)),
            Kind::Texts => Self::TextList(vec![0], Texts::default()),
            Kind::Integers => Self::LongList(vec![0], Vec::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(texts) | Self::Json(texts, _) => texts.len(),
            Self::Long(values, _) => values.len(),
            Self::Int(values) => values.len(),
            Self::Flag(flags) => flags.len(),
            Self::TextList(ends, _) | Self::LongList(ends, _) => ends.len() - 1,
        }
    }

    /// Fills up to `rows` values with nothing.
    fn pad(&mut self, rows: usize) {
        match self {
            Self::Text(texts) => texts.pad(rows),
            Self::Json(texts, valid) => {
                valid.append_n(rows.saturating_sub(texts.len()), false);
                texts.pad(rows);
            }
            Self::Long(values, _) => values.resize(rows, 0),
            Self::Int(values) => values.resize(rows, 0),
            Self::Flag(flags) => flags.append_n(rows.saturating_sub(flags.len()), false),
            Self::TextList(ends, _) | Self::LongList(ends, _) => {
                let end = ends.last().copied().unwrap_or_default();
                ends.resize(rows + 1, end);
            }
        }
    }

    /// Adds a value; `None` when it has another shape.
    #[inline(always)]
    fn push(&mut self, raw: Raw<'_>) -> Option<()> {
        match (self, raw) {
            (Self::Text(texts), Raw::Bytes(bytes)) => texts.push(bytes),
            (Self::Json(texts, valid), Raw::Bytes(bytes)) => {
                texts.push(bytes);
                valid.append(true);
            }
            (Self::Long(values, Kind::Count), Raw::Number(number)) => {
                values.push(i64::try_from(number).unwrap_or(i64::MAX));
            }
            (Self::Long(values, _), Raw::Number(number)) => values.push(unzigzag(number)),
            (Self::Int(values), Raw::Number(number)) => values.push(i32::try_from(number).ok()?),
            (Self::Flag(flags), Raw::Flag) => flags.append(true),
            (Self::TextList(ends, texts), raw) => {
                raw.texts()?.flatten().for_each(|text| texts.push(text.as_bytes()));
                ends.push(i32::try_from(texts.len()).ok()?);
            }
            (Self::LongList(ends, values), raw) => {
                values.extend(raw.integers()?.flatten());
                ends.push(i32::try_from(values.len()).ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Text(texts) => Arc::new(texts.take().finish(None)?),
            Self::Json(texts, valid) => {
                let nulls = NullBuffer::new(valid.finish());
                Arc::new(texts.take().finish(Some(nulls))?)
            }
            Self::Long(values, kind) => {
                let values = ScalarBuffer::from(taken(values));
                if *kind == Kind::Time {
                    Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone("UTC"))
                } else {
                    Arc::new(Int64Array::new(values, None))
                }
            }
            Self::Int(values) => Arc::new(Int32Array::new(ScalarBuffer::from(taken(values)), None)),
            Self::Flag(flags) => Arc::new(BooleanArray::new(flags.finish(), None)),
            Self::TextList(ends, texts) => {
                let ends = offsets(std::mem::replace(ends, begun(ends.len())));
                let texts = Arc::new(texts.take().finish(None)?);
                Arc::new(ListArray::try_new(element(DataType::Utf8), ends, texts, None)?)
            }
            Self::LongList(ends, values) => {
                let ends = offsets(std::mem::replace(ends, begun(ends.len())));
                let values = Arc::new(Int64Array::new(ScalarBuffer::from(taken(values)), None));
                Arc::new(ListArray::try_new(element(DataType::Int64), ends, values, None)?)
            }
        })
    }
}

/// Returns the fields of one row as the JSON of a record shows them: what is empty is absent.
pub(crate) fn row_fields(dataset: Dataset, batch: &RecordBatch, row: usize) -> serde_json::Map<String, Value> {
    let named = dataset.fields().iter().filter_map(|field| Some((field, batch.column_by_name(field.name)?)));
    let fields = named.filter_map(|(field, array)| {
        let value = value(array, row)?;
        let value = match (field.kind, value.as_str()) {
            (Kind::Json | Kind::Jsons, Some(text)) => serde_json::from_str(text).ok()?,
            _ => value,
        };
        Some((field.name.to_owned(), value))
    });
    fields.collect()
}

/// Returns a value, `None` when it is empty.
#[expect(clippy::wildcard_enum_match_arm, reason = "the lake has no columns of other types")]
pub(crate) fn value(array: &ArrayRef, row: usize) -> Option<Value> {
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::{Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)).filter(|text| !text.is_empty()).map(Value::from),
        DataType::Int64 => {
            Some(array.as_primitive::<Int64Type>().value(row)).filter(|number| *number != 0).map(Value::from)
        }
        DataType::Int32 => {
            Some(array.as_primitive::<Int32Type>().value(row)).filter(|number| *number != 0).map(Value::from)
        }
        DataType::Boolean => array.as_boolean().value(row).then_some(Value::Bool(true)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = jiff::Timestamp::from_microsecond(micros).ok()?;
            (time != jiff::Timestamp::default()).then(|| Value::String(time.to_string()))
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            let values: Vec<_> = (0..elements.len()).map(|at| value_or_empty(&elements, at)).collect();
            (!values.is_empty()).then_some(Value::Array(values))
        }
        _ => None,
    }
}

/// As [`value`], for elements of lists, where empty ones count.
#[expect(clippy::wildcard_enum_match_arm, reason = "the lake has no lists of other types")]
fn value_or_empty(array: &ArrayRef, row: usize) -> Value {
    value(array, row).unwrap_or_else(|| match array.data_type() {
        DataType::Utf8 => Value::String(String::new()),
        DataType::Int64 => Value::from(0),
        _ => Value::Null,
    })
}
