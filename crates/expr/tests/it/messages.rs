//! What authors are told about a mistake.

use expr::{Expression, Limits};

use crate::fixture::{LISTS, SCHEME, compile};

#[test]
fn an_error_shows_the_line_the_caret_and_the_remedy() {
    let error = compile("t and\n  http.request.hots == \"x\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Filter parsing error (2:3):\n  http.request.hots == \"x\"\n  ^^^^^^^^^^^^^^^^^ unknown field `http.request.hots`; \
         did you mean `http.request.host`?"
    );
    assert_eq!((error.line, error.column, error.span), (2, 3, 8..25));
    assert_eq!(error.suggestion.as_deref(), Some("http.request.host"));
}

/// Checks the part of each source that is marked and the message with its suggestion.
#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (source, marked, message) in cases {
        let error = compile(source).unwrap_err();
        let text = error.to_string();
        let told = text.lines().last().unwrap().trim_start_matches([' ', '^']);
        assert_eq!(told, *message, "{source}");
        assert_eq!(&source[error.span.clone()], *marked, "{source}: {message}");
        assert!(text.starts_with("Filter parsing error ("), "{text}");
    }
}

#[test]
fn mistakes_of_form_are_named() {
    check(&[
        // Grammar.
        ("t and", "", "the expression ends where a field should stand"),
        ("(t", "(", "this bracket is not closed: expected `)`"),
        ("t)", ")", "this bracket was not opened"),
        ("()", ")", "expected a condition before `)`"),
        ("t t", "t", "unknown operator `t`"),
        ("t AND bool", "AND", "unknown operator `AND`; did you mean `and`?"),
        ("t | bool", "|", "unknown operator `|`; did you mean `||`?"),
        ("tcp.port = 80", "=", "unknown operator `=`; did you mean `==`?"),
        ("tcp.port === 80", "=", "there is one `=` too many"),
        ("str like \"a\"", "like", "unknown operator `like`; did you mean `matches`?"),
        ("str containz \"a\"", "containz", "unknown operator `containz`; did you mean `contains`?"),
        ("str not in {\"a\"}", "not", "`not` stands before a whole condition; did you mean `not (… in {…})`?"),
        ("tcp.port ==", "", "the expression ends where a value should stand"),
        ("\"a\" == str", "\"", "a comparison has its field on the left and its value on the right"),
        ("app.ids [*] == 1", "[", "an index stands directly after its field"),
        ("any(app.ids[] == 1)", "[]", "an index needs a number, a key or `*`; did you mean `[*]`?"),
        ("app.ids[-1] == 1", "-", "an index is a number from zero, a key in quotes or `*`"),
        ("any(any(app.ids[*] == 1))", "any", "`any` cannot stand within `any` or `all`"),
        // Strings.
        ("str == \"a", "\"", "the string is not closed"),
        ("str == r#\"a\"", "r", "the raw string is not closed by `\"#`"),
        ("str == \"a\\.b\"", "\\.", "strings have no escape `\\.`; did you mean `\\\\.`?"),
        ("str == \"a\\n\"", "\\n", "strings have no escape `\\n`; did you mean `\\x0a`?"),
        ("str == \"\\xg0\"", "\\x", "`\\x` takes two hexadecimal digits"),
        ("str == \"\\400\"", "\\4", "an octal escape takes three digits, up to `\\377`"),
        ("str == 'a'", "'", "a string stands between straight double quotes; did you mean `\"a\"`?"),
        ("str == “a”", "“", "a string stands between straight double quotes; did you mean `\"a\"`?"),
        ("str == example.com", "example.com", "a string stands between double quotes; did you mean `\"example.com\"`?"),
        // Sets and lists.
        ("str in {\"a\"", "{", "the set is not closed: expected `}`"),
        ("str in {\"a\", \"b\"}", ",", "values are separated by spaces, not commas"),
        ("str in {}", "{}", "the set is empty"),
        ("str in \"a\"", "\"", "`in` takes a set `{…}` or a list `$…`; did you mean `{\"a\"}`?"),
        ("str == $serials", "$", "a list stands after `in`; did you mean `in $`?"),
        ("str in $nowhere", "$nowhere", "there is no list `nowhere`"),
        ("str in $a.", "$a.", "the name of a list neither starts nor ends with a dot; did you mean `$a`?"),
        ("str in $My-List", "$My-List", "a list is named by its UUID or by `a-z`, `0-9`, `_` and `.`"),
        ("tcp.port in $serials", "$serials", "the list holds values of type string, not number"),
    ]);
}

