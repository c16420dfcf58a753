//! Signing in at an OpenID provider: each step as it should be, and each way an answer is forged.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use std::net::IpAddr;

use identity::claims::{ClaimsError, Established, SignInFacts, assemble, chain, establish, lacks, next_step};
use identity::identity::Gaps;
use identity::jose::{Jwks, encode};
use identity::keys::{KeyRing, SigningKey};
use identity::provider::{OidcSettings, Protocol, Provider, ProviderDocument, ProviderType};
use identity::relying_party::{
    Callback, CallbackError, IdTokenError, LoginRandom, Metadata, MetadataError, PendingLogin, begin, logout, redeem,
    verify_id_token,
};
use serde_json::{Map, Value, json};
use types::{ProviderId, UserId};
use url::Url;
use uuid::Uuid;

const ISSUER: &str = "https://id.example.com";

fn settings(extra: &Value) -> OidcSettings {
    let mut config = json!({"client_id": "portunus", "client_secret": "s", "issuer": ISSUER, "claims": ["department"]});
    for (name, value) in extra.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    let document = ProviderDocument::read(&json!({"name": "x", "type": "oidc", "config": config})).unwrap();
    let provider = Provider::parse(ProviderId(Uuid::from_u128(1)), &document).unwrap();
    let Protocol::Oidc(settings) = provider.protocol else { panic!("an OIDC provider") };
    *settings
}

fn description() -> Value {
    json!({
        "issuer": ISSUER, "authorization_endpoint": "https://id.example.com/authorize?tenant=1",
        "token_endpoint": "https://id.example.com/token", "jwks_uri": "https://id.example.com/keys",
        "end_session_endpoint": "https://id.example.com/logout", "authorization_response_iss_parameter_supported": true,
    })
}

fn metadata() -> Metadata {
    Metadata::parse(description().to_string().as_bytes(), &Url::parse(ISSUER).unwrap()).unwrap()
}

fn callback_url() -> Url {
    Url::parse("https://login.example.com/cdn-cgi/access/callback").unwrap()
}

fn start(settings: &OidcSettings) -> (Url, PendingLogin) {
    let random = LoginRandom { state: [1; 32], nonce: [2; 32], verifier: [3; 32] };
    begin(ProviderId(Uuid::from_u128(1)), settings, &metadata(), &callback_url(), &random, 1_000)
}

#[test]
fn a_description_is_believed_only_from_its_own_issuer() {
    let issuer = Url::parse(ISSUER).unwrap();
    assert_eq!(Metadata::location(&issuer), "https://id.example.com/.well-known/openid-configuration");
    for (member, value, expected) in [
        ("issuer", json!("https://evil.example"), MetadataError::Issuer),
        ("issuer", json!("https://id.example.com.evil.example"), MetadataError::Issuer),
        ("token_endpoint", json!("http://id.example.com/token"), MetadataError::Endpoint("token_endpoint")),
        ("jwks_uri", Value::Null, MetadataError::Endpoint("jwks_uri")),
        ("issuer", Value::Null, MetadataError::Malformed),
    ] {
        let mut document = description();
        document[member] = value;
        assert_eq!(Metadata::parse(document.to_string().as_bytes(), &issuer), Err(expected), "{member}");
    }
}

#[test]
fn the_browser_is_sent_with_state_nonce_and_challenge() {
    let (url, _) = start(&settings(&json!({})));
    let challenge = encode(digest(&SHA256, encode(&[3; 32]).as_bytes()).as_ref());
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "portunus"),
        ("redirect_uri", callback_url().as_str()),
        ("scope", "openid email profile"),
        ("state", &encode(&[1; 32])),
        ("nonce", &encode(&[2; 32])),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ] {
        assert!(query.contains(&(name.to_owned(), value.to_owned())), "{name}: {query:?}");
    }
    let out = logout(&settings(&json!({})), &metadata(), None, &callback_url()).unwrap();
    assert!(out.as_str().starts_with("https://id.example.com/logout?client_id=portunus&post_logout_redirect_uri="));
}

