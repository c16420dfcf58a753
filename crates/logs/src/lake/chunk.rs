//! Column chunks that hold nothing, written without looking at a row (Parquet "Data Pages", "Encodings").
//!
//! A dictionary of the one value and one run of its number; lists and JSON, which have no value, are their levels alone.
//! Invariant: a reader finds in it what it would find had each row been written.

use std::io::Write as _;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::wire::{Kind, put_varint};

/// Returns so many rows of nothing as a chunk of a column, with its description.
pub(crate) fn of_nothing(
    kind: Kind,
    column: &ColumnDescPtr,
    rows: usize,
) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
    let mut sink = TrackedWrite::new(Vec::new());
    let (mut dictionary_offset, mut size) = (None, 0);
    let number = u32::try_from(rows).map_err(|error| ParquetError::General(error.to_string()))?;
    let mut pages = SerializedPageWriter::new(&mut sink);
    let value = value(kind);
    if let Some(value) = value {
        let length = value.len();
        let page = Page::DictionaryPage {
            buf: Bytes::from_static(value),
            num_values: 1,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let written = pages.write_page(CompressedPage::new(page, length))?;
        dictionary_offset = Some(i64::try_from(written.offset).unwrap_or_default());
        size += written.bytes_written;
    }
    let buf = Bytes::from(page(kind, rows, value.is_some()));
    let length = buf.len();
    let page = Page::DataPage {
        buf,
        num_values: number,
        encoding: if value.is_some() { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN },
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    let written = pages.write_page(CompressedPage::new(page, length))?;
    debug_assert_eq!(written.page_type, PageType::DATA_PAGE, "a page of data was written");
    let offset = i64::try_from(written.offset).unwrap_or_default();
    size += written.bytes_written;
    sink.flush()?;
    let bytes = Bytes::from(sink.into_inner()?);
    let rows_signed = i64::from(number);
    let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
    encodings.extend(value.map(|_| Encoding::RLE_DICTIONARY));
    let total = i64::try_from(size).unwrap_or_default();
    let mut metadata = ColumnChunkMetaData::builder(column.clone())
        .set_encodings(encodings)
        .set_compression(Compression::UNCOMPRESSED)
        .set_num_values(rows_signed)
        .set_total_compressed_size(total)
        .set_total_uncompressed_size(total)
        .set_data_page_offset(offset)
        .set_dictionary_page_offset(dictionary_offset);
    if let Some(statistics) = statistics(kind, u64::from(number)) {
        metadata = metadata.set_statistics(statistics);
    }
    let mut index = OffsetIndexBuilder::new();
    index.append_offset_and_size(offset, i32::try_from(written.compressed_size).unwrap_or_default());
    index.append_row_count(rows_signed);
    let close = ColumnCloseResult {
        bytes_written: size,
        rows_written: u64::from(number),
        metadata: metadata.build()?,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(index.build()),
    };
    Ok((bytes, close))
}

/// The one value as a dictionary has it: a text with its length, a number; none where there are no values.
const fn value(kind: Kind) -> Option<&'static [u8]> {
    match kind {
        Kind::Text | Kind::Small => Some(&[0; 4]),
        Kind::Integer | Kind::Count => Some(&[0; 8]),
        Kind::Texts | Kind::Integers | Kind::Json | Kind::Jsons | Kind::Time | Kind::Id | Kind::Flag => None,
    }
}

/// The levels of all rows, each one run, and the numbers of their values.
fn page(kind: Kind, rows: usize, valued: bool) -> Vec<u8> {
    let mut page = Vec::new();
    if matches!(kind, Kind::Texts | Kind::Integers) {
        // Each row begins a list,
        levels(rows, 0, &mut page);
        // which is there and has no element.
        levels(rows, 1, &mut page);
        return page;
    }
    levels(rows, u8::from(valued), &mut page);
    if valued {
        // The width of the numbers in bits.
        page.push(1);
        run(rows, 0, &mut page);
    }
    page
}

fn levels(rows: usize, level: u8, page: &mut Vec<u8>) {
    let mut levels = Vec::new();
    run(rows, level, &mut levels);
    page.extend_from_slice(&u32::try_from(levels.len()).unwrap_or_default().to_le_bytes());
    page.extend_from_slice(&levels);
}

/// A run of the hybrid of runs and packed bits: its length, and a value of up to eight bits.
fn run(rows: usize, value: u8, out: &mut Vec<u8>) {
    put_varint((rows as u64) << 1, out);
    out.push(value);
}

fn statistics(kind: Kind, rows: u64) -> Option<Statistics> {
    Some(match kind {
        Kind::Text => {
            let nothing = Some(ByteArray::from(Vec::new()));
            Statistics::from(ValueStatistics::new(nothing.clone(), nothing, None, Some(0), false))
        }
        Kind::Small => Statistics::from(ValueStatistics::new(Some(0_i32), Some(0), None, Some(0), false)),
        Kind::Integer | Kind::Count => {
            Statistics::from(ValueStatistics::new(Some(0_i64), Some(0), None, Some(0), false))
        }
        Kind::Json | Kind::Jsons => {
            Statistics::from(ValueStatistics::<ByteArray>::new(None, None, None, Some(rows), false))
        }
        Kind::Texts | Kind::Integers | Kind::Time | Kind::Id | Kind::Flag => return None,
    })
}
