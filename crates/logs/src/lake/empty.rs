//! Columns that hold nothing: of a hundred fields a record fills some thirty, and the others cost next to nothing.
//!
//! Nothing is what `schema` says: empty text, zero, an empty list, null for JSON. Invariant: what is said of a column here
//! is true of each of its values; an array that is not looked through counts as one that holds something.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StringArray, new_empty_array, new_null_array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;

use super::schema::{data_type, element};
use crate::records::Dataset;
use crate::wire::Kind;

/// How many rows of nothing are at hand.
const AT_HAND: usize = 8 * 1024;

/// Says whether an array of a field's column holds nothing at all.
pub(crate) fn is(kind: Kind, array: &ArrayRef) -> bool {
    match kind {
        Kind::Json | Kind::Jsons => array.null_count() == array.len(),
        _ if array.null_count() > 0 => false,
        Kind::Text => none_between(array.as_string::<i32>().value_offsets()),
        Kind::Texts | Kind::Integers => none_between(array.as_list::<i32>().value_offsets()),
        Kind::Integer | Kind::Count => array.as_primitive::<Int64Type>().values().iter().all(|value| *value == 0),
        Kind::Small => array.as_primitive::<Int32Type>().values().iter().all(|value| *value == 0),
        // Each record has its own, or a bit is all it takes.
        Kind::Id | Kind::Time | Kind::Flag => false,
    }
}

fn none_between(offsets: &[i32]) -> bool {
    offsets.first() == offsets.last()
}

/// Returns so many rows of nothing.
pub(crate) fn array(kind: Kind, rows: usize) -> ArrayRef {
    /// One for each kind, in the order of its numbers.
    static NOTHING: LazyLock<[ArrayRef; Kind::Id as usize + 1]> =
        LazyLock::new(|| Kind::ALL.map(|kind| made(kind, AT_HAND)));
    if rows > AT_HAND { made(kind, rows) } else { NOTHING[kind as usize].slice(0, rows) }
}

fn made(kind: Kind, rows: usize) -> ArrayRef {
    let list = |data_type: DataType| -> ArrayRef {
        let values = new_empty_array(&data_type);
        Arc::new(ListArray::new(element(data_type), OffsetBuffer::new_zeroed(rows), values, None))
    };
    match kind {
        Kind::Json | Kind::Jsons | Kind::Id | Kind::Time | Kind::Flag => new_null_array(&data_type(kind), rows),
        Kind::Text => Arc::new(StringArray::new(OffsetBuffer::new_zeroed(rows), Buffer::default(), None)),
        Kind::Texts => list(DataType::Utf8),
        Kind::Integers => list(DataType::Int64),
        Kind::Integer | Kind::Count => Arc::new(Int64Array::new(ScalarBuffer::from(vec![0; rows]), None)),
        Kind::Small => Arc::new(Int32Array::new(ScalarBuffer::from(vec![0; rows]), None)),
    }
}

/// Returns rows of several batches of a dataset, each by the number of its batch and its own, with what is empty left alone.
pub(crate) fn interleaved(
    dataset: Dataset,
    batches: &[&RecordBatch],
    rows: &[(usize, usize)],
) -> Result<RecordBatch, ArrowError> {
    let Some(first) = batches.first() else { return Err(ArrowError::ComputeError("no batches".to_owned())) };
    let columns = dataset.fields().iter().enumerate().map(|(place, field)| {
        let numbers = matches!(field.kind, Kind::Integer | Kind::Count | Kind::Small);
        // Numbers are put in order in the time it takes to look through them.
        if !numbers && batches.iter().all(|batch| is(field.kind, batch.column(place))) {
            return Ok(array(field.kind, rows.len()));
        }
        let sources: Vec<_> = batches.iter().map(|batch| batch.column(place).as_ref()).collect();
        interleave(&sources, rows)
    });
    let columns = columns.collect::<Result<_, _>>()?;
    RecordBatch::try_new_with_options(first.schema(), columns, &counted(rows.len()))
}

fn counted(rows: usize) -> RecordBatchOptions {
    RecordBatchOptions::new().with_row_count(Some(rows))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::{array, interleaved, is};
    use crate::lake::schema;
    use crate::records::Dataset;
    use crate::wire::Kind;

    #[test]
    fn nothing_is_recognised_and_something_never_taken_for_it() {
        for kind in Kind::ALL {
            let expected = !matches!(kind, Kind::Id | Kind::Time | Kind::Flag);
            for rows in [1, 5, 9_000] {
                let nothing = array(kind, rows);
                assert_eq!((nothing.len(), is(kind, &nothing)), (rows, expected), "{kind:?}");
            }
        }
        let text: ArrayRef = Arc::new(StringArray::from(vec!["", "x", ""]));
        assert!(!is(Kind::Text, &text) && !is(Kind::Json, &text));
        assert!(is(Kind::Text, &text.slice(2, 1)));
        // What an older file does not have is not the same as what is empty.
        let absent: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
        assert!(!is(Kind::Text, &absent) && is(Kind::Json, &absent));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0, 0, -1]));
        assert!(!is(Kind::Count, &numbers) && is(Kind::Count, &numbers.slice(0, 2)));
    }

    #[test]
    fn rows_are_put_in_order_with_what_is_empty() {
        let dataset = Dataset::Audit;
        let batch = |text: &str, rows: usize| {
            let columns = dataset.fields().iter().enumerate().map(|(place, field)| match (place, field.kind) {
                (0, _) => Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("{text}{row}")))),
                _ => array(field.kind, rows),
            });
            RecordBatch::try_new(schema::columns(dataset), columns.collect()).unwrap()
        };
        let (left, right) = (batch("a", 3), batch("b", 2));
        let ids = |batch: &RecordBatch| {
            let ids = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
            ids.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        let merged = interleaved(dataset, &[&left, &right], &[(1, 0), (0, 1), (1, 1)]).unwrap();
        assert_eq!(ids(&merged), ["b0", "a1", "b1"]);
        assert!(merged.columns().iter().all(|column| column.len() == 3));
    }
}
