//! The newest records that match some conditions, from journal and lake.
//!
//! Day by day from the newest: of each file only the columns that decide are read whole; of the rows that win, the rest.
//! Order is time, then id. Invariant: what is held at once is bounded by the page, not by what matches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use futures_util::StreamExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::errors::ParquetError;
use uuid::Uuid;

use super::columns::{row_fields, value};
use super::delta::DataFile;
use super::file::{self, Opened};
use super::place::Place;
use super::roll::Places;
use super::schema;
use super::snapshot::Snapshot;
use super::table::TableError;
use crate::error::QueryError;
use crate::frame;
use crate::query::{self, Cursor, Entry, Filter, Page, Query};
use crate::records::Dataset;
use crate::segment::read_block;

/// How long a page looks for matches before it hands out what it has.
const PATIENCE: Duration = Duration::from_secs(5);

/// The rows that lead so far, newest first when read from the end.
struct Leading {
    limit: usize,
    found: BTreeMap<Cursor, Found>,
    before: Option<Cursor>,
}

/// Where a leading row is.
enum Found {
    Read(Entry),
    Row { file: usize, row: usize },
}

impl Leading {
    /// Returns the cursor that a row has to beat, once the page is full.
    fn bar(&self) -> Option<Cursor> {
        (self.found.len() >= self.limit).then(|| self.found.first_key_value().map(|(cursor, _)| *cursor)).flatten()
    }

    /// Says whether a row at this time may get in.
    fn may_enter(&self, micros: i64) -> bool {
        self.may_meet(micros, micros)
    }

    /// Says whether a row between these times may get in.
    fn may_meet(&self, earliest: i64, latest: i64) -> bool {
        self.bar().is_none_or(|bar| latest >= bar.micros) && self.before.is_none_or(|before| earliest <= before.micros)
    }

    fn enter(&mut self, cursor: Cursor, found: Found) {
        if self.before.is_some_and(|before| cursor >= before) || self.bar().is_some_and(|bar| cursor < bar) {
            return;
        }
        self.found.insert(cursor, found);
        if self.found.len() > self.limit {
            self.found.pop_first();
        }
    }
}

/// Returns the page of a query, and where to go on.
pub(crate) async fn page(place: &Place, snapshot: &Snapshot, query: &Query) -> Result<Page, QueryError> {
    let started = Instant::now();
    let range = Range::of(query);
    let limit = query.limit.clamp(1, query::MAX_LIMIT);
    let mut leading = Leading { limit, found: BTreeMap::new(), before: query.before };
    from_journal(snapshot, query, &range, &mut leading)?;
    let root = object_store::path::Path::from(format!("{}/{}", snapshot.account, snapshot.dataset));
    let mut opened: Vec<Opened> = Vec::new();
    // Files by their latest record, newest first: once a full page is newer than all of a file, it is newer than the rest.
    let mut files: Vec<&Arc<DataFile>> = snapshot.state.files.values().filter(|file| range.meets(file)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.time.1));
    let mut stopped = None;
    for file in files {
        if leading.bar().is_some_and(|bar| bar.micros > file.time.1) {
            break;
        }
        if !leading.may_meet(file.time.0, file.time.1) {
            continue;
        }
        // Only at a place that is further than where the page began.
        if started.elapsed() > PATIENCE && leading.before.is_none_or(|before| file.time.1 < before.micros) {
            // Everything newer than this file's latest record has been looked at.
            stopped = Some(Cursor::end_of(file.time.1));
            break;
        }
        let reading = open_file(place, &root, query.dataset, file).await?;
        from_file(&reading, opened.len(), query, &range, &mut leading).await.map_err(|error| failed(file, error))?;
        let number = opened.len();
        if leading.found.values().any(|found| matches!(found, Found::Row { file, .. } if *file == number)) {
            opened.push(reading);
        }
    }
    let full = leading.bar();
    if let Some(stopped) = stopped {
        leading.found = leading.found.split_off(&stopped);
    }
    let entries = read(&opened, query, leading.found).await?;
    let next = if entries.len() == limit { full } else { stopped };
    Ok(Page { entries, next })
}

