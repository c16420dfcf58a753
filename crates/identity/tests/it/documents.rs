//! Every document of Access: what is read on the wire, what is refused and how, and what stays readable in the store.

use identity::access_policy::{Decision, Policy, PolicyDocument};
use identity::application::{Application, ApplicationDocument, ApplicationKind, PolicyLink};
use identity::audience::Audience;
use identity::document::{Problem, read_stored};
use identity::group::{Group, GroupDocument};
use identity::organization::{Organization, OrganizationDocument};
use identity::provider::{Provider, ProviderDocument};
use identity::selector::Selector;
use identity::service_token::ServiceToken;
use serde_json::{Value, json};
use types::{AccessGroupId, AccessPolicyId, ApplicationId, ProviderId};
use uuid::Uuid;

const ID: &str = "aa0a4aab-672b-4bdb-bc33-a59f1130a11f";

fn application(value: &Value) -> Result<Application, Vec<Problem>> {
    let document = ApplicationDocument::read(value)?;
    Application::parse(ApplicationId(Uuid::nil()), Audience([7; 32]), &document)
}

fn policy(value: &Value) -> Result<Policy, Vec<Problem>> {
    Policy::parse(AccessPolicyId(Uuid::nil()), &PolicyDocument::read(value)?)
}

fn faults<T>(outcome: Result<T, Vec<Problem>>) -> Vec<String> {
    outcome.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn stored_documents_of_version_1_stay_readable() {
    let golden = |name: &str, text: &str| -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let value = golden("application", include_str!("../golden/application.1.json"));
    let document: ApplicationDocument = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    Application::parse(ApplicationId(Uuid::nil()), document.aud.unwrap(), &document).unwrap();

    let value = golden("policy", include_str!("../golden/policy.1.json"));
    let document: PolicyDocument = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    Policy::parse(AccessPolicyId(Uuid::nil()), &document).unwrap();

    let value = golden("group", include_str!("../golden/group.1.json"));
    let document: GroupDocument = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    Group::parse(AccessGroupId(Uuid::nil()), &document).unwrap();

    let value = golden("provider", include_str!("../golden/provider.1.json"));
    let document: ProviderDocument = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    Provider::parse(ProviderId(Uuid::nil()), &document).unwrap();

    let value = golden("organization", include_str!("../golden/organization.1.json"));
    let document: OrganizationDocument = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    Organization::parse(&document).unwrap();

    let value = golden("service token", include_str!("../golden/service_token.1.json"));
    let token: ServiceToken = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&token).unwrap(), value);
}

#[test]
fn a_stored_document_of_a_newer_version_is_still_read() {
    let mut value: Value = serde_json::from_str(include_str!("../golden/application.1.json")).unwrap();
    value["from_tomorrow"] = json!({"a": 1});
    assert!(read_stored::<ApplicationDocument>(&value).is_ok());
    assert_eq!(faults(ApplicationDocument::read(&value)), ["/from_tomorrow: unknown member `from_tomorrow`"]);
}

#[test]
fn an_application_as_the_sdks_send_it_is_read() {
    let app = application(&json!({
        "type": "self_hosted", "name": "Wiki", "domain": "wiki.example.com/docs", "session_duration": "6h",
        "destinations": [{"type": "public", "uri": "wiki.example.com/docs"}, {"type": "public", "uri": "*.wiki.example.com"}],
        "allowed_idps": [ID], "auto_redirect_to_identity": true, "logo_url": null,
        "policies": [ID, {"id": "aa0a4aab-672b-4bdb-bc33-a59f1130a120", "precedence": 2},
            {"name": "all", "decision": "allow", "include": [{"everyone": {}}], "precedence": 3}],
        "portunus": {"origin": {"url": "http://127.0.0.1:8080"}, "markdown": true}
    }))
    .unwrap();
    let ApplicationKind::SelfHosted(inner) = &app.kind else { panic!("{app:?}") };
    assert_eq!(inner.destinations.len(), 2);
    assert!(inner.markdown && inner.cookie.http_only && !inner.cookie.binding && app.visible);
    assert!(matches!(&app.policies()[2], PolicyLink::Inline(policy) if policy.decision == Some(Decision::Allow)));
}

