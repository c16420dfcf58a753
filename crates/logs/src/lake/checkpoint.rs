//! A table's state written down whole, so that a start does not read every commit there ever was.
//!
//! As the Delta protocol has it: a Parquet file of actions and `_last_checkpoint`, which names it. Invariant: what is
//! loaded is the state of the commit the checkpoint is named for.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use jiff::Timestamp;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use super::delta::{self, State};
use super::place::Place;
use super::table::TableError;
use crate::records::Dataset;

const LAST: &str = "_delta_log/_last_checkpoint";
/// How many actions are turned into columns at once.
const BATCH: usize = 4 * 1024;

#[derive(Serialize, Deserialize)]
struct Last {
    version: u64,
    size: u64,
}

/// Names the file of a checkpoint.
pub(crate) fn name(version: u64) -> String {
    format!("_delta_log/{version:020}.checkpoint.parquet")
}

/// Reads the newest checkpoint; a table without one starts with nothing.
pub(crate) async fn load(place: &Place, dataset: Dataset, root: &Path) -> Result<State, TableError> {
    let at = |name: &str| Path::from(format!("{root}/{name}"));
    let Some(last) = place.get(&at(LAST)).await? else { return Ok(State::default()) };
    let wrong = |error| TableError::Log(root.clone(), error);
    let last: Last = serde_json::from_slice(&last).map_err(|error| wrong(error.into()))?;
    // Whoever tidied up may have been faster; the commits are there then.
    let Some(bytes) = place.get(&at(&name(last.version))).await? else { return Ok(State::default()) };
    let failed = |error| TableError::File(name(last.version), error);
    let mut lines = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut lines);
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(failed)?.build().map_err(failed)? {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    let mut state = State::default();
    state.apply(&delta::read(dataset, &lines).map_err(wrong)?);
    state.next = last.version + 1;
    Ok(state)
}

/// Writes the state as of its last commit.
pub(crate) async fn write(
    place: &Place,
    dataset: Dataset,
    root: &Path,
    state: &State,
    now: Timestamp,
) -> Result<(), TableError> {
    let Some(version) = state.next.checked_sub(1) else { return Ok(()) };
    let path = |name: &str| Path::from(format!("{root}/{name}"));
    let failed = |error: ParquetError| TableError::File(name(version), error);
    let lines = delta::checkpoint_lines(dataset, state, now);
    let schema = Arc::new(schema());
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH).build_decoder()?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).map_err(failed)?;
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        let read = decoder.decode(rest)?;
        rest = &rest[read..];
        if let Some(batch) = decoder.flush()? {
            writer.write(&batch).map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    let size = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    place.put(&path(&name(version)), bytes).await?;
    place.settle(&[path(&name(version))]).map_err(TableError::Settle)?;
    let last = serde_json::to_vec(&Last { version, size }).unwrap_or_default();
    place.put(&path(LAST), last).await?;
    Ok(())
}

/// The columns of a checkpoint ("Checkpoint Schema" of the protocol), as far as tables of ours use them.
fn schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let group = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(Fields::from(fields)), true);
    let map = |name: &str| {
        let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        let entries = Arc::new(Field::new("key_value", DataType::Struct(entry), false));
        Field::new(name, DataType::Map(entries, false), true)
    };
    let columns = Arc::new(Field::new("element", DataType::Utf8, true));
    Schema::new(vec![
        group("txn", vec![text("appId"), long("version")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
            ],
        ),
        group("remove", vec![text("path"), long("deletionTimestamp"), flag("dataChange")]),
        group(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                Field::new("partitionColumns", DataType::List(columns), true),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group("protocol", vec![int("minReaderVersion"), int("minWriterVersion")]),
    ])
}
