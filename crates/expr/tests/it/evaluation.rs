//! What expressions come to, with every fact known, with facts missing and with facts withheld.

use expr::{Ecosystem, Expression, Fact, FactTable, Facts, FieldId, FieldSet, Limits, Outcome, Value};

use crate::fixture::{LISTS, SCHEME, compile, facts};

fn fields(names: &[&str]) -> FieldSet {
    names.iter().map(|name| SCHEME.id(name).unwrap()).collect()
}

#[track_caller]
fn check(source: &str, given: &str, expected: bool) {
    let compiled = compile(source).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(compiled.evaluate(&facts(given)), Outcome::of(expected), "{source} with {given}");
}

#[test]
fn comparisons_hold_as_written() {
    for (source, given, expected) in [
        ("", "", true),
        ("tcp.port == 80", "tcp.port=80", true),
        ("tcp.port != 80", "tcp.port=80", false),
        ("tcp.port > 80", "tcp.port=80", false),
        ("tcp.port >= 80", "tcp.port=80", true),
        ("tcp.port < -1", "tcp.port=-2", true),
        ("tcp.port <= 79", "tcp.port=80", false),
        ("tcp.port in {1 2 80..90}", "tcp.port=85", true),
        ("tcp.port in {1 2 80..90}", "tcp.port=3", false),
        ("tcp.port & 6", "tcp.port=4", true),
        ("tcp.port & 6", "tcp.port=9", false),
        ("str == \"a\"", "str=a", true),
        ("str == \"a\"", "str=A", false),
        ("str > \"a\"", "str=ab", true),
        ("str in {\"a\" \"b\"}", "str=b", true),
        ("str contains \"b\"", "str=abc", true),
        ("str contains \"\"", "str=abc", true),
        ("str matches \"^a.c$\"", "str=abc", true),
        ("str matches \"b\"", "str=abc", true),
        ("str matches \"^b\"", "str=abc", false),
        ("str wildcard \"A*\"", "str=abc", true),
        ("str strict wildcard \"A*\"", "str=abc", false),
        ("ip.src == 10.0.0.1", "ip.src=::ffff:10.0.0.1", true),
        ("ip.src in {10.0.0.0/8 ::1}", "ip.src=10.255.0.1", true),
        ("ip.src in {10.0.0.0/8 ::1}", "ip.src=::1", true),
        ("ip.src in {10.0.0.0/8 ::1}", "ip.src=11.0.0.1", false),
        ("ip.src > 10.0.0.1", "ip.src=10.0.0.2", true),
        ("ip.src > 10.0.0.1", "ip.src=::2", false),
        ("ip.src != 10.0.0.1", "ip.src=::2", true),
        ("t", "t=true", true),
        ("not t", "t=true", false),
        ("http.request.uri == \"https://a.test/b/\"", "http.request.uri=https://a.test/b", true),
        ("http.request.uri == \"https://a.test/b\"", "http.request.uri=https://a.test/b/", true),
        ("http.request.uri in {\"x\" \"https://a.test/\"}", "http.request.uri=https://a.test", true),
        ("http.request.uri matches \"/$\"", "http.request.uri=https://a.test/", true),
    ] {
        check(source, given, expected);
    }
}

#[test]
fn lists_are_looked_into() {
    for (source, given, expected) in [
        ("http.request.host in $01302951-49f9-47c9-a400-0297e60b6a10", "http.request.host=a.Example.com", true),
        ("http.request.host in $01302951-49F9-47C9-A400-0297E60B6A10", "http.request.host=example.org", false),
        ("str in $serials", "str=B2", true),
        ("str in $serials", "str=b2", false),
        ("http.request.uri in $urls", "http.request.uri=https://example.com/a/", true),
        ("ip.src in $office.networks", "ip.src=2001:db8::7", true),
        ("any(app.ids[*] in $categories)", "app.ids=1 88", true),
        ("not (tcp.port in $categories)", "tcp.port=17", false),
    ] {
        check(source, given, expected);
    }
}

