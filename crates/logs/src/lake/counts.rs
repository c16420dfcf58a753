//! Reads the parts of files of counts that reports ask for, and no others.
//!
//! A file of counts is small for who has few people and megabytes for who has many, while most reports need one of its parts:
//! its description is kept, and what is needed of it is read at once. Invariant: what is kept is bounded, whatever the
//! accounts.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use moka::sync::Cache;
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::place::Place;
use crate::usage::columns::{self, APPLICATION, DEVICES, KEY, PEOPLE, Part, VIEW};
use crate::usage::{Ask, View};

/// How much of a file's end is read at first, where its description is, in bytes.
const END: u64 = 64 * 1024;
/// How many bytes of descriptions are kept in memory: those of some years of days.
pub(super) const DESCRIPTIONS: u64 = 64 << 20;
/// How many rows are decoded at once, at most.
const BATCH: usize = 64 * 1024;

/// The descriptions of files that were read lately, by their paths.
#[derive(Debug)]
pub(crate) struct Descriptions(Cache<Path, ArrowReaderMetadata>);

impl Default for Descriptions {
    fn default() -> Self {
        let weight = |path: &Path, description: &ArrowReaderMetadata| {
            u32::try_from(path.as_ref().len() + description.metadata().memory_size()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weight).max_capacity(DESCRIPTIONS).build())
    }
}

impl Descriptions {
    /// Reads the description of a file ahead of the first report that needs it; returns how many bytes it takes in memory.
    pub(crate) async fn read_ahead(&self, place: &Place, file: Path) -> Result<usize, ParquetError> {
        let described = self.of(place, &file).await?;
        Ok(described.map_or(0, |(description, _)| description.metadata().memory_size()))
    }

    /// Returns the description of a file, with the end of the file where that was read for it; `None` when there is no such file.
    async fn of(&self, place: &Place, file: &Path) -> Result<Option<(ArrowReaderMetadata, Option<End>)>, ParquetError> {
        if let Some(description) = self.0.get(file) {
            return Ok(Some((description, None)));
        }
        let Some((description, end)) = describe(place, file).await? else { return Ok(None) };
        self.0.insert(file.clone(), description.clone());
        Ok(Some((description, Some(end))))
    }

    /// Forgets a file that turned out to be another than was described.
    pub(crate) fn forget(&self, file: &Path) {
        self.0.invalidate(file);
    }
}

/// What was read of a file, to be decoded.
pub(crate) struct Fetched(Vec<(Part, ParquetPushDecoder)>);

impl Fetched {
    /// Decodes it: counts, each with the part it is of.
    pub(crate) fn decode(self) -> impl Iterator<Item = Result<(Part, RecordBatch), ParquetError>> {
        self.0.into_iter().flat_map(|(part, mut decoder)| {
            std::iter::from_fn(move || match decoder.try_decode() {
                Ok(DecodeResult::Data(batch)) => Some(Ok((part, batch))),
                Ok(DecodeResult::Finished) => None,
                Ok(DecodeResult::NeedsData(_)) => Some(Err(short())),
                Err(error) => Some(Err(error)),
            })
        })
    }
}

/// Reads what is asked for of a file of counts, what several questions need once; `None` when there is no such file.
pub(crate) async fn fetch(
    place: &Place,
    kept: &Descriptions,
    file: &Path,
    asks: &[&Ask],
) -> Result<Option<Fetched>, ParquetError> {
    let Some((description, end)) = kept.of(place, file).await? else { return Ok(None) };
    let mut decoders = decoders(&description, asks)?;
    // Which decoder asked, for each of the ranges.
    let (mut asking, mut ranges) = (Vec::new(), Vec::new());
    for (number, (_, decoder)) in decoders.iter_mut().enumerate() {
        if let DecodeResult::NeedsData(needed) = decoder.try_decode()? {
            asking.extend(needed.iter().map(|_| number));
            ranges.extend(needed);
        }
    }
    let at_hand = end.and_then(|end| ranges.iter().map(|range| end.part(range)).collect::<Option<Vec<_>>>());
    let bytes = match at_hand {
        Some(bytes) => bytes,
        None => match place.ranges(file, &ranges).await.map_err(unreachable)? {
            Some(bytes) => bytes,
            None => return Ok(None),
        },
    };
    for ((number, range), bytes) in asking.into_iter().zip(ranges).zip(bytes) {
        decoders[number].1.push_range(range, bytes)?;
    }
    Ok(Some(Fetched(decoders)))
}

/// The end of a file.
struct End {
    from: u64,
    bytes: Bytes,
}

impl End {
    fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.from)?).ok();
        let (first, end) = (place(range.start)?, place(range.end)?);
        (first <= end && end <= self.bytes.len()).then(|| self.bytes.slice(first..end))
    }
}

