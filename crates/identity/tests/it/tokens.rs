//! Tokens of ours and of providers: what is signed, what is published, and every way a token is refused.

use std::net::IpAddr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use identity::app_token::{Subject, TokenError, TokenRequest, metadata, verify};
use identity::audience::Audience;
use identity::external_evaluation::{ReplyError, ask};
use identity::jose::{Algorithm, JoseError, Jwk, Jwks, Unverified, encode};
use identity::keys::{KeyRing, SigningKey};
use identity::service_token::ClientId;
use serde_json::{Value, json};

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: Audience = Audience([7; 32]);

fn key() -> SigningKey {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    SigningKey::parse(der.as_ref(), "-----BEGIN CERTIFICATE-----".to_owned()).unwrap()
}

fn service<'a>(client_id: &'a ClientId, now: i64) -> TokenRequest<'a> {
    TokenRequest { issuer: ISSUER, audience: AUDIENCE, subject: Subject::Service { client_id }, now, expires: now + 60 }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

#[test]
fn a_person_and_a_program_get_the_claims_of_the_reference() {
    let mut person = crate::evaluation::person();
    person.ip = IpAddr::from([10, 0, 0, 9]);
    let custom = ["department".to_owned(), "missing".to_owned()];
    let subject = Subject::Person { identity: &person, nonce: "n-1", custom: &custom };
    let request = TokenRequest { issuer: ISSUER, audience: AUDIENCE, subject, now: 100, expires: 160 };
    assert_eq!(
        Value::Object(request.claims()),
        json!({
            "aud": [AUDIENCE.to_string()], "iss": ISSUER, "iat": 100, "exp": 160, "nbf": 100, "type": "app",
            "sub": "00000000-0000-0000-0000-000000000001", "email": "ann@example.com", "identity_nonce": "n-1",
            "country": "DE", "custom": {"department": "r&d"},
        })
    );
    let id = ClientId::of([1; 16]);
    assert_eq!(
        Value::Object(service(&id, 100).claims()),
        json!({"aud": [AUDIENCE.to_string()], "iss": ISSUER, "iat": 100, "exp": 160, "type": "app", "sub": "",
            "common_name": "01010101010101010101010101010101.access"})
    );
}

#[test]
fn a_persons_token_fits_a_cookie_whatever_their_provider_said() {
    use std::sync::Arc;
    use std::time::Duration;

    use identity::application::SameSite;
    use identity::cookie::{AUTHORIZATION, Cookie};
    use identity::identity::ProviderClaims;

    let mut person = crate::evaluation::person();
    let claim = |name: &str, value: String| Arc::new((Box::from(name), value.into()));
    let mut claims = vec![claim("small", "kept".into())];
    claims.extend((0..400).map(|number| claim(&format!("claim-{}", number % 20), format!("{number}").repeat(60))));
    person.steps = [ProviderClaims { claims: claims.into(), ..person.steps[0].clone() }].into();
    person.email = format!("{}@example.com", "x".repeat(240)).parse().unwrap();
    let custom: Vec<String> =
        (0..20).map(|number| format!("claim-{number}")).chain(["small".to_owned()]).rev().collect();
    let subject = Subject::Person { identity: &person, nonce: &"n".repeat(43), custom: &custom };
    let request = TokenRequest { issuer: ISSUER, audience: AUDIENCE, subject, now: 100, expires: 160 };
    assert_eq!(request.claims()["custom"]["small"], json!("kept"));
    let token = request.sign(&KeyRing::new(key(), None)).unwrap();
    assert!(
        Cookie::own(AUTHORIZATION, &token, Duration::from_secs(60), SameSite::None).header().is_ok(),
        "{}",
        token.len()
    );
}

#[test]
fn a_token_is_accepted_by_its_own_application_while_it_lasts() {
    let (id, keys) = (ClientId::of([1; 16]), KeyRing::new(key(), None));
    let token = service(&id, 100).sign(&keys).unwrap();
    assert_eq!(verify(&token, &keys, ISSUER, AUDIENCE, 159).unwrap().common_name.as_deref(), Some(id.as_str()));
    for (issuer, audience, now, expected) in [
        ("https://evil.example", AUDIENCE, 110, TokenError::Issuer),
        (ISSUER, Audience([8; 32]), 110, TokenError::Audience),
        (ISSUER, AUDIENCE, 160, TokenError::Expired),
        (ISSUER, AUDIENCE, 30, TokenError::Early),
    ] {
        assert_eq!(verify(&token, &keys, issuer, audience, now), Err(expected));
    }
    let other = KeyRing::new(key(), None);
    assert_eq!(verify(&token, &other, ISSUER, AUDIENCE, 110), Err(TokenError::Jose(JoseError::UnknownKey)));
    let kind = metadata(&keys, "wiki.example.com", "login.example.com", AUDIENCE, 100).unwrap();
    assert_eq!(verify(&kind, &keys, ISSUER, AUDIENCE, 110), Err(TokenError::Issuer));
}

