//! Every document of Access: what is read on the wire, what is refused and how, and what stays readable in the store.

use identity::access_policy::{Decision, Policy, PolicyDocument};
use identity::application::{Application, ApplicationDocument, ApplicationKind, PolicyLink};
use identity::approval::{ApprovalRequest, State};
use identity::audience::Audience;
use identity::certificate::{CertificateDocument, ClientAuthorities};
use identity::document::{Problem, read_stored};
use identity::group::{Group, GroupDocument};
use identity::organization::{Organization, OrganizationDocument};
use identity::provider::{Provider, ProviderDocument};
use identity::selector::Selector;
use identity::service_token::ServiceToken;
use identity::tag::{CustomPageDocument, TagDocument};
use serde_json::{Value, json};
use types::{AccessGroupId, AccessPolicyId, ApplicationId, CertificateId, ProviderId};
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

    let value = golden("certificate", include_str!("../golden/certificate.1.json"));
    let document: CertificateDocument = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    ClientAuthorities::parse(CertificateId(Uuid::nil()), &document).unwrap();

    let value = golden("tag", include_str!("../golden/tag.1.json"));
    let document: TagDocument = read_stored(&value).unwrap();
    assert_eq!((serde_json::to_value(&document).unwrap(), TagDocument::read(&value)), (value, Ok(document)));

    let value = golden("custom page", include_str!("../golden/custom_page.1.json"));
    let document: CustomPageDocument = read_stored(&value).unwrap();
    assert_eq!((serde_json::to_value(&document).unwrap(), CustomPageDocument::read(&value)), (value, Ok(document)));

    let value = golden("approval", include_str!("../golden/approval.1.json"));
    let request: ApprovalRequest = read_stored(&value).unwrap();
    assert_eq!(request.state(5_599), State::Granted { until: 5_600 });
    assert_eq!(serde_json::to_value(&request).unwrap(), value);

    let value = golden("person from SCIM", include_str!("../golden/scim_user.1.json"));
    let user: scim::user::User = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&user).unwrap(), value);

    let value = golden("group from SCIM", include_str!("../golden/scim_group.1.json"));
    let group: scim::group::Group = read_stored(&value).unwrap();
    assert_eq!(serde_json::to_value(&group).unwrap(), value);

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
fn a_launcher_is_read_with_its_looks_and_names_what_it_gets_wrong() {
    let picture = "data:image/svg+xml;base64,PHN2Zy8+";
    let document = json!({
        "type": "app_launcher", "name": "Launcher", "app_launcher_logo_url": picture, "bg_color": "#ABC",
        "header_bg_color": "#102030", "footer_links": [{"name": "Help", "url": "https://help.example/"}],
        "landing_page_design": {"button_color": "#fff", "title": "Hello", "image_url": "https://x.example/a.png"},
        "skip_app_launcher_login_page": true, "allowed_idps": [ID], "auto_redirect_to_identity": true,
        "session_duration": "2h", "policies": [ID],
    });
    let app = application(&document).unwrap();
    let ApplicationKind::Launcher(launcher) = &app.kind else { panic!("{app:?}") };
    assert_eq!(launcher.background.map(|colour| colour.to_string()).as_deref(), Some("#aabbcc"));
    assert_eq!(launcher.logo.as_ref().map(url::Url::as_str), Some(picture));
    assert_eq!(launcher.landing.title.as_deref(), Some("Hello"));
    assert!(launcher.skip_landing && launcher.footer.len() == 1 && app.door().is_some());
    let shown = ApplicationDocument::read(&document).unwrap().show();
    for (member, value) in document.as_object().unwrap() {
        assert_eq!(shown.get(member), Some(value), "{member}");
    }
    let long = format!("data:image/png;base64,{}", "A".repeat(70_000));
    for (member, value, expected) in [
        ("bg_color", json!("blue"), "/bg_color: must be a colour"),
        ("header_bg_color", json!("#fff;}"), "/header_bg_color: must be a colour"),
        ("app_launcher_logo_url", json!("data:image/svg+xml,<svg/>"), "/app_launcher_logo_url: must be `data:"),
        ("app_launcher_logo_url", json!(long), "/app_launcher_logo_url: must be `data:"),
        ("footer_links", json!([{"name": "x", "url": "javascript:alert(1)"}]), "/footer_links/0/url: must be an http"),
        ("landing_page_design", json!({"button_color": "1"}), "/landing_page_design/button_color: must be a colour"),
        ("landing_page_design", json!({"image_url": "http://x.example/"}), "/landing_page_design/image_url: must be"),
        ("destinations", json!([]), "/destinations: `destinations` does not belong"),
    ] {
        let mut wrong = document.clone();
        wrong[member] = value;
        let found = faults(application(&wrong));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{member}: {found:?}");
    }
}

