//! An evaluator that follows the documentation word for word, with every fact known: no sets, no automata, no order
//! of cost. What it says is what the language means.

use std::net::IpAddr;
use std::sync::Arc;

use expr::{
    Argument, Ast, Call, Function, Item, List, Lists, Literal, Operand, Order, Path, Step, Test, Value, Version,
};

use crate::fixture::LISTS;
use crate::generated::World;

/// Tells whether the condition holds in `world`.
pub(crate) fn holds(ast: &Ast, world: &World, element: Option<&Value>) -> bool {
    match ast {
        Ast::Always => true,
        Ast::Not(inner) => !holds(inner, world, element),
        Ast::And(parts) => parts.iter().all(|part| holds(part, world, element)),
        Ast::Or(parts) => parts.iter().any(|part| holds(part, world, element)),
        Ast::Xor(parts) => parts.iter().filter(|part| holds(part, world, element)).count() % 2 == 1,
        Ast::Truth(operand) => value(operand, world, element) == Some(Value::Bool(true)),
        Ast::Compare(operand, test) => match value(operand, world, element) {
            Some(value) => compare(&value, test),
            None => matches!(test, Test::Order(Order::NotEqual, literal) if !matches!(literal, Literal::Version(_))),
        },
        Ast::Any(body) => {
            elements(body, world).is_some_and(|elements| elements.iter().any(|e| holds(body, world, Some(e))))
        }
        Ast::All(body) => {
            elements(body, world).is_some_and(|elements| elements.iter().all(|e| holds(body, world, Some(e))))
        }
    }
}

/// Returns the elements of the array that a body visits; `None` if there is no array.
fn elements(body: &Ast, world: &World) -> Option<Vec<Value>> {
    let mut source = None;
    body.visit_operands(&mut |operand| {
        operand.visit_paths(&mut |path| {
            if path.has_each() {
                source = Some(path.clone());
            }
        });
    });
    let source: Path = source.unwrap();
    let last = source.steps.iter().rposition(|step| *step == Step::Each).unwrap();
    let mut found = vec![world.get(source.field)?.clone()];
    for (index, step) in source.steps[..=last].iter().enumerate() {
        let first = index == 0;
        let mut next = Vec::new();
        for value in found {
            match step {
                Step::Each => next.extend(parts(&value)),
                other => match follow(&value, other) {
                    Some(value) => next.push(value),
                    None if first => return None,
                    None => {}
                },
            }
        }
        found = next;
    }
    Some(found)
}

fn parts(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::Map(entries) => entries.iter().map(|(_, value)| value.clone()).collect(),
        other => panic!("{other:?} has no parts"),
    }
}

fn follow(value: &Value, step: &Step) -> Option<Value> {
    match (value, step) {
        (Value::Array(items), Step::Index(index)) => items.get(*index as usize).cloned(),
        (Value::Map(entries), Step::Key(key)) => entries.iter().find(|(name, _)| name == key).map(|(_, v)| v.clone()),
        other => panic!("{other:?} cannot be followed"),
    }
}

fn value(operand: &Operand, world: &World, element: Option<&Value>) -> Option<Value> {
    match operand {
        Operand::Path(path) => {
            let (start, steps) = match path.steps.iter().rposition(|step| *step == Step::Each) {
                Some(last) => (element.cloned(), &path.steps[last + 1..]),
                None => (world.get(path.field).cloned(), path.steps.as_slice()),
            };
            steps.iter().try_fold(start?, |value, step| follow(&value, step))
        }
        Operand::Call(call) => function(call, world, element),
    }
}

fn function(call: &Call, world: &World, element: Option<&Value>) -> Option<Value> {
    let mut arguments = Vec::new();
    for argument in &call.arguments {
        arguments.push(match argument {
            Argument::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Argument::Operand(operand) => value(operand, world, element)?,
        });
    }
    let bytes = |index: usize| match &arguments[index] {
        Value::Bytes(bytes) => bytes.clone(),
        other => panic!("{other:?} is no string"),
    };
    Some(match call.function {
        Function::Concat => Value::Bytes((0..arguments.len()).flat_map(bytes).collect()),
        Function::Lower => Value::Bytes(bytes(0).to_ascii_lowercase()),
        Function::Upper => Value::Bytes(bytes(0).to_ascii_uppercase()),
        // The random strings hold nothing to decode.
        Function::UrlDecode | Function::ToString => Value::Bytes(bytes(0)),
        Function::Len => Value::Int(match &arguments[0] {
            Value::Array(items) => items.len(),
            Value::Map(entries) => entries.len(),
            _ => bytes(0).len(),
        } as i64),
        Function::StartsWith => Value::Bool(bytes(0).starts_with(&bytes(1))),
        Function::EndsWith => Value::Bool(bytes(0).ends_with(&bytes(1))),
    })
}

