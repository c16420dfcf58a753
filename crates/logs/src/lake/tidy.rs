//! Keeps the lake in order: merges small files, lets go of what is too old or too much, deletes what nobody reads.
//!
//! An hour that is over becomes one file, a day that is over a few. Files that were replaced stay for a while, for the
//! queries that read them. Invariant: merging changes no record; what goes goes by whole days, oldest first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use object_store::ObjectMeta;
use parquet::errors::ParquetError;

use super::delta::{Action, DataFile, State};
use super::file::{self, Sorted};
use super::roll::{self, Period};
use super::table::{Committed, Table, TableError};
use super::{Lake, empty, schema};
use crate::pace::Pace;
use crate::records::Dataset;

/// How many files are merged at once: those of all hours of a day, and some that came late.
const FAN_IN: usize = 32;
/// So many files of an hour that goes on are merged, so that queries do not open hundreds.
const MANY: usize = 16;
/// A file of this many bytes is not merged any more.
const LARGE: u64 = 64 * 1024 * 1024;
/// How long after its end a period still gets records before it is merged.
const LATE: i64 = 5 * 60 * 1_000_000;
/// How many rows of each file are at hand while merging, and how many are written at once.
const BATCH: usize = 2 * 1024;
/// How long a file stays after it was replaced.
pub(crate) const GRACE: Duration = Duration::from_secs(10 * 60);
/// How old a file that no commit names must be to be a leftover of a crash: older than any writer takes to name it, also one
/// that is kept waiting by the store.
const ORPHANED: Duration = Duration::from_secs(24 * 3600);

/// Returns files that should be one, if there are such.
pub(crate) fn mergeable(state: &State, now: i64) -> Option<Vec<Arc<DataFile>>> {
    let present = Timestamp::from_microsecond(now - LATE).unwrap_or_default().to_zoned(TimeZone::UTC);
    let (today, this_hour) = (present.date(), present.hour());
    let mut days: BTreeMap<Date, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in state.files.values().filter(|file| file.bytes < LARGE) {
        days.entry(file.date).or_default().push(file);
    }
    for (date, files) in days {
        if date < today {
            if files.len() > 1 {
                return Some(smallest(files));
            }
            continue;
        }
        let mut hours: BTreeMap<Period, Vec<&Arc<DataFile>>> = BTreeMap::new();
        for file in files {
            hours.entry(roll::period(file.time.0, today)).or_default().push(file);
        }
        let due = hours
            .into_iter()
            .find(|(hour, files)| files.len() >= MANY || (*hour < (today, Some(this_hour)) && files.len() > 1));
        if let Some((_, files)) = due {
            return Some(smallest(files));
        }
    }
    None
}

fn smallest(mut files: Vec<&Arc<DataFile>>) -> Vec<Arc<DataFile>> {
    files.sort_by_key(|file| file.bytes);
    files.into_iter().take(FAN_IN).cloned().collect()
}

impl Lake {
    /// Merges once, at `pace`, if something in the table is to be merged; says whether it did.
    pub(crate) async fn merge(&self, table: &Table, now: Timestamp, pace: &Pace<'_>) -> Result<bool, TableError> {
        let Some(files) = mergeable(&table.state(), now.as_microsecond()) else { return Ok(false) };
        let Some(first) = files.first() else { return Ok(false) };
        let today = now.to_zoned(TimeZone::UTC).date();
        let earliest = files.iter().map(|file| file.time.0).min().unwrap_or_default();
        let period = roll::period(earliest, today);
        let batches = self.merged(table, &files).await?.then(async move |batch| {
            pace.give_way().await;
            batch
        });
        let name = roll::file_name(period);
        let written = file::write(&self.place, &table.root, table.dataset, first.date, name, batches).await?;
        let written = Arc::new(written);
        let decide = |state: &State| {
            // Another node may have merged them, or somebody's records were erased from them.
            let there = files.iter().all(|file| state.files.contains_key(&file.path));
            let removed = files.iter().map(|file| removal(file, now));
            there.then(|| std::iter::once(Action::Add(Arc::clone(&written))).chain(removed).collect())
        };
        if table.commit(decide, true, now).await? == Committed::Moot {
            self.discard(table, &written.path).await?;
        }
        Ok(true)
    }

    /// Returns the records of some files in the order of one.
    async fn merged(
        &self,
        table: &Table,
        files: &[Arc<DataFile>],
    ) -> Result<impl Stream<Item = Result<RecordBatch, TableError>> + use<>, TableError> {
        let mut sources = Vec::with_capacity(files.len());
        for file in files {
            let failed = |error| TableError::File(file.path.clone(), error);
            let opened = file::open(&self.place, &table.root, table.dataset, file).await.map_err(failed)?;
            sources.push(file::rows(&opened, table.dataset, BATCH).map_err(failed)?.boxed());
        }
        let merge = Merge::start(table.dataset, sources).await?;
        Ok(stream::try_unfold(merge, |mut merge| async move { Ok(merge.next().await?.map(|batch| (batch, merge))) }))
    }

