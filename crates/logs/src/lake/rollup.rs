//! The counts of data files, each in a file beside its own, and reports from them and the journal.
//!
//! `_usage/v1/date=…/<name>` holds the counts of `date=…/<name>`; names that begin with `_` are no concern of other readers of
//! a table. It is written before the data file becomes part of the table. One that is missing, since it was written by a
//! program before counts, is made from the rows, for a report in memory and by the keeper, little by little, for good. Invariant: a report
//! holds each record that its snapshot holds, once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use tokio::runtime::Handle;
use types::AccountId;

use super::delta::{DataFile, State};
use super::place::Place;
use super::roll;
use super::snapshot::Snapshot;
use super::table::{Table, TableError};
use super::{Lake, counts, file};
use crate::error::QueryError;
use crate::records::Dataset;
use crate::usage::Ask;
use crate::usage::columns::{self, Part};
use crate::usage::counter::{COLUMNS, Counter};
use crate::usage::fold::Fold;

/// How many threads a report is folded on at most.
const MOST_THREADS: usize = 8;
/// How many files are worth a thread.
const FILES_FOR_THREAD: usize = 8;
/// How many files are read ahead of the one that is folded, by each thread.
const FILES_AHEAD: usize = 4;

/// The folder of counts within that of a table. Another way to count is another version.
pub(crate) const FOLDER: &str = "_usage/v1";
/// The dataset that is counted.
pub(crate) const COUNTED: Dataset = Dataset::GatewayHttp;

/// Returns the place of the counts of a data file.
pub(crate) fn beside(root: &Path, path: &str) -> Path {
    Path::from(format!("{root}/{FOLDER}/{path}"))
}

/// Writes the counts of a data file, for good.
pub(crate) async fn write(place: &Place, root: &Path, path: &str, counter: &Counter) -> Result<(), TableError> {
    let bytes = columns::file(counter).map_err(|error| TableError::File(path.to_owned(), error))?;
    let object = beside(root, path);
    place.put(&object, bytes).await?;
    place.settle(&[object]).map_err(TableError::Settle)
}

/// Counts the rows of a data file again.
async fn recount(place: &Place, root: &Path, of: &DataFile) -> Result<Counter, ParquetError> {
    let opened = file::open(place, root, COUNTED, of).await?;
    let roots = COLUMNS.iter().filter_map(|name| opened.place(name));
    let mask = ProjectionMask::roots(opened.metadata.parquet_schema(), roots);
    let mut rows = opened.builder().with_projection(mask).build()?;
    let mut counter = Counter::default();
    while let Some(batch) = rows.next().await {
        counter.note(&batch?);
    }
    Ok(counter)
}

impl Lake {
    /// Returns the files of a table that lack counts; deletes counts whose files are gone.
    pub(crate) async fn uncounted(&self, table: &Table, now: Timestamp) -> Result<Vec<Arc<DataFile>>, TableError> {
        if table.dataset != COUNTED {
            return Ok(Vec::new());
        }
        let folder = table.path(FOLDER);
        let mut there = BTreeSet::new();
        let state = table.state();
        for object in self.place.objects(&folder).await? {
            let path = object.location.as_ref().strip_prefix(folder.as_ref()).unwrap_or_default();
            let path = path.trim_start_matches('/');
            if state.files.contains_key(path) {
                // What a power cut left empty is none.
                if object.size > 0 {
                    there.insert(path.to_owned());
                }
            } else if !state.removed.contains_key(path) && super::tidy::orphaned(&object, now) {
                self.place.delete(&object.location).await?;
            }
        }
        Ok(state.files.values().filter(|of| !there.contains(&of.path)).cloned().collect())
    }

    /// Reads the descriptions of the newest counts, so that the first report does not have to. One that cannot be read is left to
    /// whoever asks for it.
    pub(crate) async fn describe_counts(&self) {
        let tables: Vec<_> = self.tables().into_iter().filter(|table| table.dataset == COUNTED).collect();
        let states: Vec<_> = tables.iter().map(|table| (&table.root, table.state())).collect();
        let files = states.iter().flat_map(|(root, state)| state.files.values().map(move |of| (*root, of)));
        let mut files: Vec<_> = files.collect();
        files.sort_unstable_by_key(|(_, of)| Reverse(of.date));
        let reading =
            files.into_iter().map(|(root, of)| self.descriptions.read_ahead(&self.place, beside(root, &of.path)));
        let mut reading = std::pin::pin!(stream::iter(reading).buffered(FILES_AHEAD));
        let mut bytes = 0;
        // Half of what may be kept, so that none of them pushes another out.
        while bytes < counts::DESCRIPTIONS / 2
            && let Some(read) = reading.next().await
        {
            bytes += read.unwrap_or_default() as u64;
        }
    }

    /// Makes the counts of a file that lacks them, if it is still there.
    pub(crate) async fn count_again(&self, table: &Table, of: &DataFile) -> Result<(), TableError> {
        if !table.state().files.contains_key(&of.path) {
            return Ok(());
        }
        let failed = |error| TableError::File(of.path.clone(), error);
        let counter = recount(&self.place, &table.root, of).await.map_err(failed)?;
        write(&self.place, &table.root, &of.path, &counter).await
    }
}

/// What is in the journal, counted by day.
pub(crate) type Recent = BTreeMap<Date, Vec<(Part, RecordBatch)>>;

