//! Takes a person's records out of tables: files that hold some are written again without them.
//!
//! One commit for each file puts the new one in the place of the old one, which goes when no query reads it any more. The
//! table's log, which names the persons a file lies between, is written again, too. It does not decide whom to erase.
//! Invariant: whatever cuts it off, a record of somebody else is there once, and doing it again does what is left.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use futures_util::{StreamExt as _, stream};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::delta::{self, Action, DataFile, State};
use super::file::{self, Opened};
use super::table::{Committed, Table, TableError};
use super::{Lake, checkpoint, roll, rollup, schema};
use crate::erasure::Person;
use crate::records::Dataset;

/// How many rows are looked at and written at once.
const BATCH: usize = 8 * 1024;

/// The datasets that persons stand in, in the order they are erased from: what hangs on a web request goes before it.
pub(crate) const DATASETS: [Dataset; 5] =
    [Dataset::Worker, Dataset::GatewayHttp, Dataset::GatewayNetwork, Dataset::AccessRequests, Dataset::McpPortalLogs];

/// Which records go.
#[derive(Debug, Clone)]
pub(crate) struct Theirs {
    pub person: Person,
    /// Records of a later time stay, in Unix microseconds.
    pub until: i64,
}

/// What came of a file.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// How many records went.
    pub erased: u64,
    /// The file that stands for it, when there is a new one.
    pub path: Option<String>,
}

/// What tells whose a record is.
enum Mark {
    /// Columns of an address and of an id.
    Person(&'static str, &'static str),
    /// The web request that a Worker was asked about.
    Requests(BTreeSet<Uuid>),
}

impl Mark {
    fn columns(&self) -> Vec<&'static str> {
        match self {
            Self::Person(address, id) => vec![address, id],
            Self::Requests(_) => vec!["RequestID"],
        }
    }
}

/// Where a dataset names the person; `None` where it names none, or is kept.
const fn named(dataset: Dataset) -> Option<(&'static str, &'static str)> {
    match dataset {
        Dataset::GatewayHttp | Dataset::GatewayNetwork => Some(("Email", "UserID")),
        Dataset::AccessRequests => Some(("Email", "UserUID")),
        Dataset::McpPortalLogs => Some(("UserEmail", "UserID")),
        Dataset::Worker | Dataset::Audit => None,
    }
}

impl Theirs {
    /// Says whether a record that names persons is theirs.
    pub(crate) fn holds(&self, dataset: Dataset, record: &Map<String, Value>) -> bool {
        let Some((address, id)) = named(dataset) else { return false };
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let time = dataset.fields().get(schema::key(dataset).time).map_or("", |field| text(field.name));
        // A record without a time is one of the epoch.
        let micros = time.parse::<Timestamp>().map(Timestamp::as_microsecond).unwrap_or_default();
        micros <= self.until && (self.person.has_address(text(address)) || self.person.has_id(text(id)))
    }

    /// Says which rows of a batch are theirs.
    fn rows(&self, dataset: Dataset, mark: &Mark, batch: &RecordBatch) -> Vec<bool> {
        let text = |name: &str| batch.column_by_name(name).map(|column| column.as_string::<i32>());
        let time = dataset.fields().get(schema::key(dataset).time).map_or("", |field| field.name);
        let times = batch.column_by_name(time).map(|column| column.as_primitive::<TimestampMicrosecondType>());
        let value = |column: Option<&arrow::array::StringArray>, row: usize, is: &dyn Fn(&str) -> bool| {
            column.is_some_and(|column| !column.is_null(row) && is(column.value(row)))
        };
        let theirs = |row: usize| match mark {
            Mark::Person(address, id) => {
                value(text(address), row, &|text| self.person.has_address(text))
                    || value(text(id), row, &|text| self.person.has_id(text))
            }
            Mark::Requests(ids) => {
                value(text("RequestID"), row, &|text| text.parse().is_ok_and(|id| ids.contains(&id)))
            }
        };
        let due = |row: usize| times.is_none_or(|times| times.value(row) <= self.until);
        (0..batch.num_rows()).map(|row| theirs(row) && due(row)).collect()
    }
}

impl Lake {
    /// Writes a file again without somebody's records, if it has any.
    pub(crate) async fn erase_from(
        &self,
        table: &Table,
        old: &Arc<DataFile>,
        theirs: &Theirs,
        now: Timestamp,
    ) -> Result<Rewritten, TableError> {
        let dataset = table.dataset;
        let mark = match named(dataset) {
            Some((address, id)) => Mark::Person(address, id),
            None => Mark::Requests(self.requests(table, old, theirs).await?),
        };
        if matches!(&mark, Mark::Requests(ids) if ids.is_empty()) {
            return Ok(Rewritten::default());
        }
        let failed = |error| TableError::File(old.path.clone(), error);
        let opened = file::open(&self.place, &table.root, dataset, old).await.map_err(failed)?;
        let erased = count(&opened, dataset, theirs, &mark).await.map_err(failed)?;
        if erased == 0 {
            return Ok(Rewritten::default());
        }
        let mut written = None;
        if erased < old.rows {
            let rows = file::rows(&opened, dataset, BATCH).map_err(failed)?;
            let path = old.path.clone();
            let others = rows.map(move |batch| {
                let batch = batch.map_err(|error| TableError::File(path.clone(), error))?;
                let others: BooleanArray =
                    theirs.rows(dataset, &mark, &batch).into_iter().map(|theirs| Some(!theirs)).collect();
                Ok(filter_record_batch(&batch, &others)?)
            });
            let period = roll::period(old.time.0, now.to_zoned(TimeZone::UTC).date());
            let new = file::write(&self.place, &table.root, dataset, old.date, roll::file_name(period), others).await?;
            written = Some(Arc::new(new));
        }
        let decide = |state: &State| {
            let removed = Action::Remove { path: old.path.clone(), at: now.as_millisecond() };
            let added = written.iter().map(|file| Action::Add(Arc::clone(file)));
            // Another node may have merged it: then its records are in another file, which is looked at later.
            state.files.contains_key(&old.path).then(|| added.chain([removed]).collect())
        };
        let committed = table.commit(decide, false, now).await?;
        let path = written.map(|file| file.path.clone());
        match (committed, path) {
            (Committed::Done, path) => Ok(Rewritten { erased, path }),
            (Committed::Moot, path) => {
                if let Some(path) = path {
                    self.discard(table, &path).await?;
                }
                Ok(Rewritten::default())
            }
        }
    }

