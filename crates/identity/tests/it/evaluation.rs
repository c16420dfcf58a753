//! What policies decide: the order of evaluation, every selector, traces, and two laws.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use expr::{Map, ValueRef};
use identity::access_policy::{Decision, Policy, PolicyDocument};
use identity::evaluation::{
    Answer, Caller, Denial, Frozen, Lookups, Need, PolicySet, RequestContext, RequestHead, Trace, Verdict, WorkerWord,
};
use identity::group::{Group, GroupDocument, Groups};
use identity::identity::{ClientCertificate, Device, Gaps, GroupClaim, Identity, ProviderClaims};
use identity::provider::ProviderType;
use identity::selector::{ExternalEvaluation, RiskScore, WorkerQuestion};
use proptest::prelude::*;
use serde_json::{Value, json};
use types::{
    AccessGroupId, AccessPolicyId, ApplicationId, Email, ListId, PostureRuleId, ProviderId, ServiceTokenId, UserId,
};
use uuid::Uuid;

pub(crate) fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

pub(crate) fn person() -> Identity {
    let group = |id: &str, name: &str, email: &str| {
        Arc::new(GroupClaim { id: id.into(), name: name.into(), email: email.into() })
    };
    let claim = |name: &str, value: &str| Arc::new((name.into(), value.into()));
    Identity {
        user: UserId(Uuid::from_u128(1)),
        email: "ann@example.com".parse().unwrap(),
        name: "Ann".into(),
        provider: ProviderId(Uuid::from_u128(10)),
        provider_type: ProviderType::Oidc,
        signed_in: 1_000,
        ip: IpAddr::from([10, 0, 0, 1]),
        country: Some(*b"DE"),
        amr: ["mfa".into(), "hwk".into()].into(),
        steps: [ProviderClaims {
            provider: ProviderId(Uuid::from_u128(10)),
            groups: [group("g-1", "Engineering", "eng@example.com"), group("acme", "core", "")].into(),
            claims: [claim("department", "r&d"), claim("acrs", "c1")].into(),
            gaps: Gaps::NONE,
        }]
        .into(),
    }
}

pub(crate) struct Table(fn(u128) -> Answer);

impl Lookups for Table {
    fn email_list(&self, list: ListId, _: &Email) -> Answer {
        self.0(list.0.as_u128())
    }

    fn ip_list(&self, list: ListId, _: IpAddr) -> Answer {
        self.0(list.0.as_u128())
    }

    fn external(&self, evaluation: &ExternalEvaluation) -> Answer {
        self.0(evaluation.evaluate_url.path().trim_start_matches('/').parse().unwrap())
    }

    fn worker(&self, question: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        let allows = match self.0(question.script.as_str().trim_start_matches('w').parse().unwrap()) {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Broken => None,
            Answer::NotAsked => return None,
        };
        let reason = if allows == Some(false) { "the training is overdue".to_owned() } else { String::new() };
        Some(Arc::new(WorkerWord { allows, reason, took: Duration::from_millis(12) }))
    }
}

/// Lists and services answer by their number: 1 yes, 2 no, 3 not asked yet, the rest is broken.
pub(crate) const LOOKUPS: Table = Table(|number| match number {
    1 => Answer::Yes,
    2 => Answer::No,
    3 => Answer::NotAsked,
    _ => Answer::Broken,
});

struct NoHeaders;

impl Map for NoHeaders {
    fn len(&self) -> usize {
        0
    }

    fn is_empty(&self) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<ValueRef<'_>> {
        None
    }

    fn entry(&self, _: usize) -> Option<(&[u8], ValueRef<'_>)> {
        None
    }
}

pub(crate) fn context<'a>(
    certificate: Option<&'a ClientCertificate>,
    passed: &'a [PostureRuleId],
) -> RequestContext<'a> {
    RequestContext {
        ip: IpAddr::from([10, 1, 2, 3]),
        country: Some("DE"),
        certificate,
        device: Some(Device { passed }),
        risk: Some(RiskScore::Low),
        request: Some(RequestHead {
            application: ApplicationId(Uuid::from_u128(5)),
            application_name: "Wiki",
            host: "wiki.example.com",
            method: "GET",
            path: "/a",
            query: None,
            headers: Some(&NoHeaders),
        }),
    }
}

