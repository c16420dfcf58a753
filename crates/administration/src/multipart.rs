//! Parses `multipart/form-data` (RFC 7578), as SDKs, wrangler, curl and browsers send it.
//!
//! Pure and strict: one pass over a body that is already bounded, no copy of a part's bytes. What is ambiguous is refused,
//! because a part that two parsers see differently is how checks are bypassed. It does not know what a part means.
//! Invariant: parsing never panics, takes time linear in the body, and every bound of [`Limits`] holds.

use memchr::memmem;

/// Bounds of one form.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most parts.
    pub parts: usize,
    /// Most bytes in one part's body.
    pub part_bytes: usize,
    /// Most bytes in one part's header block.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parts: 256, part_bytes: 4 << 20, header_bytes: 4 << 10 }
    }
}

/// One part of a form; its bytes still lie in the request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The form field's name.
    pub name: String,
    /// The file name, if the part is a file.
    pub filename: Option<String>,
    /// The part's own content type, in lower case, without parameters.
    pub content_type: Option<String>,
    pub body: &'a [u8],
}

/// Why a form was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    #[error("the content type must be multipart/form-data with a boundary of 1 to 70 characters")]
    Boundary,
    #[error("the form does not begin with its boundary")]
    NoStart,
    #[error("the form ends without its closing boundary")]
    Unterminated,
    #[error("a line after a boundary is not empty")]
    BoundaryLine,
    #[error("a part's headers are malformed")]
    Header,
    #[error("a part has no Content-Disposition of form-data with one name")]
    Disposition,
    #[error("a name in the form is not UTF-8")]
    NotUtf8,
    #[error("the form has more than {0} parts")]
    TooManyParts(usize),
    #[error("a part is larger than {0} bytes")]
    PartTooLarge(usize),
    #[error("a part's headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
}

/// Reads the boundary out of a `Content-Type` value.
///
/// # Errors
///
/// `Boundary` when it is another type or the boundary is missing, twice there or malformed.
pub fn boundary(content_type: &str) -> Result<String, MultipartError> {
    let (kind, parameters) = content_type.split_once(';').ok_or(MultipartError::Boundary)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(MultipartError::Boundary);
    }
    let mut found = None;
    for (name, value) in parse_parameters(parameters).ok_or(MultipartError::Boundary)? {
        if name == "boundary" && found.replace(value).is_some() {
            return Err(MultipartError::Boundary);
        }
    }
    let boundary = found.ok_or(MultipartError::Boundary)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let valid = (1..=70).contains(&boundary.len()) && boundary.bytes().all(allowed) && !boundary.ends_with(' ');
    if valid { Ok(boundary) } else { Err(MultipartError::Boundary) }
}

/// Splits `body` into its parts.
///
/// # Errors
///
/// [`MultipartError`] when the body is not one complete form within `limits`.
pub fn parse<'a>(boundary: &str, body: &'a [u8], limits: &Limits) -> Result<Vec<Part<'a>>, MultipartError> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let finder = memmem::Finder::new(&delimiter);
    let mut rest = skip_to_first(body, &delimiter).ok_or(MultipartError::NoStart)?;
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == limits.parts {
            return Err(MultipartError::TooManyParts(limits.parts));
        }
        rest = after_boundary_line(rest)?;
        let (headers, after_headers) = split_headers(rest, limits.header_bytes)?;
        // The delimiter of an empty part begins with the line end that closes its headers.
        let search = &rest[rest.len() - after_headers.len() - 2..];
        let end = finder.find(search).ok_or(MultipartError::Unterminated)?;
        let content = &after_headers[..end.saturating_sub(2).min(after_headers.len())];
        if content.len() > limits.part_bytes {
            return Err(MultipartError::PartTooLarge(limits.part_bytes));
        }
        parts.push(read_part(headers, content)?);
        rest = &search[end + delimiter.len()..];
    }
}

/// Returns what follows the first boundary, which must open the body (a line end before it is tolerated).
fn skip_to_first<'a>(body: &'a [u8], delimiter: &[u8]) -> Option<&'a [u8]> {
    body.strip_prefix(&delimiter[2..]).or_else(|| body.strip_prefix(delimiter))
}

fn after_boundary_line(rest: &[u8]) -> Result<&[u8], MultipartError> {
    let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    rest[padding..].strip_prefix(b"\r\n").ok_or(if rest.len() == padding {
        MultipartError::Unterminated
    } else {
        MultipartError::BoundaryLine
    })
}

