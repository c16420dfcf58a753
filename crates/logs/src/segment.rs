//! The segments of one dataset: which files there are, what times they cover, and how they are recovered.
//!
//! A segment is a file that is appended to for at most an hour and a bounded size, then sealed with an index file beside
//! it. Within a segment, blocks of about 64 KiB carry the range of times and ids they hold, so that a query reads only
//! the blocks it needs. Nothing here decides when to write. Invariant: the index names only bytes that are whole records.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::frame::{self, Codec, Frame, HEADER_BYTES};

/// About how many bytes a block holds.
const BLOCK_BYTES: u32 = 64 * 1024;
const INDEX_VERSION: u32 = 1;

/// A run of whole records in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub offset: u64,
    pub length: u32,
    pub records: u32,
    pub first_time: i64,
    pub last_time: i64,
    /// The smallest and largest first 48 bits of an id; for time-ordered ids a time in milliseconds.
    pub first_id: i64,
    pub last_id: i64,
}

/// One file of a dataset's journal.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Grows with every segment of the dataset; the order of the journal.
    pub number: u64,
    pub path: PathBuf,
    pub length: u64,
    pub codec: Codec,
    /// Whether it grows no more.
    pub sealed: bool,
    /// Shared with queries that are under way.
    pub blocks: Arc<Vec<Block>>,
}

/// What was found in the directory of one dataset.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub segments: Vec<Segment>,
    /// Bytes of torn or damaged records that were cut off.
    pub dropped_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct IndexFile {
    version: u32,
    length: u64,
    /// As in the segment's header.
    #[serde(default = "json_codec")]
    codec: u16,
    blocks: Vec<Block>,
}

/// Indexes did not name the codec while there was one.
const fn json_codec() -> u16 {
    Codec::Json as u16
}

pub(crate) fn id_prefix(id: Uuid) -> i64 {
    // 48 bits fit.
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

/// Notes a record in the block it falls in.
pub(crate) fn note(blocks: &mut Vec<Block>, offset: u64, length: u32, id: Uuid, milliseconds: i64) {
    let prefix = id_prefix(id);
    match blocks.last_mut() {
        Some(block) if block.length < BLOCK_BYTES => {
            block.length += length;
            block.records += 1;
            block.first_time = block.first_time.min(milliseconds);
            block.last_time = block.last_time.max(milliseconds);
            block.first_id = block.first_id.min(prefix);
            block.last_id = block.last_id.max(prefix);
        }
        _ => blocks.push(Block {
            offset,
            length,
            records: 1,
            first_time: milliseconds,
            last_time: milliseconds,
            first_id: prefix,
            last_id: prefix,
        }),
    }
}

impl Segment {
    /// Names a segment by its hour and number: `20261121T03-00000007.log`.
    pub(crate) fn path(directory: &Path, hour: i64, number: u64) -> PathBuf {
        let start = jiff::Timestamp::from_second(hour.saturating_mul(3600)).unwrap_or(jiff::Timestamp::MIN);
        directory.join(format!("{}-{number:08}.log", start.strftime("%Y%m%dT%H")))
    }

    /// Writes the index file of a segment that grows no more.
    pub(crate) fn seal(&self) -> io::Result<()> {
        let index = IndexFile {
            version: INDEX_VERSION,
            length: self.length,
            codec: self.codec as u16,
            blocks: self.blocks.to_vec(),
        };
        let text = serde_json::to_vec(&index)?;
        let target = self.path.with_extension("idx");
        let draft = self.path.with_extension("idx.tmp");
        let mut file = File::create(&draft)?;
        file.write_all(&text)?;
        fs::rename(&draft, &target)
    }

    /// Deletes the segment and its index.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // The index first: without it the segment would only be scanned again.
        remove_if_there(&self.path.with_extension("idx"))?;
        remove_if_there(&self.path)
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads what is in `directory`, in the order it was written. Cuts torn tails off and seals what was not sealed. Segments
/// up to `taken` are in the lake: they are deleted.
pub(crate) fn recover(directory: &Path, taken: u64) -> io::Result<Recovered> {
    fs::create_dir_all(directory)?;
    let mut recovered = Recovered::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => remove_if_there(&path)?,
            Some("log") => {
                let Some((_, number)) = parse_name(&path) else { continue };
                if number <= taken {
                    remove_if_there(&path.with_extension("idx"))?;
                    remove_if_there(&path)?;
                    continue;
                }
                let (segment, dropped) = open_segment(path, number)?;
                recovered.dropped_bytes += dropped;
                recovered.segments.extend(segment);
            }
            Some(_) | None => {}
        }
    }
    recovered.segments.sort_by_key(|segment| segment.number);
    Ok(recovered)
}