fn policy(number: u128, value: &Value) -> Policy {
    let mut value = value.clone();
    value["name"] = json!(format!("policy {number}"));
    Policy::parse(AccessPolicyId(Uuid::from_u128(number)), &PolicyDocument::read(&value).unwrap()).unwrap()
}

pub(crate) fn set(policies: &[Value]) -> PolicySet {
    let policies = (1..).zip(policies).map(|(number, value)| policy(number, value)).collect();
    PolicySet::compile(policies, &groups(), &())
}

fn groups() -> Groups {
    let group = |number: u128, include: Value| {
        let document = GroupDocument::read(&json!({"name": format!("group {number}"), "include": include})).unwrap();
        Group::parse(AccessGroupId(Uuid::from_u128(number)), &document).unwrap()
    };
    [
        group(1, json!([{"group": {"id": id(2)}}])),
        group(2, json!([{"email_domain": {"domain": "example.com"}}])),
        group(3, json!([{"group": {"id": id(4)}}])),
        group(4, json!([{"group": {"id": id(3)}}, {"everyone": {}}])),
    ]
    .into_iter()
    .collect()
}

fn decide(set: &PolicySet, identity: Option<&Identity>) -> Verdict {
    set.evaluate(&Caller { identity, ..Caller::default() }, &context(None, &[]), &LOOKUPS, None)
}

pub(crate) fn allow(include: Value) -> Value {
    json!({"decision": "allow", "include": [include]})
}

#[test]
fn only_somebody_whom_no_policy_can_let_in_is_told_apart_before_the_sign_in_is_done() {
    let awaited = [ProviderId(Uuid::from_u128(11))];
    let deny = |include: Value| json!({"decision": "deny", "include": [include]});
    let email = |email: &str| json!({"email": {"email": email}});
    let okta = |provider: u128| json!({"okta": {"name": "Staff", "identity_provider_id": id(provider)}});
    for (name, policies, finished, unfinished) in [
        ("their address", vec![allow(email("ann@example.com"))], true, true),
        ("another address", vec![allow(email("bob@example.com"))], false, false),
        ("a list", vec![allow(json!({"email_list": {"id": id(1)}}))], true, true),
        ("a list they are not in", vec![allow(json!({"email_list": {"id": id(2)}}))], false, false),
        ("a list that is gone", vec![allow(json!({"email_list": {"id": id(9)}}))], false, false),
        ("what changes with the request", vec![allow(json!({"ip": {"ip": "192.0.2.0/24"}}))], true, true),
        (
            "another service",
            vec![allow(json!({"external_evaluation": {
            "evaluate_url": "https://e.example/3", "keys_url": "https://e.example/k"}}))],
            true,
            true,
        ),
        ("a group of the step to come", vec![allow(okta(11))], false, true),
        ("a group of the step that was passed", vec![allow(okta(10))], false, false),
        ("the step to come", vec![allow(json!({"login_method": {"id": id(11)}}))], false, true),
        (
            "an expression",
            vec![json!({"decision": "allow", "include": [{"everyone": {}}],
            "portunus": {"expression": "http.request.method == \"PUT\""}})],
            true,
            true,
        ),
        ("a deny first", vec![deny(email("ann@example.com")), allow(json!({"everyone": {}}))], false, false),
        (
            "a deny for elsewhere",
            vec![deny(json!({"geo": {"country_code": "US"}})), allow(json!({"everyone": {}}))],
            true,
            true,
        ),
        (
            "a deny that is broken",
            vec![deny(json!({"email_list": {"id": id(9)}})), allow(json!({"everyone": {}}))],
            false,
            false,
        ),
        ("no sign-in at all", vec![json!({"decision": "bypass", "include": [{"everyone": {}}]})], false, false),
        ("no policy", vec![], false, false),
    ] {
        let set = set(&policies);
        let told = (set.could_admit(&person(), &LOOKUPS, &[]), set.could_admit(&person(), &LOOKUPS, &awaited));
        assert_eq!(told, (finished, unfinished), "{name}");
    }
}