#[test]
fn what_an_application_gets_wrong_is_named() {
    for (value, expected) in [
        (json!({"type": "saas", "name": "x"}), "/type: applications of type `saas` are not offered; self_hosted"),
        (json!({"type": "magic", "name": "x"}), "/type: `type` is not a known type"),
        (json!({"name": "x"}), "/domain: name at least one public destination"),
        (json!({"name": " ", "domain": "a.example"}), "/name: must not be empty"),
        (json!({"name": "x", "domain": "a.example", "colour": 1}), "/colour: unknown member"),
        (json!({"name": "x", "domain": "a.example", "bg_color": "#fff"}), "/bg_color: `bg_color` does not belong to"),
        (json!({"name": "x", "domain": "a.example:8443"}), "/domain: name only host and path"),
        (json!({"name": "x", "destinations": [{"type": "private", "cidr": "10.0.0.0/8"}]}), "/destinations/0/type: "),
        (
            json!({"name": "x", "domain": "a.example", "session_duration": "999h"}),
            "/session_duration: `999h` is not between",
        ),
        (json!({"name": "x", "domain": "a.example", "session_duration": "a day"}), "/session_duration: not a duration"),
        (
            json!({"name": "x", "domain": "a.example", "auto_redirect_to_identity": true}),
            "/auto_redirect_to_identity: ",
        ),
        (json!({"name": "x", "domain": "a.example", "logo_url": "javascript:alert(1)"}), "/logo_url: must be an http"),
        (
            json!({"name": "x", "domain": "a.example", "custom_deny_url": "ftp://x"}),
            "/custom_deny_url: must be an http",
        ),
        (
            json!({"name": "x", "domain": "a.example", "read_service_tokens_from_header": "Cookie"}),
            "/read_service_tokens",
        ),
        (
            json!({"name": "x", "domain": "a.example", "policies": [{"id": ID, "precedence": 1}, {"id": ID, "precedence": 1}]}),
            "/policies/1/precedence: is taken",
        ),
        (
            json!({"name": "x", "domain": "a.example", "policies": [{"name": "p", "decision": "allow", "include": [{"mail": {}}]}]}),
            "/policies/0/include/0: unknown variant `mail`",
        ),
        (
            json!({"name": "x", "domain": "a.example", "portunus": {"origin": {"url": "https://x/y"}}}),
            "/portunus/origin/url: ",
        ),
        (json!({"name": "x", "domain": "a.example", "portunus": {"orgin": {}}}), "/portunus/orgin: unknown member"),
        (
            json!({"name": "x", "domain": "a.example", "mfa_config": {"allowed_authenticators": ["sms"]}}),
            "/mfa_config/allowed_authenticators/0: `sms` is not one of",
        ),
        (
            json!({"type": "bookmark", "name": "x", "domain": "a.example", "policies": [ID]}),
            "/policies: `policies` does not belong",
        ),
    ] {
        let found = faults(application(&value));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{value}: {found:?}");
    }
}

#[test]
fn an_application_is_shown_with_its_defaults_and_only_its_own_members() {
    let bookmark = ApplicationDocument::read(&json!({"type": "bookmark", "name": "x", "domain": "a.example"})).unwrap();
    let shown = bookmark.show();
    assert_eq!(shown["app_launcher_visible"], json!(true));
    assert!(!shown.contains_key("http_only_cookie_attribute"));
    let app = ApplicationDocument::read(&json!({"name": "x", "domain": "a.example"})).unwrap().show();
    assert_eq!((&app["session_duration"], &app["http_only_cookie_attribute"]), (&json!("24h"), &json!(true)));
    assert!(!app.contains_key("skip_app_launcher_login_page"));
}

