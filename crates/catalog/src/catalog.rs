//! The catalogue: every application, and which of them a host belongs to.
//!
//! It judges nothing. Invariants: no host pattern belongs to two applications; a look-up allocates nothing; the longest
//! suffix decides, and what an application leaves out belongs to nobody.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::format::{self, AiKind, Header, LineError, Row};
use crate::suffix::SuffixTable;
use crate::taxonomy::ARTIFICIAL_INTELLIGENCE;

/// The edition that ships with this version.
static EMBEDDED: &str = include_str!("../data/applications.jsonl");

/// An application, as far as traffic is concerned. The rest is in its [`Row`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    pub id: u32,
    pub slug: Box<str>,
    pub name: Box<str>,
    pub vendor: Option<Box<str>>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<[u8; 2]>,
    /// The application type.
    pub kind: u32,
    /// The content category of its hosts.
    pub category: u32,
    /// One bit for each [`AiKind`].
    ai: u8,
    /// Artificial intelligence is one feature among others.
    pub embedded: bool,
    line: Range<u32>,
}

impl Application {
    /// Returns what it does with artificial intelligence.
    pub fn ai(&self) -> impl Iterator<Item = AiKind> + use<> {
        let bits = self.ai;
        AiKind::ALL.into_iter().filter(move |kind| bits & kind.bit() != 0)
    }

    /// Tells whether it is an application of artificial intelligence, and not one that has some besides.
    #[must_use]
    pub const fn is_ai(&self) -> bool {
        self.kind == ARTIFICIAL_INTELLIGENCE
    }

    /// Returns the vendor's country.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.country.as_ref().and_then(|code| std::str::from_utf8(code).ok())
    }
}

/// What a host is to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is the application.
    Own,
    /// The application needs it, and others may too; rules never block it for the application's sake.
    Support,
}

/// An application a host belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'c> {
    pub application: &'c Application,
    pub role: Role,
    /// The place of the application in [`Catalog::applications`].
    pub place: usize,
}

/// What a suffix stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meaning {
    owner: Owner,
    /// Only what is below the suffix, not the suffix itself.
    below: bool,
    /// The place in `patterns` of those that end in this suffix.
    patterns: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    None,
    Excluded,
    Application(u16, Role),
}

const FREE: Meaning = Meaning { owner: Owner::None, below: false, patterns: u16::MAX };

/// A label of a pattern: what stands before and after the `*` in it, or the whole label.
#[derive(Debug)]
struct Label {
    before: Box<str>,
    after: Option<Box<str>>,
}

/// A pattern with a `*` in it, without the fixed suffix it ends in.
#[derive(Debug)]
struct Pattern {
    /// From right to left.
    labels: Box<[Label]>,
    place: u16,
    role: Role,
}

impl Pattern {
    /// Returns how many bytes of the labels before the suffix, from right to left, the pattern covers with their dots.
    fn covers(&self, labels: &[&[u8]]) -> Option<usize> {
        if labels.len() < self.labels.len() {
            return None;
        }
        let mut length = 0;
        for (Label { before, after }, label) in self.labels.iter().zip(labels) {
            let fits = match after {
                None => *label == before.as_bytes(),
                Some(after) => {
                    // An empty text has no place in memory, and some processors take long to compare nothing with it.
                    label.len() > before.len() + after.len()
                        && (before.is_empty() || label.starts_with(before.as_bytes()))
                        && (after.is_empty() || label.ends_with(after.as_bytes()))
                }
            };
            if !fits {
                return None;
            }
            length += label.len() + 1;
        }
        Some(length)
    }
}

/// Most labels that a pattern may have before its fixed suffix.
const MOST_LABELS: usize = 4;

/// Fills in the labels that stand before the last `suffix` bytes of a host, from right to left, and counts them.
fn before<'h>(host: &'h [u8], suffix: usize, labels: &mut [&'h [u8]; MOST_LABELS]) -> usize {
    // The dot between them is left out.
    let mut end = host.len() - suffix - 1;
    for (index, label) in labels.iter_mut().enumerate() {
        let start = host[..end].iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
        *label = &host[start..end];
        if start == 0 {
            return index + 1;
        }
        end = start - 1;
    }
    MOST_LABELS
}

/// Why a data file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("{} of its hosts belong to two applications, such as {}", .0.len(), first(.0))]
    Conflicts(Vec<Conflict>),
}

fn first(conflicts: &[Conflict]) -> String {
    conflicts.first().map(ToString::to_string).unwrap_or_default()
}

/// A host that two applications claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub host: String,
    /// Slugs.
    pub applications: [String; 2],
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} and {})", self.host, self.applications[0], self.applications[1])
    }
}

