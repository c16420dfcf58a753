//! The example of `docs/access-verify.md` for Rust, and what it makes of our tokens and of forged ones.
//!
//! The page's code is `example`, word for word: a test holds the two against each other.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use identity::app_token::{Subject, TokenRequest};
use identity::audience::Audience;
use identity::jose::encode;
use identity::keys::{KeyRing, SigningKey};
use identity::service_token::ClientId;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use self::example::{Refused, verify};

#[rustfmt::skip]
#[expect(unreachable_pub, dead_code, reason = "word for word what the page shows")]
mod example {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors};
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    pub struct Claims {
        pub sub: String,
        pub email: Option<String>,
        /// The client id of a service token.
        pub common_name: Option<String>,
    }

    #[derive(Debug)]
    pub enum Refused {
        /// None of these keys signed it; there may be newer ones.
        UnknownKey,
        Token(errors::Error),
    }

    impl From<errors::Error> for Refused {
        fn from(error: errors::Error) -> Self {
            Self::Token(error)
        }
    }

    /// Returns the claims of the token in `Cf-Access-Jwt-Assertion`. `keys` is the JSON at `/cdn-cgi/access/certs`.
    pub fn verify(token: &str, keys: &JwkSet, issuer: &str, audience: &str) -> Result<Claims, Refused> {
        let kid = decode_header(token)?.kid.ok_or(Refused::UnknownKey)?;
        let key = keys.find(&kid).ok_or(Refused::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.leeway = 0;
        Ok(decode::<Claims>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims)
    }
}

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: Audience = Audience([7; 32]);

fn key() -> SigningKey {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    SigningKey::parse(der.as_ref(), String::new()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the example reads the machine's clock")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn claims(now: i64) -> Value {
    let client_id = ClientId::of([1; 16]);
    let subject = Subject::Service { client_id: &client_id };
    Value::Object(TokenRequest { issuer: ISSUER, audience: AUDIENCE, subject, now, expires: now + 60 }.claims())
}

/// What the page publishes of a key.
fn published(key: SigningKey, now: i64) -> JwkSet {
    serde_json::from_value(KeyRing::new(key, None).document(now)).unwrap()
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

#[test]
fn the_page_shows_this_code() {
    let page = include_str!("../../../../docs/access-verify.md");
    let shown = page.split("```rust file=verify.rs\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let run = include_str!("verify_example.rs")
        .split("mod example {\n")
        .nth(1)
        .and_then(|rest| rest.split("\n}\n\nconst").next());
    let run: Vec<&str> = run.unwrap().lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    assert_eq!(run.join("\n"), shown);
}

#[test]
fn the_example_for_rust_takes_our_tokens_and_refuses_forged_ones() {
    let (now, audience) = (now(), AUDIENCE.to_string());
    let signing = key();
    let kid = signing.kid().to_owned();
    let good = claims(now);
    let token = signing.sign(&good).unwrap();
    let expired = signing.sign(&claims(now - 600)).unwrap();
    let mut endless = good.clone();
    endless.as_object_mut().unwrap().remove("exp");
    let endless = signing.sign(&endless).unwrap();
    let keys = published(signing, now);
    let found = verify(&token, &keys, ISSUER, &audience).unwrap();
    assert_eq!((found.sub.as_str(), found.common_name.as_deref()), ("", good["common_name"].as_str()));
    assert_eq!(found.email, None);

    let header = |alg: &str| json!({"alg": alg, "kid": kid, "typ": "JWT"});
    let confused = |secret: &[u8]| {
        let text = unsigned(&header("HS256"), &good);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", encode(tag.as_ref()))
    };
    let jwk = serde_json::to_value(&keys.keys[0]).unwrap();
    let modulus = jwk["n"].as_str().unwrap();
    let (head, rest) = token.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let mut other = good.clone();
    other["common_name"] = json!("admin");
    for (what, forged) in [
        ("alg none", format!("{}.", unsigned(&header("none"), &good))),
        ("HMAC under the modulus", confused(modulus.as_bytes())),
        ("HMAC under the key as published", confused(jwk.to_string().as_bytes())),
        ("changed claims", format!("{head}.{}.{signature}", encode(other.to_string().as_bytes()))),
        ("expired", expired),
        ("without an end", endless),
        ("nothing", String::new()),
    ] {
        assert!(verify(&forged, &keys, ISSUER, &audience).is_err(), "{what}");
    }
    assert!(verify(&token, &keys, "https://other.example.com", &audience).is_err(), "another issuer");
    assert!(verify(&token, &keys, ISSUER, &Audience([8; 32]).to_string()).is_err(), "another application's audience");

    let strangers = published(key(), now);
    assert!(matches!(verify(&token, &strangers, ISSUER, &audience), Err(Refused::UnknownKey)));
    // Another key that goes by our key's id.
    let mut disguised = serde_json::to_value(&strangers).unwrap();
    disguised["keys"][0]["kid"] = json!(kid);
    let disguised: JwkSet = serde_json::from_value(disguised).unwrap();
    assert!(matches!(verify(&token, &disguised, ISSUER, &audience), Err(Refused::Token(_))));
}
