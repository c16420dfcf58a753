//! File types as rules name them (reference section 1.4), and the group each belongs to.
//!
//! Recognises a type by the signature of a body's first bytes; never trusts a name. Invariant: a recognised type comes
//! with its group, so a rule may name either.

/// A signature at an offset.
struct Signature {
    offset: usize,
    bytes: &'static [u8],
    types: &'static [&'static str],
}

const fn at(offset: usize, bytes: &'static [u8], types: &'static [&'static str]) -> Signature {
    Signature { offset, bytes, types }
}

/// Signatures from the formats' own specifications; the first that fits wins. Archives that carry other formats are
/// looked into by [`sniff`].
const SIGNATURES: &[Signature] = &[
    at(0, b"7z\xBC\xAF\x27\x1C", &["7z", "compressed"]),
    at(0, b"BZh", &["bz2", "compressed"]),
    at(0, b"\x1F\x8B", &["gz", "compressed"]),
    at(0, b"MSCF\0\0\0\0", &["cab", "compressed"]),
    at(0, b"ITSF", &["chm", "compressed"]),
    at(0, b"Rar!\x1A\x07", &["rar", "compressed"]),
    at(0, b"\xFD7zXZ\0", &["xz", "compressed"]),
    at(0, b"%PDF-", &["pdf", "document"]),
    at(0, b"{\\rtf", &["rtf", "document"]),
    at(0, b"\x7FELF", &["elf", "executable"]),
    at(0, b"xar!", &["pkg", "executable"]),
    at(0, b"\xFE\xED\xFA\xCE", &["macho", "executable"]),
    at(0, b"\xFE\xED\xFA\xCF", &["macho", "executable"]),
    at(0, b"\xCE\xFA\xED\xFE", &["macho", "executable"]),
    at(0, b"\xCF\xFA\xED\xFE", &["macho", "executable"]),
    at(0, b"8BPS", &["psd", "image"]),
    at(0, b"GIF87a", &["gif", "image"]),
    at(0, b"GIF89a", &["gif", "image"]),
    at(0, b"\0\0\x01\0", &["ico", "image"]),
    at(0, b"\xFF\xD8\xFF", &["jpeg", "jpg", "image"]),
    at(0, b"\x89PNG\r\n\x1A\n", &["png", "image"]),
    at(8, b"WEBP", &["webp", "image"]),
    at(0, b"d8:announce", &["torrent"]),
    at(0, b"d13:announce-list", &["torrent"]),
];

/// Part names inside a ZIP and the format that has them.
const ZIP_PARTS: &[(&[u8], &[&str])] = &[
    (b"word/vbaProject.bin", &["docm", "document"]),
    (b"xl/vbaProject.bin", &["xlsm", "document"]),
    (b"word/", &["docx", "document"]),
    (b"xl/", &["xlsx", "document"]),
    (b"ppt/", &["pptx", "document"]),
    (b"AppxManifest.xml", &["appx", "msix", "executable"]),
    (b"META-INF/MANIFEST.MF", &["jar", "executable"]),
];

/// Stream names inside an OLE compound file, in UTF-16, and the format that has them.
const OLE_PARTS: &[(&[u8], &[&str])] = &[
    (b"W\0o\0r\0d\0D\0o\0c\0u\0m\0e\0n\0t\0", &["doc", "document"]),
    (b"W\0o\0r\0k\0b\0o\0o\0k\0", &["xls", "document"]),
    (b"P\0o\0w\0e\0r\0P\0o\0i\0n\0t\0", &["ppt", "document"]),
    (b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0", &["unscannable"]),
];

/// Recognises the types of a body from its first bytes; empty if none fits. Some 4 KiB suffice for most formats.
#[must_use]
pub fn sniff(head: &[u8]) -> &'static [&'static str] {
    if head.starts_with(b"PK\x03\x04") {
        return zip(head);
    }
    if head.starts_with(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") {
        return containing(head, OLE_PARTS).unwrap_or(&["msi", "executable"]);
    }
    if head.starts_with(b"MZ") {
        return portable_executable(head);
    }
    if head.starts_with(b"\xCA\xFE\xBA\xBE") {
        // Java's class files and Apple's universal binaries share these bytes; the next word is a version or a count.
        let count = head.get(4..8).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
        return if (1..40).contains(&count) { &["macho", "executable"] } else { &["class", "executable"] };
    }
    if head.starts_with(b"BM") && head.get(6..10) == Some(&[0, 0, 0, 0]) {
        return &["bmp", "image"];
    }
    SIGNATURES
        .iter()
        .find(|signature| head.get(signature.offset..).is_some_and(|rest| rest.starts_with(signature.bytes)))
        .map_or(&[], |signature| signature.types)
}

/// Recognises the types that stand at the end of a body: a disk image.
#[must_use]
pub fn sniff_tail(tail: &[u8]) -> &'static [&'static str] {
    let trailer = tail.len().checked_sub(512).and_then(|start| tail.get(start..));
    if trailer.is_some_and(|trailer| trailer.starts_with(b"koly")) { &["dmg", "system"] } else { &[] }
}

