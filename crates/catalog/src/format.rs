//! The data file: one JSON document a line, a header first, then an application each.
//!
//! It reads, checks and writes lines; it does not look hosts up. Invariant: what parses is complete and consistent in
//! itself: every number, word and host has its final form. The format carries a version, and a newer one is refused.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::taxonomy;

/// The version of the format that this code writes and the newest it reads.
pub const FORMAT: u32 = 1;
/// Most bytes of a data file.
pub const MOST_BYTES: usize = 64 << 20;
/// Most applications of a data file.
pub const MOST_APPLICATIONS: usize = 50_000;
/// Most host patterns of one application.
pub const MOST_HOSTS: usize = 500;

/// The first line of a data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// The edition, as a date: `2026-11-28`.
    pub version: String,
    /// The smallest number that was never given to an application; numbers are not used again.
    pub next_id: u32,
}

/// What an application does with artificial intelligence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AiKind {
    Chat,
    Code,
    Image,
    Voice,
    Agents,
    Api,
}

impl AiKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Chat, Self::Code, Self::Image, Self::Voice, Self::Agents, Self::Api];

    /// Returns the word as it stands in data, addresses and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Code => "code",
            Self::Image => "image",
            Self::Voice => "voice",
            Self::Agents => "agents",
            Self::Api => "api",
        }
    }

    /// Finds a kind by its word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word))
    }

    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// An application as the data file holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The number that `app.ids` compares; it never changes and is never given away again.
    pub id: u32,
    /// The name in addresses and commands: lower-case letters, digits and dashes.
    pub slug: String,
    pub name: String,
    /// Who makes it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// ISO 3166-1 alpha-2 code of the vendor's country, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The application type.
    #[serde(rename = "type")]
    pub kind: u32,
    /// The content category of its hosts.
    pub category: u32,
    /// Empty: no artificial intelligence that is known of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ai: Vec<AiKind>,
    /// Artificial intelligence is one feature among others.
    #[serde(default, skip_serializing_if = "is_false")]
    pub embedded: bool,
    /// `example.com` is the name and what is below it, `*.example.com` only what is below; a `*` in another place stands for
    /// part of one label.
    pub hosts: Vec<String>,
    /// Hosts below those above that belong to nobody here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Hosts that it needs and may share with others; they are never what a rule blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub support: Vec<String>,
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
    /// Where the row comes from.
    pub sources: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What is known about how an application is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Second factors that people can use: `totp`, `sms`, `email`, `call`, `u2f`, `custom-software`, `custom-hardware`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mfa: Vec<String>,
    /// Where the vendor describes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_docs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sso: Option<SsoPrice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosure: Option<Disclosure>,
}

impl Facts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What single sign-on costs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SsoPrice {
    /// The price without, in the vendor's words.
    pub base: String,
    /// The price of the cheapest plan with it.
    pub with_sso: String,
    pub increase: String,
    /// When somebody looked, as a date.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
}

/// How the vendor takes reports of vulnerabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// The address of the policy.
    pub policy: String,
    /// Whether reports are paid for, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounty: Option<bool>,
    /// Whether those who report in good faith are promised not to be sued, in full or in part.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub safe_harbor: String,
}

/// A line that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct LineError {
    /// Counts from 1.
    pub line: usize,
    pub message: String,
}

fn at(line: usize, message: impl Into<String>) -> LineError {
    LineError { line, message: message.into() }
}

/// Reads the header.
///
/// # Errors
/// The first line is none, or of a format newer than this code.
pub fn header(text: &str) -> Result<Header, LineError> {
    let first = text.lines().next().unwrap_or_default();
    let header: Header = serde_json::from_str(first)
        .map_err(|error| at(1, format!("must be the header {{\"format\":{FORMAT},\"version\":…}}: {error}")))?;
    if header.format != FORMAT {
        let message = format!("has format {}, and this version of Portunus reads format {FORMAT}", header.format);
        return Err(at(1, message));
    }
    if header.version.is_empty() || header.version.len() > 40 || header.version.chars().any(char::is_control) {
        return Err(at(1, "its version must have 1 to 40 characters"));
    }
    Ok(header)
}