#[test]
fn connectives_bind_from_or_to_not() {
    for (source, given, expected) in [
        ("t or t and bool", "t=true;bool=false", true),
        ("(t or t) and bool", "t=true;bool=false", false),
        ("t xor t or t", "t=true", true),
        ("t or t xor t", "t=true", true),
        ("bool or t xor t", "t=true;bool=false", false),
        ("t xor t and bool", "t=true;bool=false", true),
        ("not bool and bool", "bool=false", false),
        ("t xor t xor t", "t=true", true),
    ] {
        check(source, given, expected);
    }
}

#[test]
fn arrays_and_maps_are_visited() {
    for (source, given, expected) in [
        ("any(app.ids[*] == 7)", "app.ids=1 7", true),
        ("any(app.ids[*] == 7)", "app.ids=", false),
        ("all(app.ids[*] > 5)", "app.ids=6 7", true),
        ("all(app.ids[*] > 5)", "app.ids=5 7", false),
        ("all(app.ids[*] > 5)", "app.ids=", true),
        ("any(app.ids[*] != 7)", "app.ids=7 8", true),
        ("app.ids != 7", "app.ids=7 8", false),
        ("app.ids[*] != 7", "app.ids=8 9", true),
        ("app.ids == 7", "app.ids=8 7", true),
        ("app.ids[1] == 7", "app.ids=8 7", true),
        ("app.ids[2] == 7", "app.ids=8 7", false),
        ("app.ids[2] != 7", "app.ids=8 7", true),
        ("any(app.ids[*] > 1 and app.ids[*] < 5)", "app.ids=1 5", false),
        ("any(app.ids[*] > 1) and any(app.ids[*] < 5)", "app.ids=1 5", true),
        ("any(app.ids[*] == 1 and t)", "app.ids=1;t=true", true),
        ("any(flags[*])", "flags=false true", true),
        ("all(flags[*])", "flags=false true", false),
        ("flags == false", "flags=true false", true),
        ("labels[\"k\"] == \"v\"", "labels=k:v", true),
        ("labels[\"k\"] == \"v\"", "labels=j:v", false),
        ("labels[\"k\"] != \"v\"", "labels=j:v", true),
        ("any(labels[*] == \"v\")", "labels=j:v", true),
        ("any(http.request.headers[\"a\"][*] == \"x\")", "http.request.headers=a:y a:x", true),
        ("any(http.request.headers[*][*] == \"x\")", "http.request.headers=a:y b:x", true),
        ("http.request.headers[\"a\"][1] == \"x\"", "http.request.headers=a:y a:x", true),
        ("all(http.request.headers[\"a\"][*] == \"x\")", "http.request.headers=b:x", false),
        (
            "any(identity.saml_attributes[\"groups\"] in {\"Team\"})",
            "identity.saml_attributes=groups:A groups:Team",
            true,
        ),
        ("any(identity.saml_attributes[*] == \"groups=Team\")", "identity.saml_attributes=groups:A groups:Team", true),
        ("any(identity.saml_attributes[*] == \"groups=Team\")", "identity.saml_attributes=name:groups=Team", false),
        ("any(identity.saml_attributes[*] == \"Team\")", "identity.saml_attributes=groups:Team", false),
    ] {
        check(source, given, expected);
    }
}

#[test]
fn functions_give_what_they_say() {
    for (source, given, expected) in [
        ("lower(str) == \"abc\"", "str=aBC", true),
        ("upper(str) == \"ABC\"", "str=aBc", true),
        ("len(str) == 3", "str=abc", true),
        ("len(app.ids) == 2", "app.ids=4 5", true),
        ("len(labels) == 1", "labels=a:b", true),
        ("any(len(dns.domains[*]) > 3)", "dns.domains=a bcde", true),
        ("starts_with(str, \"ab\")", "str=abc", true),
        ("ends_with(str, \"ab\")", "str=abc", false),
        ("starts_with(\"abc\", str)", "str=ab", true),
        ("url_decode(str) == \"a b/\"", "str=a+b%2F", true),
        ("to_string(tcp.port) == \"80\"", "tcp.port=80", true),
        ("to_string(ip.src) == \"10.0.0.1\"", "ip.src=::ffff:10.0.0.1", true),
        ("to_string(t) == \"true\"", "t=true", true),
        ("to_string(pkg.version) matches \"^1\"", "pkg.version=npm 1.2.3", true),
        ("concat(str, \"-\", to_string(tcp.port)) == \"a-1\"", "str=a;tcp.port=1", true),
        ("any(lower(dns.domains[*])[*] == \"a\")", "dns.domains=B A", true),
        ("any(concat(dns.domains[*], str) == \"ab\")", "dns.domains=x a;str=b", true),
    ] {
        check(source, given, expected);
    }
}