    /// Deletes files of the table that were replaced a while ago; those of a crash once it is certain that they are.
    pub(crate) async fn sweep(&self, table: &Table, orphans: bool, now: Timestamp) -> Result<(), TableError> {
        let state = table.state();
        let before = now.as_millisecond() - i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX);
        let mut gone = Vec::new();
        for (path, at) in &state.removed {
            if *at < before {
                self.discard(table, path).await?;
                gone.push(path.clone());
            }
        }
        table.forget(&gone);
        if orphans {
            let named = |path: &str| state.files.contains_key(path) || state.removed.contains_key(path);
            for object in self.place.objects(&table.root).await? {
                let path = object.location.as_ref().strip_prefix(table.root.as_ref()).unwrap_or_default();
                let path = path.trim_start_matches('/');
                let ours = path.starts_with(schema::DATE) && path.ends_with(".parquet");
                if ours && !named(path) && orphaned(&object, now) {
                    self.place.delete(&object.location).await?;
                }
            }
        }
        Ok(())
    }

    /// Lets go of the days of a table before `first`.
    pub(crate) async fn expire(&self, table: &Table, first: Date, now: Timestamp) -> Result<(), TableError> {
        let expired = |state: &State| -> Vec<Action> {
            state.files.values().filter(|file| file.date < first).map(|file| removal(file, now)).collect()
        };
        let decide = |state: &State| Some(expired(state)).filter(|actions| !actions.is_empty());
        table.commit(decide, false, now).await.map(drop)
    }

    /// Lets go of the oldest days of some tables until they are within `max_bytes` together.
    pub(crate) async fn shrink(&self, tables: &[Arc<Table>], max_bytes: u64, now: Timestamp) -> Result<(), TableError> {
        let mut days: BTreeMap<Date, u64> = BTreeMap::new();
        for table in tables {
            for file in table.state().files.values() {
                *days.entry(file.date).or_default() += file.bytes;
            }
        }
        let mut total: u64 = days.values().sum();
        let mut first = None;
        for (date, bytes) in days {
            if total <= max_bytes {
                break;
            }
            total -= bytes;
            first = date.checked_add(1.day()).ok();
        }
        let Some(first) = first else { return Ok(()) };
        tracing::warn!(%first, "the lake is full; older days go");
        for table in tables {
            self.expire(table, first, now).await?;
        }
        Ok(())
    }
}

/// Says whether an object that nothing names is a leftover of a crash rather than about to be named.
pub(crate) fn orphaned(object: &ObjectMeta, now: Timestamp) -> bool {
    now.as_second() - object.last_modified.timestamp() > i64::try_from(ORPHANED.as_secs()).unwrap_or(i64::MAX)
}

fn removal(file: &DataFile, now: Timestamp) -> Action {
    Action::Remove { path: file.path.clone(), at: now.as_millisecond() }
}

type Source = BoxStream<'static, Result<RecordBatch, ParquetError>>;

/// The rows of sorted files, in order.
struct Merge {
    dataset: Dataset,
    sources: Vec<Source>,
    /// The batch at hand of each source and its next row; `None` when the source is at its end.
    heads: Vec<Option<(RecordBatch, usize)>>,
}

impl Merge {
    async fn start(dataset: Dataset, sources: Vec<Source>) -> Result<Self, TableError> {
        let heads = sources.iter().map(|_| None).collect();
        let mut merge = Self { dataset, sources, heads };
        for number in 0..merge.sources.len() {
            merge.refill(number).await?;
        }
        Ok(merge)
    }

    async fn refill(&mut self, number: usize) -> Result<(), TableError> {
        let Some(source) = self.sources.get_mut(number) else { return Ok(()) };
        let next = loop {
            match source.next().await.transpose().map_err(|error| TableError::File(String::new(), error))? {
                Some(batch) if batch.num_rows() == 0 => {}
                next => break next,
            }
        };
        self.heads[number] = next.map(|batch| (batch, 0));
        Ok(())
    }

    /// Returns the next rows: as many as come before some source needs its next batch.
    async fn next(&mut self) -> Result<Option<RecordBatch>, TableError> {
        let key = schema::key(self.dataset);
        let mut used = Vec::new();
        let exhausted = {
            let heads: Vec<_> = self
                .heads
                .iter()
                .enumerate()
                .filter_map(|(number, head)| head.as_ref().map(|(batch, row)| (number, batch, *row)))
                .collect();
            if heads.is_empty() {
                return Ok(None);
            }
            let sorted: Vec<_> = heads.iter().map(|(_, batch, _)| Sorted::of(batch, key)).collect();
            let mut rows: Vec<usize> = heads.iter().map(|(_, _, row)| *row).collect();
            let mut queue: BinaryHeap<_> = sorted
                .iter()
                .zip(&rows)
                .enumerate()
                .map(|(at, (sorted, row))| Reverse((sorted.row(*row), at)))
                .collect();
            let mut exhausted = None;
            while used.len() < BATCH
                && let Some(Reverse((_, at))) = queue.pop()
            {
                used.push((at, rows[at]));
                rows[at] += 1;
                if rows[at] == heads[at].1.num_rows() {
                    exhausted = Some(heads[at].0);
                    break;
                }
                queue.push(Reverse((sorted[at].row(rows[at]), at)));
            }
            let batches: Vec<_> = heads.iter().map(|(_, batch, _)| *batch).collect();
            let merged = empty::interleaved(self.dataset, &batches, &used)?;
            let numbers: Vec<_> = heads.iter().map(|(number, ..)| *number).collect();
            for (number, row) in numbers.into_iter().zip(rows) {
                if let Some((_, at)) = self.heads[number].as_mut() {
                    *at = row;
                }
            }
            (exhausted, merged)
        };
        if let Some(number) = exhausted.0 {
            self.refill(number).await?;
        }
        Ok(Some(exhausted.1))
    }
}
