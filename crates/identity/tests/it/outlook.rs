//! What policies say before the request is known: a table of what a sign-in and a consent may conclude, and the law that
//! what they conclude holds for every request.

use identity::evaluation::{Caller, Denial, Outlook, PolicySet, RequestContext, RequestHead, Verdict};
use identity::identity::{Gaps, Identity, ProviderClaims};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::evaluation::{LOOKUPS, allow, context, id, person, set};

const DECISIONS: [&str; 4] = ["allow", "deny", "non_identity", "bypass"];

fn at(path: &str) -> String {
    format!("http.request.uri.path == \"{path}\"")
}

/// A policy for everybody that an expression narrows.
fn by(decision: &str, expression: &str) -> Value {
    json!({"decision": decision, "include": [{"everyone": {}}], "portunus": {"expression": expression}})
}

fn staff() -> Value {
    allow(json!({"email_domain": {"domain": "example.com"}}))
}

fn boss() -> Value {
    allow(json!({"email": {"email": "boss@example.com"}}))
}

/// What is said of the person where no request is known.
fn foresee(set: &PolicySet) -> Outlook {
    let (person, context) = (person(), RequestContext { request: None, ..context(None, &[]) });
    set.foresee(&Caller { identity: Some(&person), ..Caller::default() }, &context, &LOOKUPS, None)
}

/// What is decided for the person's request for a path.
fn request(set: &PolicySet, path: &str) -> Verdict {
    let (person, context) = (person(), context(None, &[]));
    let request = context.request.map(|request| RequestHead { path, ..request });
    let context = RequestContext { request, ..context };
    set.evaluate(&Caller { identity: Some(&person), ..Caller::default() }, &context, &LOOKUPS, None)
}

#[test]
fn a_policy_that_hangs_on_the_request_neither_lets_in_nor_keeps_out_before_it() {
    let nothing = Verdict::Deny(Denial::NothingMatched);
    let mut asks = by("allow", &at("/a"));
    asks["purpose_justification_required"] = json!(true);
    let list = json!({"decision": "allow", "include": [{"ip_list": {"id": id(3)}}]});
    for (name, policies, verdict, perhaps, candidates) in [
        ("a bypass for one path", vec![by("bypass", &at("/healthz")), staff()], Verdict::Allow(1), vec![0], vec![1]),
        ("a deny for one path", vec![by("deny", &at("/x")), staff()], Verdict::Allow(1), vec![], vec![1]),
        (
            "a deny for one path and nothing for them",
            vec![by("deny", &at("/x")), boss()],
            nothing.clone(),
            vec![],
            vec![],
        ),
        ("two paths", vec![by("allow", &at("/a")), by("allow", &at("/b"))], nothing.clone(), vec![0, 1], vec![0, 1]),
        (
            "a path that asks why, and another",
            vec![asks.clone(), by("allow", &at("/b"))],
            nothing.clone(),
            vec![0, 1],
            vec![1, 0],
        ),
        ("a path that asks why alone", vec![asks.clone()], nothing.clone(), vec![0], vec![0]),
        ("a path that asks why, and everything", vec![asks, staff()], Verdict::Allow(1), vec![0], vec![1, 0]),
        ("a bypass for one path alone", vec![by("bypass", &at("/healthz")), boss()], nothing.clone(), vec![0], vec![]),
        (
            "a sure deny after it",
            vec![by("allow", &at("/a")), by("deny", "identity.risk == \"low\""), staff()],
            Verdict::Deny(Denial::Policy(1)),
            vec![0],
            vec![0],
        ),
        (
            "what the selectors settle",
            vec![json!({"decision": "allow", "include": [{"email": {"email": "boss@example.com"}}],
            "portunus": {"expression": at("/a")}})],
            nothing,
            vec![],
            vec![],
        ),
    ] {
        let set = set(&policies);
        let outlook = foresee(&set);
        assert_eq!(set.candidates(&outlook), candidates, "{name}");
        assert_eq!(outlook, Outlook { verdict, perhaps }, "{name}");
    }
    // Another fact that is missing is asked for as ever.
    let outlook = foresee(&set(&[by("allow", &at("/a")), list]));
    assert!(matches!(outlook.verdict, Verdict::Needs(_)) && outlook.perhaps == [0]);
}

