//! The URL record, parser and serializer of the URL Standard. Pure, and total: no input panics.
//!
//! Decides: what a string means as a URL, with the standard's state machine and its state override for setters. Does not
//! know the script's classes. Names of the states are the standard's.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::host::{is_forbidden_host, parse_host};

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: String,
    pub(super) username: String,
    pub(super) password: String,
    /// Serialized; `None` is the null host.
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) path: Path,
    pub(super) query: Option<String>,
    pub(super) fragment: Option<String>,
}

/// A path is a list of segments, or an opaque string as in `mailto:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    Opaque(String),
    List(Vec<String>),
}

/// Where the machine stands; setters start it in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    SchemeStart,
    Scheme,
    NoScheme,
    SpecialRelativeOrAuthority,
    PathOrAuthority,
    Relative,
    RelativeSlash,
    SpecialAuthoritySlashes,
    SpecialAuthorityIgnoreSlashes,
    Authority,
    Host,
    Hostname,
    Port,
    File,
    FileSlash,
    FileHost,
    PathStart,
    Path,
    OpaquePath,
    Query,
    Fragment,
}

/// The parser's failure. The standard has only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Control,
    Fragment,
    Query,
    SpecialQuery,
    Path,
    Userinfo,
}

fn is_encoded(set: Set, c: char) -> bool {
    if c <= '\u{1f}' || c > '~' {
        return true;
    }
    match set {
        Set::Control => false,
        Set::Fragment => matches!(c, ' ' | '"' | '<' | '>' | '`'),
        Set::Query => matches!(c, ' ' | '"' | '#' | '<' | '>'),
        Set::SpecialQuery => matches!(c, ' ' | '"' | '#' | '<' | '>' | '\''),
        Set::Path => matches!(c, ' ' | '"' | '#' | '<' | '>' | '?' | '^' | '`' | '{' | '}'),
        Set::Userinfo => is_encoded(Set::Path, c) || matches!(c, '/' | ':' | ';' | '=' | '@' | '[' | '\\' | ']' | '|'),
    }
}

fn encode(into: &mut String, c: char, set: Set) {
    if !is_encoded(set, c) {
        into.push(c);
        return;
    }
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        let _ = write!(into, "%{byte:02X}");
    }
}

/// Percent-encodes what a host that is not a domain may not hold.
pub(super) fn encode_controls(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for c in text.chars() {
        encode(&mut made, c, Set::Control);
    }
    made
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "ftp" => Some(21),
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn is_special_scheme(scheme: &str) -> bool {
    matches!(scheme, "ftp" | "file" | "http" | "https" | "ws" | "wss")
}

fn is_drive_letter(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':' | b'|'] if letter.is_ascii_alphabetic())
}

fn is_normal_drive_letter(text: &str) -> bool {
    is_drive_letter(text) && text.ends_with(':')
}

fn starts_with_drive_letter(rest: &[char]) -> bool {
    matches!(rest, [letter, ':' | '|', after @ ..]
        if letter.is_ascii_alphabetic() && matches!(after.first(), None | Some('/' | '\\' | '?' | '#')))
}

fn is_single_dot(segment: &str) -> bool {
    segment == "." || segment.eq_ignore_ascii_case("%2e")
}

fn is_double_dot(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().as_str(), ".." | ".%2e" | "%2e." | "%2e%2e")
}

impl Address {
    /// Parses `input`, relative to `base` when there is one.
    pub(super) fn parse(input: &str, base: Option<&Self>) -> Result<Self, Failure> {
        let trimmed = input.trim_matches(|c| c <= ' ');
        let mut url = Self {
            scheme: String::new(),
            username: String::new(),
            password: String::new(),
            host: None,
            port: None,
            path: Path::List(Vec::new()),
            query: None,
            fragment: None,
        };
        Machine::new(trimmed, base, None).run(&mut url, State::SchemeStart)?;
        Ok(url)
    }

    pub(super) fn is_special(&self) -> bool {
        is_special_scheme(&self.scheme)
    }

    pub(super) fn is_opaque(&self) -> bool {
        matches!(self.path, Path::Opaque(_))
    }

    pub(super) fn pathname(&self) -> String {
        match &self.path {
            Path::Opaque(text) => text.clone(),
            Path::List(segments) => segments.iter().fold(String::new(), |path, segment| path + "/" + segment),
        }
    }