/// What a catalogue holds, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    pub version: String,
    pub applications: usize,
    /// Host patterns.
    pub domains: usize,
    pub support_domains: usize,
    pub vendors: usize,
    /// Applications of artificial intelligence.
    pub ai: usize,
    /// Others that have some.
    pub embedded_ai: usize,
    /// How many of both do what: kind to number.
    pub ai_kinds: Vec<(&'static str, usize)>,
    /// Hosts that belong to two applications; a catalogue that has any does not load.
    pub conflicts: usize,
    /// Bytes of the index in memory.
    pub index_bytes: usize,
}

/// Every application with the index of hosts.
#[derive(Debug)]
pub struct Catalog {
    header: Header,
    text: Cow<'static, str>,
    /// In the order of their numbers.
    applications: Vec<Application>,
    by_slug: HashMap<Box<str>, u16>,
    hosts: SuffixTable<Meaning>,
    patterns: Vec<Vec<Pattern>>,
}

impl Catalog {
    /// Returns the edition that ships with this version.
    ///
    /// # Panics
    /// Never: a test loads it.
    #[must_use]
    pub fn embedded() -> Arc<Self> {
        static LOADED: OnceLock<Arc<Catalog>> = OnceLock::new();
        let load = || Self::load(Cow::Borrowed(EMBEDDED)).unwrap_or_else(|error| unreachable!("{error}"));
        Arc::clone(LOADED.get_or_init(|| Arc::new(load())))
    }

    /// Reads a data file.
    ///
    /// # Errors
    /// The first line at fault, or every host that belongs to two applications.
    pub fn parse(text: String) -> Result<Self, LoadError> {
        Self::load(Cow::Owned(text))
    }

    fn load(text: Cow<'static, str>) -> Result<Self, LoadError> {
        let mut loading = Loading::default();
        let header = format::read(&text, |row, line, range| loading.add(row, line, &range))?;
        loading.applications.sort_by_key(|application| application.id);
        if !loading.is_sorted {
            // Places were given in the order of the lines; a file of ours is in the order of numbers.
            return Err(
                LineError { line: 2, message: "applications must stand in the order of their ids".into() }.into()
            );
        }
        if !loading.conflicts.is_empty() {
            return Err(LoadError::Conflicts(loading.conflicts));
        }
        let Loading { applications, by_slug, mut hosts, patterns, .. } = loading;
        hosts.shrink();
        Ok(Self { header, text, applications, by_slug, hosts, patterns })
    }

    /// Returns the header of the data file.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the data file itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns every application in the order of their numbers.
    #[must_use]
    pub fn applications(&self) -> &[Application] {
        &self.applications
    }

    /// Finds an application by its number.
    #[must_use]
    pub fn by_id(&self, id: u32) -> Option<&Application> {
        self.place_of(id).map(|place| &self.applications[place])
    }

    /// Returns the place of an application in [`Catalog::applications`].
    #[must_use]
    pub fn place_of(&self, id: u32) -> Option<usize> {
        self.applications.binary_search_by_key(&id, |application| application.id).ok()
    }

    /// Finds an application by its slug.
    #[must_use]
    pub fn by_slug(&self, slug: &str) -> Option<&Application> {
        self.by_slug.get(slug).map(|place| &self.applications[usize::from(*place)])
    }

    /// Returns everything the data file says about an application.
    #[must_use]
    pub fn row(&self, application: &Application) -> Row {
        let range = application.line.start as usize..application.line.end as usize;
        let line = self.text.get(range).unwrap_or_default();
        // It was read once to get here.
        serde_json::from_str(line).unwrap_or_default()
    }

