//! How the bytes of a page are written: its mark, the header, its own `meta`, or a guess.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Bytes looked at before the encoding is settled (HTML standard, section 13.2.3.2).
pub(crate) const PRESCAN: usize = 1_024;

/// Finds the encoding that a media type names.
pub(crate) fn of_media_type(media_type: &str) -> Option<&'static Encoding> {
    let mut parameters = media_type.split(';').skip(1);
    parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        name.trim().eq_ignore_ascii_case("charset").then(|| Encoding::for_label(value.as_bytes()))?
    })
}

/// Settles the encoding of a page by its first bytes, which may be all (`whole`). A byte order mark is the decoder's to find.
pub(crate) fn settle(declared: Option<&'static Encoding>, head: &[u8], whole: bool) -> &'static Encoding {
    declared.or_else(|| of_meta(head)).unwrap_or_else(|| match std::str::from_utf8(head) {
        Ok(_) => UTF_8,
        // More would complete the last character.
        Err(error) if error.error_len().is_none() && !whole => UTF_8,
        Err(_) => WINDOWS_1252,
    })
}

fn of_meta(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.get(..PRESCAN).unwrap_or(head).to_ascii_lowercase();
    let text = String::from_utf8_lossy(&head);
    text.split("<meta").skip(1).find_map(|rest| {
        let tag = rest.split('>').next()?;
        let value = tag.split("charset").nth(1)?.trim_start().strip_prefix('=')?;
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let label: String = value.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c)).collect();
        let found = Encoding::for_label(label.as_bytes())?;
        // A page that says so in ASCII is not in UTF-16 (same section).
        Some(if found == encoding_rs::UTF_16LE || found == encoding_rs::UTF_16BE { UTF_8 } else { found })
    })
}