#[test]
fn each_selector_covers_whom_it_says() {
    let (provider, other) = (id(10), id(11));
    for (selector, covered) in [
        (json!({"email": {"email": "Ann@Example.com"}}), true),
        (json!({"email": {"email": "bob@example.com"}}), false),
        (json!({"email_domain": {"domain": "example.com"}}), true),
        (json!({"email_domain": {"domain": "ample.com"}}), false),
        (json!({"email_list": {"id": id(1)}}), true),
        (json!({"email_list": {"id": id(2)}}), false),
        (json!({"everyone": {}}), true),
        (json!({"group": {"id": id(1)}}), true),
        (json!({"group": {"id": id(3)}}), false),
        (json!({"group": {"id": id(99)}}), false),
        (json!({"ip": {"ip": "10.0.0.0/8"}}), true),
        (json!({"ip": {"ip": "10.0.0.0/16"}}), false),
        (json!({"ip_list": {"id": id(1)}}), true),
        (json!({"geo": {"country_code": "de"}}), true),
        (json!({"geo": {"country_code": "US"}}), false),
        (json!({"certificate": {}}), true),
        (json!({"common_name": {"common_name": "laptop"}}), true),
        (json!({"common_name": {"common_name": "Laptop"}}), false),
        (json!({"device_posture": {"integration_uid": id(7)}}), true),
        (json!({"device_posture": {"integration_uid": id(8)}}), false),
        (json!({"user_risk_score": {"user_risk_score": ["low", "medium"]}}), true),
        (json!({"user_risk_score": {"user_risk_score": ["unscored"]}}), false),
        (json!({"login_method": {"id": provider}}), true),
        (json!({"login_method": {"id": other}}), false),
        (json!({"auth_method": {"auth_method": "hwk"}}), true),
        (json!({"auth_method": {"auth_method": "otp"}}), false),
        (json!({"auth_context": {"id": "x", "ac_id": "c1", "identity_provider_id": provider}}), true),
        (json!({"azureAD": {"id": "g-1", "identity_provider_id": provider}}), true),
        (json!({"azureAD": {"id": "g-1", "identity_provider_id": other}}), false),
        (json!({"gsuite": {"email": "Eng@example.com", "identity_provider_id": provider}}), true),
        (json!({"okta": {"name": "Engineering", "identity_provider_id": provider}}), true),
        (json!({"okta": {"name": "engineering", "identity_provider_id": provider}}), false),
        (json!({"github-organization": {"name": "Acme", "identity_provider_id": provider}}), true),
        (json!({"github-organization": {"name": "acme", "team": "core", "identity_provider_id": provider}}), true),
        (json!({"github-organization": {"name": "acme", "team": "docs", "identity_provider_id": provider}}), false),
        (json!({"oidc": {"claim_name": "department", "claim_value": "r&d", "identity_provider_id": provider}}), true),
        (json!({"oidc": {"claim_name": "department", "claim_value": "r", "identity_provider_id": provider}}), false),
        (
            json!({"saml": {"attribute_name": "department", "attribute_value": "r&d", "identity_provider_id": other}}),
            false,
        ),
        (
            json!({"external_evaluation": {"evaluate_url": "https://e.example/1", "keys_url": "https://e.example/k"}}),
            true,
        ),
        (
            json!({"external_evaluation": {"evaluate_url": "https://e.example/2", "keys_url": "https://e.example/k"}}),
            false,
        ),
        (
            json!({"external_evaluation": {"evaluate_url": "https://e.example/9", "keys_url": "https://e.example/k"}}),
            false,
        ),
        (json!({"cloudflare_account_member": {}}), false),
    ] {
        let person = person();
        let certificate = ClientCertificate {
            common_name: Some("laptop".into()),
            subject_dn: "CN=laptop".into(),
            issuer_dn: "CN=CA".into(),
            issuer_ski: None,
            serial: "01".into(),
            fingerprint: "ab".into(),
            not_before: 0,
            not_after: 0,
        };
        let passed = [PostureRuleId(Uuid::from_u128(7))];
        let caller = Caller { identity: Some(&person), ..Caller::default() };
        let verdict =
            set(&[allow(selector.clone())]).evaluate(&caller, &context(Some(&certificate), &passed), &LOOKUPS, None);
        assert_eq!(verdict == Verdict::Allow(0), covered, "{selector}: {verdict:?}");
    }
}

