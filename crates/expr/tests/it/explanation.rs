//! What an explanation shows.

use expr::{Explanation, Outcome, Seen};

use crate::fixture::{compile, facts};

/// Writes an explanation as lines of text, outcome and value, indented by depth.
fn lines(explanation: &Explanation, depth: usize, out: &mut Vec<String>) {
    let outcome = match explanation.outcome {
        Outcome::True => "true",
        Outcome::False => "false",
        Outcome::Needs(_) => "needs",
        Outcome::Error(_) => "error",
    };
    let seen = match &explanation.seen {
        None => String::new(),
        Some(Seen::Value(value)) => format!(" saw {value}"),
        Some(other) => format!(" saw {other:?}"),
    };
    out.push(format!("{}{}: {outcome}{seen}", "  ".repeat(depth), explanation.text));
    for child in &explanation.children {
        lines(child, depth + 1, out);
    }
}

#[test]
fn every_condition_is_shown_with_its_outcome_and_its_value() {
    let source =
        "str matches \"^a\" and (not t or any(app.ids[*] == 2)) and lower(http.host) == \"x\" and tcp.port != 1";
    let given = "str=abc;t=true;app.ids=1 2 3;tcp.port=-";
    let mut text = Vec::new();
    lines(&compile(source).unwrap().explain(&facts(given)), 0, &mut text);
    let expected = [
        "str matches \"^a\" and (not t or any(app.ids[*] == 2)) and lower(http.host) == \"x\" and tcp.port != 1: needs",
        "  str matches \"^a\": true saw \"abc\"",
        "  not t or any(app.ids[*] == 2): true",
        "    not t: false",
        "      t: true saw true",
        "    any(app.ids[*] == 2): true saw 2",
        "  lower(http.host) == \"x\": needs saw Unknown",
        "  tcp.port != 1: true saw Absent",
    ];
    assert_eq!(text, expected);
}

#[test]
fn long_values_and_wide_conditions_are_shortened() {
    let source = vec!["str == \"x\""; 150].join(" or ");
    let explanation = compile(&source).unwrap().explain(&facts(&format!("str={}", "é".repeat(1000))));
    assert_eq!((explanation.children.len(), explanation.omitted), (100, 50));
    let Some(Seen::Value(value)) = &explanation.children[0].seen else { panic!("no value") };
    assert!(value.chars().count() <= 201 && value.ends_with('…'), "{value}");

    let ids = (0..50).map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    let explanation = compile("any(app.ids[*] == 99)").unwrap().explain(&facts(&format!("app.ids={ids}")));
    assert_eq!(explanation.seen, Some(Seen::Value("{0 1 2 3 4 5 6 7 8 9 …}".to_owned())));
}