#[test]
fn mistakes_of_meaning_are_named() {
    check(&[
        // Types.
        ("str", "str", "this is a string, so it needs an operator and a value"),
        ("t > 1", ">", "`>` does not apply to a boolean, which stands on its own"),
        ("t == 1", "1", "expected `true` or `false`"),
        ("tcp.port contains \"8\"", "contains", "`contains` does not apply to a number"),
        ("str & 1", "&", "`&` does not apply to a string"),
        ("tcp.port == \"http\"", "\"http\"", "this field is a number, which a string cannot equal"),
        ("tcp.port == 080", "080", "a number that starts with `0` is octal; did you mean `80`?"),
        ("tcp.port == 99999999999999999999", "99999999999999999999", "this number is too large"),
        ("tcp.port in {9..1}", "9..1", "expected a range `first..last` whose first value is not above its last"),
        (
            "ip.src == 10.0.0.0/8",
            "10.0.0.0/8",
            "an address equals no network or range; did you mean `in {10.0.0.0/8}`?",
        ),
        ("ip.src in {10.0.0.1/8}", "10.0.0.1/8", "the address has bits after the prefix; did you mean `10.0.0.0/8`?"),
        ("ip.src == 10.0.0", "10.0.0", "expected an IP address"),
        ("labels[0] == \"v\"", "[0]", "a map is indexed by a key in quotes"),
        ("app.ids[\"a\"] == 1", "[\"a\"]", "an array is indexed by a number or `*`; did you mean `[*]`?"),
        ("str[0] == \"a\"", "[0]", "a string has nothing to index"),
        (
            "any(app.ids[*] == 1 or dns.domains[*] == \"a\")",
            "any",
            "`any` visits one array, but both `app.ids` and `dns.domains` stand in it; did you mean `any(…) and any(…)`?",
        ),
        // Names and functions.
        ("true", "true", "`true` is not a condition; an empty expression is always true"),
        (
            "http.request.hos == \"a\"",
            "http.request.hos",
            "unknown field `http.request.hos`; did you mean `http.request.host`?",
        ),
        (
            "net.protocol == \"a\"",
            "net.protocol",
            "unknown field `net.protocol`; did you mean `net.protocol.detection`?",
        ),
        ("lower == \"a\"", "lower", "`lower` is a function; did you mean `lower(…)`?"),
        ("lowre(str) == \"a\"", "lowre", "unknown function `lowre`; did you mean `lower`?"),
        ("lower(str, str) == \"a\"", "lower", "`lower` takes one value, not 2"),
        ("concat(str) == \"a\"", "concat", "`concat` takes two or more values, not 1"),
        (
            "lower(dns.domains) == \"a\"",
            "dns.domains",
            "`lower` does not take an array of string; did you mean `dns.domains[*]`?",
        ),
        ("lower(tcp.port) == \"a\"", "tcp.port", "`lower` does not take a number; did you mean `to_string(tcp.port)`?"),
        ("lower(str)[0] == \"a\"", "[0]", "`lower` gives one value, which has nothing to index"),
        // Patterns.
        ("str matches \"(\"", "\"(\"", "this is not a regular expression: unclosed group"),
        ("str wildcard \"a**\"", "\"a**\"", "a wildcard takes no `**`"),
        (
            "str matches \"(a)\\\\1\"",
            "\"(a)\\\\1\"",
            "this is not a regular expression: backreferences are not supported",
        ),
    ]);
}

#[test]
fn every_limit_is_enforced_and_named() {
    let limits = Limits { length: 40, depth: 3, set_items: 2, list_items: 1, regex_bytes: 1000, ..Limits::default() };
    for (source, message) in [
        (" ".repeat(41), "the expression has more than 40 characters"),
        ("((((t))))".to_owned(), "the expression is nested more than 3 levels deep"),
        ("not not not not t".to_owned(), "the expression is nested more than 3 levels deep"),
        ("lower(lower(lower(lower(str)))) == \"a\"".to_owned(), "the expression is nested more than 3 levels deep"),
        ("(((app.ids != 1)))".to_owned(), "the expression is nested too deep for a negation here"),
        ("tcp.port in {1 2 3}".to_owned(), "the set has more than 2 items; did you mean `in $list`?"),
        ("str in $serials".to_owned(), "the list has more than 1 items"),
        ("str matches \"\\\\w{99}\"".to_owned(), "the pattern takes more than 1000 bytes once compiled"),
    ] {
        let error = Expression::compile(&SCHEME, &source, &*LISTS, &limits).unwrap_err().to_string();
        let told = error.lines().last().unwrap().trim_start_matches([' ', '^']);
        assert_eq!(told, message, "{source}");
    }
    for source in ["é".repeat(41), "(((t)))".to_owned(), "tcp.port in {1 2}".to_owned()] {
        let result = Expression::compile(&SCHEME, &source, &*LISTS, &limits);
        assert_eq!(result.is_ok(), source.is_ascii(), "{source}");
    }
}

#[test]
fn the_largest_expression_of_each_shape_compiles() {
    let chain = vec!["t"; 20_000].join(" or ");
    let set = format!("tcp.port in {{{}}}", "7 ".repeat(69_000));
    let nested = format!("{}t{}", "(".repeat(128), ")".repeat(128));
    let negated = format!("{}t", "!".repeat(128));
    let calls = format!("{}str{} == \"\"", "lower(".repeat(128), ")".repeat(128));
    let implied = format!("{}(app.ids == 1)", "!".repeat(128));
    for source in [chain, set, nested, negated, calls, implied] {
        let compiled = compile(&source).unwrap();
        assert_eq!(compile(compiled.canonical()).unwrap().ast(), compiled.ast());
    }
}