#[test]
fn versions_compare_as_their_ecosystem_does() {
    for (source, given, expected) in [
        ("pkg.version >= \"1.10\"", "pkg.version=npm 1.9.0", false),
        ("pkg.version >= \"1.9\"", "pkg.version=npm 1.10.0", true),
        ("pkg.version < \"1.0\"", "pkg.version=pypi 1.0rc1", true),
        ("pkg.version in {\"2.0\" \"1.0\"}", "pkg.version=pypi 1.0.0", true),
        ("pkg.version == \"latest\"", "pkg.version=npm latest", false),
        ("pkg.version != \"1.0.0\"", "pkg.version=npm latest", false),
        ("pkg.version != \"1.0.0\"", "pkg.version=npm 1.0.1", true),
        ("pkg.version != \"1.0.0\"", "pkg.version=-", false),
        ("not pkg.version == \"1.0.0\"", "pkg.version=-", true),
    ] {
        check(source, given, expected);
    }
    let version = Value::Version(Ecosystem::Cargo, "1.0.0".to_owned());
    let mut facts = FactTable::new();
    facts.set(SCHEME.id("pkg.version").unwrap(), version);
    assert_eq!(compile("pkg.version == \"1\"").unwrap().evaluate(&facts), Outcome::True);
}

#[test]
fn an_absent_value_satisfies_only_not_equal() {
    let absent = "str=-;tcp.port=-;ip.src=-;t=-;app.ids=-;labels=-;pkg.version=-";
    for (source, expected) in [
        ("str == \"\"", false),
        ("str != \"a\"", true),
        ("str < \"a\"", false),
        ("str in {\"a\"}", false),
        ("str contains \"\"", false),
        ("str matches \"\"", false),
        ("str wildcard \"*\"", false),
        ("str in $serials", false),
        ("tcp.port == 0", false),
        ("tcp.port ne 0", true),
        ("tcp.port & -1", false),
        ("ip.src != 10.0.0.1", true),
        ("ip.src in {0.0.0.0/0}", false),
        ("t", false),
        ("not t", true),
        ("t == false", true),
        ("any(app.ids[*] != 1)", false),
        ("all(app.ids[*] != 1)", false),
        ("app.ids != 1", true),
        ("app.ids[0] != 1", true),
        ("labels[\"k\"] != \"v\"", true),
        ("any(labels[*] != \"v\")", false),
        ("len(str) == 0", false),
        ("lower(str) != \"a\"", true),
        ("starts_with(str, \"\")", false),
        ("concat(str, \"a\") == \"a\"", false),
    ] {
        check(source, absent, expected);
    }
}

#[test]
fn unknown_facts_are_asked_for_only_while_they_matter() {
    let needs = |names: &[&str]| Outcome::Needs(fields(names));
    for (source, given, expected) in [
        ("t and str == \"a\"", "", needs(&["t", "str"])),
        ("t and str == \"a\"", "t=false", Outcome::False),
        ("t and str == \"a\"", "str=b", Outcome::False),
        ("t and str == \"a\"", "t=true", needs(&["str"])),
        ("t or str == \"a\"", "str=a", Outcome::True),
        ("t or str == \"a\"", "t=-", needs(&["str"])),
        ("not t", "", needs(&["t"])),
        ("t xor bool", "t=true", needs(&["bool"])),
        ("any(app.ids[*] == 1)", "", needs(&["app.ids"])),
        ("any(app.ids[*] == 1 and t)", "app.ids=2", Outcome::False),
        ("any(app.ids[*] == 1 and t)", "app.ids=2 1", needs(&["t"])),
        ("concat(str, http.host) == \"ab\"", "str=a", needs(&["http.host"])),
        ("(t and bool) or (str == \"a\" and tcp.port == 1)", "t=false;tcp.port=1", needs(&["str"])),
    ] {
        assert_eq!(compile(source).unwrap().evaluate(&facts(given)), expected, "{source} with {given}");
    }
}