/// Returns one record.
pub(crate) async fn get(place: &Place, snapshot: &Snapshot, id: Uuid) -> Result<Option<Entry>, QueryError> {
    let dataset = snapshot.dataset;
    for (segment, file) in snapshot.segments.iter().rev() {
        let prefix = crate::segment::id_prefix(id);
        for block in segment.blocks.iter().filter(|block| (block.first_id..=block.last_id).contains(&prefix)) {
            let bytes = read_block(file, block).map_err(QueryError::Read)?;
            if let Some((_, frame)) = frame::frames(&bytes).find(|(_, frame)| frame.id == id) {
                let own = Places::of(dataset).find(dataset, segment.codec, &frame);
                let Some((_, micros)) = own.filter(|(account, _)| *account == snapshot.account) else {
                    return Ok(None);
                };
                let cursor = Cursor { micros, id };
                let fields = query::fields(dataset, segment.codec, &frame);
                return Ok(fields.map(|fields| Entry { id, cursor, dataset, fields }));
            }
        }
    }
    let root = object_store::path::Path::from(format!("{}/{}", snapshot.account, dataset));
    let name = dataset.fields().first().map_or("", |field| field.name);
    let born = i64::try_from(id.as_u128() >> 80).unwrap_or_default().saturating_mul(1_000);
    let mut files: Vec<_> = snapshot.state.files.values().collect();
    // Ids carry the time they were made at, about that of their record.
    files.sort_by_key(|file| (file.time.0 - born).max(born - file.time.1).max(0));
    for file in files {
        let opened = open_file(place, &root, dataset, file).await?;
        let id_text = id.to_string();
        let matches = |batch: &RecordBatch| {
            let ids = batch.column(0).as_string::<i32>();
            (0..ids.len()).filter(|row| ids.value(*row) == id_text).collect()
        };
        let rows = rows_where(&opened, &[name], matches).await.map_err(|error| failed(file, error))?;
        if let Some(row) = rows.first() {
            let found = BTreeMap::from([(Cursor { micros: 0, id }, Found::Row { file: 0, row: *row })]);
            let query = Query::newest(snapshot.account, dataset);
            return Ok(read(&[opened], &query, found).await?.pop());
        }
    }
    Ok(None)
}

async fn open_file(
    place: &Place,
    root: &object_store::path::Path,
    dataset: Dataset,
    file: &DataFile,
) -> Result<Opened, QueryError> {
    file::open(place, root, dataset, file).await.map_err(|error| failed(file, error))
}

fn failed(file: &DataFile, error: ParquetError) -> QueryError {
    QueryError::Lake(Box::new(TableError::File(file.path.clone(), error)))
}

/// The times a query asks about, in Unix microseconds; the end is not part of it.
struct Range {
    since: i64,
    until: i64,
}

impl Range {
    fn of(query: &Query) -> Self {
        Self {
            since: query.since.map_or(i64::MIN, |time| time.as_microsecond()),
            until: query.until.map_or(i64::MAX, |time| time.as_microsecond()),
        }
    }

    const fn holds(&self, micros: i64) -> bool {
        self.since <= micros && micros < self.until
    }

    const fn meets(&self, file: &DataFile) -> bool {
        file.time.1 >= self.since && file.time.0 < self.until
    }
}

fn from_journal(snapshot: &Snapshot, query: &Query, range: &Range, leading: &mut Leading) -> Result<(), QueryError> {
    let places = Places::of(query.dataset);
    for (segment, file) in snapshot.segments.iter().rev() {
        for block in segment.blocks.iter().rev() {
            // Blocks know whole milliseconds.
            let (first, last) = (whole(block.first_time).0, whole(block.last_time).1);
            if last < range.since || first >= range.until || !leading.may_meet(first, last) {
                continue;
            }
            let bytes = read_block(file, block).map_err(QueryError::Read)?;
            for (_, frame) in frame::frames(&bytes) {
                let (earliest, latest) = whole(frame.milliseconds);
                if !leading.may_meet(earliest, latest) {
                    continue;
                }
                let own = places.find(query.dataset, segment.codec, &frame);
                let Some((_, micros)) = own.filter(|(account, _)| *account == query.account) else { continue };
                if !range.holds(micros) || !leading.may_enter(micros) {
                    continue;
                }
                let Some(fields) = query::fields(query.dataset, segment.codec, &frame) else { continue };
                if query.filters.iter().all(|filter| filter.holds(&fields)) {
                    let cursor = Cursor { micros, id: frame.id };
                    let entry = Entry { id: frame.id, cursor, dataset: query.dataset, fields };
                    leading.enter(cursor, Found::Read(entry));
                }
            }
        }
    }
    Ok(())
}

