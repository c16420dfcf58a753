//! Recognises file types in the first bytes of a body, for `http.upload.file.types` and `http.download.file.types`.
//!
//! It looks at signatures only and never at names or Content-Type. A body in a content coding is decoded for this look,
//! as far as its head goes; what travels on is untouched. Invariant: work and memory are bounded by [`DECODED`], however
//! well the body compresses. Pure.

use std::io::Read;

/// Most bytes decoded from a compressed head.
pub(crate) const DECODED: usize = 256 << 10;

/// Returns the types of the body that starts with `head`: the type itself, then the group it belongs to.
///
/// The spellings are those of reference section 1.4. Empty means that no signature matched.
pub(crate) fn file_types(head: &[u8], content_encoding: Option<&[u8]>) -> &'static [&'static str] {
    match content_encoding.map(trim) {
        None | Some(b"" | b"identity") => signature(head),
        Some(coding) => match decode(head, coding) {
            Some(decoded) => signature(&decoded),
            None => &[],
        },
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

fn signature(bytes: &[u8]) -> &'static [&'static str] {
    if bytes.starts_with(b"MSCF") {
        return &["cab", "compressed"];
    }
    if bytes.starts_with(b"ITSF") {
        return &["chm", "compressed"];
    }
    if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]) {
        return compound(bytes);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return zip(bytes);
    }
    if bytes.starts_with(b"xar!") {
        return &["pkg", "executable"];
    }
    if bytes.starts_with(&[0xca, 0xfe, 0xba, 0xbe]) {
        // A class file and a fat Mach-O share their first four bytes; the next number is a class version of 43 and up,
        // or the small count of architectures.
        let number = bytes.get(4..8).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        return if number >= 43 { &["class", "executable"] } else { &["macho", "executable"] };
    }
    if bytes.starts_with(b"d8:announce") || bytes.starts_with(b"d13:announce-list") {
        return &["torrent", "other"];
    }
    if bytes.starts_with(b"MZ") {
        return portable_executable(bytes);
    }
    let Some(kind) = infer::get(bytes) else { return &[] };
    match kind.extension() {
        "7z" => &["7z", "compressed"],
        "bz2" => &["bz2", "compressed"],
        "gz" => &["gz", "compressed"],
        "rar" => &["rar", "compressed"],
        "xz" => &["xz", "compressed"],
        "pdf" => &["pdf", "documents"],
        "elf" => &["elf", "executable"],
        "mach" => &["macho", "executable"],
        "psd" => &["psd", "image"],
        "bmp" => &["bmp", "image"],
        "gif" => &["gif", "image"],
        "ico" => &["ico", "image"],
        "jpg" => &["jpg", "jpeg", "image"],
        "png" => &["png", "image"],
        "webp" => &["webp", "image"],
        "dmg" => &["dmg", "system"],
        _ => &[],
    }
}

fn portable_executable(bytes: &[u8]) -> &'static [&'static str] {
    let header = bytes
        .get(0x3c..0x40)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .and_then(|offset| bytes.get(usize::try_from(offset).ok()?..)?.get(..24));
    // IMAGE_FILE_DLL in the characteristics of the COFF header.
    match header {
        Some(header) if header.starts_with(b"PE\0\0") && header.get(23).is_some_and(|b| b & 0x20 != 0) => {
            &["dll", "executable"]
        }
        _ => &["exe", "executable"],
    }
}

/// Old Office files and installers share one container; its directory names tell them apart, in UTF-16.
fn compound(bytes: &[u8]) -> &'static [&'static str] {
    let holds = |name: &str| {
        let wide: Vec<u8> = name.bytes().flat_map(|b| [b, 0]).collect();
        bytes.windows(wide.len()).any(|window| window == wide)
    };
    if holds("EncryptedPackage") {
        &["unscannable"]
    } else if holds("WordDocument") {
        &["doc", "documents"]
    } else if holds("Workbook") || holds("Book") {
        &["xls", "documents"]
    } else if holds("PowerPoint Document") {
        &["ppt", "documents"]
    } else {
        &["msi", "executable"]
    }
}

/// ZIP containers are told apart by the names of their first entries.
fn zip(bytes: &[u8]) -> &'static [&'static str] {
    let encrypted = bytes.get(6).is_some_and(|flags| flags & 1 == 1);
    let holds = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    let macros = holds(b"vbaProject.bin");
    if holds(b"word/") {
        if macros { &["docm", "documents"] } else { &["docx", "documents"] }
    } else if holds(b"xl/") {
        if macros { &["xlsm", "documents"] } else { &["xlsx", "documents"] }
    } else if holds(b"ppt/") {
        if macros { &["pptm", "documents"] } else { &["pptx", "documents"] }
    } else if holds(b"AppxManifest.xml") {
        if holds(b"AppxBlockMap.xml") { &["msix", "appx", "executable"] } else { &["appx", "executable"] }
    } else if holds(b"META-INF/MANIFEST.MF") {
        &["jar", "executable"]
    } else if encrypted {
        &["unscannable", "zip", "compressed"]
    } else {
        &["zip", "compressed"]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{DECODED, file_types};

    fn zip_with(name: &str, flags: u8) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04\x14\0".to_vec();
        bytes.extend_from_slice(&[flags, 0]);
        bytes.extend_from_slice(&[0; 22]);
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }

    #[test]
    fn signatures_name_the_type_and_its_group() {
        let wide: Vec<u8> = "WordDocument".bytes().flat_map(|b| [b, 0]).collect();
        let compound = [&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1][..], &[0; 600], &wide].concat();
        let table: &[(&[u8], &[&str])] = &[
            (b"%PDF-1.7\n", &["pdf", "documents"]),
            (b"\x89PNG\r\n\x1a\n....", &["png", "image"]),
            (b"\xff\xd8\xff\xe0....", &["jpg", "jpeg", "image"]),
            (b"MZ\x90\0", &["exe", "executable"]),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", &["elf", "executable"]),
            (b"\xca\xfe\xba\xbe\0\0\0\x41", &["class", "executable"]),
            (b"\xca\xfe\xba\xbe\0\0\0\x02", &["macho", "executable"]),
            (b"MSCF\0\0\0\0", &["cab", "compressed"]),
            (b"d8:announce35:udp://", &["torrent", "other"]),
            (&compound, &["doc", "documents"]),
            (&zip_with("word/document.xml", 0), &["docx", "documents"]),
            (&zip_with("a.txt", 0), &["zip", "compressed"]),
            (&zip_with("a.txt", 1), &["unscannable", "zip", "compressed"]),
            (b"plain text, nothing else", &[]),
            (b"", &[]),
        ];
        for (bytes, types) in table {
            assert_eq!(file_types(bytes, None), *types, "{:?}", &bytes[..bytes.len().min(16)]);
        }
    }

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
        for (coding, bytes) in [("gzip", gzip), ("GZIP ", bytes_of(&plain)), ("deflate", deflate), ("br", br)] {
            let expected: &[&str] = if coding.len() == 5 { &[] } else { &["pdf", "documents"] };
            let half = &bytes[..bytes.len() / 2];
            assert_eq!(file_types(half, Some(coding.as_bytes())), expected, "{coding}");
        }
        assert_eq!(file_types(b"%PDF-1.7", Some(b"zstd")), &[] as &[&str]);
    }

    fn bytes_of(plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
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
