//! The canonical form: stored rules and clients hold it, so it never changes. Each pair of lines of the golden file is
//! a source and its canonical form.

use expr::semantically_equal;

use crate::fixture::compile;

#[test]
fn the_canonical_form_is_stable() {
    let golden = include_str!("../data/canonical.txt");
    let lines: Vec<&str> = golden.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() > 100);
    let mut wrong = Vec::new();
    for pair in lines.chunks(2) {
        let [source, canonical] = pair else { panic!("a source without its canonical form") };
        let compiled = compile(source).unwrap_or_else(|error| panic!("{error}"));
        if compiled.canonical() != *canonical {
            wrong.push(format!("{source}\n{}\n", compiled.canonical()));
        }
        let again = compile(compiled.canonical()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.canonical(), compiled.canonical());
        assert_eq!(again.ast(), compiled.ast(), "{source}");
        assert!(again.notes().is_empty() || !compiled.notes().is_empty(), "{source}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_source_is_kept_byte_for_byte() {
    let source = "  net.dst.port\t==  \"2222\"\r\n && (t) ";
    let compiled = compile(source).unwrap();
    assert_eq!(compiled.source(), source);
    assert_eq!(compiled.canonical(), "net.dst.port == 2222 and t");
    let empty = compile(" \n").unwrap();
    assert_eq!((empty.source(), empty.canonical()), (" \n", ""));
}

#[test]
fn what_was_read_in_another_spelling_is_noted() {
    for (source, note) in [
        ("http.conn.hostname == \"x\"", "`http.conn.hostname` is an older name of `http.request.host`"),
        ("net.dst.port == \"80\"", "read as the number 80"),
        ("ip.src == \"10.0.0.1\"", "read as the address 10.0.0.1"),
        ("any(identity.groups[*].name == \"x\")", "read as `identity.groups.name[*]`"),
        ("ip.src[*] == 10.0.0.1", "`ip.src` is one value, so `[*]` changes nothing"),
        ("app.ids == 7", "this visits each element, as within `any(…)`"),
        ("any(app.ids == 7)", "this visits each element, as with `[*]`"),
        ("any(t)", "there is no array within `any`, so it changes nothing"),
    ] {
        let compiled = compile(source).unwrap();
        let notes: Vec<&str> = compiled.notes().iter().map(|note| note.message.as_str()).collect();
        assert_eq!(notes, [note], "{source}");
    }
    assert!(compile("any(app.ids[*] == 7) and not t").unwrap().notes().is_empty());
}

#[test]
fn spelling_and_order_make_no_difference() {
    for (a, b, equal) in [
        ("t and bool", "bool && (t)", true),
        ("t or bool or t", "bool or t", true),
        ("tcp.port in {1 2 2}", "tcp.port in {2 1}", true),
        ("tcp.port in {1}", "tcp.port eq 0x1", true),
        ("tcp.port != 1", "not (tcp.port == 1)", true),
        ("not not t", "t", true),
        ("net.is_isolated == true", "net.is_isolated", true),
        ("t xor t", "t", false),
        ("t and bool", "t or bool", false),
        ("tcp.port < 1", "tcp.port <= 0", false),
        ("pkg.version != \"1\"", "not (pkg.version == \"1\")", false),
        ("any(app.ids[*] != 1)", "not any(app.ids[*] == 1)", false),
        ("str == \"a\"", "str == \"A\"", false),
    ] {
        let (left, right) = (compile(a).unwrap(), compile(b).unwrap());
        assert_eq!(semantically_equal(&left, &right), equal, "{a} / {b}");
        assert_eq!(semantically_equal(&right, &left), equal, "{b} / {a}");
    }
}

#[test]
fn fields_and_lists_are_those_the_expression_names() {
    let compiled = compile("str in $serials and (t or any(app.ids[*] in $categories)) and str in $serials").unwrap();
    assert_eq!(compiled.lists().collect::<Vec<_>>(), ["serials", "categories"]);
    let names: Vec<&str> = compiled.fields().iter().map(|field| crate::fixture::SCHEME.field(field).name).collect();
    assert_eq!(names, ["app.ids", "str", "t"]);
}