    pub(super) fn host_text(&self) -> String {
        match (&self.host, self.port) {
            (None, _) => String::new(),
            (Some(host), None) => host.clone(),
            (Some(host), Some(port)) => format!("{host}:{port}"),
        }
    }

    pub(super) fn href(&self) -> String {
        let mut text = format!("{}:", self.scheme);
        if self.host.is_some() {
            text.push_str("//");
            if !self.username.is_empty() || !self.password.is_empty() {
                text.push_str(&self.username);
                if !self.password.is_empty() {
                    text.push(':');
                    text.push_str(&self.password);
                }
                text.push('@');
            }
            text.push_str(&self.host_text());
        } else if let Path::List(segments) = &self.path
            && segments.len() > 1
            && segments.first().is_some_and(String::is_empty)
        {
            // Without this the path would read as an authority.
            text.push_str("/.");
        }
        text.push_str(&self.pathname());
        for (mark, part) in [('?', &self.query), ('#', &self.fragment)] {
            if let Some(part) = part {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }

    pub(super) fn origin(&self) -> String {
        match self.scheme.as_str() {
            "blob" => match Self::parse(&self.pathname(), None) {
                Ok(inner) if matches!(inner.scheme.as_str(), "http" | "https") => inner.origin(),
                Ok(_) | Err(Failure) => "null".to_owned(),
            },
            "ftp" | "http" | "https" | "ws" | "wss" => format!("{}://{}", self.scheme, self.host_text()),
            _ => "null".to_owned(),
        }
    }

    fn cannot_have_credentials(&self) -> bool {
        self.host.as_deref().is_none_or(str::is_empty) || self.scheme == "file"
    }

    fn includes_credentials(&self) -> bool {
        !self.username.is_empty() || !self.password.is_empty()
    }

    /// Runs the machine from `state` on behalf of a setter, which keeps what was set before a failure.
    fn rerun(&mut self, input: &str, state: State) {
        let _ = Machine::new(input, None, Some(state)).run(self, state);
    }

    pub(super) fn set_protocol(&mut self, value: &str) {
        self.rerun(&format!("{value}:"), State::SchemeStart);
    }

    pub(super) fn set_username(&mut self, value: &str) {
        if !self.cannot_have_credentials() {
            self.username = encode_userinfo(value);
        }
    }

    pub(super) fn set_password(&mut self, value: &str) {
        if !self.cannot_have_credentials() {
            self.password = encode_userinfo(value);
        }
    }

    pub(super) fn set_host(&mut self, value: &str) {
        if !self.is_opaque() {
            self.rerun(value, State::Host);
        }
    }

    pub(super) fn set_hostname(&mut self, value: &str) {
        if !self.is_opaque() {
            self.rerun(value, State::Hostname);
        }
    }

    pub(super) fn set_port(&mut self, value: &str) {
        if self.cannot_have_credentials() {
            return;
        }
        if value.is_empty() {
            self.port = None;
        } else {
            self.rerun(value, State::Port);
        }
    }

    pub(super) fn set_pathname(&mut self, value: &str) {
        if !self.is_opaque() {
            self.path = Path::List(Vec::new());
            self.rerun(value, State::PathStart);
        }
    }

    pub(super) fn set_search(&mut self, value: &str) {
        if value.is_empty() {
            self.query = None;
            return;
        }
        self.query = Some(String::new());
        self.rerun(value.strip_prefix('?').unwrap_or(value), State::Query);
    }

    pub(super) fn set_hash(&mut self, value: &str) {
        if value.is_empty() {
            self.fragment = None;
            return;
        }
        self.fragment = Some(String::new());
        self.rerun(value.strip_prefix('#').unwrap_or(value), State::Fragment);
    }

    fn shorten(&mut self) {
        if let Path::List(segments) = &mut self.path {
            let keeps_drive = self.scheme == "file"
                && segments.len() == 1
                && segments.first().is_some_and(|first| is_normal_drive_letter(first));
            if !keeps_drive {
                segments.pop();
            }
        }
    }

    fn push(&mut self, segment: String) {
        if let Path::List(segments) = &mut self.path {
            segments.push(segment);
        }
    }

    fn copy_authority(&mut self, base: &Self) {
        self.username.clone_from(&base.username);
        self.password.clone_from(&base.password);
        self.host.clone_from(&base.host);
        self.port = base.port;
    }
}

fn encode_userinfo(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for c in text.chars() {
        encode(&mut made, c, Set::Userinfo);
    }
    made
}

/// What a step asks for.
enum Step {
    /// Go on with the next character in this state.
    Next(State),
    /// Look at the same character again.
    Again(State),
    /// A setter is done.
    Stop,
}

struct Machine<'a> {
    input: Vec<char>,
    at: usize,
    base: Option<&'a Address>,
    /// The state a setter began in.
    begun: Option<State>,
    buffer: String,
    seen_at: bool,
    in_brackets: bool,
    seen_password: bool,
}

impl<'a> Machine<'a> {
    fn new(input: &str, base: Option<&'a Address>, begun: Option<State>) -> Self {
        Self {
            input: input.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect(),
            at: 0,
            base,
            begun,
            buffer: String::new(),
            seen_at: false,
            in_brackets: false,
            seen_password: false,
        }
    }

