//! Extended e-mail matching.

use policy::{CompileOptions, compile, lists};
use serde_json::{Value, json};

use crate::support::{decide, described, request, stored, verdict};

const LIST: &str = "51fe39d9-d584-48f5-9eed-36cd14ada791";

fn decided(action: &str, identity: &str, email: &str, forced: bool) -> String {
    let document: Value = json!({"name": "rule", "action": action, "filters": ["http"], "identity": identity});
    let mut set = lists::ListSet::default();
    let list = lists::compile(lists::ListType::Email, &["first.last@example.com"]).unwrap();
    set.insert(LIST.parse().unwrap(), list);
    let report = compile(&[stored(1, &document)], &set, CompileOptions { extended_email_matching: forced });
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    described(&verdict(decide(&report.http, &request("https://a.example/", &json!({"identity.email": email})))))
}

#[test]
fn a_block_meets_every_variant_of_the_address_and_an_allow_only_the_address() {
    let exact = r#"identity.email == "first.last@example.com""#;
    let set = r#"identity.email in {"x@y.example" "first.last@example.com"}"#;
    let list = format!("identity.email in ${LIST}");
    for identity in [exact, set, list.as_str()] {
        for (email, variant) in
            [("first.last@example.com", false), ("firstlast@example.com", true), ("f.irst.last+shop@example.com", true)]
        {
            assert_eq!(decided("block", identity, email, false), "block by rule", "{identity} {email}");
            let allowed = if variant { "allow" } else { "allow by rule" };
            assert_eq!(decided("allow", identity, email, false), allowed, "{identity} {email}");
            assert_eq!(decided("allow", identity, email, true), "allow by rule", "{identity} {email}");
        }
        assert_eq!(decided("block", identity, "other@example.com", true), "allow", "{identity}");
        assert_eq!(decided("block", identity, "firstlast@example.org", true), "allow", "{identity}");
    }
}

#[test]
fn a_negated_block_spares_every_variant() {
    let identity = r#"identity.email != "first.last@example.com""#;
    assert_eq!(decided("block", identity, "firstlast+x@example.com", false), "allow");
    assert_eq!(decided("block", identity, "other@example.com", false), "block by rule");
}

#[test]
fn a_regex_sees_the_address_as_it_is() {
    let identity = r#"identity.email matches "\\+shop@""#;
    assert_eq!(decided("block", identity, "a+shop@example.com", false), "block by rule");
}
