//! The necessary conditions that an index over many rules is built from.

use expr::Key;

use crate::fixture::{SCHEME, compile};

fn shown(source: &str) -> String {
    let compiled = compile(source).unwrap();
    let mut anchors = Vec::new();
    for anchor in compiled.requirements() {
        let mut parts: Vec<String> = anchor.keys.iter().map(key).collect();
        parts.extend(anchor.lists.iter().map(|list| format!("list of {}", list.len())));
        anchors.push(format!("{}: {}", SCHEME.field(anchor.field).name, parts.join(" ")));
    }
    anchors.join("; ")
}

fn key(key: &Key) -> String {
    match key {
        Key::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Key::Int(value) => value.to_string(),
        Key::Ints(first, last) => format!("{first}..{last}"),
        Key::Ip(address) => address.to_string(),
        Key::Ips(first, last) => format!("{first}..{last}"),
    }
}

#[test]
fn necessary_conditions_are_found() {
    for (source, expected) in [
        ("", ""),
        ("str == \"a\"", "str: a"),
        ("str in {\"b\" \"a\" \"b\"}", "str: a b"),
        ("str != \"a\"", ""),
        ("not str == \"a\"", ""),
        ("str matches \"a\"", ""),
        ("lower(str) == \"a\"", ""),
        ("http.request.uri == \"a\"", ""),
        ("labels[\"k\"] == \"a\"", ""),
        ("pkg.version == \"1\"", ""),
        ("tcp.port in {80 8000..9000}", "tcp.port: 80 8000..9000"),
        ("ip.src in {10.0.0.0/8 ::1}", "ip.src: ::1 10.0.0.0..10.255.255.255"),
        ("ip.src in {::/0}", ""),
        ("str in $serials", "str: list of 2"),
        ("any(app.ids[*] in {1 2})", "app.ids: 1 2"),
        ("app.ids[3] == 1", "app.ids: 1"),
        ("all(app.ids[*] == 1)", ""),
        ("any(app.ids[*] == 1 and t)", "app.ids: 1"),
        ("str == \"a\" and tcp.port == 1 and t", "str: a; tcp.port: 1"),
        ("str == \"a\" or str == \"b\"", "str: a b"),
        ("str == \"a\" or tcp.port == 1", ""),
        ("str == \"a\" or str in $serials", "str: a list of 2"),
        ("(str == \"a\" and tcp.port == 1) or (tcp.port == 2 and t)", "tcp.port: 1 2"),
        ("(str in {\"a\" \"b\"} and str == \"a\") or str == \"c\"", "str: a c"),
        ("str == \"a\" xor t", ""),
    ] {
        assert_eq!(shown(source), expected, "{source}");
    }
}