    fn rest(&self) -> &[char] {
        self.input.get(self.at + 1..).unwrap_or_default()
    }

    fn run(mut self, url: &mut Address, mut state: State) -> Result<(), Failure> {
        loop {
            let c = self.input.get(self.at).copied();
            match self.step(url, state, c)? {
                Step::Stop => return Ok(()),
                Step::Again(next) => state = next,
                Step::Next(next) => {
                    if c.is_none() {
                        return Ok(());
                    }
                    state = next;
                    self.at += 1;
                }
            }
        }
    }

    fn step(&mut self, url: &mut Address, state: State, c: Option<char>) -> Result<Step, Failure> {
        match state {
            State::SchemeStart | State::Scheme => self.scheme(url, state, c),
            State::NoScheme => self.no_scheme(url, c),
            State::SpecialRelativeOrAuthority | State::SpecialAuthoritySlashes => {
                if c == Some('/') && self.rest().first() == Some(&'/') {
                    self.at += 1;
                    return Ok(Step::Next(State::SpecialAuthorityIgnoreSlashes));
                }
                Ok(Step::Again(if state == State::SpecialAuthoritySlashes {
                    State::SpecialAuthorityIgnoreSlashes
                } else {
                    State::Relative
                }))
            }
            State::PathOrAuthority if c == Some('/') => Ok(Step::Next(State::Authority)),
            State::PathOrAuthority => Ok(Step::Again(State::Path)),
            State::Relative => Ok(self.relative(url, c)),
            State::RelativeSlash => Ok(self.relative_slash(url, c)),
            State::SpecialAuthorityIgnoreSlashes if matches!(c, Some('/' | '\\')) => Ok(Step::Next(state)),
            State::SpecialAuthorityIgnoreSlashes => Ok(Step::Again(State::Authority)),
            State::Authority => self.authority(url, c),
            State::Host | State::Hostname => self.host(url, state, c),
            State::Port => self.port(url, c),
            State::File => Ok(self.file(url, c)),
            State::FileSlash => Ok(self.file_slash(url, c)),
            State::FileHost => self.file_host(url, c),
            State::PathStart => Ok(self.path_start(url, c)),
            State::Path => Ok(self.path(url, c)),
            State::OpaquePath => Ok(self.opaque_path(url, c)),
            State::Query => Ok(self.query(url, c)),
            State::Fragment => {
                if let (Some(c), Some(fragment)) = (c, &mut url.fragment) {
                    encode(fragment, c, Set::Fragment);
                }
                Ok(Step::Next(state))
            }
        }
    }

    fn scheme(&mut self, url: &mut Address, state: State, c: Option<char>) -> Result<Step, Failure> {
        let starts = state == State::SchemeStart;
        match c {
            Some(c) if c.is_ascii_alphabetic() || (!starts && (c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))) => {
                self.buffer.push(c.to_ascii_lowercase());
                return Ok(Step::Next(State::Scheme));
            }
            Some(':') if !starts => {}
            _ if self.begun.is_some() => return Err(Failure),
            _ => {
                self.buffer.clear();
                self.at = 0;
                return Ok(Step::Again(State::NoScheme));
            }
        }
        let scheme = std::mem::take(&mut self.buffer);
        if self.begun.is_some() {
            let has_more = url.includes_credentials() || url.port.is_some();
            let empty_file = url.scheme == "file" && url.host.as_deref().is_none_or(str::is_empty);
            if url.is_special() != is_special_scheme(&scheme) || (scheme == "file" && has_more) || empty_file {
                return Ok(Step::Stop);
            }
            url.scheme = scheme;
            if url.port == default_port(&url.scheme) {
                url.port = None;
            }
            return Ok(Step::Stop);
        }
        url.scheme = scheme;
        if url.scheme == "file" {
            return Ok(Step::Next(State::File));
        }
        if url.is_special() {
            let same = self.base.is_some_and(|base| base.scheme == url.scheme);
            return Ok(Step::Next(if same {
                State::SpecialRelativeOrAuthority
            } else {
                State::SpecialAuthoritySlashes
            }));
        }
        if self.rest().first() == Some(&'/') {
            self.at += 1;
            return Ok(Step::Next(State::PathOrAuthority));
        }
        url.path = Path::Opaque(String::new());
        Ok(Step::Next(State::OpaquePath))
    }