/// Gives each application of a data file to `take`, with its line and where the line stands in the text.
///
/// # Errors
/// The first line at fault.
pub fn read(
    text: &str,
    mut take: impl FnMut(Row, usize, std::ops::Range<usize>) -> Result<(), LineError>,
) -> Result<Header, LineError> {
    if text.len() > MOST_BYTES {
        return Err(at(1, format!("a data file is limited to {} MiB", MOST_BYTES >> 20)));
    }
    let header = header(text)?;
    let (mut start, mut count) = (0, 0);
    let mut slugs: HashMap<String, u32> = HashMap::new();
    let mut ids: HashMap<u32, usize> = HashMap::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let range = start..start + line.trim_end().len();
        start += line.len();
        if index == 0 || line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let row: Row = serde_json::from_str(line).map_err(|error| at(number, format!("{error}")))?;
        check(&row).map_err(|message| at(number, message))?;
        count += 1;
        if count > MOST_APPLICATIONS {
            return Err(at(number, format!("a data file is limited to {MOST_APPLICATIONS} applications")));
        }
        if row.id >= header.next_id {
            return Err(at(number, format!("id {} must be below the header's next_id {}", row.id, header.next_id)));
        }
        if let Some(other) = ids.insert(row.id, number) {
            return Err(at(number, format!("id {} stands in line {other} already", row.id)));
        }
        if slugs.insert(row.slug.clone(), row.id).is_some() {
            return Err(at(number, format!("there are two applications \"{}\"", row.slug)));
        }
        take(row, number, range)?;
    }
    Ok(header)
}

/// Writes a data file, applications in the order of their numbers.
///
/// # Errors
/// When an application is not what [`read`] accepts.
pub fn write(header: &Header, rows: &[Row]) -> Result<String, LineError> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| row.id);
    let mut text = serde_json::to_string(header).map_err(|error| at(1, error.to_string()))?;
    text.push('\n');
    for (index, row) in rows.into_iter().enumerate() {
        let line = index + 2;
        check(row).map_err(|message| at(line, message))?;
        text.push_str(&serde_json::to_string(row).map_err(|error| at(line, error.to_string()))?);
        text.push('\n');
    }
    Ok(text)
}

/// Says what is wrong with an application taken by itself.
fn check(row: &Row) -> Result<(), String> {
    if row.id == 0 {
        return Err("an id is above 0".to_owned());
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if row.slug.is_empty() || row.slug.len() > 80 || !row.slug.bytes().all(plain) {
        return Err(format!("slug \"{}\" must be lower-case letters, digits and dashes", row.slug));
    }
    for (what, text) in [("name", Some(&row.name)), ("vendor", row.vendor.as_ref())] {
        if text.is_some_and(|text| text.trim().is_empty() || text.len() > 120 || text.chars().any(char::is_control)) {
            return Err(format!("its {what} must have 1 to 120 bytes and no control characters"));
        }
    }
    if row.country.as_ref().is_some_and(|code| code.len() != 2 || !code.bytes().all(|b| b.is_ascii_uppercase())) {
        return Err("its country must be a code of two capital letters".to_owned());
    }
    if taxonomy::type_name(row.kind).is_none() {
        return Err(format!("there is no application type {}", row.kind));
    }
    if taxonomy::category_name(row.category).is_none() {
        return Err(format!("there is no category {}", row.category));
    }
    if row.hosts.is_empty() {
        return Err("an application has at least one host".to_owned());
    }
    if row.hosts.len() + row.support.len() + row.exclude.len() > MOST_HOSTS {
        return Err(format!("an application has at most {MOST_HOSTS} hosts"));
    }
    for host in row.hosts.iter().chain(&row.support) {
        check_pattern(host).map_err(|message| format!("host \"{host}\" {message}"))?;
    }
    for host in &row.exclude {
        check_name(host).map_err(|message| format!("excluded host \"{host}\" {message}"))?;
        let below = |pattern: &String| {
            host.strip_suffix(pattern.trim_start_matches("*.")).is_some_and(|rest| rest.ends_with('.'))
        };
        if !row.hosts.iter().chain(&row.support).any(below) {
            return Err(format!("excluded host \"{host}\" is not below any of its hosts"));
        }
    }
    Ok(())
}

/// Says what is wrong with a host pattern.
fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    let Some((_, fixed)) = pattern.rsplit_once('*') else { return check_name(pattern) };
    // The part that is looked up must be a name by itself, or one pattern would have to be tried on every host.
    let fixed = fixed.split_once('.').map(|(_, rest)| rest).ok_or("needs a fixed domain at its end")?;
    check_name(fixed)?;
    if pattern.split('.').count() - fixed.split('.').count() > 4 {
        return Err("has more than four labels up to its last `*`");
    }
    if pattern.split('.').any(|label| label.matches('*').count() > 1) {
        return Err("may have one `*` in a label");
    }
    let spelled: String = pattern.replace('*', "a");
    check_name(&spelled)
}

