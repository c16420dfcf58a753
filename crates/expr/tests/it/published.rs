//! Expressions that others have published.

use crate::fixture::compile;

/// The message for the published expression that may be taken or refused: an empty index is refused with the remedy.
const EMPTY_INDEX: &str = "an index needs a number, a key or `*`; did you mean `[*]`?";

#[test]
fn every_published_expression_is_taken_or_refused_as_marked() {
    let rows = include_str!("../data/expressions.jsonl");
    let mut seen = [0; 3];
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let source = row["expression"].as_str().unwrap();
        let compiled = compile(source);
        match row["valid"].as_bool() {
            Some(true) => {
                let compiled = compiled.unwrap_or_else(|error| panic!("{source}: {error}"));
                assert_eq!(compiled.source(), source);
                seen[0] += 1;
            }
            Some(false) => {
                let message = compiled.unwrap_err().to_string();
                let expected = match source {
                    "bool in {0}" => "^^ `in` does not apply to a boolean, which stands on its own",
                    _ => "^ the set is not closed: expected `}`",
                };
                assert!(message.ends_with(expected), "{message}");
                seen[1] += 1;
            }
            None => {
                let message = compiled.unwrap_err().to_string();
                assert!(message.ends_with(EMPTY_INDEX), "{message}");
                seen[2] += 1;
            }
        }
    }
    assert_eq!(seen, [37, 2, 1]);
}