    fn no_scheme(&mut self, url: &mut Address, c: Option<char>) -> Result<Step, Failure> {
        let Some(base) = self.base else { return Err(Failure) };
        if base.is_opaque() {
            if c != Some('#') {
                return Err(Failure);
            }
            *url = base.clone();
            url.fragment = Some(String::new());
            return Ok(Step::Next(State::Fragment));
        }
        Ok(Step::Again(if base.scheme == "file" { State::File } else { State::Relative }))
    }

    fn relative(&mut self, url: &mut Address, c: Option<char>) -> Step {
        let Some(base) = self.base else { return Step::Again(State::Path) };
        url.scheme.clone_from(&base.scheme);
        if c == Some('/') || (c == Some('\\') && url.is_special()) {
            return Step::Next(State::RelativeSlash);
        }
        url.copy_authority(base);
        url.path.clone_from(&base.path);
        url.query.clone_from(&base.query);
        match c {
            Some('?') => {
                url.query = Some(String::new());
                Step::Next(State::Query)
            }
            Some('#') => {
                url.fragment = Some(String::new());
                Step::Next(State::Fragment)
            }
            None => Step::Next(State::Relative),
            Some(_) => {
                url.query = None;
                url.shorten();
                Step::Again(State::Path)
            }
        }
    }

    fn relative_slash(&mut self, url: &mut Address, c: Option<char>) -> Step {
        if url.is_special() && matches!(c, Some('/' | '\\')) {
            return Step::Next(State::SpecialAuthorityIgnoreSlashes);
        }
        if c == Some('/') {
            return Step::Next(State::Authority);
        }
        if let Some(base) = self.base {
            url.copy_authority(base);
        }
        Step::Again(State::Path)
    }

    fn authority(&mut self, url: &mut Address, c: Option<char>) -> Result<Step, Failure> {
        if c == Some('@') {
            if self.seen_at {
                self.buffer.insert_str(0, "%40");
            }
            self.seen_at = true;
            for c in std::mem::take(&mut self.buffer).chars() {
                if c == ':' && !self.seen_password {
                    self.seen_password = true;
                } else if self.seen_password {
                    encode(&mut url.password, c, Set::Userinfo);
                } else {
                    encode(&mut url.username, c, Set::Userinfo);
                }
            }
            return Ok(Step::Next(State::Authority));
        }
        let ends = matches!(c, None | Some('/' | '?' | '#')) || (c == Some('\\') && url.is_special());
        if !ends {
            self.buffer.extend(c);
            return Ok(Step::Next(State::Authority));
        }
        if self.seen_at && self.buffer.is_empty() {
            return Err(Failure);
        }
        self.at -= self.buffer.chars().count();
        self.buffer.clear();
        Ok(Step::Again(State::Host))
    }

    fn host(&mut self, url: &mut Address, state: State, c: Option<char>) -> Result<Step, Failure> {
        if self.begun.is_some() && url.scheme == "file" {
            return Ok(Step::Again(State::FileHost));
        }
        let special = url.is_special();
        if c == Some(':') && !self.in_brackets {
            if self.buffer.is_empty() {
                return Err(Failure);
            }
            if self.begun == Some(State::Hostname) {
                return Err(Failure);
            }
            url.host = Some(parse_host(&std::mem::take(&mut self.buffer), special)?);
            return Ok(Step::Next(State::Port));
        }
        if matches!(c, None | Some('/' | '?' | '#')) || (c == Some('\\') && special) {
            if special && self.buffer.is_empty() {
                return Err(Failure);
            }
            if self.begun.is_some() && self.buffer.is_empty() && (url.includes_credentials() || url.port.is_some()) {
                return Err(Failure);
            }
            url.host = Some(parse_host(&std::mem::take(&mut self.buffer), special)?);
            return Ok(if self.begun.is_some() { Step::Stop } else { Step::Again(State::PathStart) });
        }
        match c {
            Some('[') => self.in_brackets = true,
            Some(']') => self.in_brackets = false,
            _ => {}
        }
        self.buffer.extend(c);
        Ok(Step::Next(state))
    }

