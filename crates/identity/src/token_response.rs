//! What a provider's token and user-info endpoints answer (RFC 6749 section 5, OpenID Connect Core 1.0 section 5.3).
//!
//! Decides whether an answer can be used and how user-info joins the ID token's claims; whether the ID token is good is
//! [`crate::relying_party`]. Invariant: user-info adds to a person and never contradicts: it is of the same `sub`, and no
//! claim the signed token makes is replaced by one that is not signed.

use serde::Deserialize;
use serde_json::{Map, Value};
use types::Secret;

use crate::jose::MAX_TOKEN;

/// Longest answer of a token or user-info endpoint, in bytes.
pub const MAX_ANSWER: usize = 128 * 1_024;

/// A successful answer of a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenResponse {
    /// Visible ASCII, so that it can stand in a header.
    pub access_token: Secret<String>,
    id_token: Option<Secret<String>>,
}

/// Why an answer of a provider's endpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the identity provider's answer is too large")]
    TooLarge,
    #[error("the identity provider's answer is not the JSON that was expected")]
    Malformed,
    /// The provider's error code, of letters, digits and `_`.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    #[error("the identity provider answered with status {0}")]
    Status(u16),
    #[error("the identity provider's access token is not a bearer token")]
    TokenType,
    #[error("the identity provider sent no ID token")]
    NoIdToken,
    #[error("the user-info answer is about somebody else than the ID token")]
    OtherSubject,
}

#[derive(Deserialize)]
struct Success {
    access_token: String,
    token_type: String,
    id_token: Option<String>,
}

