//! The examples in `docs/rules.md` are executed: every rule is accepted, every request gets the verdict it is shown with.

use policy::{CompileOptions, FactsDocument, Hook, StoredRule, compile, lists};
use serde_json::Value;

use crate::support::{now, stored};

const PAGE: &str = include_str!("../../../../docs/rules.md");

/// The list the page refers to.
const LIST: &str = "01302951-49f9-47c9-a400-0297e60b6a10";

#[test]
fn every_example_does_what_the_page_says() {
    let mut set = lists::ListSet::default();
    set.insert(LIST.parse().unwrap(), lists::compile(lists::ListType::Domain, &["bad.example"]).unwrap());
    let mut rules: Vec<StoredRule> = Vec::new();
    let mut verdicts = 0;
    for block in PAGE.split("```json").skip(1) {
        let text = block.split("```").next().unwrap();
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if value.get("facts").is_none() {
            let number = u128::try_from(rules.len() + 1).unwrap();
            let rule = stored(number, &value);
            policy::check(&rule.spec, &set).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
            rules.push(rule);
            continue;
        }
        let report = compile(&rules, &set, CompileOptions::default());
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        let facts =
            FactsDocument::parse(Hook::Http, &value["facts"]).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let found = report.http.evaluate(&facts, now()).verdict;
        let rule = found.rule.map(|rule| rule.name);
        assert_eq!(found.action, value["verdict"], "{text}");
        assert_eq!(rule.as_deref(), value["rule"].as_str(), "{text}");
        verdicts += 1;
    }
    assert!(rules.len() >= 8 && verdicts >= 8, "{} rules, {verdicts} verdicts", rules.len());
}
