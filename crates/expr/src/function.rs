//! The functions of the language.
//! A function of a missing value is missing, of an unknown value unknown; a result beyond the limit is unusable.

use std::io::Write;

use crate::ast::Function;
use crate::evaluate::{Context, Loaded};
use crate::program::Source;
use crate::scheme::FieldSet;
use crate::value::ValueRef;

/// Calls `function`.
pub(crate) fn call<'a>(function: Function, arguments: &'a [Source], context: Context<'a>) -> Loaded<'a> {
    match function {
        Function::Concat => concat(arguments, context),
        Function::StartsWith | Function::EndsWith => affix(function, arguments, context),
        Function::Lower | Function::Upper | Function::Len | Function::UrlDecode | Function::ToString => {
            let mut missing = Missing::default();
            let value = arguments.first().and_then(|argument| missing.take(load(argument, context)));
            missing.or(arguments, context, || apply(function, &value?, context.value_bytes))
        }
    }
}

/// Gathers the reasons for which a function has no result.
#[derive(Default)]
struct Missing {
    unknown: FieldSet,
    unusable: Option<FieldSet>,
    absent: bool,
}

impl Missing {
    /// Returns the value, or notes why there is none.
    fn take<'a>(&mut self, loaded: Loaded<'a>) -> Option<Loaded<'a>> {
        match loaded {
            Loaded::Unknown(fields) => self.unknown = self.unknown.union(fields),
            Loaded::Unusable(fields) => {
                self.unusable = Some(self.unusable.unwrap_or_default().union(fields));
            }
            Loaded::Absent => self.absent = true,
            value @ (Loaded::Value(_) | Loaded::Computed(_)) => return Some(value),
        }
        None
    }

    /// Returns the result, unless an argument is missing. What is unknown comes first: it may turn out absent.
    fn or<'a>(
        self,
        arguments: &[Source],
        context: Context<'_>,
        result: impl FnOnce() -> Option<Loaded<'a>>,
    ) -> Loaded<'a> {
        if !self.unknown.is_empty() {
            return Loaded::Unknown(self.unknown);
        }
        if let Some(fields) = self.unusable {
            return Loaded::Unusable(fields);
        }
        if self.absent {
            return Loaded::Absent;
        }
        result().unwrap_or_else(|| {
            let fields = arguments.iter().fold(FieldSet::EMPTY, |fields, argument| match argument {
                Source::Load(load) => fields.union(load.fields(context)),
                Source::Bytes(_) => fields,
            });
            Loaded::Unusable(fields)
        })
    }
}

fn load<'a>(source: &'a Source, context: Context<'a>) -> Loaded<'a> {
    match source {
        Source::Load(load) => load.load(context),
        Source::Bytes(bytes) => Loaded::Value(ValueRef::Bytes(bytes)),
    }
}

fn text<'v>(value: &'v Loaded<'_>) -> Option<&'v [u8]> {
    if let Loaded::Computed(bytes) = value {
        return Some(bytes);
    }
    if let Loaded::Value(ValueRef::Bytes(bytes)) = value { Some(bytes) } else { None }
}

/// Applies a function of one value; `None` if the value or the result cannot be used.
fn apply<'a>(function: Function, value: &Loaded<'_>, limit: usize) -> Option<Loaded<'a>> {
    let bounded = || text(value).filter(|text| text.len() <= limit);
    Some(Loaded::Computed(match function {
        Function::Lower => bounded()?.to_ascii_lowercase(),
        Function::Upper => bounded()?.to_ascii_uppercase(),
        Function::UrlDecode => url_decode(bounded()?),
        Function::ToString => match printed(value) {
            Some(text) => text,
            None => bounded()?.to_vec(),
        },
        Function::Len => return length(value).map(|length| Loaded::Value(ValueRef::Int(length))),
        Function::Concat | Function::StartsWith | Function::EndsWith => return None,
    }))
}

fn length(value: &Loaded<'_>) -> Option<i64> {
    let length = if let Loaded::Value(ValueRef::Array(array)) = value {
        array.len()
    } else if let Loaded::Value(ValueRef::Map(map)) = value {
        map.len()
    } else {
        text(value)?.len()
    };
    i64::try_from(length).ok()
}

/// Prints a value that is not a string already.
fn printed(value: &Loaded<'_>) -> Option<Vec<u8>> {
    let Loaded::Value(value) = value else { return None };
    match value {
        ValueRef::Int(value) => Some(written(format_args!("{value}"))),
        ValueRef::Bool(value) => Some(written(format_args!("{value}"))),
        ValueRef::Ip(value) => Some(written(format_args!("{}", value.to_canonical()))),
        ValueRef::Version(value) => Some(value.text.as_bytes().to_vec()),
        ValueRef::Bytes(_) | ValueRef::Array(_) | ValueRef::Map(_) => None,
    }
}

fn written(arguments: std::fmt::Arguments<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a vector does not fail.
    let _ = bytes.write_fmt(arguments);
    bytes
}

/// Joins strings, one at a time, so that no more than the limit and one argument are ever held.
fn concat<'a>(arguments: &'a [Source], context: Context<'a>) -> Loaded<'a> {
    let mut missing = Missing::default();
    let mut joined = Some(Vec::new());
    for argument in arguments {
        let Some(value) = missing.take(load(argument, context)) else { continue };
        joined = joined.and_then(|mut joined: Vec<u8>| {
            let part = text(&value)?;
            (joined.len().saturating_add(part.len()) <= context.value_bytes).then(|| {
                joined.extend_from_slice(part);
                joined
            })
        });
    }
    missing.or(arguments, context, || joined.map(Loaded::Computed))
}

fn affix<'a>(function: Function, arguments: &'a [Source], context: Context<'a>) -> Loaded<'a> {
    let mut missing = Missing::default();
    let mut values = arguments.iter().map(|argument| missing.take(load(argument, context)));
    let (whole, part) = (values.next().flatten(), values.next().flatten());
    drop(values);
    missing.or(arguments, context, || {
        let (whole, part) = (whole?, part?);
        let (whole, part) = (text(&whole)?, text(&part)?);
        let holds = if function == Function::StartsWith { whole.starts_with(part) } else { whole.ends_with(part) };
        Some(Loaded::Value(ValueRef::Bool(holds)))
    })
}

/// Resolves `%HH` and `+`; an escape that is not one stays as it is.
fn url_decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = if *byte == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        if let Some(byte) = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(if *byte == b'+' { b' ' } else { *byte });
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve_and_broken_ones_stay() {
        for (encoded, decoded) in [
            ("a%2Fb+c", b"a/b c".as_slice()),
            ("%", b"%"),
            ("%2", b"%2"),
            ("%zz", b"%zz"),
            ("%252F", b"%2F"),
            ("%ff", b"\xff"),
            ("", b""),
        ] {
            assert_eq!(url_decode(encoded.as_bytes()), decoded, "{encoded}");
        }
    }
}