#[test]
fn an_expression_reads_the_certificate_of_the_request() {
    let certificate = ClientCertificate {
        common_name: Some("laptop".into()),
        subject_dn: "CN=laptop".into(),
        issuer_dn: "CN=Devices".into(),
        issuer_ski: None,
        serial: "0ABC".into(),
        fingerprint: "00ff".into(),
        not_before: 0,
        not_after: 0,
    };
    for (expression, covered) in [
        (r#"access.certificate.common_name == "laptop""#, true),
        (r#"access.certificate.serial in {"0ABC" "0ABD"} and access.certificate.issuer == "CN=Devices""#, true),
        (r#"access.certificate.fingerprint == "00ff""#, true),
        (r#"access.certificate.fingerprint == "00FF""#, false),
    ] {
        let mut policy = allow(json!({"certificate": {}}));
        policy["decision"] = json!("non_identity");
        policy["portunus"] = json!({"expression": expression});
        let set = set(&[policy]);
        let caller = Caller::default();
        let with = set.evaluate(&caller, &context(Some(&certificate), &[]), &LOOKUPS, None);
        assert_eq!(with == Verdict::NonIdentity(0), covered, "{expression}: {with:?}");
        let without = set.evaluate(&caller, &context(None, &[]), &LOOKUPS, None);
        assert_eq!(without, Verdict::Deny(Denial::NothingMatched), "{expression}");
    }
}

#[test]
fn policies_apply_in_the_order_of_the_reference() {
    let everyone = json!({"everyone": {}});
    let bypass = json!({"decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/8"}}]});
    let deny = json!({"decision": "deny", "include": [everyone]});
    let service = json!({"decision": "non_identity", "include": [{"any_valid_service_token": {}}]});
    let person = person();
    for (policies, expected) in [
        (vec![], Verdict::Deny(Denial::NoPolicy)),
        (vec![deny.clone(), allow(everyone.clone())], Verdict::Deny(Denial::Policy(0))),
        (vec![allow(everyone.clone()), deny.clone()], Verdict::Allow(0)),
        // A bypass comes first wherever it stands.
        (vec![deny.clone(), bypass.clone()], Verdict::Bypass(0)),
        (
            vec![service.clone(), allow(json!({"email": {"email": "x@example.com"}}))],
            Verdict::Deny(Denial::NothingMatched),
        ),
        (vec![service.clone()], Verdict::Deny(Denial::NothingMatched)),
    ] {
        assert_eq!(decide(&set(&policies), Some(&person)), expected, "{policies:?}");
    }
    let both = set(&[service.clone(), allow(everyone)]);
    assert_eq!(decide(&both, None), Verdict::SignIn);
    assert!(set(&[service]).is_service_auth_only() && !both.is_service_auth_only());
    let caller = Caller { service_token: Some(ServiceTokenId(Uuid::nil())), ..Caller::default() };
    assert_eq!(both.evaluate(&caller, &context(None, &[]), &LOOKUPS, None), Verdict::NonIdentity(0));
}

#[test]
fn a_fact_that_is_missing_is_named_and_asked_for_only_when_it_matters() {
    let list = |number| json!({"email_list": {"id": id(number)}});
    let person = person();
    let needs = Verdict::Needs(vec![Need::EmailList(ListId(Uuid::from_u128(3)))]);
    assert_eq!(decide(&set(&[allow(list(3))]), Some(&person)), needs);
    let either = json!({"decision": "allow", "include": [list(3), {"everyone": {}}]});
    assert_eq!(decide(&set(&[either]), Some(&person)), Verdict::Allow(0));
    let never = json!({"decision": "allow", "include": [list(3)], "require": [list(2)]});
    assert_eq!(decide(&set(&[never]), Some(&person)), Verdict::Deny(Denial::NothingMatched));
}

#[test]
fn what_is_broken_keeps_people_out() {
    let broken = json!({"group": {"id": id(3)}});
    let person = person();
    for (policies, expected) in [
        (
            vec![json!({"decision": "allow", "include": [{"everyone": {}}], "exclude": [broken]})],
            Verdict::Deny(Denial::NothingMatched),
        ),
        (
            vec![json!({"decision": "allow", "include": [{"everyone": {}}], "require": [broken]})],
            Verdict::Deny(Denial::NothingMatched),
        ),
        (
            vec![json!({"decision": "deny", "include": [broken]}), allow(json!({"everyone": {}}))],
            Verdict::Deny(Denial::Broken(0)),
        ),
        (vec![json!({"decision": "bypass", "include": [broken]})], Verdict::Deny(Denial::NothingMatched)),
        (
            vec![
                json!({"decision": "allow", "include": [{"everyone": {}}], "portunus": {"expression": "no such thing"}}),
            ],
            Verdict::Deny(Denial::NothingMatched),
        ),
    ] {
        let set = set(&policies);
        assert_eq!(decide(&set, Some(&person)), expected, "{policies:?}");
        assert_eq!(set.faults().len(), 1, "{policies:?}");
    }
}

#[test]
fn a_group_of_people_cannot_be_excluded_from_a_policy_that_knows_nobody() {
    let bypass = json!({"decision": "bypass", "include": [{"everyone": {}}], "exclude": [{"group": {"id": id(2)}}]});
    let stranger = Identity { email: "eve@other.example".parse().unwrap(), ..person() };
    let policies = set(&[bypass]);
    assert_eq!(decide(&policies, None), Verdict::Deny(Denial::NothingMatched));
    assert_eq!(decide(&policies, Some(&person())), Verdict::Deny(Denial::NothingMatched));
    assert_eq!(decide(&policies, Some(&stranger)), Verdict::Bypass(0));
    // Nor can members of an account that does not exist.
    let members =
        json!({"decision": "allow", "include": [{"everyone": {}}], "exclude": [{"cloudflare_account_member": {}}]});
    assert_eq!(decide(&set(&[members]), Some(&person())), Verdict::Deny(Denial::NothingMatched));
}

#[test]
fn an_address_is_the_same_in_either_form() {
    struct Listed;
    impl Lookups for Listed {
        fn email_list(&self, _: ListId, _: &Email) -> Answer {
            Answer::Broken
        }

        fn ip_list(&self, _: ListId, address: IpAddr) -> Answer {
            if address == IpAddr::from([10, 1, 2, 3]) { Answer::Yes } else { Answer::No }
        }

        fn external(&self, _: &ExternalEvaluation) -> Answer {
            Answer::Broken
        }

        fn worker(&self, _: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
            None
        }
    }
    let context = RequestContext { ip: "::ffff:10.1.2.3".parse().unwrap(), ..context(None, &[]) };
    for selector in [
        json!({"ip": {"ip": "10.0.0.0/8"}}),
        json!({"ip": {"ip": "::ffff:10.0.0.0/104"}}),
        json!({"ip": {"ip": "::ffff:a01:203"}}),
        json!({"ip_list": {"id": id(1)}}),
    ] {
        let policies = set(&[json!({"decision": "deny", "include": [selector]}), allow(json!({"everyone": {}}))]);
        let person = person();
        let caller = Caller { identity: Some(&person), ..Caller::default() };
        let verdict = policies.evaluate(&caller, &context, &Listed, None);
        assert_eq!(verdict, Verdict::Deny(Denial::Policy(0)), "{selector}");
    }
    let mut expression = json!({"decision": "deny", "include": [{"everyone": {}}]});
    expression["portunus"] = json!({"expression": "http.conn.src_ip in {10.0.0.0/8}"});
    let person = person();
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    assert_eq!(set(&[expression]).evaluate(&caller, &context, &Listed, None), Verdict::Deny(Denial::Policy(0)));
}

#[test]
fn an_expression_is_anded_with_the_selectors() {
    let person = person();
    for (expression, expected) in [
        (r#"http.request.method == "GET""#, true),
        (r#"http.request.method == "POST""#, false),
        (r#"any(identity.groups.name[*] == "Engineering") and identity.risk == "low""#, true),
        (r#"any(identity.oidc_claims[*] == "department=r&d") and http.conn.src_ip in {10.0.0.0/8}"#, true),
        (
            r#"any(identity.amr[*] == "hwk") and access.app.name == "Wiki" and identity.email == "ann@example.com""#,
            true,
        ),
        (r#"access.service_token.id == "x""#, false),
        (r#"access.certificate.common_name == "laptop""#, false),
    ] {
        let rule = |selector: Value| {
            let mut value = allow(selector);
            value["portunus"] = json!({"expression": expression});
            value
        };
        let verdict = decide(&set(&[rule(json!({"everyone": {}}))]), Some(&person));
        assert_eq!(verdict == Verdict::Allow(0), expected, "{expression}: {verdict:?}");
        let set = set(&[rule(json!({"email": {"email": "x@example.com"}}))]);
        assert_eq!(decide(&set, Some(&person)), Verdict::Deny(Denial::NothingMatched));
        assert!(set.is_continuous());
    }
}

#[test]
fn a_help_desk_reads_why() {
    let person = person();
    let mut trace = Trace::default();
    let policies = set(&[json!({
        "decision": "allow", "include": [{"email": {"email": "bob@example.com"}}, {"group": {"id": id(1)}}],
        "require": [{"geo": {"country_code": "US"}}],
    })]);
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    let verdict = policies.evaluate(&caller, &context(None, &[]), &LOOKUPS, Some(&mut trace));
    assert_eq!(verdict, Verdict::Deny(Denial::NothingMatched));
    assert_eq!(trace.policies[0].name, "policy 1");
    assert_eq!(trace.policies[0].reasons, ["include: rule group group 1: yes", "require: country is US: no"]);
}

#[test]
fn a_session_keeps_the_answers_of_its_login() {
    let person = person();
    let policies = set(&[allow(json!({"email_list": {"id": id(2)}}))]);
    let mut frozen = Frozen::default();
    for need in policies.login_questions() {
        frozen.keep(need, Answer::Yes);
    }
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    let verdict = policies.evaluate(&caller, &context(None, &[]), &frozen.with(&LOOKUPS), None);
    assert_eq!(verdict, Verdict::Allow(0));
    let empty = Frozen::default();
    assert!(matches!(policies.evaluate(&caller, &context(None, &[]), &empty.with(&LOOKUPS), None), Verdict::Needs(_)));
}

#[test]
fn an_answer_that_could_not_be_given_at_login_lets_nobody_past_an_exclude() {
    let person = person();
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    let list = || json!([{"email_list": {"id": id(2)}}]);
    let everyone = || json!([{"everyone": {}}]);
    let policies = set(&[json!({"decision": "allow", "include": everyone(), "exclude": list()})]);
    for (answer, passes) in [(Answer::No, true), (Answer::Yes, false), (Answer::Broken, false)] {
        let mut frozen = Frozen::default();
        for need in policies.login_questions() {
            frozen.keep(need, answer);
        }
        // As it comes back from the store.
        let frozen: Frozen = serde_json::from_value(serde_json::to_value(frozen).unwrap()).unwrap();
        let verdict = policies.evaluate(&caller, &context(None, &[]), &frozen.with(&LOOKUPS), None);
        assert_eq!(matches!(verdict, Verdict::Allow(0)), passes, "{answer:?}: {verdict:?}");
    }
}

/// A rule that asks the Worker of this number.
fn worker(number: u8) -> Value {
    json!({"portunus_worker": {"script": format!("w{number}")}})
}

#[test]
fn a_worker_decides_as_any_rule_and_one_without_an_answer_helps_nobody() {
    let (person, everyone) = (person(), json!({"everyone": {}}));
    let (yes, no, broken) = (worker(1), worker(2), worker(9));
    for (include, require, exclude, passes) in [
        (&yes, None, None, true),
        (&no, None, None, false),
        (&broken, None, None, false),
        (&everyone, Some(&yes), None, true),
        (&everyone, Some(&no), None, false),
        (&everyone, Some(&broken), None, false),
        (&everyone, None, Some(&yes), false),
        (&everyone, None, Some(&no), true),
        (&everyone, None, Some(&broken), false),
    ] {
        let list = |rule: Option<&Value>| Value::Array(rule.into_iter().cloned().collect());
        for decision in ["allow", "non_identity", "bypass"] {
            let policy = json!({
                "decision": decision, "include": [include], "require": list(require), "exclude": list(exclude),
            });
            let verdict = decide(&set(std::slice::from_ref(&policy)), Some(&person));
            assert_eq!(admits(&verdict), passes, "{policy}: {verdict:?}");
        }
        // One that denies is completed by what cannot be told.
        let policy =
            json!({"decision": "deny", "include": [include], "require": list(require), "exclude": list(exclude)});
        let verdict = decide(&set(&[policy.clone(), allow(everyone.clone())]), Some(&person));
        let told = [Some(include), require, exclude].into_iter().flatten().all(|rule| *rule != broken);
        assert_eq!(admits(&verdict), told && !passes, "{policy}: {verdict:?}");
    }
    assert!(set(&[allow(yes)]).is_continuous());
}

#[test]
fn a_worker_is_not_asked_where_the_other_rules_decide() {
    let person = person();
    let (asked, everyone) = (worker(3), json!({"everyone": {}}));
    let nobody = json!({"email": {"email": "x@example.com"}});
    let group = |number: u128| json!({"group": {"id": id(number)}});
    let policies = |policies: &[Value]| decide(&set(policies), Some(&person));
    for policy in [
        json!({"decision": "allow", "include": [asked, everyone]}),
        json!({"decision": "allow", "include": [asked], "require": [nobody]}),
        json!({"decision": "allow", "include": [everyone], "require": [asked, nobody]}),
        json!({"decision": "allow", "include": [everyone], "require": [asked], "exclude": [everyone]}),
        json!({"decision": "allow", "include": [nobody], "exclude": [asked]}),
        json!({"decision": "allow", "include": [asked], "portunus": {"expression": "http.request.method == \"POST\""}}),
        json!({"decision": "deny", "include": [asked], "require": [group(1), nobody]}),
    ] {
        let verdict = policies(std::slice::from_ref(&policy));
        assert!(matches!(verdict, Verdict::Allow(0) | Verdict::Deny(Denial::NothingMatched)), "{policy}: {verdict:?}");
        // Nor does it trouble a later policy that asks something itself.
        let later = allow(json!({"ip_list": {"id": id(3)}}));
        if verdict != Verdict::Allow(0) {
            assert_eq!(policies(&[policy, later]), Verdict::Needs(vec![Need::IpList(ListId(Uuid::from_u128(3)))]));
        }
    }
    // Of two lists, the one whose outcome is settled asks nothing.
    let other = worker(33);
    let partly = json!({"decision": "allow", "include": [asked, everyone], "require": [other]});
    let question = |rule: &Value| serde_json::from_value(rule["portunus_worker"].clone()).unwrap();
    let broken = Table(|_| Answer::NotAsked);
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    let verdict = set(&[partly]).evaluate(&caller, &context(None, &[]), &broken, None);
    assert_eq!(verdict, Verdict::Needs(vec![Need::Worker(question(&other))]));
    assert_eq!(policies(&[allow(asked.clone())]), Verdict::Needs(vec![Need::Worker(question(&asked))]));
}

#[test]
fn a_help_desk_reads_which_worker_said_what_and_how_long_it_took() {
    let person = person();
    let caller = Caller { identity: Some(&person), ..Caller::default() };
    let mut trace = Trace::default();
    let policies = set(&[json!({"decision": "allow", "include": [{"everyone": {}}], "require": [worker(2)]})]);
    let _ = policies.evaluate(&caller, &context(None, &[]), &LOOKUPS, Some(&mut trace));
    assert_eq!(
        trace.policies[0].reasons,
        [
            "include: everyone: yes",
            "require: Worker w2 allows it: no",
            "Worker w2 did not allow it in 12 ms: the training is overdue"
        ]
    );
}

#[test]
fn how_a_worker_is_asked_is_held_to_its_bounds() {
    let read = |value: Value| {
        let document = PolicyDocument::read(&json!({"name": "n", "decision": "allow", "include": [value]}));
        document.map(|document| serde_json::to_value(document.include).unwrap())
    };
    let full = json!({"portunus_worker": {"script": "check", "timeout_ms": 250, "ttl_s": 0}});
    assert_eq!(read(full.clone()).unwrap(), json!([full]));
    for wrong in [
        json!({}),
        json!({"script": "Not A Name"}),
        json!({"script": "check", "timeout_ms": 0}),
        json!({"script": "check", "timeout_ms": 5001}),
        json!({"script": "check", "ttl_s": 86401}),
        json!({"script": "check", "ttl_s": -1}),
    ] {
        assert!(read(json!({"portunus_worker": wrong})).is_err(), "{wrong}");
    }
}

/// A policy over lists that answer by number, as its decision and its three lists.
type Drawn = (usize, Vec<u8>, Vec<u8>, Vec<u8>);

fn drawn(answers: std::ops::Range<u8>) -> impl Strategy<Value = Vec<Drawn>> {
    let list = move |size| prop::collection::vec(answers.clone(), size);
    prop::collection::vec((0..4usize, list(1..4), list(0..3), list(0..3)), 0..5)
}

const DECISIONS: [&str; 4] = ["allow", "deny", "non_identity", "bypass"];

fn compile(policies: &[Drawn]) -> PolicySet {
    let item = |list: &Vec<u8>| -> Vec<Value> {
        list.iter().map(|number| json!({"ip_list": {"id": id(u128::from(*number))}})).collect()
    };
    let values: Vec<Value> = policies
        .iter()
        .map(|(decision, include, require, exclude)| {
            json!({"decision": DECISIONS[*decision], "include": item(include), "require": item(require), "exclude": item(exclude)})
        })
        .collect();
    set(&values)
}

/// The semantics as the reference says them, for answers that are all known.
fn naive(policies: &[Drawn]) -> Option<Decision> {
    let yes = |number: &u8| *number == 1;
    let covers = |(_, include, require, exclude): &&Drawn| {
        include.iter().any(yes) && require.iter().all(yes) && !exclude.iter().any(yes)
    };
    let first = |wanted: [usize; 2]| policies.iter().filter(|policy| wanted.contains(&policy.0)).find(covers);
    first([2, 3]).or_else(|| first([0, 1])).and_then(|policy| Decision::named(DECISIONS[policy.0]))
}

fn admits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow(_) | Verdict::NonIdentity(_) | Verdict::Bypass(_))
}

proptest! {
    #[test]
    fn known_answers_decide_as_the_reference_says(policies in drawn(1..3)) {
        let expected = match naive(&policies) {
            Some(Decision::Deny) | None => false,
            Some(Decision::Allow | Decision::NonIdentity | Decision::Bypass) => true,
        };
        prop_assert_eq!(admits(&decide(&compile(&policies), Some(&person()))), expected);
    }

    #[test]
    fn breaking_an_answer_lets_nobody_in_by_the_policies_that_remain(policies in drawn(1..3), broken in 0..40usize) {
        let before = decide(&compile(&policies), Some(&person()));
        let mut worse = policies;
        let mut all: Vec<&mut u8> =
            worse.iter_mut().flat_map(|(_, include, require, exclude)| include.iter_mut().chain(require).chain(exclude)).collect();
        if let Some(at) = broken.checked_rem(all.len()) {
            *all[at] = 9;
        }
        let after = decide(&compile(&worse), Some(&person()));
        prop_assert!(admits(&before) || !admits(&after), "{:?} became {:?}", before, after);
    }

    #[test]
    fn a_verdict_given_early_is_the_verdict_given_all_facts(policies in drawn(1..4), answer in 1..3u8) {
        let early = decide(&compile(&policies), Some(&person()));
        let known: Vec<Drawn> = policies
            .into_iter()
            .map(|(decision, a, b, c)| {
                let know = |list: Vec<u8>| list.into_iter().map(|n| if n == 3 { answer } else { n }).collect();
                (decision, know(a), know(b), know(c))
            })
            .collect();
        let late = decide(&compile(&known), Some(&person()));
        prop_assert!(matches!(early, Verdict::Needs(_)) || early == late, "{:?} then {:?}", early, late);
    }
}