fn compare(value: &Value, test: &Test) -> bool {
    match test {
        Test::Order(order, literal) => ordered(value, *order, literal),
        Test::In(items) => items.iter().any(|item| is_item(value, item)),
        Test::InList(name) => {
            let list: Arc<List> = LISTS.list(name).unwrap();
            list.contains(value.as_ref())
        }
        Test::Contains(part) => {
            let bytes = text(value);
            part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
        }
        Test::Matches(pattern) => {
            let regex = regex::bytes::RegexBuilder::new(pattern).unicode(false).build().unwrap();
            regex.is_match(text(value))
        }
        Test::Wildcard { pattern, strict: true } => wildcard(pattern.as_bytes(), text(value)),
        Test::Wildcard { pattern, strict: false } => {
            wildcard(&pattern.as_bytes().to_ascii_lowercase(), &text(value).to_ascii_lowercase())
        }
        Test::Bits(bits) => matches!(value, Value::Int(value) if value & bits != 0),
    }
}

fn text(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        other => panic!("{other:?} is no string"),
    }
}

fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skipped| wildcard(rest, &text[skipped..])),
        [b'\\', escaped, rest @ ..] => text.first() == Some(escaped) && wildcard(rest, &text[1..]),
        [plain, rest @ ..] => text.first() == Some(plain) && wildcard(rest, &text[1..]),
    }
}

fn ordered(value: &Value, order: Order, literal: &Literal) -> bool {
    match (value, literal) {
        (Value::Int(value), Literal::Int(constant)) => order.accepts(value.cmp(constant)),
        (Value::Bytes(value), Literal::Bytes(constant)) => order.accepts(value.cmp(constant)),
        (Value::Ip(value), Literal::Ip(constant)) => match (value.to_canonical(), constant.to_canonical()) {
            (IpAddr::V4(value), IpAddr::V4(constant)) => order.accepts(value.cmp(&constant)),
            (IpAddr::V6(value), IpAddr::V6(constant)) => order.accepts(value.cmp(&constant)),
            _ => order == Order::NotEqual,
        },
        (Value::Version(ecosystem, text), Literal::Version(constant)) => {
            Version { ecosystem: *ecosystem, text }.compare(constant).is_some_and(|ordering| order.accepts(ordering))
        }
        other => panic!("{other:?} cannot be compared"),
    }
}

fn is_item(value: &Value, item: &Item) -> bool {
    match item {
        Item::One(literal) => ordered(value, Order::Equal, literal),
        Item::Ints(first, last) => matches!(value, Value::Int(value) if (first..=last).contains(&value)),
        Item::Ips(first, last) => within(value, first, last),
        Item::Network(address, length) => {
            let Value::Ip(value) = value else { panic!("{value:?} is no address") };
            // An IPv4 address also lies in the networks that its mapped form lies in.
            in_network(value.to_canonical(), *address, *length)
                || matches!(value.to_canonical(), IpAddr::V4(v4) if in_network(v4.to_ipv6_mapped().into(), *address, *length))
        }
    }
}

fn within(value: &Value, first: &IpAddr, last: &IpAddr) -> bool {
    let Value::Ip(value) = value else { panic!("{value:?} is no address") };
    let value = value.to_canonical();
    value.is_ipv4() == first.is_ipv4() && *first <= value && value <= *last
}

fn in_network(value: IpAddr, address: IpAddr, length: u8) -> bool {
    let bits = |address: IpAddr| -> Vec<bool> {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet & (1 << bit) != 0)).collect()
    };
    let (value, network, length) = (bits(value), bits(address), usize::from(length));
    value.len() == network.len() && value[..length] == network[..length]
}
