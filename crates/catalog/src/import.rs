//! Reads lists of domains in the formats people publish them in.
//!
//! Hosts files, lists of names (as in the directories of UT1) and the network rules of ad blockers. It does not say what a
//! list is about. Invariants: a line that cannot be meant as a name is an error with its number; what a format legitimately
//! holds and we cannot use is counted; the number of names is bounded.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use crate::categories::MOST_NAMES;
use crate::format::{LineError, check_name};

/// Most bytes of one list.
pub const MOST_BYTES: usize = 16 << 20;
/// Most errors that are told at once.
const MOST_ERRORS: usize = 20;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListFormat {
    /// `0.0.0.0 example.com`, as `/etc/hosts`.
    Hosts,
    /// A name a line; the files `domains` of UT1 are this.
    Domains,
    /// `||example.com^`, as ad blockers read it.
    Adblock,
}

impl ListFormat {
    /// Finds a format by its word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "hosts" => Some(Self::Hosts),
            "domains" | "ut1" => Some(Self::Domains),
            "adblock" => Some(Self::Adblock),
            _ => None,
        }
    }

    /// Returns the word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Domains => "domains",
            Self::Adblock => "adblock",
        }
    }

    /// Says how a list is written, going by its first lines that say something.
    #[must_use]
    pub fn guess(text: &str) -> Self {
        for line in text.lines().take(500).map(str::trim).filter(|line| !line.is_empty()) {
            if line.starts_with("||") || line.starts_with('!') || line.starts_with("[Adblock") || line.starts_with("@@")
            {
                return Self::Adblock;
            }
            if line.starts_with('#') {
                continue;
            }
            let first = line.split_whitespace().next().unwrap_or_default();
            let is_hosts = first.parse::<std::net::IpAddr>().is_ok() && line.split_whitespace().nth(1).is_some();
            return if is_hosts { Self::Hosts } else { Self::Domains };
        }
        Self::Domains
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub format: ListFormat,
    /// In order, each once; what stands below another name of the list is left out.
    pub names: Vec<String>,
    /// What was left out, by reason: how many lines.
    pub skipped: BTreeMap<&'static str, usize>,
}

/// Why a list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("a list is limited to {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    #[error("a list is limited to {MOST_NAMES} names")]
    TooMany,
    #[error("there is no name in it that could be used")]
    Empty,
    #[error("{}", all(.0))]
    Lines(Vec<LineError>),
}

fn all(errors: &[LineError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads a list, guessing its format unless it is given.
///
/// # Errors
/// Every line at fault up to a bound, or that the list is too large or holds no name.
pub fn read(text: &str, format: Option<ListFormat>) -> Result<Imported, ImportError> {
    if text.len() > MOST_BYTES {
        return Err(ImportError::TooLarge);
    }
    let format = format.unwrap_or_else(|| ListFormat::guess(text));
    let mut reading = Reading::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        let result = match format {
            ListFormat::Hosts => reading.hosts(line),
            ListFormat::Domains => reading.domain(line),
            ListFormat::Adblock => reading.adblock(line),
        };
        if let Err(message) = result {
            reading.errors.push(LineError { line: index + 1, message });
            if reading.errors.len() == MOST_ERRORS {
                break;
            }
        }
        if reading.names.len() > MOST_NAMES {
            return Err(ImportError::TooMany);
        }
    }
    if !reading.errors.is_empty() {
        return Err(ImportError::Lines(reading.errors));
    }
    if reading.names.is_empty() {
        return Err(ImportError::Empty);
    }
    Ok(Imported { format, names: outermost(reading.names), skipped: reading.skipped })
}

/// Leaves out what stands below another name.
fn outermost(names: HashSet<String>) -> Vec<String> {
    let covered = |name: &str| {
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if names.contains(parent) {
                return true;
            }
            rest = parent;
        }
        false
    };
    let kept: BTreeSet<&String> = names.iter().filter(|name| !covered(name)).collect();
    kept.into_iter().cloned().collect()
}

#[derive(Default)]
struct Reading {
    names: HashSet<String>,
    skipped: BTreeMap<&'static str, usize>,
    errors: Vec<LineError>,
}

