//! Reads the constants of a comparison as the type on its left asks.
//! Accepts a quoted number, address or version where Gateway's documentation writes one.

use std::net::IpAddr;

use crate::ast::{Item, Literal};
use crate::check::{Checker, with_article};
use crate::error::Complaint;
use crate::literal;
use crate::syntax::{LiteralKind, RawLiteral};
use crate::value::Type;

impl Checker<'_> {
    /// Reads one constant.
    pub(crate) fn constant(&mut self, raw: &RawLiteral, kind: Type) -> Result<Literal, Complaint> {
        match kind {
            Type::Int => self.number(raw).map(Literal::Int),
            Type::Bytes => self.bytes(raw).map(Literal::Bytes),
            Type::Ip => self.address(raw).map(Literal::Ip),
            Type::Version => self.version(raw).map(Literal::Version),
            Type::Bool | Type::Array(_) | Type::Map(_) => {
                Err(Complaint::new(raw.span.clone(), format!("{} has no constants", with_article(kind))))
            }
        }
    }

    /// Reads one member of a set.
    pub(crate) fn item(&mut self, raw: &RawLiteral, kind: Type) -> Result<Item, Complaint> {
        if let Some(text) = text(raw) {
            if kind == Type::Int && text.contains("..") {
                return match literal::int_range(text) {
                    Some((first, last)) => Ok(Item::Ints(first, last)),
                    None => Err(bad_range(raw)),
                };
            }
            if kind == Type::Ip && text.contains("..") {
                return match literal::ip_range(text) {
                    Some((first, last)) => Ok(Item::Ips(first, last)),
                    None => Err(bad_range(raw)),
                };
            }
            if kind == Type::Ip && text.contains('/') {
                return network(raw, text);
            }
        }
        self.constant(raw, kind).map(Item::One)
    }

    /// Reads a number; a quoted one is decimal.
    pub(crate) fn number(&mut self, raw: &RawLiteral) -> Result<i64, Complaint> {
        let complaint = |message| Complaint::new(raw.span.clone(), message);
        match &raw.kind {
            LiteralKind::Word(word) => match literal::int(word) {
                Some(value) => Ok(value),
                None if word.bytes().all(|b| b.is_ascii_digit()) && word.starts_with('0') => {
                    Err(complaint("a number that starts with `0` is octal").suggest(word.trim_start_matches('0')))
                }
                None if word.bytes().all(|b| b.is_ascii_digit()) => Err(complaint("this number is too large")),
                None => Err(complaint("expected a number")),
            },
            LiteralKind::Quoted(bytes) => {
                let decimal = |text: &&str| {
                    let digits = text.strip_prefix('-').unwrap_or(text);
                    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
                };
                let value = std::str::from_utf8(bytes).ok().filter(decimal).and_then(|text| text.parse().ok());
                let value = value.ok_or_else(|| complaint("this field is a number, which a string cannot equal"))?;
                self.note(raw.span.clone(), format!("read as the number {value}"));
                Ok(value)
            }
        }
    }

    /// Reads a string.
    pub(crate) fn bytes(&mut self, raw: &RawLiteral) -> Result<Vec<u8>, Complaint> {
        match &raw.kind {
            LiteralKind::Quoted(bytes) => Ok(bytes.clone()),
            LiteralKind::Word(word) => literal::hex_bytes(word).ok_or_else(|| {
                Complaint::new(raw.span.clone(), "a string stands between double quotes").suggest(format!("\"{word}\""))
            }),
        }
    }

    fn address(&mut self, raw: &RawLiteral) -> Result<IpAddr, Complaint> {
        let complaint = |message| Complaint::new(raw.span.clone(), message);
        let text = text(raw).ok_or_else(|| complaint("expected an IP address"))?;
        match literal::ip(text) {
            Some(address) => {
                if matches!(raw.kind, LiteralKind::Quoted(_)) {
                    self.note(raw.span.clone(), format!("read as the address {address}"));
                }
                Ok(address)
            }
            None if literal::ip_range(text).is_some() => {
                Err(complaint("an address equals no network or range").suggest(format!("in {{{text}}}")))
            }
            None => Err(complaint("expected an IP address")),
        }
    }

    fn version(&mut self, raw: &RawLiteral) -> Result<String, Complaint> {
        let text = text(raw).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Complaint::new(raw.span.clone(), "expected a version such as `\"1.2.3\"`"))?;
        Ok(text.to_owned())
    }
}

/// Returns the text of a constant, with or without its quotes.
fn text(raw: &RawLiteral) -> Option<&str> {
    match &raw.kind {
        LiteralKind::Word(word) => Some(word),
        LiteralKind::Quoted(bytes) => std::str::from_utf8(bytes).ok(),
    }
}

fn network(raw: &RawLiteral, text: &str) -> Result<Item, Complaint> {
    let complaint = |message| Complaint::new(raw.span.clone(), message);
    let (address, length) =
        literal::network(text).ok_or_else(|| complaint("expected a network such as `10.0.0.0/8`"))?;
    let (first, _) = literal::network_range(address, length);
    if first == address {
        Ok(Item::Network(address, length))
    } else {
        Err(complaint("the address has bits after the prefix").suggest(format!("{first}/{length}")))
    }
}

fn bad_range(raw: &RawLiteral) -> Complaint {
    Complaint::new(raw.span.clone(), "expected a range `first..last` whose first value is not above its last")
}