#[test]
fn every_selector_keeps_its_json() {
    for item in [
        json!({"email": {"email": "a@x.example"}}),
        json!({"email_domain": {"domain": "x.example"}}),
        json!({"email_list": {"id": ID}}),
        json!({"everyone": {}}),
        json!({"group": {"id": ID}}),
        json!({"ip": {"ip": "10.0.0.0/8"}}),
        json!({"ip_list": {"id": ID}}),
        json!({"geo": {"country_code": "US"}}),
        json!({"certificate": {}}),
        json!({"common_name": {"common_name": "cn"}}),
        json!({"device_posture": {"integration_uid": ID}}),
        json!({"service_token": {"token_id": ID}}),
        json!({"any_valid_service_token": {}}),
        json!({"linked_app_token": {"app_uid": ID}}),
        json!({"user_risk_score": {"user_risk_score": ["low", "unscored"]}}),
        json!({"login_method": {"id": ID}}),
        json!({"auth_method": {"auth_method": "mfa"}}),
        json!({"auth_context": {"id": "x", "ac_id": "c1", "identity_provider_id": ID}}),
        json!({"azureAD": {"id": "g", "identity_provider_id": ID}}),
        json!({"gsuite": {"email": "g@x.example", "identity_provider_id": ID}}),
        json!({"okta": {"name": "g", "identity_provider_id": ID}}),
        json!({"github-organization": {"name": "org", "identity_provider_id": ID}}),
        json!({"github-organization": {"name": "org", "team": "t", "identity_provider_id": ID}}),
        json!({"saml": {"attribute_name": "a", "attribute_value": "b", "identity_provider_id": ID}}),
        json!({"oidc": {"claim_name": "a", "claim_value": "b", "identity_provider_id": ID}}),
        json!({"external_evaluation": {"evaluate_url": "https://e.example/", "keys_url": "https://e.example/keys"}}),
        json!({"cloudflare_account_member": {}}),
    ] {
        let selector: Selector = serde_json::from_value(item.clone()).unwrap_or_else(|error| panic!("{item}: {error}"));
        assert_eq!(serde_json::to_value(&selector).unwrap(), item);
    }
}

#[test]
fn selectors_take_the_spelling_that_facts_have_and_refuse_what_is_none() {
    for (item, shown) in [
        (json!({"email": {"email": " A@X.Example"}}), "e-mail is a@x.example"),
        (json!({"email_domain": {"domain": "@X.example"}}), "e-mail ends in @x.example"),
        (json!({"ip": {"ip": "10.1.2.3"}}), "address is in 10.1.2.3/32"),
        (json!({"ip": {"ip": "10.1.2.3/8"}}), "address is in 10.0.0.0/8"),
        (json!({"ip": {"ip": "::ffff:10.1.2.3"}}), "address is in 10.1.2.3/32"),
        (json!({"geo": {"country_code": "de"}}), "country is DE"),
    ] {
        assert_eq!(serde_json::from_value::<Selector>(item).unwrap().to_string(), shown);
    }
    for item in [
        json!({"email": {"email": "nobody"}}),
        json!({"email": {"email": "a@x.example"}, "everyone": {}}),
        json!({}),
        json!({"ip": {"ip": "10.0.0.0/99"}}),
        json!({"geo": {"country_code": "Germany"}}),
        json!({"email_domain": {"domain": "*"}}),
        json!("everyone"),
    ] {
        assert!(serde_json::from_value::<Selector>(item.clone()).is_err(), "{item}");
    }
}

#[test]
fn a_policy_cannot_hold_what_its_decision_never_satisfies() {
    let rule = |decision: &str, item: Value| json!({"name": "x", "decision": decision, "include": [item]});
    let token = json!({"service_token": {"token_id": ID}});
    let linked = json!({"linked_app_token": {"app_uid": ID}});
    for (value, valid) in [
        (rule("non_identity", token.clone()), true),
        (rule("allow", token.clone()), false),
        (rule("bypass", token), false),
        (rule("bypass", linked.clone()), true),
        (rule("allow", linked), false),
        (rule("bypass", json!({"email": {"email": "a@x.example"}})), false),
        (rule("bypass", json!({"ip": {"ip": "10.0.0.0/8"}})), true),
        (rule("bypass", json!({"everyone": {}})), true),
        (rule("allow", json!({"user_risk_score": {"user_risk_score": []}})), false),
        (
            rule(
                "allow",
                json!({"external_evaluation": {"evaluate_url": "http://e.example", "keys_url": "https://e.example"}}),
            ),
            false,
        ),
        (rule("permit", json!({"everyone": {}})), false),
        (json!({"name": "x", "decision": "allow", "include": []}), false),
        (json!({"name": "x", "include": [{"everyone": {}}]}), false),
        (json!({"name": "x", "decision": "allow", "include": [{"everyone": {}}], "approval_required": true}), false),
    ] {
        assert_eq!(policy(&value).is_ok(), valid, "{value}: {:?}", faults(policy(&value)));
    }
}

#[test]
fn an_open_policy_warns() {
    let open = policy(&json!({"name": "x", "decision": "allow", "include": [{"everyone": {}}]})).unwrap();
    assert_eq!(open.warnings(None).len(), 1);
    let narrow = json!({"name": "x", "decision": "allow", "include": [{"everyone": {}}], "require": [{"geo": {"country_code": "DE"}}]});
    assert!(policy(&narrow).unwrap().warnings(None).is_empty());
}