impl Reading {
    fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    fn hosts(&mut self, line: &str) -> Result<(), String> {
        const LOCAL: [&str; 10] = [
            "localhost",
            "localhost.localdomain",
            "local",
            "broadcasthost",
            "ip6-localhost",
            "ip6-loopback",
            "ip6-localnet",
            "ip6-mcastprefix",
            "ip6-allnodes",
            "ip6-allrouters",
        ];
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { return Ok(()) };
        let bare = address.split('%').next().unwrap_or_default();
        if bare.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("\"{}\" is not an address; a hosts file has one before each name", shown(address)));
        }
        for name in words {
            if LOCAL.contains(&name) || name.starts_with("ip6-") || name == address {
                self.skip("names of the machine itself");
                continue;
            }
            self.name(name)?;
        }
        Ok(())
    }

    fn domain(&mut self, line: &str) -> Result<(), String> {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            return Ok(());
        }
        if line.contains('/') {
            self.skip("addresses with a path");
            return Ok(());
        }
        if line.split_whitespace().nth(1).is_some() {
            return Err(format!("\"{}\" has more than one word; a list of domains has one name a line", shown(line)));
        }
        self.name(line.trim_start_matches("*.").trim_start_matches('.'))
    }

    fn adblock(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('!') || line.starts_with('[') {
            return Ok(());
        }
        if line.starts_with("@@") {
            self.skip("exceptions");
            return Ok(());
        }
        if line.contains("##") || line.contains("#@#") || line.contains("#?#") || line.contains("#$#") {
            self.skip("rules about parts of a page");
            return Ok(());
        }
        let (pattern, options) = line.split_once('$').unwrap_or((line, ""));
        // Rules that hold only for some pages or kinds of request say nothing about the whole host.
        let narrow = options.split(',').any(|option| {
            !matches!(option.trim(), "" | "all" | "document" | "doc" | "important" | "third-party" | "3p" | "popup")
        });
        let Some(name) = pattern.strip_prefix("||") else {
            self.skip("rules that are not about a host");
            return Ok(());
        };
        let name = name.strip_suffix('^').or_else(|| name.strip_suffix("^|")).unwrap_or(name);
        if narrow || name.contains(['/', '*', '^', '|', ':', '?', '=']) {
            self.skip("rules about part of a host's traffic");
            return Ok(());
        }
        self.name(name)
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        let name = name.trim_end_matches('.');
        if name.parse::<std::net::IpAddr>().is_ok() {
            self.skip("addresses");
            return Ok(());
        }
        let name = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(name).map_err(|_| format!("\"{}\" is not a domain name", shown(name)))?
        };
        if !name.contains('.') {
            self.skip("single labels");
            return Ok(());
        }
        check_name(&name).map_err(|message| format!("\"{}\" {message}", shown(&name)))?;
        self.names.insert(name);
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Returns the category of Gateway that a directory of the UT1 lists stands for, where there is one.
#[must_use]
pub fn ut1_category(directory: &str) -> Option<u32> {
    Some(match directory {
        "adult" | "porn" | "mixed_adult" | "sexual_education" | "lingerie" => 2,
        "publicite" | "ads" | "marketingware" => 1,
        "agressif" | "aggressive" | "violence" => 29,
        "ai" => 184,
        "astrology" | "sect" => 19,
        "audio-video" | "radio" | "celebrity" | "manga" | "games" | "jeux" => 7,
        "bank" => 3,
        "bitcoin" | "cryptojacking" => 83,
        "blog" | "forums" | "social_networks" | "reaffected" => 24,
        "chat" | "webmail" | "mail" => 12,
        "child" => 20,
        "cleaning" | "update" => 26,
        "dangerous_material" | "warez" | "hacking" => 17,
        "dating" => 24,
        "ddos" | "malware" | "stalkerware" => 117,
        "phishing" => 131,
        "download" | "filehosting" => 95,
        "drogue" | "drugs" => 17,
        "educational_games" | "dictionary" | "liste_bu" => 6,
        "gambling" => 8,
        "jobsearch" => 13,
        "press" => 122,
        "proxy" | "redirector" | "strict_redirector" | "strong_redirector" | "vpn" | "tor" => 68,
        "remote-control" => 192,
        "shopping" => 22,
        "shortener" => 15,
        "sports" => 25,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{ImportError, ListFormat, read};

    #[test]
    fn each_format_is_recognised_and_read() {
        for (text, format, names, skipped) in [
            (
                "# a comment\n127.0.0.1 localhost\n0.0.0.0 Ads.Example.com # why\n0.0.0.0 a.test b.test\n::1 ip6-localhost\n",
                ListFormat::Hosts,
                "a.test ads.example.com b.test",
                2,
            ),
            (
                "example.com\n*.wild.test\nsub.example.com\n10.1.2.3\nbücher.example\nx.test/path\n",
                ListFormat::Domains,
                "example.com wild.test xn--bcher-kva.example",
                2,
            ),
            (
                "[Adblock Plus 2.0]\n! title\n||ads.test^\n||b.test^$third-party\n||c.test/banner\n@@||ok.test^\nd.test##.ad\n||e.test^$domain=x.test\n",
                ListFormat::Adblock,
                "ads.test b.test",
                4,
            ),
        ] {
            let imported = read(text, None).unwrap();
            assert_eq!((imported.format, imported.names.join(" ").as_str()), (format, names));
            assert_eq!(imported.skipped.values().sum::<usize>(), skipped, "{:?}", imported.skipped);
        }
    }

    #[test]
    fn a_line_at_fault_is_named() {
        let ImportError::Lines(errors) = read("a.test\nb test\nc_d!.test\n", None).unwrap_err() else {
            panic!("lines")
        };
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "line 2: \"b test\" has more than one word; a list of domains has one name a line",
                "line 3: \"c_d!.test\" has a character that host names in ASCII and lower case do not have",
            ]
        );
        assert_eq!(read("", None), Err(ImportError::Empty));
        assert_eq!(
            read("a.test\nb.test x\n", Some(ListFormat::Hosts)).unwrap_err().to_string().matches("line").count(),
            2
        );
        assert_eq!(read(&" ".repeat((16 << 20) + 1), None), Err(ImportError::TooLarge));
    }
}
