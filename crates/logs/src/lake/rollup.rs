//! The counts of data files, each in a file beside its own, and reports from them and the journal.
//!
//! `_usage/v1/date=…/<name>` holds the counts of `date=…/<name>`; names that begin with `_` are no concern of other readers of
//! a table. It is written before the data file becomes part of the table. One that is missing, since it was written by a
//! program before counts, is made from the rows, for a report in memory and by the keeper, little by little, for good. Invariant: a report
//! holds each record that its snapshot holds, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use types::AccountId;

use super::delta::{DataFile, State};
use super::place::Place;
use super::roll;
use super::snapshot::Snapshot;
use super::table::{Table, TableError};
use super::{Lake, file};
use crate::error::QueryError;
use crate::records::Dataset;
use crate::usage::View;
use crate::usage::columns::{self, APPLICATION, DEVICES, KEY, PEOPLE, Part, VIEW};
use crate::usage::counter::{COLUMNS, Counter};
use crate::usage::fold::Fold;

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

/// Folds the counts of an account into tables.
pub(crate) async fn report(
    place: &Place,
    root: &Path,
    state: &State,
    recent: &Recent,
    folds: &mut [Fold],
) -> Result<(), QueryError> {
    for of in state.files.values() {
        if !folds.iter().any(|fold| fold.ask().covers(of.date)) {
            continue;
        }
        add_file(place, root, of, folds).await.map_err(|error| QueryError::Lake(Box::new(error)))?;
    }
    for (date, parts) in recent {
        for fold in folds.iter_mut().filter(|fold| fold.ask().covers(*date)) {
            let wanted = fold.part();
            for (_, batch) in parts.iter().filter(|(part, _)| *part == wanted) {
                fold.add(*date, batch);
            }
        }
    }
    Ok(())
}

async fn add_file(place: &Place, root: &Path, of: &DataFile, folds: &mut [Fold]) -> Result<(), TableError> {
    let failed = |error| TableError::File(of.path.clone(), error);
    let folds: Vec<&mut Fold> = folds.iter_mut().filter(|fold| fold.ask().covers(of.date)).collect();
    if let Some(bytes) = place.get(&beside(root, &of.path)).await? {
        match Counted::open(bytes).and_then(|counted| counted.read(&folds)) {
            Ok(parts) => {
                for fold in folds {
                    let wanted = fold.part();
                    let of_it = parts.iter().filter(|(part, _)| *part == wanted);
                    of_it.for_each(|(_, batch)| fold.add(of.date, batch));
                }
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, file = of.path, "counts cannot be read and are made again"),
        }
    }
    let counter = recount(place, root, of).await.map_err(failed)?;
    for fold in folds {
        let batch = columns::batch(&counter, fold.part()).map_err(TableError::Columns)?;
        fold.add(of.date, &batch);
    }
    Ok(())
}

/// A file of counts.
struct Counted {
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
}

impl Counted {
    fn open(bytes: Bytes) -> Result<Self, ParquetError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&bytes, options)?;
        if metadata.schema().fields() != columns::schema().fields() {
            return Err(ParquetError::General("it has other columns".to_owned()));
        }
        Ok(Self { bytes, metadata })
    }

    /// Reads what folds ask for; what several ask for once.
    fn read(&self, folds: &[&mut Fold]) -> Result<Vec<(Part, RecordBatch)>, ParquetError> {
        let mut read = Vec::new();
        for part in Part::all() {
            let of_part: Vec<&&mut Fold> = folds.iter().filter(|fold| fold.part() == part).collect();
            if of_part.is_empty() {
                continue;
            }
            let distinct =
                matches!(part.view(), View::Day | View::Hour) && of_part.iter().any(|fold| fold.ask().distinct);
            let wanted = (0..=DEVICES).filter(|column| distinct || !(PEOPLE..=DEVICES).contains(column));
            let mask = ProjectionMask::roots(self.metadata.parquet_schema(), wanted);
            for group in self.groups(part) {
                let mut builder =
                    ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
                        .with_row_groups(vec![group])
                        .with_projection(mask.clone())
                        .with_batch_size(64 * 1024);
                if let [fold] = of_part.as_slice()
                    && let Some(selection) = self.selection(group, fold)
                {
                    builder = builder.with_row_selection(selection);
                }
                for batch in builder.build()? {
                    read.push((part, batch?));
                }
            }
        }
        Ok(read)
    }

    fn groups(&self, part: Part) -> Vec<usize> {
        let groups = self.metadata.metadata().row_groups().iter().enumerate();
        let of_part = groups.filter(|(_, group)| match group.column(VIEW).statistics() {
            Some(Statistics::ByteArray(bounds)) => {
                bounds.min_opt().is_none_or(|lowest| lowest.data() == part.name().as_bytes())
            }
            _ => true,
        });
        of_part.map(|(number, _)| number).collect()
    }

    /// Returns the rows of the pages in which something may be that was asked for; `None` for all.
    fn selection(&self, group: usize, fold: &Fold) -> Option<RowSelection> {
        let ask = fold.ask();
        let metadata: &ParquetMetaData = self.metadata.metadata();
        let rows = usize::try_from(metadata.row_group(group).num_rows()).ok()?;
        let indexes = metadata.column_index()?.get(group)?;
        let (column, pages): (_, Vec<bool>) = match (fold.part(), ask.application, &ask.key) {
            (Part::PersonFirst, _, Some(key)) => {
                let ColumnIndexMetaData::BYTE_ARRAY(index) = indexes.get(KEY)? else { return None };
                let key = key.as_bytes();
                let may = |(low, high): (Option<&[u8]>, Option<&[u8]>)| {
                    low.is_none_or(|low| low <= key) && high.is_none_or(|high| key <= high)
                };
                (KEY, index.min_values_iter().zip(index.max_values_iter()).map(may).collect())
            }
            (_, Some(application), _) => {
                let ColumnIndexMetaData::INT64(index) = indexes.get(APPLICATION)? else { return None };
                let may = |(low, high): (Option<&i64>, Option<&i64>)| {
                    low.is_none_or(|low| *low <= application) && high.is_none_or(|high| application <= *high)
                };
                (APPLICATION, index.min_values_iter().zip(index.max_values_iter()).map(may).collect())
            }
            _ => return None,
        };
        let offsets = metadata.offset_index()?.get(group)?.get(column)?;
        let firsts: Vec<usize> =
            offsets.page_locations().iter().filter_map(|page| usize::try_from(page.first_row_index).ok()).collect();
        let ends = firsts.iter().skip(1).copied().chain([rows]);
        let selectors = firsts.iter().zip(ends).zip(pages).map(|((first, end), kept)| {
            let length = end - first;
            if kept { RowSelector::select(length) } else { RowSelector::skip(length) }
        });
        Some(RowSelection::from(selectors.collect::<Vec<_>>()))
    }
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
