//! Prints the canonical form of an expression, which parses back to the same tree.
//! Stored rules and clients compare this text, so a change here is a change of the public interface: the golden file
//! `tests/data/canonical.txt` must stay as it is.

use std::fmt::Write;
use std::ops::Range;

use crate::ast::{Argument, Ast, Item, Literal, Operand, Path, Step, Test};

/// The canonical text and the place of every condition in it, in the order the tree is walked.
pub(crate) struct Printed {
    pub(crate) text: String,
    pub(crate) places: Vec<Range<usize>>,
}

/// Prints `ast`.
pub(crate) fn print(ast: &Ast) -> Printed {
    let mut printed = Printed { text: String::new(), places: Vec::new() };
    condition(&mut printed, ast);
    printed
}

/// How tightly a condition holds together; a looser one within a tighter one needs parentheses.
fn tightness(ast: &Ast) -> u8 {
    match ast {
        Ast::Or(_) => 1,
        Ast::Xor(_) => 2,
        Ast::And(_) => 3,
        Ast::Always | Ast::Not(_) | Ast::Truth(_) | Ast::Compare(..) | Ast::Any(_) | Ast::All(_) => 4,
    }
}

fn condition(out: &mut Printed, ast: &Ast) {
    let place = out.places.len();
    let start = out.text.len();
    out.places.push(start..start);
    match ast {
        Ast::Always => {}
        Ast::Not(inner) if matches!(**inner, Ast::Truth(_)) => {
            out.text.push_str("not ");
            condition(out, inner);
        }
        Ast::Not(inner) => enclosed(out, "not", inner),
        Ast::Any(inner) => enclosed(out, "any", inner),
        Ast::All(inner) => enclosed(out, "all", inner),
        Ast::And(parts) => joined(out, " and ", parts, tightness(ast)),
        Ast::Or(parts) => joined(out, " or ", parts, tightness(ast)),
        Ast::Xor(parts) => joined(out, " xor ", parts, tightness(ast)),
        Ast::Truth(operand) => self::operand(&mut out.text, operand),
        Ast::Compare(operand, test) => {
            self::operand(&mut out.text, operand);
            if matches!(operand, Operand::Call(_)) && operand.has_each() {
                out.text.push_str("[*]");
            }
            out.text.push(' ');
            self::test(&mut out.text, test);
        }
    }
    out.places[place] = start..out.text.len();
}

fn enclosed(out: &mut Printed, word: &str, inner: &Ast) {
    out.text.push_str(word);
    out.text.push('(');
    condition(out, inner);
    out.text.push(')');
}

fn joined(out: &mut Printed, separator: &str, parts: &[Ast], outer: u8) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.text.push_str(separator);
        }
        if tightness(part) <= outer {
            enclosed(out, "", part);
        } else {
            condition(out, part);
        }
    }
}

/// Prints an operand.
pub(crate) fn operand(text: &mut String, operand: &Operand) {
    match operand {
        Operand::Path(path) => self::path(text, path),
        Operand::Call(call) => {
            text.push_str(call.function.name());
            text.push('(');
            for (index, argument) in call.arguments.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                match argument {
                    Argument::Operand(operand) => self::operand(text, operand),
                    Argument::Bytes(bytes) => string(text, bytes),
                }
            }
            text.push(')');
        }
    }
}

fn path(text: &mut String, path: &Path) {
    text.push_str(path.name);
    for step in &path.steps {
        match step {
            Step::Index(index) => push(text, format_args!("[{index}]")),
            Step::Key(key) => {
                text.push('[');
                string(text, key);
                text.push(']');
            }
            Step::Each => text.push_str("[*]"),
        }
    }
}

/// Prints an operator and its constants.
pub(crate) fn test(text: &mut String, test: &Test) {
    match test {
        Test::Order(order, literal) => {
            text.push_str(order.symbol());
            text.push(' ');
            self::literal(text, literal);
        }
        Test::In(items) => {
            text.push_str("in {");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                self::item(text, item);
            }
            text.push('}');
        }
        Test::InList(name) => push(text, format_args!("in ${name}")),
        Test::Contains(bytes) => {
            text.push_str("contains ");
            string(text, bytes);
        }
        Test::Matches(source) => {
            text.push_str("matches ");
            pattern(text, source);
        }
        Test::Wildcard { pattern: source, strict } => {
            text.push_str(if *strict { "strict wildcard " } else { "wildcard " });
            pattern(text, source);
        }
        Test::Bits(bits) => push(text, format_args!("& {bits}")),
    }
}

/// Prints a member of a set.
pub(crate) fn item(text: &mut String, item: &Item) {
    match item {
        Item::One(literal) => self::literal(text, literal),
        Item::Ints(first, last) => push(text, format_args!("{first}..{last}")),
        Item::Ips(first, last) => push(text, format_args!("{first}..{last}")),
        Item::Network(address, length) => push(text, format_args!("{address}/{length}")),
    }
}

fn literal(text: &mut String, literal: &Literal) {
    match literal {
        Literal::Int(value) => push(text, format_args!("{value}")),
        Literal::Bytes(bytes) => string(text, bytes),
        Literal::Ip(address) => push(text, format_args!("{address}")),
        Literal::Version(version) => string(text, version.as_bytes()),
    }
}

/// Prints a string between quotes: text as it is, control characters and stray bytes as `\xHH`.
pub(crate) fn string(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => {
                    text.push('\\');
                    text.push(c);
                }
                c if c.is_control() => escaped(text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        escaped(text, chunk.invalid());
    }
    text.push('"');
}

fn escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        push(text, format_args!("\\x{byte:02x}"));
    }
}

/// Prints a pattern between quotes, where only quotes and backslashes are escaped.
fn pattern(text: &mut String, source: &str) {
    text.push('"');
    for c in source.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
}