    /// Finds what a host belongs to. The host is in lower case, without a port or trailing dot.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<Match<'_>> {
        let mut best: Option<(u16, Role)> = None;
        let mut longest = 0;
        self.hosts.visit(host, |length, meaning| {
            let whole = length == host.len();
            if length > longest && !(meaning.below && whole) {
                match meaning.owner {
                    Owner::None => {}
                    Owner::Excluded => (best, longest) = (None, length),
                    Owner::Application(place, role) => (best, longest) = (Some((place, role)), length),
                }
            }
            if let Some(patterns) = self.patterns.get(usize::from(meaning.patterns)).filter(|_| !whole) {
                let mut labels: [&[u8]; MOST_LABELS] = [&[]; MOST_LABELS];
                let count = before(host.as_bytes(), length, &mut labels);
                for pattern in patterns {
                    if let Some(covered) = pattern.covers(&labels[..count])
                        && length + covered > longest
                    {
                        (best, longest) = (Some((pattern.place, pattern.role)), length + covered);
                    }
                }
            }
        });
        let (place, role) = best?;
        let place = usize::from(place);
        Some(Match { application: &self.applications[place], role, place })
    }

    /// Finds the application a host is, leaving out those that it only supports.
    #[must_use]
    pub fn by_host(&self, host: &str) -> Option<&Application> {
        self.find(host).filter(|found| found.role == Role::Own).map(|found| found.application)
    }

    /// Counts what there is.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let (mut domains, mut support_domains) = (0, 0);
        let mut vendors = std::collections::HashSet::new();
        for application in &self.applications {
            let row = self.row(application);
            domains += row.hosts.len();
            support_domains += row.support.len();
            vendors.extend(row.vendor);
        }
        let count = |keep: &dyn Fn(&Application) -> bool| self.applications.iter().filter(|a| keep(a)).count();
        Statistics {
            version: self.header.version.clone(),
            applications: self.applications.len(),
            domains,
            support_domains,
            vendors: vendors.len(),
            ai: count(&Application::is_ai),
            embedded_ai: count(&|a| !a.is_ai() && (a.embedded || a.ai != 0)),
            ai_kinds: AiKind::ALL.map(|kind| (kind.as_str(), count(&|a| a.ai & kind.bit() != 0))).into(),
            conflicts: 0,
            index_bytes: self.hosts.bytes() + self.applications.capacity() * size_of::<Application>(),
        }
    }
}

/// A catalogue being read.
struct Loading {
    applications: Vec<Application>,
    by_slug: HashMap<Box<str>, u16>,
    hosts: SuffixTable<Meaning>,
    patterns: Vec<Vec<Pattern>>,
    /// Patterns with a `*` as they are spelled, to find those that are given twice.
    spelled: HashMap<String, u16>,
    conflicts: Vec<Conflict>,
    is_sorted: bool,
}

impl Default for Loading {
    fn default() -> Self {
        Self {
            applications: Vec::new(),
            by_slug: HashMap::new(),
            hosts: SuffixTable::default(),
            patterns: Vec::new(),
            spelled: HashMap::new(),
            conflicts: Vec::new(),
            is_sorted: true,
        }
    }
}

impl Loading {
    fn add(&mut self, row: Row, line: usize, range: &Range<usize>) -> Result<(), LineError> {
        let wrong = |message: &str| LineError { line, message: message.to_owned() };
        let place = u16::try_from(self.applications.len()).map_err(|_| wrong("there are too many applications"))?;
        let offset = |at: usize| u32::try_from(at).map_err(|_| wrong("the file is too large"));
        self.is_sorted &= self.applications.last().is_none_or(|last| last.id < row.id);
        let country = row.country.as_deref().and_then(|code| code.as_bytes().try_into().ok());
        self.by_slug.insert(row.slug.as_str().into(), place);
        self.applications.push(Application {
            id: row.id,
            slug: row.slug.into(),
            name: row.name.into(),
            vendor: row.vendor.map(Into::into),
            country,
            kind: row.kind,
            category: row.category,
            ai: row.ai.iter().fold(0, |bits, kind| bits | kind.bit()),
            embedded: row.embedded,
            line: offset(range.start)?..offset(range.end)?,
        });
        for (hosts, role) in [(&row.hosts, Role::Own), (&row.support, Role::Support)] {
            for host in hosts {
                self.host(host, place, role);
            }
        }
        for host in &row.exclude {
            let meaning = self.hosts.entry(host, FREE);
            match meaning.owner {
                Owner::None => meaning.owner = Owner::Excluded,
                Owner::Excluded => {}
                Owner::Application(other, _) => self.conflict(host, other, place),
            }
        }
        Ok(())
    }

    fn host(&mut self, host: &str, place: u16, role: Role) {
        let (below, name) = match host.strip_prefix("*.") {
            Some(rest) if !rest.contains('*') => (true, rest),
            _ => (false, host),
        };
        if name.contains('*') {
            return self.pattern(name, place, role);
        }
        let meaning = self.hosts.entry(name, FREE);
        match meaning.owner {
            Owner::None => (meaning.owner, meaning.below) = (Owner::Application(place, role), below),
            Owner::Excluded => self.conflict(host, place, place),
            Owner::Application(other, _) => self.conflict(host, other, place),
        }
    }

    fn pattern(&mut self, pattern: &str, place: u16, role: Role) {
        if let Some(other) = self.spelled.insert(pattern.to_owned(), place) {
            return self.conflict(pattern, other, place);
        }
        // Checked by `format`: after the last `*` the rest of its label and a fixed name follow.
        let star = pattern.rfind('*').unwrap_or(0);
        let border = pattern[star..].find('.').map_or(pattern.len(), |dot| star + dot);
        let (labels, suffix) = (&pattern[..border], pattern.get(border + 1..).unwrap_or_default());
        let labels = labels.rsplit('.').map(|label| match label.split_once('*') {
            Some((before, after)) => Label { before: before.into(), after: Some(after.into()) },
            None => Label { before: label.into(), after: None },
        });
        let pattern = Pattern { labels: labels.collect(), place, role };
        let meaning = self.hosts.entry(suffix, FREE);
        if meaning.patterns == u16::MAX {
            meaning.patterns = u16::try_from(self.patterns.len()).unwrap_or(u16::MAX);
            self.patterns.push(Vec::new());
        }
        if let Some(all) = self.patterns.get_mut(usize::from(meaning.patterns)) {
            all.push(pattern);
        }
    }