fn zip(head: &[u8]) -> &'static [&'static str] {
    // Bit 0 of the flags: the first member is encrypted (APPNOTE section 4.4.4).
    if head.get(6).is_some_and(|flags| flags & 1 == 1) {
        return &["zip", "compressed", "unscannable"];
    }
    containing(head, ZIP_PARTS).unwrap_or(&["zip", "compressed"])
}

fn portable_executable(head: &[u8]) -> &'static [&'static str] {
    let header = head.get(0x3C..0x40).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let flags = header.and_then(|start| {
        let start = usize::try_from(start).ok()?;
        let header = head.get(start..start.checked_add(24)?)?;
        (header.starts_with(b"PE\0\0")).then(|| u16::from_le_bytes([header[22], header[23]]))
    });
    if flags.is_some_and(|flags| flags & 0x2000 != 0) { &["dll", "executable"] } else { &["exe", "executable"] }
}

fn containing(
    head: &[u8],
    parts: &'static [(&'static [u8], &'static [&'static str])],
) -> Option<&'static [&'static str]> {
    parts.iter().find(|(needle, _)| head.windows(needle.len()).any(|window| window == *needle)).map(|(_, types)| *types)
}

#[cfg(test)]
mod tests {
    use super::{sniff, sniff_tail};

    #[test]
    fn types_are_recognised_by_signature_and_come_with_their_group() {
        let mut dll = vec![0u8; 0x100];
        dll[..2].copy_from_slice(b"MZ");
        dll[0x3C] = 0x80;
        dll[0x80..0x84].copy_from_slice(b"PE\0\0");
        dll[0x97] = 0x20;
        let mut ole = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".to_vec();
        ole.extend(b"....W\0o\0r\0k\0b\0o\0o\0k\0");
        for (head, types) in [
            (&b"%PDF-1.7"[..], &["pdf", "document"][..]),
            (b"PK\x03\x04\x14\0\0\0....[Content_Types].xml....word/document.xml", &["docx", "document"]),
            (b"PK\x03\x04\x14\0\0\0....hello.txt", &["zip", "compressed"]),
            (b"PK\x03\x04\x14\0\x01\0....hello.txt", &["zip", "compressed", "unscannable"]),
            (b"\xCA\xFE\xBA\xBE\0\0\0\x41", &["class", "executable"]),
            (b"\xCA\xFE\xBA\xBE\0\0\0\x02", &["macho", "executable"]),
            (b"MZ\x90", &["exe", "executable"]),
            (&dll, &["dll", "executable"]),
            (&ole, &["xls", "document"]),
            (b"RIFF....WEBPVP8 ", &["webp", "image"]),
            (b"<!doctype html>", &[]),
            (b"", &[]),
            (b"MZ", &["exe", "executable"]),
        ] {
            assert_eq!(sniff(head), types, "{}", head.escape_ascii());
        }
        let mut image = vec![0u8; 1024];
        image[512..516].copy_from_slice(b"koly");
        assert_eq!(sniff_tail(&image), ["dmg", "system"]);
        assert_eq!(sniff_tail(b"koly"), [""; 0]);
    }
}
