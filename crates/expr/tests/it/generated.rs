//! Random expressions and random facts, small enough that they often meet.

use expr::{Ecosystem, FactTable, FieldId, Value};
use proptest::prelude::*;

use crate::fixture::SCHEME;

/// The fields that random expressions use.
pub(crate) const FIELDS: [&str; 12] = [
    "tcp.port",
    "cf.bot_management.score",
    "str",
    "http.host",
    "t",
    "bool",
    "ip.src",
    "app.ids",
    "dns.domains",
    "flags",
    "http.request.headers",
    "pkg.version",
];

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    proptest::sample::select(words)
}

fn text() -> impl Strategy<Value = &'static str> + Clone {
    one_of(&["a", "b", "ab", "A", "", "é", "a\"b", "\\", "\u{7}"])
}

/// Writes a string in one of the ways the language has.
fn string() -> impl Strategy<Value = String> {
    (text(), any::<bool>()).prop_map(|(text, raw)| {
        if raw {
            format!("r##\"{text}\"##")
        } else {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
    })
}

fn order() -> impl Strategy<Value = &'static str> + Clone {
    one_of(&["==", "!=", "<", "<=", ">", ">=", "eq", "ne", "lt", "le", "gt", "ge"])
}

/// Makes a test that suits a number, to stand after an operand.
fn int_test() -> BoxedStrategy<String> {
    let value = one_of(&["0", "1", "2", "0x2", "03", "-1", "\"1\""]);
    prop_oneof![
        (order(), value.clone()).prop_map(|(order, value)| format!("{order} {value}")),
        (one_of(&["&", "bitwise_and"]), 0..4i64).prop_map(|(operator, bits)| format!("{operator} {bits}")),
        (value.clone(), 0..2i64, 2..5i64).prop_map(|(value, low, high)| format!("in {{{value} {low}..{high}}}")),
        Just("in $categories".to_owned()),
    ]
    .boxed()
}

fn bytes_test() -> BoxedStrategy<String> {
    prop_oneof![
        (order(), string()).prop_map(|(order, value)| format!("{order} {value}")),
        proptest::collection::vec(string(), 1..4).prop_map(|items| format!("in {{ {} }}", items.join("  "))),
        string().prop_map(|value| format!("contains {value}")),
        one_of(&["matches \"^a\"", "~ \"[ab]$\"", "matches \"^\\\\w*$\"", "matches r\"\\.\"", "matches \"\""])
            .prop_map(str::to_owned),
        one_of(&["wildcard \"*A*\"", "strict wildcard \"a*\"", "wildcard \"\\\\**\"", "wildcard r\"\\\\\""])
            .prop_map(str::to_owned),
        Just("contains 61:62".to_owned()),
    ]
    .boxed()
}

fn ip_test() -> BoxedStrategy<String> {
    let value = one_of(&["10.0.0.1", "10.0.0.2", "::1", "::ffff:10.0.0.1"]);
    let item = one_of(&["10.0.0.1", "10.0.0.0/31", "::/96", "10.0.0.2..10.0.0.9", "::ffff:0:0/96"]);
    prop_oneof![
        (order(), value).prop_map(|(order, value)| format!("{order} {value}")),
        proptest::collection::vec(item, 1..3).prop_map(|items| format!("in {{{}}}", items.join(" "))),
        Just("in $office.networks".to_owned()),
    ]
    .boxed()
}

fn version_test() -> BoxedStrategy<String> {
    let value = one_of(&["\"1.0.0\"", "\"1.2\"", "\"latest\""]);
    prop_oneof![
        (order(), value.clone()).prop_map(|(order, value)| format!("{order} {value}")),
        value.prop_map(|value| format!("in {{{value} \"1.10.0\"}}")),
    ]
    .boxed()
}

/// Makes a condition on an element written as `operand`.
fn on_bytes(operand: &'static str) -> BoxedStrategy<String> {
    prop_oneof![
        bytes_test().prop_map(move |test| format!("{operand} {test}")),
        (one_of(&["lower", "upper", "url_decode", "to_string"]), bytes_test())
            .prop_map(move |(function, test)| format!("{function}({operand}) {test}")),
        (one_of(&["starts_with", "ends_with"]), string())
            .prop_map(move |(function, part)| format!("{function}({operand}, {part})")),
        int_test().prop_map(move |test| format!("len({operand}) {test}")),
        bytes_test().prop_map(move |test| format!("concat({operand}, http.host, \"b\") {test}")),
    ]
    .boxed()
}

fn leaf() -> BoxedStrategy<String> {
    let boolean =
        one_of(&["t", "bool", "t == true", "bool != true", "t ne false", "flags[1]", "flags == false", "flags"]);
    let int = one_of(&["tcp.port", "cf.bot_management.score", "app.ids[0]", "app.ids", "app.ids[*]", "len(app.ids)"]);
    prop_oneof![
        boolean.prop_map(str::to_owned),
        (int, int_test()).prop_map(|(operand, test)| format!("{operand} {test}")),
        on_bytes("str"),
        on_bytes("http.host"),
        on_bytes("http.request.headers[\"a\"][0]"),
        on_bytes("dns.domains[*]"),
        ip_test().prop_map(|test| format!("ip.src {test}")),
        version_test().prop_map(|test| format!("pkg.version {test}")),
    ]
    .boxed()
}

