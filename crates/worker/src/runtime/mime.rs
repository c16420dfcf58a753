//! MIME types, `data:` URLs and multipart bodies, as the Fetch and MIME Sniffing standards read them. Pure.

/// A parsed MIME type: essence in lower case, parameters in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mime {
    pub(super) essence: String,
    pub(super) parameters: Vec<(String, String)>,
}

const HTTP_SPACE: [char; 4] = ['\t', '\n', '\r', ' '];

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(super::headers::is_token)
}

impl Mime {
    /// Parses one value; text stands for bytes, one character each.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches(HTTP_SPACE);
        let (kind, rest) = text.split_once('/')?;
        let (subtype, mut rest) = rest.split_once(';').map_or((rest, None), |(subtype, rest)| (subtype, Some(rest)));
        let subtype = subtype.trim_end_matches(HTTP_SPACE);
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parsed = Self {
            essence: format!("{}/{}", kind.to_ascii_lowercase(), subtype.to_ascii_lowercase()),
            parameters: Vec::new(),
        };
        while let Some(text) = rest {
            let text = text.trim_start_matches(HTTP_SPACE);
            let end = text.find([';', '=']).unwrap_or(text.len());
            let name = text[..end].to_ascii_lowercase();
            let Some(value) = text[end..].strip_prefix('=') else {
                rest = text[end..].strip_prefix(';');
                continue;
            };
            let (value, after) = parameter_value(value);
            rest = after;
            let usable = value.as_ref().is_some_and(|value| value.chars().all(is_quotable));
            let fresh = !parsed.parameters.iter().any(|(known, _)| *known == name);
            if let Some(value) = value.filter(|_| usable && fresh && is_token(&name)) {
                parsed.parameters.push((name, value));
            }
        }
        Some(parsed)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The type of a message, from all its `Content-Type` values.
    pub(super) fn extract(values: &str) -> Option<Self> {
        let mut charset: Option<String> = None;
        let mut found: Option<Self> = None;
        for value in split_values(values) {
            let Some(mut mime) = Self::parse(&value).filter(|mime| mime.essence != "*/*") else { continue };
            if found.as_ref().is_none_or(|known| known.essence != mime.essence) {
                charset = mime.parameter("charset").map(str::to_owned);
            } else if let (None, Some(charset)) = (mime.parameter("charset"), &charset) {
                mime.parameters.push(("charset".to_owned(), charset.clone()));
            }
            found = Some(mime);
        }
        found
    }
}

impl std::fmt::Display for Mime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.essence)?;
        for (name, value) in &self.parameters {
            if is_token(value) {
                write!(f, ";{name}={value}")?;
            } else {
                write!(f, ";{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

fn is_quotable(c: char) -> bool {
    matches!(c, '\t' | ' '..='~' | '\u{80}'..='\u{ff}')
}

/// One value after `=`, and what follows the next `;`.
fn parameter_value(text: &str) -> (Option<String>, Option<&str>) {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, after) = quoted_string(quoted);
        let rest = after.find(';').map(|at| &after[at + 1..]);
        return (Some(value), rest);
    }
    let (value, rest) = text.split_once(';').map_or((text, None), |(value, rest)| (value, Some(rest)));
    let value = value.trim_end_matches(HTTP_SPACE);
    ((!value.is_empty()).then(|| value.to_owned()), rest)
}

/// Reads after the opening quote; the value without escapes and what follows the closing quote.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            _ => value.push(c),
        }
    }
    (value, "")
}

/// Splits a combined field at commas outside of quotes.
fn split_values(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut value = String::new();
    let mut characters = text.chars();
    let mut quoted = false;
    while let Some(c) = characters.next() {
        match c {
            ',' if !quoted => values.push(std::mem::take(&mut value).trim_matches(['\t', ' ']).to_owned()),
            '"' => {
                quoted = !quoted;
                value.push(c);
            }
            '\\' if quoted => {
                value.push(c);
                value.extend(characters.next());
            }
            _ => value.push(c),
        }
    }
    values.push(value.trim_matches(['\t', ' ']).to_owned());
    values
}