    fn conflict(&mut self, host: &str, one: u16, other: u16) {
        let slug = |place: u16| self.applications[usize::from(place)].slug.to_string();
        self.conflicts.push(Conflict { host: host.to_owned(), applications: [slug(one), slug(other)] });
    }
}

/// Writes a host as the catalogue looks it up: without a scheme, path, port or trailing dot, in lower case.
#[must_use]
pub fn normalise(host: &str) -> String {
    let host = host.trim();
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Catalog, LoadError, Role, normalise};

    fn catalog(lines: &[&str]) -> Result<Catalog, LoadError> {
        let mut text = "{\"format\":1,\"version\":\"1\",\"next_id\":99}\n".to_owned();
        for (index, line) in lines.iter().enumerate() {
            let id = index + 1;
            text.push_str(&format!(
                r#"{{"id":{id},"slug":"a{id}","name":"A","type":25,"category":184,{line},"sources":["x"]}}"#
            ));
            text.push('\n');
        }
        Catalog::parse(text)
    }

    #[test]
    fn the_longest_suffix_decides_whom_a_host_belongs_to() {
        let catalog = catalog(&[
            r#""hosts":["example.com"],"exclude":["static.example.com"],"support":["cdn.test"]"#,
            r#""hosts":["mail.example.com","*.wild.test"]"#,
            r#""hosts":["bedrock.*.cloud.test","*-ai.cloud.test"]"#,
            r#""hosts":["cloud.test"],"exclude":["none.cloud.test"]"#,
        ])
        .unwrap();
        for (host, found) in [
            ("example.com", "a1 Own"),
            ("www.example.com", "a1 Own"),
            ("static.example.com", ""),
            ("x.static.example.com", ""),
            ("mail.example.com", "a2 Own"),
            ("a.b.mail.example.com", "a2 Own"),
            ("notexample.com", ""),
            ("cdn.test", "a1 Support"),
            ("wild.test", ""),
            ("a.wild.test", "a2 Own"),
            ("cloud.test", "a4 Own"),
            ("x.cloud.test", "a4 Own"),
            ("bedrock.eu.cloud.test", "a3 Own"),
            ("x.bedrock.eu.cloud.test", "a3 Own"),
            ("bedrock.cloud.test", "a4 Own"),
            ("us-ai.cloud.test", "a3 Own"),
            ("-ai.cloud.test", "a4 Own"),
            ("x.none.cloud.test", ""),
            ("10.0.0.1", ""),
            ("", ""),
        ] {
            let shown = catalog.find(host).map(|m| format!("{} {:?}", m.application.slug, m.role)).unwrap_or_default();
            assert_eq!(shown, found, "{host}");
        }
        assert!(catalog.by_host("cdn.test").is_none(), "a supporting host is not the application");
        assert_eq!(catalog.find("cdn.test").unwrap().role, Role::Support);
    }

    #[test]
    fn a_host_that_two_applications_claim_is_named() {
        for lines in [
            [r#""hosts":["x.test"]"#, r#""hosts":["x.test"]"#],
            [r#""hosts":["x.test"]"#, r#""hosts":["*.x.test"]"#],
            [r#""hosts":["x.test"]"#, r#""hosts":["y.test"],"support":["x.test"]"#],
            [r#""hosts":["a.*.x.test"]"#, r#""hosts":["a.*.x.test"]"#],
            [r#""hosts":["a.x.test"]"#, r#""hosts":["x.test"],"exclude":["a.x.test"]"#],
        ] {
            let error = catalog(&lines).unwrap_err();
            assert!(matches!(&error, LoadError::Conflicts(all) if all.len() == 1), "{error}");
            assert!(error.to_string().contains("(a1 and a2)"), "{error}");
        }
    }

    #[test]
    fn a_host_is_read_from_what_people_paste() {
        for (text, host) in [
            ("ChatGPT.com", "chatgpt.com"),
            ("https://user@chatgpt.com:443/c/1?x#y", "chatgpt.com"),
            ("chatgpt.com.", "chatgpt.com"),
            (" [::1]:80 ", "[::1]:80"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(normalise(text), host);
        }
    }
}