async fn describe(place: &Place, file: &Path) -> Result<Option<(ArrowReaderMetadata, End)>, ParquetError> {
    let Some((bytes, size)) = place.end(file, END).await.map_err(unreachable)? else { return Ok(None) };
    let end = End { from: size.saturating_sub(bytes.len() as u64), bytes };
    let mut reading = ParquetMetaDataPushDecoder::try_new(size)?.with_page_index_policy(PageIndexPolicy::Optional);
    reading.push_range(end.from..size, end.bytes.clone())?;
    let description = loop {
        match reading.try_decode()? {
            DecodeResult::Data(description) => break description,
            DecodeResult::Finished => return Err(short()),
            DecodeResult::NeedsData(ranges) => {
                let Some(bytes) = place.ranges(file, &ranges).await.map_err(unreachable)? else { return Ok(None) };
                reading.push_ranges(ranges, bytes)?;
            }
        }
    };
    let description = ArrowReaderMetadata::try_new(Arc::new(description), ArrowReaderOptions::new())?;
    if description.schema().fields() != columns::schema().fields() {
        return Err(ParquetError::General("it has other columns".to_owned()));
    }
    Ok(Some((description, end)))
}

fn decoders(description: &ArrowReaderMetadata, asks: &[&Ask]) -> Result<Vec<(Part, ParquetPushDecoder)>, ParquetError> {
    let mut decoders = Vec::new();
    for part in Part::all() {
        let of_part: Vec<&&Ask> = asks.iter().filter(|ask| ask.part() == part).collect();
        if of_part.is_empty() {
            continue;
        }
        let distinct = matches!(part.view(), View::Day | View::Hour) && of_part.iter().any(|ask| ask.distinct);
        let wanted = (0..=DEVICES).filter(|column| distinct || !(PEOPLE..=DEVICES).contains(column));
        let mask = ProjectionMask::roots(description.parquet_schema(), wanted);
        for group in groups(description, part) {
            let selection = selection(description.metadata(), group, &of_part);
            let all = || usize::try_from(description.metadata().row_group(group).num_rows()).unwrap_or(BATCH);
            let rows = selection.as_ref().map_or_else(all, RowSelection::row_count);
            if rows == 0 {
                continue;
            }
            // Room is made for a whole batch, whatever there is.
            let mut builder = ParquetPushDecoderBuilder::new_with_metadata(description.clone())
                .with_row_groups(vec![group])
                .with_projection(mask.clone())
                .with_batch_size(rows.min(BATCH));
            if let Some(selection) = selection {
                builder = builder.with_row_selection(selection);
            }
            decoders.push((part, builder.build()?));
        }
    }
    Ok(decoders)
}

fn groups(description: &ArrowReaderMetadata, part: Part) -> Vec<usize> {
    let groups = description.metadata().row_groups().iter().enumerate();
    let of_part = groups.filter(|(_, group)| match group.column(VIEW).statistics() {
        Some(Statistics::ByteArray(bounds)) => {
            bounds.min_opt().is_none_or(|lowest| lowest.data() == part.name().as_bytes())
        }
        _ => true,
    });
    of_part.map(|(number, _)| number).collect()
}

/// Returns the rows of the pages in which something may be that was asked for; `None` for all. The questions are of one part.
fn selection(metadata: &ParquetMetaData, group: usize, asks: &[&&Ask]) -> Option<RowSelection> {
    let rows = usize::try_from(metadata.row_group(group).num_rows()).ok()?;
    let mut selected: Option<RowSelection> = None;
    for ask in asks {
        let (column, pages) = pages(metadata, group, ask)?;
        let offsets = metadata.offset_index()?.get(group)?.get(column)?;
        let firsts: Vec<usize> =
            offsets.page_locations().iter().filter_map(|page| usize::try_from(page.first_row_index).ok()).collect();
        let ends = firsts.iter().skip(1).copied().chain([rows]);
        let selectors = firsts.iter().zip(ends).zip(pages).map(|((first, end), kept)| {
            let length = end - first;
            if kept { RowSelector::select(length) } else { RowSelector::skip(length) }
        });
        let own = RowSelection::from(selectors.collect::<Vec<_>>());
        selected = Some(selected.map_or_else(|| own.clone(), |others| others.union(&own)));
    }
    selected
}

/// Returns the column that tells pages apart for a question, and for each page whether something of it may be there.
fn pages(metadata: &ParquetMetaData, group: usize, ask: &Ask) -> Option<(usize, Vec<bool>)> {
    let indexes = metadata.column_index()?.get(group)?;
    match (ask.part(), ask.application, &ask.key) {
        (Part::PersonFirst, _, Some(key)) => {
            let ColumnIndexMetaData::BYTE_ARRAY(index) = indexes.get(KEY)? else { return None };
            let key = key.as_bytes();
            let may = |(low, high): (Option<&[u8]>, Option<&[u8]>)| {
                low.is_none_or(|low| low <= key) && high.is_none_or(|high| key <= high)
            };
            Some((KEY, index.min_values_iter().zip(index.max_values_iter()).map(may).collect()))
        }
        (_, Some(application), _) => {
            let ColumnIndexMetaData::INT64(index) = indexes.get(APPLICATION)? else { return None };
            let may = |(low, high): (Option<&i64>, Option<&i64>)| {
                low.is_none_or(|low| *low <= application) && high.is_none_or(|high| application <= *high)
            };
            Some((APPLICATION, index.min_values_iter().zip(index.max_values_iter()).map(may).collect()))
        }
        _ => None,
    }
}

fn unreachable(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

fn short() -> ParquetError {
    ParquetError::General("it is shorter than it says".to_owned())
}