#[test]
fn the_key_before_a_rotation_is_accepted_until_its_overlap_ends() {
    let id = ClientId::of([1; 16]);
    let old = KeyRing::new(key(), None);
    let token = service(&id, 100).sign(&old).unwrap();
    let KeyDocument { kids, certificates } = document(&old, 100);
    assert_eq!((kids.len(), certificates), (1, 1));
    let parts = KeyRing::new(key(), Some((old.into_current(), 120)));
    assert_eq!(document(&parts, 119).kids.len(), 2);
    assert!(verify(&token, &parts, ISSUER, AUDIENCE, 119).is_ok());
    assert_eq!(verify(&token, &parts, ISSUER, AUDIENCE, 120), Err(TokenError::Jose(JoseError::UnknownKey)));
    assert_eq!(document(&parts, 120).kids.len(), 1);
}

struct KeyDocument {
    kids: Vec<String>,
    certificates: usize,
}

fn document(keys: &KeyRing, now: i64) -> KeyDocument {
    let document = keys.document(now);
    assert_eq!(document["public_cert"]["kid"], json!(keys.current().kid()));
    let kids = document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned());
    KeyDocument { kids: kids.collect(), certificates: document["public_certs"].as_array().unwrap().len() }
}

#[test]
fn a_forged_token_is_refused_whatever_its_header_says() {
    let keys = KeyRing::new(key(), None);
    let kid = keys.current().kid().to_owned();
    let claims = json!({"iss": ISSUER, "aud": [AUDIENCE.to_string()], "type": "app", "iat": 100, "exp": 1_000});
    let good = keys.current().sign(&claims).unwrap();
    let signature = good.rsplit('.').next().unwrap();
    // The public key as the secret of an HMAC, which a confused verifier would accept.
    let modulus = keys.jwks(0).keys[0].n.clone().unwrap();
    let message = unsigned(&json!({"alg": "HS256", "kid": kid}), &claims);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, modulus.as_bytes()), message.as_bytes());
    let with = |header: Value| format!("{}.{signature}", unsigned(&header, &claims));
    for (token, expected) in [
        (format!("{message}.{}", encode(mac.as_ref())), JoseError::Algorithm),
        (format!("{}.", unsigned(&json!({"alg": "none", "kid": kid}), &claims)), JoseError::Algorithm),
        (with(json!({"alg": "rs256", "kid": kid})), JoseError::Algorithm),
        (with(json!({"alg": "RS512", "kid": kid})), JoseError::Algorithm),
        (with(json!({"kid": kid})), JoseError::Algorithm),
        (with(json!({"alg": "RS256"})), JoseError::UnknownKey),
        (with(json!({"alg": "RS256", "kid": "../../etc/passwd"})), JoseError::UnknownKey),
        (with(json!({"alg": "RS256", "kid": kid.to_uppercase()})), JoseError::UnknownKey),
        (with(json!({"alg": "RS256", "kid": 7})), JoseError::Malformed),
        (with(json!({"alg": "RS256", "kid": kid, "crit": ["b64"], "b64": false})), JoseError::Critical),
        (with(json!({"alg": "RS256", "kid": kid, "jwk": {"kty": "RSA"}})), JoseError::Signature),
        // One name twice: the last counts, and the signature covers both.
        (
            format!(
                "{}.{}.{signature}",
                encode(format!(r#"{{"alg":"none","alg":"RS256","kid":"{kid}"}}"#).as_bytes()),
                encode(claims.to_string().as_bytes())
            ),
            JoseError::Signature,
        ),
        (
            format!("{}.{signature}", unsigned(&json!({"alg": "RS256", "kid": kid}), &json!("x".repeat(20_000)))),
            JoseError::TooLarge,
        ),
        (format!("{}=.{}", good.split('.').next().unwrap(), good.split_once('.').unwrap().1), JoseError::Malformed),
        (format!("{}.AAAA", good.rsplit_once('.').unwrap().0), JoseError::Signature),
        (format!("{good}.x"), JoseError::Malformed),
        ("a.b".to_owned(), JoseError::Malformed),
        (String::new(), JoseError::Malformed),
        ("a".repeat(20_000), JoseError::TooLarge),
    ] {
        assert_eq!(keys.verify(&token, 0), Err(expected), "{token}");
    }
    let (head, _) = good.split_once('.').unwrap();
    let stretched = json!({"iss": ISSUER, "exp": 9_999});
    let changed = format!("{head}.{}.{signature}", encode(stretched.to_string().as_bytes()));
    assert_eq!(keys.verify(&changed, 0), Err(JoseError::Signature));
}

#[test]
fn a_providers_key_is_used_for_its_own_algorithm_alone() {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = Jwk {
        kty: "EC".into(),
        crv: Some("P-256".into()),
        kid: Some("k1".into()),
        x: Some(encode(&point[1..33])),
        y: Some(encode(&point[33..])),
        ..Jwk::default()
    };
    let set = |keys: &[Jwk]| Jwks { keys: keys.to_vec() };
    let sign = |header: Value| {
        let message = unsigned(&header, &json!({"sub": "x"}));
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signature.as_ref()))
    };
    let check = |token: &str, keys: &Jwks| {
        let all: Vec<Algorithm> = Algorithm::WORDS.iter().map(|(_, algorithm)| *algorithm).collect();
        Unverified::parse(token, &all)?.verify(keys)
    };
    let good = sign(json!({"alg": "ES256", "kid": "k1"}));
    assert_eq!(check(&good, &set(std::slice::from_ref(&jwk))).unwrap()["sub"], json!("x"));
    // A token without a key id is accepted only where one key fits.
    let nameless = sign(json!({"alg": "ES256"}));
    assert!(check(&nameless, &set(std::slice::from_ref(&jwk))).is_ok());
    let second = Jwk { kid: Some("k2".into()), ..jwk.clone() };
    assert_eq!(check(&nameless, &set(&[jwk.clone(), second.clone()])), Err(JoseError::AmbiguousKey));
    for (key, expected) in [
        (second, JoseError::UnknownKey),
        (Jwk { usage: Some("enc".into()), ..jwk.clone() }, JoseError::UnknownKey),
        (Jwk { alg: Some("ES384".into()), ..jwk.clone() }, JoseError::UnknownKey),
        (Jwk { crv: Some("P-384".into()), ..jwk.clone() }, JoseError::UnknownKey),
        (Jwk { y: Some(encode(&[1])), ..jwk.clone() }, JoseError::Malformed),
        (Jwk { y: jwk.x.clone(), ..jwk }, JoseError::Signature),
    ] {
        assert_eq!(check(&good, &set(std::slice::from_ref(&key))), Err(expected), "{key:?}");
    }
}