#[test]
fn a_sign_in_knows_all_of_its_request_but_the_fields() {
    let fields = "any(http.request.headers[\"x-mode\"][*] == \"raw\")";
    let (person, context) = (person(), context(None, &[]));
    let request = context.request.map(|request| RequestHead { headers: None, ..request });
    let context = RequestContext { request, ..context };
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    for (expression, decided) in [
        (at("/a"), Some(true)),
        (at("/b"), Some(false)),
        (fields.to_owned(), None),
        (format!("{} or {fields}", at("/a")), Some(true)),
        (format!("{} and {fields}", at("/b")), Some(false)),
    ] {
        let outlook = set(&[by("allow", &expression)]).foresee(&caller, &context, &LOOKUPS, None);
        let expected = match decided {
            Some(true) => Outlook { verdict: Verdict::Allow(0), perhaps: vec![] },
            Some(false) => Outlook { verdict: Verdict::Deny(Denial::NothingMatched), perhaps: vec![] },
            None => Outlook { verdict: Verdict::Deny(Denial::NothingMatched), perhaps: vec![0] },
        };
        assert_eq!(outlook, expected, "{expression}");
    }
}

#[test]
fn what_nobody_knows_keeps_out_whom_it_might_except() {
    let unknown = RequestContext { country: None, device: None, risk: None, ..context(None, &[]) };
    let person = person();
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    let everyone = json!({"everyone": {}});
    for rule in [
        json!({"geo": {"country_code": "RU"}}),
        json!({"device_posture": {"integration_uid": id(8)}}),
        json!({"user_risk_score": {"user_risk_score": ["high"]}}),
        json!({"user_risk_score": {"user_risk_score": ["unscored"]}}),
    ] {
        for (policies, expected) in [
            (vec![allow(rule.clone())], Denial::NothingMatched),
            (vec![json!({"decision": "allow", "include": [everyone], "require": [rule]})], Denial::NothingMatched),
            (vec![json!({"decision": "allow", "include": [everyone], "exclude": [rule]})], Denial::NothingMatched),
            (vec![json!({"decision": "deny", "include": [rule]}), allow(everyone.clone())], Denial::Broken(0)),
        ] {
            let set = set(&policies);
            assert_eq!(set.evaluate(&caller, &unknown, &LOOKUPS, None), Verdict::Deny(expected), "{policies:?}");
            assert_eq!(set.unknowable().len(), 1, "{policies:?}");
        }
        // Beside a rule that covers the person it does no harm.
        let either = set(&[json!({"decision": "allow", "include": [everyone, rule]})]);
        assert_eq!(either.evaluate(&caller, &unknown, &LOOKUPS, None), Verdict::Allow(0));
    }
    for expression in [
        "http.src_ip.geo.country != \"RU\"",
        "not identity.risk == \"high\"",
        "not any(device_posture.checks.passed[*] == \"x\")",
        "http.request.uri.path == \"/a\" and http.src_ip.geo.country == \"DE\"",
    ] {
        let policies = set(&[by("allow", expression)]);
        let verdict = policies.evaluate(&caller, &unknown, &LOOKUPS, None);
        assert_eq!(verdict, Verdict::Deny(Denial::NothingMatched), "{expression}");
        assert_eq!(policies.unknowable().len(), 1, "{expression}");
        let denied = set(&[by("deny", expression), staff()]).evaluate(&caller, &unknown, &LOOKUPS, None);
        assert_eq!(denied, Verdict::Deny(Denial::Broken(0)), "{expression}");
        // Nor does a request that is not there yet make it known.
        let nowhere = RequestContext { request: None, ..unknown };
        let early = policies.foresee(&caller, &nowhere, &LOOKUPS, None);
        assert_eq!(!early.perhaps.is_empty(), expression.contains("path"), "{expression}");
    }
    assert!(set(&[staff(), by("allow", &at("/a"))]).unknowable().is_empty());
}