/// Returns the microseconds a millisecond spans.
const fn whole(milliseconds: i64) -> (i64, i64) {
    let first = milliseconds.saturating_mul(1_000);
    (first, first.saturating_add(999))
}

/// Returns the numbers of the rows that `matches` finds in batches of the named columns. A column the file does not have is
/// not in the batch.
async fn rows_where(
    opened: &Opened,
    names: &[&str],
    mut matches: impl FnMut(&RecordBatch) -> Vec<usize>,
) -> Result<Vec<usize>, ParquetError> {
    let roots = names.iter().filter_map(|name| opened.place(name));
    let mask = ProjectionMask::roots(opened.metadata.parquet_schema(), roots);
    let mut stream = opened.builder().with_projection(mask).build()?;
    let (mut found, mut first) = (Vec::new(), 0);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        found.extend(matches(&batch).into_iter().map(|row| first + row));
        first += batch.num_rows();
    }
    Ok(found)
}

async fn from_file(
    opened: &Opened,
    number: usize,
    query: &Query,
    range: &Range,
    leading: &mut Leading,
) -> Result<(), ParquetError> {
    let fields = query.dataset.fields();
    let time = fields.get(schema::key(query.dataset).time).map_or("", |field| field.name);
    let id = fields.first().map_or("", |field| field.name);
    let mut names: BTreeSet<&str> = query.filters.iter().map(|filter| filter.field.as_str()).collect();
    names.insert(time);
    names.insert(id);
    let names: Vec<_> = names.into_iter().collect();
    let mut first = 0;
    rows_where(opened, &names, |batch| {
        let (Some(times), Some(ids)) = (batch.column_by_name(time), batch.column_by_name(id)) else {
            return Vec::new();
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let micros = times.value(row);
            if range.holds(micros)
                && leading.may_enter(micros)
                && query.filters.iter().all(|filter| holds(filter, batch, row))
                && let Ok(id) = ids.as_string::<i32>().value(row).parse()
            {
                leading.enter(Cursor { micros, id }, Found::Row { file: number, row: first + row });
            }
        }
        first += batch.num_rows();
        Vec::new()
    })
    .await?;
    Ok(())
}

fn holds(filter: &Filter, batch: &RecordBatch, row: usize) -> bool {
    let value = batch.column_by_name(&filter.field).and_then(|column: &ArrayRef| value(column, row));
    filter.holds_value(value.as_ref())
}

/// Reads the rows that won, newest first.
async fn read(opened: &[Opened], query: &Query, found: BTreeMap<Cursor, Found>) -> Result<Vec<Entry>, QueryError> {
    let mut wanted: BTreeMap<usize, BTreeMap<usize, Cursor>> = BTreeMap::new();
    let mut entries: BTreeMap<Cursor, Entry> = BTreeMap::new();
    for (cursor, found) in found {
        match found {
            Found::Read(entry) => {
                entries.insert(cursor, entry);
            }
            Found::Row { file, row } => {
                wanted.entry(file).or_default().insert(row, cursor);
            }
        }
    }
    for (file, rows) in wanted {
        let Some(opened) = opened.get(file) else { continue };
        let reading = read_rows(opened, query, rows).await;
        let lost = |error| QueryError::Lake(Box::new(TableError::File(String::new(), error)));
        entries.extend(reading.map_err(lost)?.into_iter().map(|entry| (entry.cursor, entry)));
    }
    Ok(entries.into_values().rev().collect())
}

async fn read_rows(opened: &Opened, query: &Query, rows: BTreeMap<usize, Cursor>) -> Result<Vec<Entry>, ParquetError> {
    let mut selectors = Vec::new();
    let mut next = 0;
    for row in rows.keys() {
        if *row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    let total = usize::try_from(opened.metadata.metadata().file_metadata().num_rows()).unwrap_or(next);
    selectors.push(RowSelector::skip(total.saturating_sub(next)));
    let mut stream = opened.builder().with_row_selection(RowSelection::from(selectors)).build()?;
    let (mut entries, mut cursors) = (Vec::new(), rows.into_values());
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let Some(cursor) = cursors.next() else { break };
            let fields = row_fields(query.dataset, &batch, row);
            entries.push(Entry { id: cursor.id, cursor, dataset: query.dataset, fields });
        }
    }
    Ok(entries)
}