#[test]
fn an_answer_belongs_to_the_login_that_asked() {
    let settings = settings(&json!({}));
    let (_, pending) = start(&settings);
    let state = encode(&[1; 32]);
    let good = Callback { state: Some(&state), code: Some("c"), iss: Some(ISSUER), error: None };
    for (callback, now, expected) in [
        (Callback { state: None, ..good }, 1_001, CallbackError::State),
        (Callback { state: Some("x"), ..good }, 1_001, CallbackError::State),
        (good, 1_900, CallbackError::Expired),
        (Callback { iss: Some("https://evil.example"), ..good }, 1_001, CallbackError::Issuer),
        (Callback { iss: None, ..good }, 1_001, CallbackError::Issuer),
        (Callback { error: Some("access_denied<b>"), ..good }, 1_001, CallbackError::Refused("access_deniedb".into())),
        (Callback { code: None, ..good }, 1_001, CallbackError::NoCode),
    ] {
        assert_eq!(redeem(&callback, &pending, &settings, &metadata(), &callback_url(), now), Err(expected));
    }
    let form = redeem(&good, &pending, &settings, &metadata(), &callback_url(), 1_001).unwrap();
    assert!(form.contains(&("code_verifier", encode(&[3; 32]))) && form.contains(&("code", "c".to_owned())));
}

#[test]
fn an_answer_that_names_an_issuer_elsewhere_is_refused_where_none_was_configured() {
    let settings = settings(&json!({}));
    let metadata = Metadata { issuer: None, names_itself: false, ..metadata() };
    let (_, pending) = start(&settings);
    assert!(!format!("{pending:?}").contains(&encode(&[2; 32])), "a nonce is a secret");
    let state = encode(&[1; 32]);
    for (iss, accepted) in [
        (None, true),
        (Some("https://id.example.com/tenant"), true),
        (Some("https://evil.example"), false),
        (Some("https://id.example.com@evil.example"), false),
        (Some("id.example.com"), false),
        (Some(""), false),
    ] {
        let callback = Callback { state: Some(&state), code: Some("c"), iss, error: None };
        let found = redeem(&callback, &pending, &settings, &metadata, &callback_url(), 1_001);
        assert_eq!(found.is_ok(), accepted, "{iss:?}");
    }
}

#[test]
fn an_id_token_is_believed_only_for_this_sign_in() {
    let key = |_: u8| {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        KeyRing::new(SigningKey::parse(der.as_ref(), String::new()).unwrap(), None)
    };
    let (own, other) = (key(1), key(2));
    let settings = settings(&json!({}));
    let (_, pending) = start(&settings);
    let access = "access-token";
    let hash = digest(&SHA256, access.as_bytes());
    let good = json!({
        "iss": ISSUER, "aud": "portunus", "sub": "u1", "iat": 1_000, "exp": 1_300, "nonce": encode(&[2; 32]),
        "at_hash": encode(&hash.as_ref()[..16]),
    });
    let check = |claims: &Value, keys: &Jwks, now| {
        let token = own.current().sign(claims).unwrap();
        verify_id_token(&token, Some(access), &pending, &settings, &metadata(), keys, now)
    };
    assert!(check(&good, &own.jwks(0), 1_010).is_ok());
    assert_eq!(check(&good, &other.jwks(0), 1_010), Err(IdTokenError::FreshKeys));
    for (member, value, expected) in [
        ("iss", json!("https://evil.example"), IdTokenError::Issuer),
        ("aud", json!("other"), IdTokenError::Audience),
        ("aud", json!(["portunus", "other"]), IdTokenError::Audience),
        ("azp", json!("other"), IdTokenError::Audience),
        ("exp", json!(900), IdTokenError::Time),
        ("exp", Value::Null, IdTokenError::Time),
        ("iat", json!(1_200), IdTokenError::Time),
        ("nbf", json!(1_200), IdTokenError::Time),
        ("nbf", json!("soon"), IdTokenError::Time),
        ("exp", json!("9999999999"), IdTokenError::Time),
        ("aud", json!({"portunus": true}), IdTokenError::Audience),
        ("azp", json!(7), IdTokenError::Audience),
        ("nonce", json!("x"), IdTokenError::Nonce),
        ("nonce", Value::Null, IdTokenError::Nonce),
        ("at_hash", json!("x"), IdTokenError::AccessToken),
        ("at_hash", json!(["x"]), IdTokenError::AccessToken),
        ("at_hash", Value::Null, IdTokenError::AccessToken),
        ("sub", json!(""), IdTokenError::Subject),
    ] {
        let mut claims = good.clone();
        claims[member] = value;
        assert_eq!(check(&claims, &own.jwks(0), 1_010), Err(expected), "{member}");
    }
    let mut both = good.clone();
    both["aud"] = json!(["portunus", "other"]);
    both["azp"] = json!("portunus");
    assert!(check(&both, &own.jwks(0), 1_010).is_ok());
    // Clocks may differ by a minute, and no more.
    assert!(check(&good, &own.jwks(0), 1_359).is_ok());
    assert_eq!(check(&good, &own.jwks(0), 1_360), Err(IdTokenError::Time));
}

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn claims_make_a_person() {
    let provider = ProviderId(Uuid::from_u128(1));
    let found = establish(
        provider,
        &settings(&json!({})),
        &claims(json!({
            "email": "Ann@Example.com", "email_verified": true, "name": "Ann", "amr": ["mfa", "hwk"], "department": ["r&d", "ops"],
            "Groups": ["eng", {"id": "7", "name": "all"}], "secret": "not kept",
        })),
    )
    .unwrap();
    assert_eq!((found.email.as_str(), found.name.as_str(), found.amr.len()), ("ann@example.com", "Ann", 2));
    let kept: Vec<String> = found.claims.claims.iter().map(|claim| format!("{}={}", claim.0, claim.1)).collect();
    assert_eq!(kept, ["department=r&d", "department=ops"]);
    let names: Vec<&str> = found.claims.groups.iter().map(|group| &*group.name).collect();
    assert_eq!(names, ["eng", "all"]);
    for (value, expected) in [
        (json!({}), ClaimsError::NoEmail),
        (json!({"email": "nobody"}), ClaimsError::NoEmail),
        (json!({"email": "a@b.example", "email_verified": false}), ClaimsError::Unverified),
        (json!({"email": "a@b.example", "email_verified": "false"}), ClaimsError::Unverified),
        (json!({"email": "a@b.example", "email_verified": "False"}), ClaimsError::Unverified),
        (json!({"email": "a@b.example", "email_verified": 0}), ClaimsError::Unverified),
        (json!({"email": "a@b.example", "email_verified": null}), ClaimsError::Unverified),
        // The Kelvin sign is `k` in lower case: another mailbox, and not this one.
        (json!({"email": "mar\u{212A}@b.example", "email_verified": true}), ClaimsError::NoEmail),
    ] {
        assert_eq!(establish(provider, &settings(&json!({})), &claims(value)), Err(expected));
    }
    let named = settings(&json!({"email_claim_name": "upn"}));
    assert!(establish(provider, &named, &claims(json!({"upn": "a@b.example", "email_verified": false}))).is_ok());
}

