//! The bytes of a journal segment: a header, then frames. Pure: no file, no clock.
//!
//! Header, 16 bytes: `PTNLOG`, format version (u16), codec (u16: 1 is JSON, 2 is that of `wire`), 6 reserved. Frame:
//! payload length (u32), CRC-32 of the payload (u32), payload; the payload is the record's id (16), its time in Unix
//! milliseconds (i64) and its body. Numbers are little-endian. Invariant: reading stops at the first frame that is not whole and intact, and
//! says where; it never yields half a record.

use uuid::Uuid;

pub(crate) const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 6] = b"PTNLOG";
const VERSION: u16 = 1;

const PREFIX_BYTES: usize = 8;
const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
/// What a frame adds to its body.
pub(crate) const OVERHEAD: usize = PREFIX_BYTES + ID_BYTES + TIME_BYTES;

/// One record as it lies in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub id: Uuid,
    pub milliseconds: i64,
    pub body: &'a [u8],
}

/// How the bodies of a segment are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As JSON; no longer written.
    Json = 1,
    /// As [`crate::wire`] has it.
    Fields = 2,
}

/// Why a segment cannot be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("not a journal segment")]
    Foreign,
    #[error("journal format version {0} is newer than this program")]
    Newer(u16),
}

pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..6].copy_from_slice(MAGIC);
    header[6..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..10].copy_from_slice(&(Codec::Fields as u16).to_le_bytes());
    header
}

pub(crate) fn check_header(bytes: &[u8]) -> Result<Codec, HeaderError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(HeaderError::Foreign) };
    if &header[..6] != MAGIC {
        return Err(HeaderError::Foreign);
    }
    let version = u16::from_le_bytes([header[6], header[7]]);
    let codec = u16::from_le_bytes([header[8], header[9]]);
    match codec {
        1 if version <= VERSION => Ok(Codec::Json),
        2 if version <= VERSION => Ok(Codec::Fields),
        _ => Err(HeaderError::Newer(version)),
    }
}

/// Appends a frame to `out`, whose body is what `write` appends.
pub(crate) fn encode(out: &mut Vec<u8>, id: Uuid, milliseconds: i64, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(&milliseconds.to_le_bytes());
    write(out);
    let payload = &out[start + PREFIX_BYTES..];
    // Payloads are bounded far below 4 GiB by whoever appends them.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let checksum = crc32fast::hash(payload);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the frame at the start of `bytes`; returns it with its length, or `None` when it is torn, damaged or absent.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let checksum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let end = PREFIX_BYTES.checked_add(length)?;
    let payload = bytes.get(PREFIX_BYTES..end)?;
    // A run of zeros, as a power cut may leave, has the right checksum for an empty payload: too short to be a record.
    if payload.len() < ID_BYTES + TIME_BYTES || crc32fast::hash(payload) != checksum {
        return None;
    }
    let (id, rest) = payload.split_first_chunk::<ID_BYTES>()?;
    let (time, body) = rest.split_first_chunk::<TIME_BYTES>()?;
    Some((Frame { id: Uuid::from_bytes(*id), milliseconds: i64::from_le_bytes(*time), body }, end))
}

/// Reads frames one after the other, each with its offset; ends at the first that is not whole.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let (frame, length) = decode(bytes.get(offset..)?)?;
        let at = offset;
        offset += length;
        Some((at, frame))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{Codec, HEADER_BYTES, HeaderError, check_header, decode, encode, frames, header};

    fn journal(records: &[(u128, i64, Vec<u8>)]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (id, time, body) in records {
            encode(&mut bytes, Uuid::from_u128(*id), *time, |out| out.extend_from_slice(body));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn records() -> impl Strategy<Value = Vec<(u128, i64, Vec<u8>)>> {
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        proptest::collection::vec((any::<u128>(), any::<i64>(), body), 0..20)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in records()) {
            let (bytes, _) = journal(&records);
            let read: Vec<_> =
                frames(&bytes).map(|(_, f)| (f.id.as_u128(), f.milliseconds, f.body.to_owned())).collect();
            prop_assert_eq!(read, records);
        }

        #[test]
        fn a_torn_tail_loses_only_the_torn_record(records in records(), cut in any::<prop::sample::Index>()) {
            let (bytes, ends) = journal(&records);
            let cut = cut.index(bytes.len() + 1);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            prop_assert_eq!(frames(&bytes[..cut]).count(), whole);
        }

        #[test]
        fn a_flipped_bit_never_yields_a_changed_record(
            records in records(),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (mut bytes, ends) = journal(&records);
            prop_assume!(!bytes.is_empty());
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let intact = ends.iter().filter(|end| **end <= place).count();
            let read: Vec<_> = frames(&bytes).map(|(_, f)| (f.id.as_u128(), f.milliseconds)).collect();
            prop_assert_eq!(read.len(), intact);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = frames(&bytes).count();
            let _ = check_header(&bytes);
        }
    }

    #[test]
    fn zeros_are_no_records() {
        assert_eq!(frames(&[0; 4096]).count(), 0);
    }

    #[test]
    fn a_newer_format_is_named() {
        assert_eq!(check_header(&header()), Ok(Codec::Fields));
        let mut newer = header();
        newer[6] = 9;
        assert_eq!(check_header(&newer), Err(HeaderError::Newer(9)));
        assert_eq!(check_header(&header()[..HEADER_BYTES - 1]), Err(HeaderError::Foreign));
    }
}