    fn port(&mut self, url: &mut Address, c: Option<char>) -> Result<Step, Failure> {
        if let Some(c) = c.filter(char::is_ascii_digit) {
            self.buffer.push(c);
            return Ok(Step::Next(State::Port));
        }
        let ends = matches!(c, None | Some('/' | '?' | '#')) || (c == Some('\\') && url.is_special());
        if !ends && self.begun.is_none() {
            return Err(Failure);
        }
        if !self.buffer.is_empty() {
            let digits = self.buffer.trim_start_matches('0');
            let port: u16 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| Failure)? };
            url.port = Some(port).filter(|port| Some(*port) != default_port(&url.scheme));
            self.buffer.clear();
            if self.begun.is_some() {
                return Ok(Step::Stop);
            }
        }
        if self.begun.is_some() {
            // A setter got something that is no port: what was set before stays.
            return if self.begun == Some(State::Port) { Err(Failure) } else { Ok(Step::Stop) };
        }
        Ok(Step::Again(State::PathStart))
    }

    fn file(&mut self, url: &mut Address, c: Option<char>) -> Step {
        "file".clone_into(&mut url.scheme);
        url.host = Some(String::new());
        if matches!(c, Some('/' | '\\')) {
            return Step::Next(State::FileSlash);
        }
        let Some(base) = self.base.filter(|base| base.scheme == "file") else { return Step::Again(State::Path) };
        url.host.clone_from(&base.host);
        url.path.clone_from(&base.path);
        url.query.clone_from(&base.query);
        match c {
            Some('?') => {
                url.query = Some(String::new());
                Step::Next(State::Query)
            }
            Some('#') => {
                url.fragment = Some(String::new());
                Step::Next(State::Fragment)
            }
            None => Step::Next(State::File),
            Some(_) => {
                url.query = None;
                if starts_with_drive_letter(self.input.get(self.at..).unwrap_or_default()) {
                    url.path = Path::List(Vec::new());
                } else {
                    url.shorten();
                }
                Step::Again(State::Path)
            }
        }
    }

    fn file_slash(&mut self, url: &mut Address, c: Option<char>) -> Step {
        if matches!(c, Some('/' | '\\')) {
            return Step::Next(State::FileHost);
        }
        if let Some(base) = self.base.filter(|base| base.scheme == "file") {
            url.host.clone_from(&base.host);
            if !starts_with_drive_letter(self.input.get(self.at..).unwrap_or_default())
                && let Path::List(segments) = &base.path
                && let Some(first) = segments.first().filter(|first| is_normal_drive_letter(first))
            {
                url.push(first.clone());
            }
        }
        Step::Again(State::Path)
    }

    fn file_host(&mut self, url: &mut Address, c: Option<char>) -> Result<Step, Failure> {
        if !matches!(c, None | Some('/' | '\\' | '?' | '#')) {
            self.buffer.extend(c);
            return Ok(Step::Next(State::FileHost));
        }
        if self.begun.is_none() && is_drive_letter(&self.buffer) {
            return Ok(Step::Again(State::Path));
        }
        let text = std::mem::take(&mut self.buffer);
        let host = if text.is_empty() { String::new() } else { parse_host(&text, true)? };
        url.host = Some(if host == "localhost" { String::new() } else { host });
        Ok(if self.begun.is_some() { Step::Stop } else { Step::Again(State::PathStart) })
    }

    fn path_start(&mut self, url: &mut Address, c: Option<char>) -> Step {
        if url.is_special() {
            return if matches!(c, Some('/' | '\\')) { Step::Next(State::Path) } else { Step::Again(State::Path) };
        }
        match c {
            Some('?') if self.begun.is_none() => {
                url.query = Some(String::new());
                Step::Next(State::Query)
            }
            Some('#') if self.begun.is_none() => {
                url.fragment = Some(String::new());
                Step::Next(State::Fragment)
            }
            Some('/') => Step::Next(State::Path),
            Some(_) => Step::Again(State::Path),
            None => {
                if self.begun.is_some() && url.host.is_none() {
                    url.push(String::new());
                }
                Step::Stop
            }
        }
    }

    fn path(&mut self, url: &mut Address, c: Option<char>) -> Step {
        let slash = c == Some('/') || (c == Some('\\') && url.is_special());
        let leaves = self.begun.is_none() && matches!(c, Some('?' | '#'));
        if c.is_some() && !slash && !leaves {
            if let Some(c) = c {
                encode(&mut self.buffer, c, Set::Path);
            }
            return Step::Next(State::Path);
        }
        let mut segment = std::mem::take(&mut self.buffer);
        if is_double_dot(&segment) {
            url.shorten();
            if !slash {
                url.push(String::new());
            }
        } else if is_single_dot(&segment) {
            if !slash {
                url.push(String::new());
            }
        } else {
            let first = matches!(&url.path, Path::List(segments) if segments.is_empty());
            if url.scheme == "file" && first && is_drive_letter(&segment) {
                segment.replace_range(1..2, ":");
            }
            url.push(segment);
        }
        match c {
            Some('?') if leaves => {
                url.query = Some(String::new());
                Step::Next(State::Query)
            }
            Some('#') if leaves => {
                url.fragment = Some(String::new());
                Step::Next(State::Fragment)
            }
            _ => Step::Next(State::Path),
        }
    }

    fn opaque_path(&mut self, url: &mut Address, c: Option<char>) -> Step {
        let Path::Opaque(path) = &mut url.path else { return Step::Stop };
        match c {
            Some('?') => {
                url.query = Some(String::new());
                Step::Next(State::Query)
            }
            Some('#') => {
                url.fragment = Some(String::new());
                Step::Next(State::Fragment)
            }
            // A space before a query or fragment would be lost when the text is parsed again.
            Some(' ') if matches!(self.input.get(self.at + 1), Some('?' | '#')) => {
                path.push_str("%20");
                Step::Next(State::OpaquePath)
            }
            Some(' ') => {
                path.push(' ');
                Step::Next(State::OpaquePath)
            }
            Some(c) => {
                encode(path, c, Set::Control);
                Step::Next(State::OpaquePath)
            }
            None => Step::Next(State::OpaquePath),
        }
    }

    fn query(&mut self, url: &mut Address, c: Option<char>) -> Step {
        if self.begun.is_none() && c == Some('#') {
            url.fragment = Some(String::new());
            return Step::Next(State::Fragment);
        }
        let set = if url.is_special() { Set::SpecialQuery } else { Set::Query };
        if let (Some(c), Some(query)) = (c, &mut url.query) {
            encode(query, c, set);
        }
        Step::Next(State::Query)
    }
}