#[test]
fn what_a_provider_leaves_out_of_groups_and_claims_is_a_gap() {
    let (one, many): (Value, Value) = (json!("x"), (0..513).map(|number| format!("g{number}")).collect());
    let (all, long) = (many.as_array().unwrap()[..512].to_vec(), "x".repeat(1_025));
    let elsewhere = json!({"groups": "src1"});
    for (name, extra, config, groups, values) in [
        ("nothing", json!({}), json!({}), false, false),
        ("as many as are kept", json!({"groups": all, "department": all}), json!({}), false, false),
        ("more groups than are kept", json!({"groups": many}), json!({}), true, false),
        ("more groups, as objects", json!({"groups": vec![json!({"id": "7"}); 513]}), json!({}), true, false),
        ("a group that is too long", json!({"groups": [one, long]}), json!({}), true, false),
        ("a group object that is too long", json!({"groups": [{"name": long}]}), json!({}), true, false),
        (
            "Entra with more than 200 groups",
            json!({"_claim_names": elsewhere, "_claim_sources": {}}),
            json!({}),
            true,
            false,
        ),
        ("Entra without room for that", json!({"hasgroups": true}), json!({}), true, false),
        ("groups that are not read", json!({"groups": ["x"]}), json!({"support_groups": false}), true, false),
        ("more values than are kept", json!({"department": many}), json!({}), false, true),
        ("a value that is too long", json!({"department": long}), json!({}), false, true),
        ("a claim that stands elsewhere", json!({"_claim_names": {"department": "src1"}}), json!({}), false, true),
    ] {
        let mut told = claims(json!({"email": "a@b.example"}));
        told.extend(extra.as_object().unwrap().clone());
        let found = establish(ProviderId(Uuid::from_u128(1)), &settings(&config), &told).unwrap();
        assert_eq!(found.claims.gaps, Gaps { groups, claims: values }, "{name}");
        assert!(found.claims.groups.len() <= 512 && found.claims.claims.len() <= 512, "{name}");
    }
}

