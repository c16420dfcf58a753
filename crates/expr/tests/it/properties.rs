//! Laws that hold for every expression and every set of facts.

use expr::{Anchor, Expression, Facts, FieldId, FieldSet, Key, Outcome, Value, semantically_equal};
use proptest::prelude::*;

use crate::fixture::compile;
use crate::generated::{World, source, world};
use crate::naive;

fn compiled() -> impl Strategy<Value = Expression> {
    source().prop_map(|source| compile(&source).unwrap_or_else(|error| panic!("{error}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_then_parsing_is_the_identity(expression in compiled()) {
        let again = compile(expression.canonical()).unwrap();
        prop_assert_eq!(again.ast(), expression.ast());
        prop_assert_eq!(again.canonical(), expression.canonical());
        prop_assert_eq!(again.fields(), expression.fields());
        prop_assert!(semantically_equal(&again, &expression));
    }

    #[test]
    fn a_naive_evaluator_agrees(expression in compiled(), world in world(false)) {
        let outcome = expression.evaluate(&world.table(|_| false));
        prop_assert_eq!(outcome, Outcome::of(naive::holds(expression.ast(), &world, None)), "{}", expression.canonical());
    }

    #[test]
    fn withheld_facts_change_nothing_once_supplied(
        expression in compiled(),
        world in world(true),
        withheld in any::<u16>(),
    ) {
        let whole = expression.evaluate(&world.table(|_| false));
        prop_assert!(!matches!(whole, Outcome::Needs(_)));
        let mut missing: FieldSet = (0u16..)
            .zip(&world.facts)
            .filter(|(index, _)| withheld & (1 << index) != 0)
            .map(|(_, (field, _))| *field)
            .collect();
        // Whoever supplies what is asked for, and only that, comes to the same outcome.
        loop {
            match expression.evaluate(&world.table(|field| missing.contains(field))) {
                Outcome::Needs(fields) => {
                    prop_assert!(!fields.is_empty() && fields.is_subset(missing), "{}", expression.canonical());
                    prop_assert!(fields.is_subset(expression.fields()));
                    missing = missing.difference(fields);
                }
                decided => {
                    prop_assert_eq!(decided, whole, "{}", expression.canonical());
                    break;
                }
            }
        }
    }

    #[test]
    fn an_anchor_never_misses(expression in compiled(), world in world(false)) {
        let facts = world.table(|_| false);
        for anchor in expression.requirements() {
            if !satisfied(anchor, &world) {
                let known = world.table(|field| field != anchor.field);
                prop_assert_eq!(expression.evaluate(&known), Outcome::False, "{}", expression.canonical());
                prop_assert_eq!(expression.evaluate(&facts), Outcome::False, "{}", expression.canonical());
            }
        }
    }

    #[test]
    fn an_explanation_comes_to_the_same_outcome(expression in compiled(), world in world(true), withheld in any::<u16>()) {
        let facts = world.table(|field| withheld & (1 << (field.0 % 16)) != 0);
        let explanation = expression.explain(&facts);
        prop_assert_eq!(explanation.outcome, expression.evaluate(&facts));
        prop_assert_eq!(explanation.text.as_str(), expression.canonical());
    }

    #[test]
    fn only_the_fields_an_expression_names_are_read(expression in compiled(), world in world(true)) {
        let facts = Watched(world, expression.fields());
        prop_assert!(!matches!(expression.evaluate(&facts), Outcome::Needs(_)));
    }

    #[test]
    fn any_text_compiles_or_is_refused_with_a_place(text in "[ -~\t\né“$]{0,60}") {
        check_text(&text)?;
    }

    #[test]
    fn a_damaged_expression_compiles_or_is_refused_with_a_place(
        source in source(),
        at in any::<proptest::sample::Index>(),
        splice in "[ (){}\\[\\]\"\\\\$*.!&|=<>~^,'a0]{0,3}",
    ) {
        let characters: Vec<char> = source.chars().collect();
        let at = at.index(characters.len());
        let damaged: String =
            characters[..at].iter().copied().chain(splice.chars()).chain(characters[at + 1..].iter().copied()).collect();
        check_text(&damaged)?;
    }
}

fn check_text(text: &str) -> Result<(), TestCaseError> {
    match compile(text) {
        Ok(expression) => {
            prop_assert_eq!(expression.source(), text);
            let again = compile(expression.canonical()).unwrap();
            prop_assert_eq!(again.ast(), expression.ast());
        }
        Err(error) => {
            prop_assert!(text.get(error.span.clone()).is_some());
            prop_assert!(error.line >= 1 && error.column >= 1);
            prop_assert!(error.to_string().starts_with("Filter parsing error ("));
        }
    }
    Ok(())
}

/// Tells whether the field, or an element of the array in it, is among what the anchor lists.
fn satisfied(anchor: &Anchor, world: &World) -> bool {
    let one = |value: &Value| {
        let key = |key: &Key| match (key, value) {
            (Key::Bytes(bytes), Value::Bytes(value)) => **bytes == **value,
            (Key::Int(constant), Value::Int(value)) => constant == value,
            (Key::Ints(first, last), Value::Int(value)) => (first..=last).contains(&value),
            (Key::Ip(address), Value::Ip(value)) => *address == value.to_canonical(),
            (Key::Ips(first, last), Value::Ip(value)) => {
                let value = value.to_canonical();
                value.is_ipv4() == first.is_ipv4() && *first <= value && value <= *last
            }
            _ => false,
        };
        anchor.keys.iter().any(key) || anchor.lists.iter().any(|list| list.contains(value.as_ref()))
    };
    match world.get(anchor.field) {
        None => false,
        Some(Value::Array(items)) => items.iter().any(one),
        Some(value) => one(value),
    }
}

/// Facts that fail the test when a field outside of the set is read.
struct Watched(World, FieldSet);

impl Facts for Watched {
    fn fact(&self, field: FieldId) -> expr::Fact<'_> {
        assert!(self.1.contains(field), "field {} is not named", field.0);
        match self.0.get(field) {
            Some(value) => expr::Fact::Known(value.as_ref()),
            None => expr::Fact::Absent,
        }
    }
}