/// Facts in which one field holds a value of another type.
struct Broken(FactTable, FieldId, Value);

impl Facts for Broken {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        if field == self.1 { Fact::Known(self.2.as_ref()) } else { self.0.fact(field) }
    }
}

#[test]
fn a_fact_of_another_type_is_an_error_and_never_a_match() {
    let error = |name: &str| Outcome::Error(fields(&[name]));
    for (source, name, value, expected) in [
        ("str != \"a\"", "str", Value::Int(1), error("str")),
        ("not str == \"a\"", "str", Value::Int(1), error("str")),
        ("str in $serials", "str", Value::Int(1), error("str")),
        ("t", "t", Value::from("true"), error("t")),
        ("any(app.ids[*] == 1)", "app.ids", Value::Int(1), error("app.ids")),
        ("any(app.ids[*] == 1)", "app.ids", Value::from(vec!["1"]), error("app.ids")),
        ("all(app.ids[*] == 1)", "app.ids", Value::from(vec!["1"]), error("app.ids")),
        ("app.ids[0] == 1", "app.ids", Value::Int(1), error("app.ids")),
        ("labels[\"k\"] == \"v\"", "labels", Value::Int(1), error("labels")),
        ("lower(str) == \"a\"", "str", Value::Bool(true), error("str")),
        ("str == \"a\" or tcp.port == 1", "str", Value::Int(1), Outcome::True),
        ("str == \"a\" and tcp.port == 2", "str", Value::Int(1), Outcome::False),
        ("str == \"a\" and t", "str", Value::Int(1), Outcome::Needs(fields(&["t"]))),
    ] {
        let broken = Broken(facts("tcp.port=1"), SCHEME.id(name).unwrap(), value);
        assert_eq!(compile(source).unwrap().evaluate(&broken), expected, "{source}");
    }
}

#[test]
fn a_computed_value_beyond_its_limit_is_an_error() {
    let limits = Limits { value_bytes: 10, ..Limits::default() };
    let mut facts = FactTable::new();
    let field = SCHEME.id("str").unwrap();
    for source in ["concat(str, str) != \"\"", "lower(concat(str, \"12345\")) != \"\""] {
        let compiled = Expression::compile(&SCHEME, source, &*LISTS, &limits).unwrap();
        facts.set(field, "12345");
        assert_eq!(compiled.evaluate(&facts), Outcome::True, "{source}");
        facts.set(field, "123456");
        assert_eq!(compiled.evaluate(&facts), Outcome::Error(FieldSet::of(field)), "{source}");
    }
}

/// Has every list, and knows none.
struct Elsewhere;

impl expr::Lists for Elsewhere {
    fn list(&self, _: &str) -> Option<std::sync::Arc<expr::List>> {
        Some(std::sync::Arc::new(expr::List::unknown()))
    }
}

#[test]
fn membership_in_a_list_that_is_not_known_is_unknown() {
    let outcome = |source: &str, given: &str| {
        Expression::compile(&SCHEME, source, &Elsewhere, &Limits::default()).unwrap().evaluate(&facts(given))
    };
    for (source, given, field) in [
        ("str in $any", "str=a", "str"),
        ("not(ip.src in $any)", "ip.src=10.0.0.1", "ip.src"),
        ("tcp.port in $any", "tcp.port=80", "tcp.port"),
        ("http.request.uri in $any", "http.request.uri=https://a.test/", "http.request.uri"),
        ("str in $any and tcp.port == 80", "str=a;tcp.port=80", "str"),
    ] {
        assert_eq!(outcome(source, given), Outcome::Needs(fields(&[field])), "{source}");
    }
    assert_eq!(outcome("str in $any and tcp.port == 80", "str=a;tcp.port=81"), Outcome::False);
    assert_eq!(outcome("str in $any or tcp.port == 80", "str=a;tcp.port=80"), Outcome::True);
    let compiled = Expression::compile(&SCHEME, "str in $any", &Elsewhere, &Limits::default()).unwrap();
    assert!(compiled.requirements().is_empty(), "nothing can be looked up");
    let refused = Expression::compile(&SCHEME, "t in $any", &Elsewhere, &Limits::default());
    assert!(refused.is_err(), "no list holds truth values");
}