/// The type and bytes of a `data:` URL (already parsed and serialized), or `None` when it is not one.
pub(super) fn data_url(url: &str) -> Option<(String, Vec<u8>)> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    let kind = kind.trim_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    let mut bytes: Vec<u8> = percent_encoding::percent_decode_str(data).collect();
    let mut kind = kind.to_owned();
    let lower = kind.to_ascii_lowercase();
    if let Some(before) = lower.strip_suffix("base64") {
        let before = before.trim_end_matches(' ');
        if let Some(before) = before.strip_suffix(';') {
            bytes = forgiving_base64(&bytes)?;
            kind.truncate(before.len());
        }
    }
    if kind.starts_with(';') {
        kind.insert_str(0, "text/plain");
    }
    let mime = Mime::parse(&kind).map_or_else(|| "text/plain;charset=US-ASCII".to_owned(), |mime| mime.to_string());
    Some((mime, bytes))
}

/// The forgiving decoder of the Infra standard.
pub(super) fn forgiving_base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
    const FORGIVING: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
    );
    let mut clean: Vec<u8> =
        text.iter().copied().filter(|byte| !matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')).collect();
    if clean.len().is_multiple_of(4) {
        let padding = clean.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
        clean.truncate(clean.len() - padding);
    }
    FORGIVING.decode(clean).ok()
}

/// One part of a multipart form.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) filename: Option<String>,
    pub(super) kind: String,
    pub(super) data: Vec<u8>,
}

/// Most parts a form may have.
const MAX_PARTS: usize = 1_000;

/// Splits a multipart form; `None` when it is malformed.
pub(super) fn multipart(body: &[u8], boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut rest = body.strip_prefix(delimiter.as_slice()).or_else(|| {
        find(body, &[b"\r\n", delimiter.as_slice()].concat()).map(|at| &body[at + 2 + delimiter.len()..])
    })?;
    let separator = [b"\r\n", delimiter.as_slice()].concat();
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..head_end]);
        let data = &rest[head_end + 4..];
        let end = find(data, &separator)?;
        parts.push(part(&head, &data[..end])?);
        if parts.len() > MAX_PARTS {
            return None;
        }
        rest = &data[end + separator.len()..];
    }
}

fn part(head: &str, data: &[u8]) -> Option<Part> {
    let mut made = Part { name: String::new(), filename: None, kind: "text/plain".to_owned(), data: data.to_vec() };
    let mut named = false;
    for line in head.split("\r\n") {
        let (field, value) = line.split_once(':')?;
        if field.eq_ignore_ascii_case("content-type") {
            value.trim().clone_into(&mut made.kind);
        } else if field.eq_ignore_ascii_case("content-disposition") {
            for attribute in value.split(';').skip(1) {
                let Some((key, text)) = attribute.trim().split_once('=') else { continue };
                let text = text.trim_matches('"').replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
                match key {
                    "name" => {
                        made.name = text;
                        named = true;
                    }
                    "filename" => made.filename = Some(text),
                    _ => {}
                }
            }
        }
    }
    named.then_some(made)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_panics_and_types_read_back(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(mime) = Mime::parse(&text) {
                prop_assert_eq!(Mime::parse(&mime.to_string()), Some(mime));
            }
            let _ = (Mime::extract(&text), data_url(&format!("data:{text}")), forgiving_base64(&bytes));
            let _ = multipart(&bytes, "b");
        }
    }

    #[test]
    fn forms_are_split_at_their_boundary() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"n.txt\"\r\ncontent-type: text/x\r\n\r\ntwo\r\n--b--\r\n";
        let parts = multipart(body, "b").unwrap();
        let seen: Vec<_> = parts
            .iter()
            .map(|part| (part.name.as_str(), part.filename.as_deref(), part.kind.as_str(), part.data.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [("a", None, "text/plain", b"one".as_slice()), ("f", Some("n.txt"), "text/x", b"two".as_slice())]
        );
        assert!(multipart(b"--b\r\nno head", "b").is_none());
    }
}