    /// Returns the ids of somebody's web requests around the day of a file.
    async fn requests(&self, table: &Table, file: &DataFile, theirs: &Theirs) -> Result<BTreeSet<Uuid>, TableError> {
        let mut ids = BTreeSet::new();
        let Some(web) = self.table(table.account, Dataset::GatewayHttp) else { return Ok(ids) };
        let first = file.date.checked_sub(1.day()).unwrap_or(file.date);
        let last = file.date.checked_add(1.day()).unwrap_or(file.date);
        let state = web.state();
        for file in state.files.values().filter(|file| first <= file.date && file.date <= last) {
            let failed = |error| TableError::File(file.path.clone(), error);
            let opened = file::open(&self.place, &web.root, web.dataset, file).await.map_err(failed)?;
            let mark = Mark::Person("Email", "UserID");
            let columns = [mark.columns(), vec!["Datetime", "RequestID"]].concat();
            let mut batches = projected(&opened, &columns).map_err(failed)?;
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(failed)?;
                let Some(column) = batch.column_by_name("RequestID") else { continue };
                let column = column.as_string::<i32>();
                let rows = theirs.rows(Dataset::GatewayHttp, &mark, &batch);
                let of_them = rows.into_iter().enumerate().filter(|(_, theirs)| *theirs);
                ids.extend(of_them.filter_map(|(row, _)| column.value(row).parse::<Uuid>().ok()));
            }
        }
        Ok(ids)
    }

    /// Takes an address out of the table's log, where files that are no part of the table are described by it, and
    /// deletes what writers that were cut off left.
    pub(crate) async fn forget_person(&self, table: &Table, person: &Person, now: Timestamp) -> Result<(), TableError> {
        let state = table.state();
        let mut checkpoints = Vec::new();
        for object in self.place.objects(&table.path("_delta_log")).await? {
            let name = object.location.filename().unwrap_or_default();
            if name.ends_with(".checkpoint.parquet") {
                checkpoints.push(object.location.clone());
            } else if name.ends_with(".json") {
                let Some(text) = self.place.get(&object.location).await? else { continue };
                let named = |error| TableError::Log(table.root.clone(), error);
                let still = |path: &str| state.files.contains_key(path);
                let without = |bound: &str| person.has_address(bound.trim_end_matches(delta::CUT));
                if let Some(text) = delta::without_person(table.dataset, &text, still, without).map_err(named)? {
                    self.place.put(&object.location, text).await?;
                    self.place.settle(&[object.location]).map_err(TableError::Settle)?;
                }
            }
        }
        if !checkpoints.is_empty() {
            checkpoint::write(&self.place, table.dataset, &table.root, &state, now).await?;
            let newest = state.next.checked_sub(1).map(checkpoint::name).map(|name| table.path(&name));
            for old in checkpoints.iter().filter(|old| Some(*old) != newest.as_ref()) {
                self.place.delete(old).await?;
            }
        }
        let named = |path: &str| state.files.contains_key(path) || state.removed.contains_key(path);
        let counts = table.path(rollup::FOLDER);
        [&table.root, &counts]
            .into_iter()
            .try_for_each(|folder| self.place.delete_leftovers(folder, named))
            .map_err(TableError::Settle)
    }
}

/// Counts somebody's rows of a file by the columns that tell.
async fn count(opened: &Opened, dataset: Dataset, theirs: &Theirs, mark: &Mark) -> Result<u64, ParquetError> {
    let time = dataset.fields().get(schema::key(dataset).time).map_or("", |field| field.name);
    let mut columns = mark.columns();
    columns.push(time);
    let mut batches = projected(opened, &columns)?;
    let mut found = 0;
    while let Some(batch) = batches.next().await {
        found += theirs.rows(dataset, mark, &batch?).into_iter().filter(|theirs| *theirs).count() as u64;
    }
    Ok(found)
}

fn projected(
    opened: &Opened,
    names: &[&str],
) -> Result<stream::BoxStream<'static, Result<RecordBatch, ParquetError>>, ParquetError> {
    let roots = names.iter().filter_map(|name| opened.place(name));
    let mask = ProjectionMask::roots(opened.metadata.parquet_schema(), roots);
    Ok(opened.builder().with_projection(mask).with_batch_size(BATCH).build()?.boxed())
}
