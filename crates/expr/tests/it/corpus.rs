//! Replays the fuzzing corpus: whatever the text, compiling ends in an expression or an error, and what compiles
//! prints back to itself.

use std::path::Path;

use expr::{FactTable, Outcome};

use crate::fixture::compile;

#[test]
fn the_corpus_holds_no_surprise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/expression");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        seeds += 1;
        let Ok(source) = std::str::from_utf8(&data) else { continue };
        match compile(source) {
            Ok(compiled) => {
                let again = compile(compiled.canonical()).unwrap();
                assert_eq!(again.ast(), compiled.ast(), "{source}");
                assert_eq!(again.canonical(), compiled.canonical(), "{source}");
                let outcome = compiled.evaluate(&FactTable::new());
                assert!(!matches!(outcome, Outcome::Error(_)), "{source}");
            }
            Err(error) => assert!(source.get(error.span.clone()).is_some(), "{source}: {error}"),
        }
    }
    assert!(seeds >= 20, "{seeds} seeds");
}