#[test]
fn portals_and_mcp_servers_are_applications() {
    let portal = json!({
        "type": "mcp_portal", "name": "Agents", "domain": "mcp.example.com",
        "destinations": [{"type": "public", "uri": "mcp.example.com"}], "oauth_configuration": {"enabled": true},
    });
    let app = application(&portal).unwrap();
    let ApplicationKind::McpPortal(inner) = &app.kind else { panic!("{app:?}") };
    assert_eq!((inner.destinations.len(), inner.oauth.is_some(), app.door().is_some()), (1, true, true));
    let server = json!({
        "type": "mcp", "name": "Jira", "destinations": [{"type": "via_mcp_server_portal", "mcp_server_id": "jira"}],
        "policies": [ID], "allowed_idps": [ID],
    });
    let app = application(&server).unwrap();
    let ApplicationKind::McpServer(inner) = &app.kind else { panic!("{app:?}") };
    assert_eq!((inner.server.as_str(), app.policies().len(), app.door().is_none()), ("jira", 1, true));
    let shown = ApplicationDocument::read(&server).unwrap().show();
    assert!(!shown.contains_key("domain") && shown["destinations"] == server["destinations"]);
    for (document, member, value, expected) in [
        (&portal, "portunus", json!({"markdown": true}), "/portunus/markdown: `markdown` does not belong"),
        (&portal, "portunus", json!({"origin": {"url": "http://127.0.0.1:1"}}), "/portunus/origin: `origin` does not"),
        (
            &portal,
            "destinations",
            json!([{"type": "via_mcp_server_portal", "mcp_server_id": "a"}]),
            "/destinations/0/type: ",
        ),
        (&portal, "cors_headers", json!({}), "/cors_headers: `cors_headers` does not belong"),
        (&server, "destinations", json!([]), "/destinations: names the one server"),
        (&server, "destinations", json!([{"type": "public", "uri": "a.example"}]), "/destinations/0: is of type"),
        (&server, "destinations", json!([{"type": "via_mcp_server_portal"}]), "/destinations/0: needs the server's"),
        (&server, "domain", json!("a.example"), "/domain: `domain` does not belong"),
    ] {
        let mut wrong = document.clone();
        wrong[member] = value;
        let found = faults(application(&wrong));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{member}: {found:?}");
    }
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
            json!({"name": "x", "domain": "a.example", "oauth_configuration": {"dynamic_client_registration":
                {"allowed_uris": ["https://b.example/cb/*", "https://b.example/*/cb"]}}}),
            "/oauth_configuration/dynamic_client_registration/allowed_uris/1: a wildcard is only allowed",
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
    assert_eq!(open.warnings(&[]).len(), 1);
    let by_mail = policy(&allow_by(1)).unwrap();
    let (pin, other) = (ProviderId(Uuid::from_u128(1)), ProviderId(Uuid::from_u128(2)));
    assert_eq!((by_mail.warnings(&[other, pin]).len(), by_mail.warnings(&[other]).len()), (1, 0));
    let narrow = json!({"name": "x", "decision": "allow", "include": [{"everyone": {}}], "require": [{"geo": {"country_code": "DE"}}]});
    assert!(policy(&narrow).unwrap().warnings(&[]).is_empty());
}

fn allow_by(provider: u128) -> Value {
    json!({"name": "x", "decision": "allow", "include": [{"login_method": {"id": Uuid::from_u128(provider)}}]})
}