#[test]
fn a_key_set_that_is_hostile_is_refused() {
    let key = json!({"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"});
    let set = |keys: Vec<Value>| json!({"keys": keys}).to_string();
    for (text, expected) in [
        (set(vec![key.clone(); 65]), JoseError::TooLarge),
        (format!("{}{}", " ".repeat(1_100_000), set(vec![])), JoseError::TooLarge),
        ("[".repeat(100_000), JoseError::Malformed),
        (r#"{"keys":[{"kty":"RSA","kty":"EC"}]}"#.to_owned(), JoseError::Malformed),
        ("{}".to_owned(), JoseError::Malformed),
    ] {
        assert_eq!(Jwks::parse(text.as_bytes()), Err(expected));
    }
    // Two keys of one id: which of them signed would be a guess.
    let twice = Jwks::parse(set(vec![key.clone(), key]).as_bytes()).unwrap();
    let token = format!("{}.AAAA", unsigned(&json!({"alg": "RS256", "kid": "k"}), &json!({})));
    let outcome = Unverified::parse(&token, &[Algorithm::Rs256]).unwrap().verify(&twice);
    assert_eq!(outcome, Err(JoseError::AmbiguousKey));
}

#[test]
fn another_service_says_yes_only_to_the_question_it_was_asked() {
    let (ours, theirs) = (KeyRing::new(key(), None), KeyRing::new(key(), None));
    let question = ask(&ours, &json!({"email": "ann@example.com"}), [5; 32], 1_000).unwrap();
    let sent = ours.verify(question.body["token"].as_str().unwrap(), 1_000).unwrap();
    assert_eq!((&sent["identity"]["email"], &sent["exp"]), (&json!("ann@example.com"), &json!(1_060)));
    let good = json!({"success": true, "iat": 1_001, "exp": 1_061, "nonce": sent["nonce"]});
    let reply = |claims: &Value| json!({"token": theirs.current().sign(claims).unwrap()}).to_string();
    let answer = |claims: &Value, keys: &KeyRing| question.answer(reply(claims).as_bytes(), &keys.jwks(0), 1_010);
    assert_eq!(answer(&good, &theirs), Ok(true));
    assert_eq!(answer(&good, &ours), Err(ReplyError::FreshKeys));
    for (member, value, expected) in [
        ("success", json!(false), Ok(false)),
        ("success", json!("true"), Err(ReplyError::Malformed)),
        ("nonce", json!("x"), Err(ReplyError::Nonce)),
        ("nonce", Value::Null, Err(ReplyError::Nonce)),
        ("exp", json!(900), Err(ReplyError::Time)),
        ("exp", Value::Null, Err(ReplyError::Time)),
        ("iat", json!(2_000), Err(ReplyError::Time)),
    ] {
        let mut claims = good.clone();
        claims[member] = value;
        assert_eq!(answer(&claims, &theirs), expected, "{member}");
    }
    assert_eq!(question.answer(br#"{"success":true}"#, &theirs.jwks(0), 1_010), Err(ReplyError::Malformed));
    // Our own question sent back is signed by our key, which is not the service's.
    let echo = question.body.to_string();
    assert_eq!(question.answer(echo.as_bytes(), &theirs.jwks(0), 1_010), Err(ReplyError::FreshKeys));
}
