//! Brings expressions into a normal form in which those that mean the same by simple rules have the same text.
//! Ignores the order of commutative parts and of set members, repetition, double negation, and spellings that come to
//! the same: `a != 1` and `not (a == 1)`, `a in {1}` and `a == 1`. It is not a theorem prover: expressions it calls
//! different may still agree on everything.

use crate::ast::{Ast, Item, Literal, Order, Test};
use crate::print;

/// Returns the normal form, which is made to be compared and not to be read or parsed.
pub(crate) fn normal(ast: &Ast) -> String {
    match ast {
        Ast::Always => "true".to_owned(),
        Ast::Not(inner) => negated(inner),
        Ast::And(parts) => joined("and", parts, true),
        Ast::Or(parts) => joined("or", parts, true),
        // `a xor a` is not `a`, so repetition counts.
        Ast::Xor(parts) => joined("xor", parts, false),
        Ast::Truth(operand) => {
            let mut text = String::new();
            print::operand(&mut text, operand);
            text
        }
        // A version that cannot be read satisfies neither `==` nor `!=`, so there the two are no opposites.
        Ast::Compare(operand, Test::Order(Order::NotEqual, literal)) if !matches!(literal, Literal::Version(_)) => {
            let equal = Ast::Compare(operand.clone(), Test::Order(Order::Equal, literal.clone()));
            negated(&equal)
        }
        Ast::Compare(operand, test) => {
            let mut text = String::new();
            print::operand(&mut text, operand);
            text.push(' ');
            text.push_str(&normal_test(test));
            text
        }
        Ast::Any(inner) => format!("any({})", normal(inner)),
        Ast::All(inner) => format!("all({})", normal(inner)),
    }
}

fn negated(inner: &Ast) -> String {
    let text = normal(inner);
    match text.strip_prefix("not(").and_then(|rest| rest.strip_suffix(')')) {
        // The prefix is only ever written here, around one whole condition.
        Some(inner) => inner.to_owned(),
        None => format!("not({text})"),
    }
}

fn joined(word: &str, parts: &[Ast], idempotent: bool) -> String {
    let mut texts: Vec<String> = parts.iter().map(normal).collect();
    texts.sort_unstable();
    if idempotent {
        texts.dedup();
    }
    match texts.as_slice() {
        [only] => only.clone(),
        texts => format!("{word}({})", texts.join(", ")),
    }
}

fn normal_test(test: &Test) -> String {
    let Test::In(items) = test else {
        let mut text = String::new();
        print::test(&mut text, test);
        return text;
    };
    let mut texts: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        let mut text = String::new();
        print::item(&mut text, item);
        texts.push(text);
    }
    texts.sort_unstable();
    texts.dedup();
    match (texts.as_slice(), items.first()) {
        ([only], Some(Item::One(_))) => format!("== {only}"),
        (texts, _) => format!("in {{{}}}", texts.join(" ")),
    }
}