impl TokenResponse {
    /// Reads an answer. An `error` member makes it a refusal whatever the status, for GitHub sends those with 200.
    ///
    /// # Errors
    /// If it is a refusal, or no usable token.
    pub fn parse(status: u16, body: &[u8]) -> Result<Self, AnswerError> {
        let members = members(status, body)?;
        let found: Success = serde_json::from_value(Value::Object(members)).map_err(|_| AnswerError::Malformed)?;
        // RFC 6749 section 7.1: a client must not use a token of a type it does not understand.
        if !found.token_type.eq_ignore_ascii_case("bearer") {
            return Err(AnswerError::TokenType);
        }
        let plain = |text: &str| (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !plain(&found.access_token) || found.id_token.as_deref().is_some_and(|token| !plain(token)) {
            return Err(AnswerError::Malformed);
        }
        Ok(Self { access_token: Secret::new(found.access_token), id_token: found.id_token.map(Secret::new) })
    }

    /// Returns the ID token, which an OpenID provider must send.
    ///
    /// # Errors
    /// If there is none.
    pub fn id_token(&self) -> Result<&Secret<String>, AnswerError> {
        self.id_token.as_ref().ok_or(AnswerError::NoIdToken)
    }
}

/// Reads an object, or the error it says it is.
pub(crate) fn members(status: u16, body: &[u8]) -> Result<Map<String, Value>, AnswerError> {
    if body.len() > MAX_ANSWER {
        return Err(AnswerError::TooLarge);
    }
    let members: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    if let Some(error) = members.as_ref().and_then(|members| members.get("error")) {
        let code = error.as_str().unwrap_or_default();
        let plain: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        return Err(AnswerError::Refused(plain));
    }
    if status != 200 {
        return Err(AnswerError::Status(status));
    }
    members.ok_or(AnswerError::Malformed)
}

/// Claims about who may use a token, which only the signed token makes.
const PROTOCOL: [&str; 13] =
    ["iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "acr", "acrs", "amr", "azp", "at_hash"];

/// Joins the answer of the user-info endpoint to the claims of an ID token that was checked. A claim the ID token makes
/// stays; how a person signed in is never taken from user-info.
///
/// # Errors
/// If the answer is not an object or is about another `sub` (Core section 5.3.2).
pub fn join_user_info(
    mut claims: Map<String, Value>,
    status: u16,
    body: &[u8],
) -> Result<Map<String, Value>, AnswerError> {
    let info = members(status, body)?;
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    if subject.is_none() || info.get("sub").and_then(Value::as_str) != subject {
        return Err(AnswerError::OtherSubject);
    }
    // The two members speak of one address: whether it is verified is taken from where it stands.
    let same_address = claims.get("email").is_none_or(|email| info.get("email") == Some(email));
    if !claims.contains_key("email") && info.contains_key("email") {
        claims.remove("email_verified");
    }
    for (name, value) in info {
        let of_another_address = name == "email_verified" && !same_address;
        if !PROTOCOL.contains(&name.as_str()) && !of_another_address {
            claims.entry(name).or_insert(value);
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{AnswerError, MAX_ANSWER, TokenResponse, join_user_info};

    fn parse(status: u16, body: &Value) -> Result<TokenResponse, AnswerError> {
        TokenResponse::parse(status, body.to_string().as_bytes())
    }

    #[test]
    fn a_token_answer_is_used_only_when_it_is_one() {
        let good = json!({"access_token": "a.b", "token_type": "bearer", "id_token": "x.y.z", "expires_in": 300});
        let found = parse(200, &good).unwrap();
        assert_eq!(
            (found.access_token.expose().as_str(), found.id_token().unwrap().expose().as_str()),
            ("a.b", "x.y.z")
        );
        assert!(!format!("{found:?}").contains("a.b"));
        let with = |member: &str, value: Value| {
            let mut body = good.clone();
            body[member] = value;
            body
        };
        for (status, body, expected) in [
            (
                400,
                json!({"error": "invalid_grant", "error_description": "<b>"}),
                AnswerError::Refused("invalid_grant".into()),
            ),
            (
                200,
                json!({"error": "bad_verification_code<script>"}),
                AnswerError::Refused("bad_verification_codescript".into()),
            ),
            (200, with("error", json!("x")), AnswerError::Refused("x".into())),
            (200, with("error", json!({})), AnswerError::Refused(String::new())),
            (500, json!({}), AnswerError::Status(500)),
            (201, good.clone(), AnswerError::Status(201)),
            (200, with("token_type", json!("mac")), AnswerError::TokenType),
            (200, with("token_type", Value::Null), AnswerError::Malformed),
            (200, with("access_token", json!("")), AnswerError::Malformed),
            (200, with("access_token", json!("a\r\nCookie: b")), AnswerError::Malformed),
            (200, with("access_token", json!("a".repeat(20_000))), AnswerError::Malformed),
            (200, with("id_token", json!("x y")), AnswerError::Malformed),
            (200, json!([]), AnswerError::Malformed),
        ] {
            assert_eq!(parse(status, &body), Err(expected), "{body}");
        }
        assert_eq!(TokenResponse::parse(200, &vec![b' '; MAX_ANSWER + 1]), Err(AnswerError::TooLarge));
        assert_eq!(TokenResponse::parse(502, b"<html>"), Err(AnswerError::Status(502)));
        assert_eq!(parse(200, &with("id_token", Value::Null)).unwrap().id_token(), Err(AnswerError::NoIdToken));
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn user_info_adds_to_the_same_person_and_replaces_nothing() {
        let join = |claims: Value, info: Value| join_user_info(object(claims), 200, info.to_string().as_bytes());
        let joined = join(
            json!({"sub": "u1", "amr": ["pwd"], "name": "Ann"}),
            json!({"sub": "u1", "name": "Root", "email": "ann@x.example", "email_verified": true, "amr": ["mfa"], "acr": "3", "acrs": ["c1"]}),
        )
        .unwrap();
        let expected =
            json!({"sub": "u1", "amr": ["pwd"], "name": "Ann", "email": "ann@x.example", "email_verified": true});
        assert_eq!(Value::Object(joined), expected);
        for info in [json!({"sub": "u2"}), json!({}), json!({"sub": 7}), json!({"sub": "U1"})] {
            assert_eq!(join(json!({"sub": "u1"}), info.clone()), Err(AnswerError::OtherSubject), "{info}");
        }
        assert_eq!(join(json!({}), json!({})), Err(AnswerError::OtherSubject));
        assert_eq!(
            join(json!({"sub": "u1"}), json!({"error": "invalid_token"})),
            Err(AnswerError::Refused("invalid_token".into()))
        );
    }

    #[test]
    fn whether_an_address_is_verified_is_said_only_of_that_address() {
        for (claims, info, verified) in [
            // The token says that some address is verified, and user-info names one.
            (json!({"email_verified": true}), json!({"email": "a@x.example"}), None),
            (json!({"email": "a@x.example"}), json!({"email": "b@x.example", "email_verified": true}), None),
            (json!({"email": "a@x.example"}), json!({"email": "a@x.example", "email_verified": false}), Some(false)),
            (json!({}), json!({"email": "a@x.example", "email_verified": false}), Some(false)),
        ] {
            let (mut claims, mut info) = (object(claims), object(info));
            claims.insert("sub".into(), json!("u"));
            info.insert("sub".into(), json!("u"));
            let body = Value::Object(info).to_string();
            let joined = join_user_info(claims, 200, body.as_bytes()).unwrap();
            assert_eq!(joined.get("email_verified").and_then(Value::as_bool), verified, "{body}");
        }
    }
}