/// Decodes percent escapes, as bytes.
pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// Whether an opaque host may hold every character of `text`.
pub(super) fn is_opaque_host(text: &str) -> bool {
    !text.chars().any(is_forbidden_host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text that gets past the first states often.
    fn url_like() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "http",
            "https",
            "file",
            "ws",
            "a",
            ":",
            "/",
            "//",
            "\\",
            "?",
            "#",
            "@",
            "[",
            "]",
            "::1",
            ".",
            "..",
            "%2e",
            "%",
            "C|",
            "é",
            "xn--",
            "127.0.0.1",
            "0x",
            ":80",
            " ",
            "\t",
            "|",
            "^",
            "\u{fffd}",
            "💩",
            "localhost",
        ]);
        prop_oneof![prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()), any::<String>()]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(text in url_like(), base in url_like()) {
            let base = Address::parse(&base, None).ok();
            if let Ok(url) = Address::parse(&text, base.as_ref()) {
                let again = Address::parse(&url.href(), None);
                prop_assert_eq!(again.map(|again| again.href()), Ok(url.href()));
            }
        }

        #[test]
        fn setters_accept_anything(text in url_like(), value in url_like()) {
            if let Ok(mut url) = Address::parse(&text, None) {
                for set in [Address::set_protocol, Address::set_username, Address::set_password, Address::set_host,
                    Address::set_hostname, Address::set_port, Address::set_pathname, Address::set_search, Address::set_hash] {
                    set(&mut url, &value);
                }
                let _ = (url.href(), url.origin());
            }
        }
    }
}
