//! Every version of the rule document keeps a file that must stay readable and keep its meaning.

use policy::RuleSpec;
use serde_json::Value;

#[test]
fn version_1_rules_stay_readable_and_keep_their_meaning() {
    let documents: Vec<Value> = serde_json::from_str(include_str!("../golden/rules-v1.json")).unwrap();
    let mut found = String::new();
    for document in &documents {
        let spec = RuleSpec::parse(document).unwrap_or_else(|errors| panic!("{document}: {errors:?}"));
        let echoed = serde_json::to_value(&spec).unwrap();
        for (member, value) in echoed.as_object().unwrap() {
            assert_eq!(&document[member], value, "{member} of {}", spec.name);
        }
        found.push_str(&format!(
            "{}: {} {} enabled={} precedence={:?}\n  {}\n",
            spec.name,
            spec.hook.as_str(),
            spec.action,
            spec.is_enabled(),
            spec.precedence,
            named(&spec)
        ));
        let checked = policy::check(&spec, &()).unwrap_or_else(|errors| panic!("{}: {errors:?}", spec.name));
        for warning in spec.warnings.iter().chain(&checked) {
            found.push_str(&format!("  warning: {warning}\n"));
        }
    }
    let expected = include_str!("../golden/rules-v1.txt");
    if found != expected {
        let written = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules-v1.txt");
        std::fs::write(&written, &found).unwrap();
        panic!("the meaning of a stored rule changed; what was read is in {}", written.display());
    }
}

/// Writes a plan with its fields named, since their numbers may change.
fn named(spec: &RuleSpec) -> String {
    let fields = spec.hook.scheme().fields();
    let text = format!("{:?}", spec.plan());
    (0..fields.len()).fold(text, |text, index| text.replace(&format!("FieldId({index})"), fields[index].name))
}