#[test]
fn whom_a_provider_left_out_of_its_groups_cannot_be_told() {
    let (everyone, ann) = (json!({"everyone": {}}), person());
    let told = |gaps| {
        let step = ProviderClaims { gaps, ..ann.steps[0].clone() };
        Identity { steps: [step].into(), ..ann.clone() }
    };
    let (full, groups, claims) =
        (told(Gaps::NONE), told(Gaps { groups: true, claims: false }), told(Gaps { groups: false, claims: true }));
    let selector = |kind: &str, member: &str, value: &str| {
        let mut inner = json!({"identity_provider_id": id(10)});
        inner[member] = json!(value);
        json!({kind: inner})
    };
    let oidc = |value: &str| json!({"oidc": {"claim_name": "department", "claim_value": value, "identity_provider_id": id(10)}});
    let verdict = |policies: &[Value], identity: &Identity| {
        let caller = Caller { identity: Some(identity), ..Caller::default() };
        set(policies).evaluate(&caller, &context(None, &[]), &LOOKUPS, None)
    };
    for (own, other, lacking) in [
        (selector("azureAD", "id", "g-1"), selector("azureAD", "id", "g-2"), &groups),
        (selector("okta", "name", "Engineering"), selector("okta", "name", "Board"), &groups),
        (selector("gsuite", "email", "eng@example.com"), selector("gsuite", "email", "all@example.com"), &groups),
        (selector("github-organization", "name", "acme"), selector("github-organization", "name", "evil"), &groups),
        (oidc("r&d"), oidc("ops"), &claims),
    ] {
        let except = |rule: &Value| vec![json!({"decision": "allow", "include": [everyone], "exclude": [rule]})];
        let deny = vec![json!({"decision": "deny", "include": [other]}), allow(everyone.clone())];
        assert_eq!(verdict(&[allow(own.clone())], lacking), Verdict::Allow(0), "{own}");
        assert_eq!(verdict(&[allow(other.clone())], lacking), Verdict::Deny(Denial::NothingMatched), "{other}");
        assert_eq!(verdict(&except(&other), lacking), Verdict::Deny(Denial::NothingMatched), "{other}");
        assert_eq!(verdict(&deny, lacking), Verdict::Deny(Denial::Broken(0)), "{other}");
        assert_eq!(verdict(&except(&other), &full), Verdict::Allow(0), "{other}");
        assert_eq!(verdict(&deny, &full), Verdict::Allow(1), "{other}");
    }
    let expression = by("allow", "not any(identity.groups.name[*] == \"Board\")");
    assert_eq!(verdict(std::slice::from_ref(&expression), &full), Verdict::Allow(0));
    assert_eq!(verdict(&[expression], &groups), Verdict::Deny(Denial::NothingMatched));
    let expression = by("allow", "not any(identity.oidc_claims[*] == \"department=ops\")");
    assert_eq!(verdict(std::slice::from_ref(&expression), &full), Verdict::Allow(0));
    assert_eq!(verdict(&[expression], &claims), Verdict::Deny(Denial::NothingMatched));
}

fn admits(verdict: &Verdict) -> Option<usize> {
    match verdict {
        Verdict::Allow(index) | Verdict::NonIdentity(index) | Verdict::Bypass(index) => Some(*index),
        Verdict::SignIn | Verdict::Deny(_) | Verdict::Needs(_) => None,
    }
}

proptest! {
    #[test]
    fn what_is_foreseen_holds_for_every_request(
        drawn in prop::collection::vec((0..4usize, 1..3u8, 0..4usize), 0..6),
    ) {
        let policies: Vec<Value> = drawn
            .iter()
            .map(|(decision, answer, path)| {
                let mut policy = by(DECISIONS[*decision], &at(["/a", "/b", "/c"][path % 3]));
                policy["include"] = json!([{"ip_list": {"id": id(u128::from(*answer))}}]);
                if *path == 3 {
                    policy.as_object_mut().unwrap().remove("portunus");
                }
                policy
            })
            .collect();
        let set = set(&policies);
        let outlook = foresee(&set);
        for path in ["/a", "/b", "/c", "/d"] {
            let decided = request(&set, path);
            if let Some(index) = admits(&decided) {
                prop_assert!(outlook.perhaps.contains(&index) || outlook.verdict == decided, "{} {:?}", path, decided);
            }
        }
        // At a path that no expression names, only what does not hang on the request is left.
        prop_assert_eq!(request(&set, "/d"), outlook.verdict);
    }
}