fn parse_name(path: &Path) -> Option<(i64, u64)> {
    let (hour, number) = path.file_stem()?.to_str()?.split_once('-')?;
    let start = jiff::civil::DateTime::strptime("%Y%m%dT%H%M", format!("{hour}00")).ok()?;
    let start = start.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some((start.as_second().div_euclid(3600), number.parse().ok()?))
}

fn open_segment(path: PathBuf, number: u64) -> io::Result<(Option<Segment>, u64)> {
    let size = fs::metadata(&path)?.len();
    if let Some(index) = read_index(&path.with_extension("idx"), size) {
        let codec = if index.codec == json_codec() { Codec::Json } else { Codec::Fields };
        return Ok((
            Some(Segment { number, path, length: size, codec, sealed: true, blocks: Arc::new(index.blocks) }),
            0,
        ));
    }
    let mut bytes = Vec::new();
    File::open(&path)?.read_to_end(&mut bytes)?;
    let Ok(codec) = frame::check_header(&bytes) else {
        // A header cut short is a segment of no records. Anything else is not ours to touch.
        if frame::header().starts_with(&bytes) {
            remove_if_there(&path)?;
        } else {
            tracing::warn!(path = %path.display(), "not a journal segment this program can read; left alone");
        }
        return Ok((None, 0));
    };
    let (blocks, end) = scan(&bytes[HEADER_BYTES..]);
    let length = HEADER_BYTES as u64 + end;
    let dropped = size - length;
    if dropped > 0 {
        File::options().write(true).open(&path)?.set_len(length)?;
        tracing::warn!(path = %path.display(), dropped, "cut a torn tail off a journal segment");
    }
    if blocks.is_empty() {
        remove_if_there(&path)?;
        return Ok((None, dropped));
    }
    let segment = Segment { number, path, length, codec, sealed: true, blocks: Arc::new(blocks) };
    // Only a shortcut for the next start: a full disk must not keep us from this one.
    if let Err(error) = segment.seal() {
        tracing::warn!(%error, path = %segment.path.display(), "a journal index could not be written");
    }
    Ok((Some(segment), dropped))
}

fn read_index(path: &Path, size: u64) -> Option<IndexFile> {
    let index: IndexFile = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    // A segment that differs from its index was not closed in order: scan it.
    (index.version == INDEX_VERSION && index.length == size).then_some(index)
}

/// Indexes the frames after a header; returns where the last whole one ends.
fn scan(bytes: &[u8]) -> (Vec<Block>, u64) {
    let (mut blocks, mut end) = (Vec::new(), 0_u64);
    for (offset, Frame { id, milliseconds, body }) in frame::frames(bytes) {
        let length = u32::try_from(body.len() + frame::OVERHEAD).unwrap_or(u32::MAX);
        note(&mut blocks, (HEADER_BYTES + offset) as u64, length, id, milliseconds);
        end = offset as u64 + u64::from(length);
    }
    (blocks, end)
}

/// Reads the bytes of a block; `None` when retention has deleted the segment meanwhile.
pub(crate) fn read_block(file: &File, block: &Block) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; block.length as usize];
    file.read_exact_at(&mut bytes, block.offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Segment, parse_name, recover};
    use crate::frame;

    #[test]
    fn a_name_carries_its_hour_and_number() {
        let path = Segment::path(std::path::Path::new("x"), 490_000, 7);
        assert_eq!(parse_name(&path), Some((490_000, 7)), "{}", path.display());
        assert_eq!(parse_name(std::path::Path::new("x/other.log")), None);
    }

    #[test]
    fn a_torn_tail_is_cut_off_reported_and_the_rest_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = frame::header().to_vec();
        for number in 0..100_u128 {
            frame::encode(&mut bytes, uuid::Uuid::from_u128(number << 80), 5, |out| out.extend_from_slice(b"{}"));
        }
        let whole = bytes.len();
        bytes.truncate(whole - 3);
        let path = Segment::path(directory.path(), 1, 1);
        fs::write(&path, &bytes).unwrap();
        let recovered = recover(directory.path(), 0).unwrap();
        assert_eq!(recovered.segments[0].blocks.iter().map(|block| block.records).sum::<u32>(), 99);
        let kept = recovered.segments[0].length;
        assert_eq!(recovered.dropped_bytes, bytes.len() as u64 - kept);
        assert_eq!(fs::metadata(&path).unwrap().len(), kept);

        let again = recover(directory.path(), 0).unwrap();
        assert_eq!(again.dropped_bytes, 0);
        assert_eq!(again.segments[0].blocks, recovered.segments[0].blocks);
    }

    #[test]
    fn foreign_files_are_left_alone_and_half_headers_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (foreign, half) = (Segment::path(directory.path(), 1, 1), Segment::path(directory.path(), 1, 2));
        fs::write(&foreign, "not a journal, sixteen bytes and more").unwrap();
        fs::write(&half, &frame::header()[..9]).unwrap();
        assert!(recover(directory.path(), 0).unwrap().segments.is_empty());
        assert!(foreign.exists() && !half.exists());
    }
}