#[test]
fn the_groups_of_a_provider_that_names_none_are_not_known() {
    for (kind, more, known) in [
        ("google", json!({}), false),
        ("google-apps", json!({"apps_domain": "x.example"}), false),
        ("azureAD", json!({"directory_id": "d-1"}), false),
        ("azureAD", json!({"directory_id": "d-1", "support_groups": true}), true),
        ("okta", json!({"okta_account": "x.okta.example"}), true),
    ] {
        let mut config = json!({"client_id": "portunus", "client_secret": "s"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let document = ProviderDocument::read(&json!({"name": "x", "type": kind, "config": config})).unwrap();
        let id = ProviderId(Uuid::from_u128(1));
        let Protocol::Oidc(settings) = Provider::parse(id, &document).unwrap().protocol else { panic!("{kind}") };
        let found = establish(id, &settings, &claims(json!({"email": "a@b.example"}))).unwrap();
        assert_eq!(found.claims.gaps.groups, !known, "{kind} {more}");
    }
}

#[test]
fn user_info_is_wanted_for_what_the_token_does_not_say() {
    let full = json!({"email": "a@b.example", "name": "Ann", "department": "r&d", "groups": []});
    assert!(!lacks(&settings(&json!({})), &claims(full.clone())));
    for member in ["email", "name", "department", "groups"] {
        let mut short = full.clone();
        short.as_object_mut().unwrap().remove(member);
        assert!(lacks(&settings(&json!({})), &claims(short)), "{member}");
    }
    assert!(lacks(&settings(&json!({"email_claim_name": "upn"})), &claims(full.clone())));
    let mut ungrouped = full;
    ungrouped.as_object_mut().unwrap().remove("groups");
    assert!(!lacks(&settings(&json!({"support_groups": false})), &claims(ungrouped)));
}

#[test]
fn a_login_chain_is_passed_in_order_by_one_person() {
    let step = |number, email: &str| -> Established {
        let provider = ProviderId(Uuid::from_u128(number));
        establish(provider, &settings(&json!({})), &claims(json!({"email": email}))).unwrap()
    };
    let wanted = [1, 2].map(|number| ProviderId(Uuid::from_u128(number)));
    let mut passed = Vec::new();
    assert_eq!(next_step(&wanted, &passed), Some(wanted[0]));
    chain(&mut passed, step(1, "ann@example.com")).unwrap();
    assert_eq!(next_step(&wanted, &passed), Some(wanted[1]));
    assert_eq!(chain(&mut passed, step(2, "bob@example.com")), Err(ClaimsError::OtherPerson));
    assert_eq!(next_step(&wanted, &passed), Some(wanted[1]));
    chain(&mut passed, step(2, "ann@example.com")).unwrap();
    assert_eq!(next_step(&wanted, &passed), None);
    // Passing the second step alone passes nothing.
    assert_eq!(next_step(&wanted, &[step(2, "ann@example.com")]), Some(wanted[0]));
}

#[test]
fn a_finished_chain_becomes_one_identity() {
    let step = |number, email: &str, amr: &str| -> Established {
        let provider = ProviderId(Uuid::from_u128(number));
        let claims =
            claims(json!({"email": email, "amr": [amr, "user"], "name": if number == 2 { "Ann" } else { "" }}));
        establish(provider, &settings(&json!({})), &claims).unwrap()
    };
    let facts = SignInFacts {
        user: UserId(Uuid::from_u128(9)),
        provider_type: ProviderType::Oidc,
        signed_in: 1_000,
        ip: "::ffff:10.0.0.1".parse().unwrap(),
        country: Some(*b"DE"),
    };
    let wanted = [1, 2].map(|number| ProviderId(Uuid::from_u128(number)));
    let (first, second) = (step(1, "ann@example.com", "pwd"), step(2, "ann@example.com", "face"));
    let found = assemble(&wanted, vec![first.clone(), second.clone()], facts).unwrap();
    assert_eq!((found.provider, &*found.name, found.email.as_str()), (wanted[0], "Ann", "ann@example.com"));
    assert_eq!(found.ip, IpAddr::from([10, 0, 0, 1]));
    let amr: Vec<&str> = found.amr.iter().map(|value| &**value).collect();
    assert_eq!((amr, found.steps.len()), (vec!["pwd", "user", "face"], 2));
    let other = step(2, "bob@example.com", "face");
    for (wanted, steps, expected) in [
        (&wanted[..], vec![first.clone()], ClaimsError::Unfinished),
        (&wanted[..], vec![second.clone(), first.clone()], ClaimsError::Unfinished),
        (&wanted[..], vec![first.clone(), other], ClaimsError::OtherPerson),
        (&[], vec![], ClaimsError::Unfinished),
    ] {
        assert_eq!(assemble(wanted, steps, facts), Err(expected));
    }
    // Going back to the first step leads through the second one again, and to an end.
    let mut passed = vec![first.clone(), second.clone()];
    chain(&mut passed, first).unwrap();
    assert_eq!(next_step(&wanted, &passed), Some(wanted[1]));
    chain(&mut passed, second).unwrap();
    assert_eq!(next_step(&wanted, &passed), None);
}