/// Splits the header block from the content; the block is returned without its final empty line.
fn split_headers(rest: &[u8], most: usize) -> Result<(&[u8], &[u8]), MultipartError> {
    if let Some(content) = rest.strip_prefix(b"\r\n") {
        return Ok((&[], content));
    }
    let window = &rest[..rest.len().min(most + 4)];
    match memmem::find(window, b"\r\n\r\n") {
        Some(end) => Ok((&rest[..end], &rest[end + 4..])),
        None if rest.len() > most => Err(MultipartError::HeadersTooLarge(most)),
        None => Err(MultipartError::Unterminated),
    }
}

fn read_part<'a>(headers: &[u8], body: &'a [u8]) -> Result<Part<'a>, MultipartError> {
    let headers = std::str::from_utf8(headers).map_err(|_| MultipartError::NotUtf8)?;
    let (mut disposition, mut content_type) = (None, None);
    for line in headers.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or(MultipartError::Header)?;
        if name.is_empty() || name.contains([' ', '\t', '\r', '\n']) || value.contains(['\r', '\n', '\0']) {
            return Err(MultipartError::Header);
        }
        let slot = match name.to_ascii_lowercase().as_str() {
            "content-disposition" => &mut disposition,
            "content-type" => &mut content_type,
            _ => continue,
        };
        if slot.replace(value.trim()).is_some() {
            return Err(MultipartError::Header);
        }
    }
    let (name, filename) = read_disposition(disposition.ok_or(MultipartError::Disposition)?)?;
    let content_type = content_type.map(|text| text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase());
    Ok(Part { name, filename, content_type, body })
}

fn read_disposition(value: &str) -> Result<(String, Option<String>), MultipartError> {
    let (kind, parameters) = value.split_once(';').ok_or(MultipartError::Disposition)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(MultipartError::Disposition);
    }
    let (mut name, mut filename) = (None, None);
    for (parameter, value) in parse_parameters(parameters).ok_or(MultipartError::Disposition)? {
        let slot = match parameter.as_str() {
            "name" => &mut name,
            "filename" => &mut filename,
            // RFC 7578 section 4.2 forbids `filename*`; two file names could disagree.
            "filename*" => return Err(MultipartError::Disposition),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(MultipartError::Disposition);
        }
    }
    Ok((name.ok_or(MultipartError::Disposition)?, filename))
}

/// Reads `; name=token; name="quoted"` parameters, names in lower case.
fn parse_parameters(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ';']);
        if text.is_empty() {
            return Some(parameters);
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => read_quoted(quoted)?,
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || name.contains(['"', ' ', ';']) {
            return None;
        }
        parameters.push((name, value));
        text = rest.trim_start_matches([' ', '\t']);
        if !text.is_empty() && !text.starts_with(';') {
            return None;
        }
    }
}

