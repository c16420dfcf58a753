//! Reads the smallest parts of an expression: spaces, words, strings.
//! Decides where a part ends and how escapes resolve; the parser decides what may stand where.

use crate::error::Complaint;
use crate::syntax::{LiteralKind, RawLiteral, Span};

/// How the escapes of a quoted string resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// `\"`, `\\`, `\xHH` and `\ooo`; any other escape is an error.
    Text,
    /// `\"` and `\\`; any other escape is left for the pattern's own syntax.
    Pattern,
}

/// A place in the source.
pub(crate) struct Cursor<'s> {
    pub(crate) source: &'s str,
    pub(crate) at: usize,
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    pub(crate) fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.source.len()
    }

    pub(crate) fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Skips `text` if it stands here.
    pub(crate) fn take(&mut self, text: &str) -> bool {
        let stands = self.rest().starts_with(text);
        if stands {
            self.at += text.len();
        }
        stands
    }

    /// Tells whether `word` stands here as a whole word.
    pub(crate) fn looks_at_word(&self, word: &str) -> bool {
        self.rest().strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_name_char))
    }

    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let stands = self.looks_at_word(word);
        if stands {
            self.at += word.len();
        }
        stands
    }

    /// Returns the character here, or an empty span at the end.
    pub(crate) fn here(&self) -> Span {
        self.at..self.at + self.peek().map_or(0, char::len_utf8)
    }

    /// Returns the word, or else the one character, that stands here.
    pub(crate) fn word_here(&self) -> Span {
        let length = self.rest().find(|c: char| !is_name_char(c)).unwrap_or(self.rest().len());
        if length == 0 { self.here() } else { self.at..self.at + length }
    }

    /// Reads a dotted identifier.
    pub(crate) fn identifier(&mut self) -> Option<(&'s str, Span)> {
        let start = self.at;
        if !self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        self.name_part();
        while self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(is_name_char)) {
            self.at += 1;
            self.name_part();
        }
        Some((&self.source[start..self.at], start..self.at))
    }

    /// Reads the letters, digits and underscores that stand here.
    pub(crate) fn name_part(&mut self) -> &'s str {
        let rest = self.rest();
        let length = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Reads a constant: a quoted or raw string, or an unquoted word.
    pub(crate) fn literal(&mut self, quoting: Quoting) -> Result<RawLiteral, Complaint> {
        let start = self.at;
        let kind = if self.rest().starts_with('"') {
            LiteralKind::Quoted(self.quoted(quoting)?)
        } else if self.looks_at_raw_string() {
            LiteralKind::Quoted(self.raw_string()?)
        } else {
            LiteralKind::Word(self.bare_word()?)
        };
        Ok(RawLiteral { kind, span: start..self.at })
    }

    fn bare_word(&mut self) -> Result<String, Complaint> {
        let rest = self.rest();
        let stops = |c: char| c.is_whitespace() || "()[]{}\"',;&|=<>!~^$`“”‘’".contains(c);
        let length = rest.find(stops).unwrap_or(rest.len());
        if length > 0 {
            self.at += length;
            return Ok(rest[..length].to_owned());
        }
        let complaint = |message: &str| Complaint::new(self.here(), message);
        Err(match self.peek() {
            None => complaint("the expression ends where a value should stand"),
            Some('\'' | '`' | '“' | '”' | '‘' | '’') => {
                complaint("a string stands between straight double quotes").suggest_some(self.requoted())
            }
            Some(',') => complaint("values are separated by spaces, not commas"),
            Some('{') => complaint("a set stands after `in`").suggest("in {"),
            Some('$') => complaint("a list stands after `in`").suggest("in $"),
            Some('=') => complaint("there is one `=` too many"),
            Some(_) => complaint("expected a value"),
        })
    }

    /// Guesses the string behind foreign quotation marks.
    fn requoted(&self) -> Option<String> {
        let rest = self.rest();
        let marks = ['\'', '`', '“', '”', '‘', '’'];
        let inner = rest.get(rest.chars().next()?.len_utf8()..)?;
        let text = &inner[..inner.find(marks)?];
        (text.len() < 80 && !text.contains(['"', '\\'])).then(|| format!("\"{text}\""))
    }

    pub(crate) fn looks_at_raw_string(&self) -> bool {
        self.rest().strip_prefix('r').is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    }

    fn raw_string(&mut self) -> Result<Vec<u8>, Complaint> {
        let start = self.at;
        self.at += 1;
        let rest = self.rest();
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if hashes > 255 {
            return Err(Complaint::new(start..self.at + hashes, "a raw string opens with at most 255 `#`"));
        }
        self.at += hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let rest = self.rest();
        match rest.find(&close) {
            Some(length) => {
                self.at += length + close.len();
                Ok(rest.as_bytes()[..length].to_vec())
            }
            None => Err(Complaint::new(start..start + 1, format!("the raw string is not closed by `{close}`"))),
        }
    }

    /// Reads a string between double quotes.
    pub(crate) fn quoted(&mut self, quoting: Quoting) -> Result<Vec<u8>, Complaint> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let rest = self.rest();
            let Some(length) = rest.find(['"', '\\']) else {
                return Err(Complaint::new(start..start + 1, "the string is not closed"));
            };
            bytes.extend_from_slice(&rest.as_bytes()[..length]);
            self.at += length + 1;
            if rest[length..].starts_with('"') {
                return Ok(bytes);
            }
            match (self.peek(), quoting) {
                (None, _) => return Err(Complaint::new(start..start + 1, "the string is not closed")),
                (Some(c @ ('"' | '\\')), _) => {
                    bytes.push(c as u8);
                    self.at += 1;
                }
                (Some(c), Quoting::Pattern) => {
                    bytes.push(b'\\');
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    self.at += c.len_utf8();
                }
                (Some(c), Quoting::Text) => bytes.push(self.escape(c)?),
            }
        }
    }

    /// Reads what stands after a backslash.
    fn escape(&mut self, first: char) -> Result<u8, Complaint> {
        let rest = self.rest();
        let (digits, radix, length) = match first {
            'x' => (rest.get(1..3), 16, 3),
            _ => (rest.get(..3), 8, 3),
        };
        let valid = digits.filter(|digits| digits.chars().all(|digit| digit.is_digit(radix)));
        if let Some(byte) = valid.and_then(|digits| u8::from_str_radix(digits, radix).ok()) {
            self.at += length;
            return Ok(byte);
        }
        let span = self.at - 1..self.at + first.len_utf8();
        Err(match first {
            'x' => Complaint::new(span, "`\\x` takes two hexadecimal digits"),
            '0'..='7' => Complaint::new(span, "an octal escape takes three digits, up to `\\377`"),
            'n' => Complaint::new(span, "strings have no escape `\\n`").suggest("\\x0a"),
            'r' => Complaint::new(span, "strings have no escape `\\r`").suggest("\\x0d"),
            't' => Complaint::new(span, "strings have no escape `\\t`").suggest("\\x09"),
            other => {
                Complaint::new(span, format!("strings have no escape `\\{other}`")).suggest(format!("\\\\{other}"))
            }
        })
    }
}

/// Tells whether `c` can stand within a name.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