/// Counts the records of an account in the journal.
pub(crate) fn recent(snapshot: &Snapshot) -> Result<Recent, QueryError> {
    let mut days: BTreeMap<Date, Counter> = BTreeMap::new();
    snapshot.journal(&mut |batch| {
        let time = batch.column(super::schema::key(snapshot.dataset).time).as_primitive::<TimestampMicrosecondType>();
        // Nearly always one day.
        let mut first = 0;
        while first < batch.num_rows() {
            let (day, _) = roll::period(time.value(first), Date::MAX);
            let same = |row: &usize| roll::period(time.value(*row), Date::MAX).0 == day;
            let length = (first..batch.num_rows()).take_while(same).count();
            days.entry(day).or_default().note(&batch.slice(first, length));
            first += length;
        }
        Ok(())
    })?;
    let count = |counter: Counter| {
        let parts = Part::all().map(|part| Ok((part, columns::batch(&counter, part).map_err(TableError::Columns)?)));
        parts.collect::<Result<Vec<_>, TableError>>()
    };
    let counted = days.into_iter().map(|(day, counter)| Ok((day, count(counter)?)));
    counted.collect::<Result<_, TableError>>().map_err(|error| QueryError::Lake(Box::new(error)))
}

/// Folds the counts of an account into tables, on as many threads as there are processors. Blocks.
pub(crate) fn report(
    lake: &Lake,
    root: &Path,
    state: &State,
    recent: &Recent,
    folds: &mut [Fold],
    runtime: &Handle,
) -> Result<(), QueryError> {
    let covered = |of: &&Arc<DataFile>| folds.iter().any(|fold| fold.ask().covers(of.date));
    let files: Vec<&Arc<DataFile>> = state.files.values().filter(covered).collect();
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(MOST_THREADS).min(files.len().div_ceil(FILES_FOR_THREAD)).max(1);
    let asks: Vec<Ask> = folds.iter().map(|fold| fold.ask().clone()).collect();
    let nth = |number: usize| files.iter().skip(number).step_by(threads).copied();
    std::thread::scope(|scope| {
        let work = |number| {
            let mut own: Vec<Fold> = asks.iter().cloned().map(Fold::new).collect();
            runtime.block_on(add_files(lake, root, nth(number), &asks, &mut own)).map(|()| own)
        };
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || work(number))).collect();
        let first = runtime.block_on(add_files(lake, root, nth(0), &asks, folds));
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let other = other.map_err(|error| QueryError::Lake(Box::new(error)))?;
            folds.iter_mut().zip(other).for_each(|(fold, other)| fold.merge(other));
        }
        first.map_err(|error| QueryError::Lake(Box::new(error)))
    })?;
    for (date, parts) in recent {
        for fold in folds.iter_mut().filter(|fold| fold.ask().covers(*date)) {
            let wanted = fold.ask().part();
            for (_, batch) in parts.iter().filter(|(part, _)| *part == wanted) {
                fold.add(*date, batch);
            }
        }
    }
    Ok(())
}

/// Folds the counts of some files; the next ones are read while one is folded.
async fn add_files<'a>(
    lake: &Lake,
    root: &Path,
    files: impl Iterator<Item = &'a Arc<DataFile>>,
    asks: &[Ask],
    folds: &mut [Fold],
) -> Result<(), TableError> {
    let reading = files.map(|of| {
        let asking: Vec<&Ask> = asks.iter().filter(|ask| ask.covers(of.date)).collect();
        async move {
            let object = beside(root, &of.path);
            let fetched = counts::fetch(&lake.place, &lake.descriptions, &object, &asking).await;
            (of, object, fetched)
        }
    });
    let mut reading = std::pin::pin!(stream::iter(reading).buffered(FILES_AHEAD));
    while let Some((of, object, fetched)) = reading.next().await {
        let mut wanted: Vec<&mut Fold> = folds.iter_mut().filter(|fold| fold.ask().covers(of.date)).collect();
        // All of a file's counts are read before any is added, so that one that breaks off counts once, from its rows.
        let parts = match fetched {
            Ok(None) => None,
            Ok(Some(fetched)) => Some(fetched.decode().collect::<Result<Vec<_>, ParquetError>>()),
            Err(error) => Some(Err(error)),
        };
        match parts {
            Some(Ok(parts)) => {
                for (part, batch) in parts {
                    wanted
                        .iter_mut()
                        .filter(|fold| fold.ask().part() == part)
                        .for_each(|fold| fold.add(of.date, &batch));
                }
                continue;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, file = of.path, "counts cannot be read and are made again");
                lake.descriptions.forget(&object);
            }
            None => {}
        }
        let failed = |error| TableError::File(of.path.clone(), error);
        let counter = recount(&lake.place, root, of).await.map_err(failed)?;
        for fold in wanted {
            let batch = columns::batch(&counter, fold.ask().part()).map_err(TableError::Columns)?;
            fold.add(of.date, &batch);
        }
    }
    Ok(())
}

/// What a report is made of, for a moment: whoever asks within it gets the same.
#[derive(Debug)]
pub(crate) struct Moment {
    pub as_of: Timestamp,
    /// How long it took to count the journal's part.
    pub took: Duration,
    pub state: Arc<State>,
    pub recent: Recent,
}

impl Moment {
    /// Returns the first day there are records of.
    pub(crate) fn since(&self) -> Option<Date> {
        let in_files = self.state.files.values().map(|of| of.date);
        in_files.chain(self.recent.keys().copied()).min()
    }
}

/// What reports of an account are made of at the moment; held by who counts, so that others wait for the same.
pub(crate) type Moments = Mutex<BTreeMap<AccountId, Arc<Mutex<Option<Arc<Moment>>>>>>;