/// Says what is wrong with a domain name as data and lists spell it: lower case, ASCII, two labels or more.
///
/// # Errors
/// With the reason, to stand after the name.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("is longer than 253 bytes");
    }
    if !name.contains('.') {
        return Err("is a single label");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("has a label that is empty or longer than 63 bytes");
        }
        if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_') {
            return Err("has a character that host names in ASCII and lower case do not have");
        }
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("is an address, not a name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Header, Row, check_pattern, read, write};

    fn row(id: u32, slug: &str, hosts: &[&str]) -> Row {
        Row {
            id,
            slug: slug.into(),
            name: slug.into(),
            kind: 25,
            category: 184,
            hosts: hosts.iter().map(ToString::to_string).collect(),
            sources: vec!["portunus".into()],
            ..Row::default()
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let header = Header { format: 1, version: "2026-11-28".into(), next_id: 10 };
        let rows = [row(3, "b", &["b.test"]), row(1, "a", &["a.test", "*.x.test", "p.*.y.test"])];
        let text = write(&header, &rows).unwrap();
        let mut back = Vec::new();
        let read = read(&text, |row, line, range| {
            assert_eq!(serde_json::from_str::<Row>(&text[range]).unwrap(), row, "{line}");
            back.push(row);
            Ok(())
        });
        assert_eq!(read.unwrap(), header);
        assert_eq!(back, [rows[1].clone(), rows[0].clone()]);
    }

    #[test]
    fn a_line_at_fault_is_named_with_what_is_wrong() {
        let head = "{\"format\":1,\"version\":\"1\",\"next_id\":9}\n";
        let line = |change: &str| {
            let plain = r#"{"id":1,"slug":"a","name":"A","type":25,"category":184,"hosts":["a.test"],"sources":["x"]}"#;
            let (from, to) = change.split_once("=>").unwrap();
            plain.replace(from, to)
        };
        for (text, message) in [
            ("", "line 1: must be the header"),
            ("{\"format\":2,\"version\":\"1\",\"next_id\":9}\n", "line 1: has format 2"),
            (&format!("{head}{}\n", line("\"id\":1=>\"id\":9")), "line 2: id 9 must be below"),
            (&format!("{head}{}\n", line("25=>24")), "line 2: there is no application type 24"),
            (&format!("{head}{}\n", line("184=>185")), "line 2: there is no category 185"),
            (&format!("{head}{}\n", line("a.test=>A.test")), "line 2: host \"A.test\" has a character"),
            (&format!("{head}{}\n", line("a.test=>10.0.0.1")), "line 2: host \"10.0.0.1\" is an address"),
            (&format!("{head}{}\n", line("\"id\":1=>\"ident\":1")), "line 2: unknown field `ident`"),
            (&format!("{head}\n{0}\n{0}\n", line("x=>x")), "line 4: id 1 stands in line 3"),
            (
                &format!("{head}{}\n{}\n", line("x=>x"), line("\"id\":1=>\"id\":2")),
                "line 3: there are two applications \"a\"",
            ),
        ] {
            let error = read(text, |_, _, _| Ok(())).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_pattern_has_a_fixed_domain_at_its_end() {
        for (pattern, fine) in [
            ("example.com", true),
            ("*.example.com", true),
            ("a.*.example.com", true),
            ("*-a.example.com", true),
            ("*.com", false),
            ("a.*", false),
            ("example.*", false),
            ("**.example.com", false),
            ("com", false),
        ] {
            assert_eq!(check_pattern(pattern).is_ok(), fine, "{pattern}");
        }
    }
}