fn certificate(change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Device CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn only_authorities_are_trusted_for_client_certificates() {
    let parse = |certificate: &str, hosts: &Value| {
        let value = json!({"name": "Devices", "certificate": certificate, "associated_hostnames": hosts, "id": "x"});
        ClientAuthorities::parse(CertificateId(Uuid::nil()), &CertificateDocument::read(&value)?)
    };
    let authority = certificate(|_| {});
    let hosts = json!(["Wiki.example.com", "b.example."]);
    let found = parse(&format!("{authority}{}", certificate(|_| {})), &hosts).unwrap();
    assert_eq!(
        (found.hosts, found.authorities.len()),
        (vec!["wiki.example.com".to_owned(), "b.example".to_owned()], 2)
    );
    assert_eq!(found.authorities[0].subject, "CN=Device CA");
    let fingerprint = &found.authorities[0].fingerprint;
    assert!(
        fingerprint.len() == 47
            && fingerprint.bytes().all(|b| b == b':' || b.is_ascii_digit() || b.is_ascii_uppercase())
    );
    let leaf = certificate(|params| params.is_ca = rcgen::IsCa::NoCa);
    let signer = certificate(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]);
    assert!(parse(&signer, &json!([])).is_ok());
    let unusable = certificate(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature]);
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let many: Vec<String> = (0..300).map(|number| format!("h{number}.example.com")).collect();
    for (certificate, hosts, expected) in [
        (leaf.as_str(), &hosts, "/certificate: `CN=Device CA` is not a certificate authority"),
        (&unusable, &hosts, "/certificate: `CN=Device CA` is not a certificate authority"),
        (&key, &hosts, "/certificate: holds a `PRIVATE KEY`"),
        ("", &hosts, "/certificate: must hold a PEM certificate"),
        ("no PEM", &hosts, "/certificate: "),
        (&authority.repeat(40), &hosts, "/certificate: must hold at most 32 certificates"),
        (&"x".repeat(70_000), &hosts, "/certificate: must be at most"),
        (&authority, &json!(["*.example.com"]), "/associated_hostnames/0: must be one host name"),
        (&authority, &json!(["a.example/path"]), "/associated_hostnames/0: must be one host name"),
        (&authority, &json!(["a.example:443"]), "/associated_hostnames/0: must be one host name"),
        (&authority, &json!(many), "/associated_hostnames: must hold at most 256"),
    ] {
        let found = faults(parse(certificate, hosts));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn what_an_organisation_gets_wrong_is_named() {
    let parse = |value: &Value| Organization::parse(&OrganizationDocument::read(value)?);
    let with =
        |member: &str, value: Value| json!({"name": "Example", "auth_domain": "login.example.com", member: value});
    let sound = parse(&with("session_duration", json!("30m"))).unwrap();
    assert!(sound.strict_service_tokens && sound.session.as_secs() == 1_800 && sound.idle.is_none());
    for (value, expected) in [
        (json!({"auth_domain": "login.example.com"}), "/name: must not be empty"),
        (json!({"name": "x"}), "/auth_domain: "),
        (with("auth_domain", json!("https://login.example.com")), "/auth_domain: "),
        (with("auth_domain", json!("*.example.com")), "/auth_domain: "),
        (with("auth_domain", json!("login.example.com/x")), "/auth_domain: "),
        (with("session_duration", json!("14m")), "/session_duration: `14m` is not between"),
        (with("session_duration", json!("745h")), "/session_duration: `745h` is not between"),
        (with("portunus", json!({"idle_timeout": "1s"})), "/portunus/idle_timeout: `1s` is not between"),
        (with("user_seat_expiration_inactive_time", json!("24h")), "/user_seat_expiration_inactive_time: "),
        (with("mfa_required_for_all_apps", json!(true)), "/mfa_required_for_all_apps: needs"),
        (with("mfa_config", json!({"allowed_authenticators": ["sms"]})), "/mfa_config/allowed_authenticators/0: "),
        (
            with(
                "service_token_inactivity",
                json!({"enabled": true, "inactivity_threshold_days": 29, "action": "disable"}),
            ),
            "/service_token_inactivity/inactivity_threshold_days: must be between",
        ),
        (
            with("service_token_inactivity", json!({"action": "explode"})),
            "/service_token_inactivity/action: unknown variant",
        ),
        (
            with("login_design", json!({"background_color": "red;}"})),
            "/login_design/background_color: must be a colour",
        ),
        (
            with("login_design", json!({"logo_path": "http://x.example/l.png"})),
            "/login_design/logo_path: must be an https",
        ),
        (
            with("login_design", json!({"logo_path": "data:text/html;base64,PHA+"})),
            "/login_design/logo_path: must be `data:image/png",
        ),
        (with("login_design", json!({"footer_text": "a\u{7}"})), "/login_design/footer_text: must not hold control"),
        (with("custom_pages", json!({"forbidden": "page"})), "/custom_pages/forbidden: must be the id"),
        (with("colour", json!(1)), "/colour: unknown member"),
    ] {
        let found = faults(parse(&value));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{value}: {found:?}");
    }
}

#[test]
fn approvers_and_headers_are_bounded() {
    let people: Vec<String> = (0..201).map(|number| format!("p{number}@example.com")).collect();
    let value = json!({
        "name": "x", "decision": "allow", "include": [{"everyone": {}}], "approval_required": true,
        "approval_groups": [{"approvals_needed": 1, "email_addresses": people}],
    });
    assert_eq!(faults(policy(&value)), ["/approval_groups: must name at most 200 people"]);
    let header = json!({"name": "x", "domain": "a.example", "read_service_tokens_from_header": "CF-Access-Client-Id"});
    assert!(faults(application(&header))[0].starts_with("/read_service_tokens_from_header: "));
}
