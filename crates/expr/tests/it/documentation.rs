//! Executes the examples of `docs/expressions.md`.

use expr::Outcome;

use crate::fixture::{compile, facts};

const PAGE: &str = include_str!("../../../../docs/expressions.md");

#[test]
fn every_example_compiles() {
    let mut examples = 0;
    let mut inside = false;
    for line in PAGE.lines() {
        match line {
            "```expr" => inside = true,
            "```" => inside = false,
            source if inside => {
                compile(source).unwrap_or_else(|error| panic!("{error}"));
                examples += 1;
            }
            _ => {}
        }
    }
    assert!(examples > 30, "{examples} examples");
}

/// Returns the cells of the tables whose header is `header`, without their backticks.
fn table(header: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in PAGE.lines() {
        inside = line == header || (inside && line.starts_with('|'));
        if inside && line != header && !line.starts_with("|---") {
            let cells = line.trim_matches('|').split(" | ");
            rows.push(cells.map(|cell| cell.trim().trim_matches('`')).collect());
        }
    }
    rows
}

#[test]
fn every_shorthand_is_read_as_the_table_says() {
    let rows = table("| Written | Read as |");
    assert!(rows.len() > 5);
    for row in rows {
        assert_eq!(compile(row[0]).unwrap().canonical(), row[1]);
    }
}

#[test]
fn every_outcome_is_what_the_tables_say() {
    let rows = table("| Expression | Facts | Outcome |");
    assert!(rows.len() > 12);
    for row in rows {
        let outcome = compile(row[0]).unwrap().evaluate(&facts(row[1]));
        assert_eq!(outcome, Outcome::of(row[2] == "true"), "{row:?}");
    }
}

#[test]
fn the_error_shown_is_the_error_given() {
    let error = compile("http.request.hots == \"example.com\"").unwrap_err().to_string();
    assert!(PAGE.contains(&error), "{error}");
}
