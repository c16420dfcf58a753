//! Short ways to write rules and facts.

use jiff::Timestamp;
use policy::{
    CompileOptions, CompileReport, Cursor, FactsDocument, Hook, HttpRuleset, Needs, RuleSpec, Scratch, Step,
    StoredRule, Verdict, compile,
};
use serde_json::{Value, json};
use types::RuleId;
use uuid::Uuid;

pub(crate) const NOW: &str = "2026-11-23T10:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(crate) fn id(number: u128) -> RuleId {
    RuleId(Uuid::from_u128(number))
}

/// Makes a rule of a JSON document; its name doubles as what verdicts are compared by.
pub(crate) fn stored(number: u128, document: &Value) -> StoredRule {
    let spec = RuleSpec::parse(document).unwrap_or_else(|errors| panic!("{document}: {errors:?}"));
    let precedence = spec.precedence.unwrap_or(i64::try_from(number).unwrap() * 1_000);
    StoredRule { id: id(number), precedence, spec }
}

/// Makes HTTP rules in the given order: name, action, traffic.
pub(crate) fn rules(list: &[(&str, &str, &str)]) -> Vec<StoredRule> {
    (1..).zip(list).map(|(number, (name, action, traffic))| stored(number, &document(name, action, traffic))).collect()
}

pub(crate) fn document(name: &str, action: &str, traffic: &str) -> Value {
    let settings = match action {
        "redirect" => json!({"redirect": {"target_uri": "https://notice.example/"}}),
        "quarantine" => json!({"quarantine": {"file_types": ["exe"]}}),
        "worker" => json!({"worker": {"script": "training"}}),
        "managed" => json!({"managed": {"template": "require-training"}}),
        _ => json!({}),
    };
    json!({"name": name, "action": action, "filters": ["http"], "traffic": traffic, "rule_settings": settings})
}

pub(crate) fn compiled(rules: &[StoredRule]) -> CompileReport {
    let report = compile(rules, &(), CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report
}

pub(crate) fn facts(document: &Value) -> FactsDocument {
    FactsDocument::parse(Hook::Http, document).unwrap()
}

/// Everything about a request that no test's rules leave open.
pub(crate) fn request(url: &str, more: &Value) -> FactsDocument {
    let mut document = json!({
        "http.request.uri": url,
        "http.request.method": "GET",
        "http.request.headers": {"accept": ["text/html,*/*"]},
        "http.request.has_body": false,
        "http.conn.src_ip": "10.0.0.9",
        "identity.email": null,
        "identity.groups.name": null,
    });
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    facts(&document)
}

pub(crate) fn decide(rules: &HttpRuleset, facts: &FactsDocument) -> Step {
    rules.decide(facts, now(), Cursor::start(), &mut Scratch::new())
}

pub(crate) fn verdict(step: Step) -> Verdict {
    match step {
        Step::Verdict(verdict) => verdict,
        Step::Needs(needs) => {
            panic!("waits for {:?} in {:?}", policy::trace::names(Hook::Http, needs.fields), needs.phase)
        }
    }
}

pub(crate) fn needs(step: Step) -> Needs {
    match step {
        Step::Needs(needs) => needs,
        Step::Verdict(verdict) => panic!("decided: {}", described(&verdict)),
    }
}

/// `action by rule`, or `allow` alone.
pub(crate) fn described(verdict: &Verdict) -> String {
    match &verdict.rule {
        Some(rule) => format!("{} by {}", verdict.action.word(), rule.name),
        None => verdict.action.word().to_owned(),
    }
}
