//! Recognises file types in the first bytes of a body, for `http.upload.file.types` and `http.download.file.types`.
//!
//! The signatures are policy's; this undoes a content coding for the look, as far as the head goes. What travels on is
//! untouched. Invariant: work and memory are bounded by [`DECODED`], however well the body compresses. Pure.

use std::borrow::Cow;
use std::io::Read;

/// Most bytes decoded from a compressed head.
pub(crate) const DECODED: usize = 256 << 10;

/// Returns the types of the body that starts with `head`: the type itself, then the group it belongs to.
///
/// The spellings are those of reference section 1.4. Empty means that no signature matched; a body in a coding that cannot
/// be undone is `unscannable`, so that a rule can stop what a sender hides.
pub(crate) fn file_types(head: &[u8], content_encoding: Option<&[u8]>) -> &'static [&'static str] {
    match content_encoding.map(trim) {
        None | Some(b"" | b"identity") => policy::files::sniff(head),
        Some(coding) => match decode(head, coding) {
            Some(decoded) if head.is_empty() || !decoded.is_empty() => policy::files::sniff(&decoded),
            Some(_) | None => &["unscannable"],
        },
    }
}

/// Returns the codings of a message, those of several fields as one list, because that is how receivers read them.
pub(crate) fn content_coding(headers: &http::HeaderMap) -> Option<Vec<u8>> {
    let fields: Vec<&[u8]> = headers
        .get_all(http::header::CONTENT_ENCODING)
        .iter()
        .map(|value| value.as_bytes().trim_ascii())
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
        .collect();
    (!fields.is_empty()).then(|| fields.join(&b", "[..]))
}

/// Returns the start of a body without its coding, and whether it is all of the body; `None` when the coding cannot be undone.
pub(crate) fn plain<'a>(head: &'a [u8], complete: bool, coding: Option<&[u8]>) -> Option<(Cow<'a, [u8]>, bool)> {
    match coding.map(trim) {
        None | Some(b"" | b"identity") => Some((Cow::Borrowed(head), complete)),
        Some(coding) => {
            let plain = decode(head, coding).filter(|plain| head.is_empty() || !plain.is_empty())?;
            let complete = complete && plain.len() < DECODED;
            Some((Cow::Owned(plain), complete))
        }
    }
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// Decodes the start of a body in one of the codings in use; an unfinished end is no error.
fn decode(head: &[u8], coding: &[u8]) -> Option<Vec<u8>> {
    let mut reader: Box<dyn Read + '_> = match coding.to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(head)),
        b"deflate" if head.first().is_some_and(|b| b & 0x0f == 8) => Box::new(flate2::read::ZlibDecoder::new(head)),
        b"deflate" => Box::new(flate2::read::DeflateDecoder::new(head)),
        b"br" => Box::new(brotli::Decompressor::new(head, 4096)),
        _ => return None,
    };
    let mut decoded = Vec::new();
    let mut piece = [0_u8; 4096];
    while decoded.len() < DECODED {
        match reader.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => decoded.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{DECODED, content_coding, file_types};

    #[test]
    fn a_coded_body_is_looked_into_even_when_only_its_head_is_there() {
        let mut plain = b"%PDF-1.7\n".to_vec();
        let mut state = 7_u32;
        plain.extend((0..100_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        deflate.write_all(&plain).unwrap();
        let deflate = deflate.finish().unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 4, 20).write_all(&plain).unwrap();
        for (coding, bytes) in [("gzip", gzip), ("deflate", deflate), (" BR", br), ("identity", plain)] {
            let half = &bytes[..bytes.len() / 2];
            assert!(file_types(half, Some(coding.as_bytes())).contains(&"pdf"), "{coding}");
        }
        assert!(file_types(b"%PDF-1.7", None).contains(&"pdf"));
        for coding in [&b"zstd"[..], b"gzip", b"gzip, gzip"] {
            assert_eq!(file_types(b"%PDF-1.7", Some(coding)), ["unscannable"]);
        }
    }

    #[test]
    fn codings_in_several_fields_are_one_list() {
        for (fields, expected) in [
            (&[][..], None),
            (&["identity"][..], None),
            (&["gzip"][..], Some("gzip")),
            (&["identity", "gzip"][..], Some("gzip")),
            (&["gzip", "br"][..], Some("gzip, br")),
        ] {
            let mut headers = http::HeaderMap::new();
            for field in fields {
                headers.append("content-encoding", field.parse().unwrap());
            }
            assert_eq!(content_coding(&headers).as_deref(), expected.map(str::as_bytes), "{fields:?}");
        }
    }

    #[test]
    fn a_body_that_inflates_without_end_costs_no_more_than_the_bound() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 64 << 20]).unwrap();
        let bomb = gzip.finish().unwrap();
        let decoded = super::decode(&bomb, b"gzip").unwrap();
        assert!(decoded.len() <= DECODED + 4096);
    }
}