/// Joins conditions in every way the language has.
fn joined(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let connective = one_of(&["and", "&&", "or", "||", "xor", "^^"]);
    prop_oneof![
        (inner.clone(), connective, inner.clone(), any::<bool>()).prop_map(|(a, connective, b, bracketed)| {
            if bracketed { format!("({a}) {connective} ({b})") } else { format!("{a} {connective} {b}") }
        }),
        (one_of(&["not ", "!", "not"]), inner).prop_map(|(not, a)| format!("{not}({a})")),
    ]
    .boxed()
}

fn quantified() -> BoxedStrategy<String> {
    let ints = int_test().prop_map(|test| format!("app.ids[*] {test}")).boxed();
    let headers = on_bytes("http.request.headers[*][*]");
    let flags = one_of(&["flags[*]", "flags[*] == false"]).prop_map(str::to_owned).boxed();
    let keyed = bytes_test().prop_map(|test| format!("http.request.headers[\"a\"][*] {test}")).boxed();
    let body = prop_oneof![ints, on_bytes("dns.domains[*]"), headers, flags, keyed];
    // Conditions of one body must visit one array, so the body is joined with itself or with a plain value.
    let body = body.prop_flat_map(|body| {
        let same = Just(body.clone()).boxed();
        let other = prop_oneof![Just(body), Just("t".to_owned()), Just("tcp.port > 1".to_owned())].boxed();
        prop_oneof![same.clone(), (same, other).prop_flat_map(|(a, b)| joined(prop_oneof![Just(a), Just(b)].boxed()))]
    });
    (one_of(&["any", "all"]), body).prop_map(|(name, body)| format!("{name}({body})")).boxed()
}

/// Makes the text of an expression over [`FIELDS`].
pub(crate) fn source() -> impl Strategy<Value = String> {
    prop_oneof![3 => leaf(), 2 => quantified()].boxed().prop_recursive(4, 24, 3, joined)
}

/// What a random world says about one field.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) facts: Vec<(FieldId, Option<Value>)>,
}

impl World {
    /// Returns the value of a field; `None` if it is absent.
    pub(crate) fn get(&self, field: FieldId) -> Option<&Value> {
        self.facts.iter().find(|(known, _)| *known == field).and_then(|(_, value)| value.as_ref())
    }

    /// Returns the facts, but for the fields that `withhold` picks.
    pub(crate) fn table(&self, withhold: impl Fn(FieldId) -> bool) -> FactTable {
        let mut table = FactTable::new();
        for (field, value) in self.facts.iter().filter(|(field, _)| !withhold(*field)) {
            match value {
                Some(value) => table.set(*field, value.clone()),
                None => table.set_absent(*field),
            };
        }
        table
    }
}

fn value(name: &str) -> BoxedStrategy<Value> {
    let bytes = text().prop_map(Value::from);
    let array = |item: BoxedStrategy<Value>| proptest::collection::vec(item, 0..4).prop_map(Value::Array);
    match name {
        "tcp.port" | "cf.bot_management.score" => (-1..4i64).prop_map(Value::Int).boxed(),
        "t" | "bool" => any::<bool>().prop_map(Value::Bool).boxed(),
        "ip.src" => one_of(&["10.0.0.1", "10.0.0.2", "::1", "::ffff:10.0.0.1", "2001:db8::1"])
            .prop_map(|text| Value::Ip(text.parse().unwrap()))
            .boxed(),
        "app.ids" => array((-1..4i64).prop_map(Value::Int).boxed()).boxed(),
        "dns.domains" => array(bytes.boxed()).boxed(),
        "flags" => array(any::<bool>().prop_map(Value::Bool).boxed()).boxed(),
        "http.request.headers" => {
            let entry = (one_of(&["a", "b"]), array(bytes.boxed()));
            proptest::collection::vec(entry, 0..3)
                .prop_map(|mut entries| {
                    entries.sort_by_key(|(key, _)| *key);
                    entries.dedup_by_key(|(key, _)| *key);
                    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
                })
                .boxed()
        }
        "pkg.version" => one_of(&["1.0.0", "1.2.0", "1.10.0", "latest"])
            .prop_map(|text| Value::Version(Ecosystem::Npm, text.to_owned()))
            .boxed(),
        _ => bytes.boxed(),
    }
}

/// Makes a world in which some fields are absent and, if `broken`, some hold a value of another type.
pub(crate) fn world(broken: bool) -> BoxedStrategy<World> {
    let fact = move |name: &'static str| {
        let field = SCHEME.id(name).unwrap();
        let wrong =
            prop_oneof![Just(Value::Int(1)), Just(Value::from("a")), Just(Value::Array(vec![Value::Bool(true)]))];
        let weight = u32::from(broken);
        prop_oneof![
            8 => value(name).prop_map(Some),
            2 => Just(None),
            weight => wrong.prop_map(Some),
        ]
        .prop_map(move |value| (field, value))
        .boxed()
    };
    FIELDS.map(fact).to_vec().prop_map(|facts| World { facts }).boxed()
}