/// Reads up to the closing quote. Browsers write `%22`, `%0D` and `%0A` for the characters they cannot write; others
/// put a backslash before a quote.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => {
                let value = value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
                return Some((value, &text[index + 1..]));
            }
            '\\' => match characters.clone().next() {
                Some((_, escaped @ ('"' | '\\'))) => {
                    characters.next();
                    value.push(escaped);
                }
                _ => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Limits, MultipartError, Part, boundary, parse};

    fn form(text: &str) -> Vec<u8> {
        text.replace('\n', "\r\n").into_bytes()
    }

    #[test]
    fn fields_files_and_empty_parts_are_read() {
        let body = form(
            "--x\nContent-Disposition: form-data; name=\"metadata\"\n\n{\"a\":1}\n\
             --x\ncontent-disposition: form-data; name=\"files[]\"; filename=\"main.ts\"\nContent-Type: Application/TypeScript; charset=utf-8\n\nexport {}\n\n\
             --x \nContent-Disposition: form-data; name=empty\n\n\n--x--\n",
        );
        let parts = parse("x", &body, &Limits::default()).unwrap();
        let part = |name: &str, filename: Option<&str>, content_type: Option<&str>, body: &'static [u8]| Part {
            name: name.to_owned(),
            filename: filename.map(str::to_owned),
            content_type: content_type.map(str::to_owned),
            body,
        };
        assert_eq!(
            parts,
            [
                part("metadata", None, None, b"{\"a\":1}"),
                part("files[]", Some("main.ts"), Some("application/typescript"), b"export {}\r\n"),
                part("empty", None, None, b""),
            ]
        );
    }

    #[test]
    fn names_are_unescaped_as_browsers_and_others_escape_them() {
        for (header, name) in [
            (r#"name="a%22b""#, "a\"b"),
            (r#"name="a\"b""#, "a\"b"),
            (r#"name="C:\dir""#, "C:\\dir"),
            (r#"name="metadata[bindings][][name]""#, "metadata[bindings][][name]"),
            ("name=plain", "plain"),
            (r#"name="é""#, "é"),
        ] {
            let body = form(&format!("--x\nContent-Disposition: form-data; {header}\n\nv\n--x--"));
            assert_eq!(parse("x", &body, &Limits::default()).unwrap()[0].name, name, "{header}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_incomplete_is_refused() {
        use MultipartError as E;
        let ok = "Content-Disposition: form-data; name=\"a\"";
        for (text, error) in [
            ("".to_owned(), E::NoStart),
            ("junk --x\n".to_owned(), E::NoStart),
            ("--x".to_owned(), E::Unterminated),
            (format!("--xjunk\n{ok}\n\nv\n--x--"), E::BoundaryLine),
            (format!("--x\n{ok}\n\nv"), E::Unterminated),
            (format!("--x\n{ok}\n\nv\n--x"), E::Unterminated),
            (format!("--x\n{ok}"), E::Unterminated),
            ("--x\n\nv\n--x--".to_owned(), E::Header),
            ("--x\nno colon\n\nv\n--x--".to_owned(), E::Header),
            (format!("--x\n{ok}\n{ok}\n\nv\n--x--"), E::Header),
            ("--x\nContent-Disposition: form-data; name=a; name=b\n\nv\n--x--".to_owned(), E::Disposition),
            ("--x\nContent-Disposition: attachment; name=a\n\nv\n--x--".to_owned(), E::Disposition),
            ("--x\nContent-Disposition: form-data\n\nv\n--x--".to_owned(), E::Disposition),
            ("--x\nContent-Disposition: form-data; name=\"a\n\nv\n--x--".to_owned(), E::Disposition),
            ("--x\nContent-Disposition: form-data; name=a; filename*=UTF-8''b\n\nv\n--x--".to_owned(), E::Disposition),
        ] {
            assert_eq!(parse("x", &form(&text), &Limits::default()).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn bounds_hold() {
        let limits = Limits { parts: 2, part_bytes: 4, header_bytes: 64 };
        let part = "--x\nContent-Disposition: form-data; name=a\n\nv\n";
        assert_eq!(parse("x", &form(&format!("{}--x--", part.repeat(2))), &limits).unwrap().len(), 2);
        let many = form(&format!("{}--x--", part.repeat(3)));
        assert_eq!(parse("x", &many, &limits).unwrap_err(), MultipartError::TooManyParts(2));
        let large = form("--x\nContent-Disposition: form-data; name=a\n\n12345\n--x--");
        assert_eq!(parse("x", &large, &limits).unwrap_err(), MultipartError::PartTooLarge(4));
        let headers = form(&format!("--x\nX: {}\n\n\n--x--", "y".repeat(100)));
        assert_eq!(parse("x", &headers, &limits).unwrap_err(), MultipartError::HeadersTooLarge(64));
    }

    #[test]
    fn boundaries_are_read_as_clients_write_them() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", Some("----WebKitFormBoundary7MA4")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=a; boundary=b", None),
            ("multipart/mixed; boundary=a", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(content_type).ok().as_deref(), expected, "{content_type}");
        }
        assert!(boundary(&format!("multipart/form-data; boundary={}", "a".repeat(71))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let mut text = Vec::new();
            for (index, body) in bodies.iter().enumerate() {
                text.extend_from_slice(format!("--b0undary\r\nContent-Disposition: form-data; name=\"{index}\"\r\n\r\n").as_bytes());
                text.extend_from_slice(body);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"--b0undary--\r\n");
            let parts = parse("b0undary", &text, &Limits::default()).unwrap();
            prop_assert_eq!(parts.iter().map(|part| part.body.to_vec()).collect::<Vec<_>>(), bodies);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(body in prop::collection::vec(prop::sample::select(b"--x\r\nContent-Disposition: form-data; name=\"".to_vec()), 0..200)) {
            let _ = parse("x", &body, &Limits::default());
        }
    }
}
