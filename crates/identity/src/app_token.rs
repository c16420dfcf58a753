//! The tokens origins and tools verify: the application token, the CLI's metadata token, and the identity behind them
//! (reference sections 2.2, 2.4 and 2.6).
//!
//! Decides what stands in a token and whether a presented one is ours, for this application and live. A token is only
//! evidence: the session it names is still checked against revocations. Invariant: an accepted token was signed by an
//! accepted key with RS256, names this issuer and this application, and has not expired.

use serde_json::{Map, Value, json};
use types::AccountId;

use crate::audience::Audience;
use crate::evaluation::RequestContext;
use crate::identity::Identity;
use crate::jose::JoseError;
use crate::keys::{KeyError, KeyRing};
use crate::service_token::ClientId;

/// How far ahead of ours another clock may be, in seconds.
pub const SKEW: i64 = 60;
/// Longest claim that is copied into a token, in bytes; larger ones are only in the identity document.
const MAX_CLAIM: usize = 256;
const MAX_CLAIMS: usize = 16;
/// Most that copied claims take in a token, in bytes of JSON: a token must fit a cookie of 4 KB, signature and all.
const MAX_CUSTOM: usize = 1_024;

/// For whom a token is made.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A person; `nonce` is the key their identity is found by, `custom` the names of claims that are copied.
    Person {
        identity: &'a Identity,
        nonce: &'a str,
        custom: &'a [String],
    },
    Service {
        client_id: &'a ClientId,
    },
    /// A client certificate alone.
    Certificate {
        common_name: &'a str,
    },
}

/// Everything a token says.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    /// `https://<auth domain>`.
    pub issuer: &'a str,
    pub audience: Audience,
    pub subject: Subject<'a>,
    /// Seconds since the epoch, as is `expires`.
    pub now: i64,
    pub expires: i64,
}

impl TokenRequest<'_> {
    /// Returns the claims.
    #[must_use]
    pub fn claims(&self) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("aud".into(), json!([self.audience]));
        claims.insert("iss".into(), json!(self.issuer));
        claims.insert("iat".into(), json!(self.now));
        claims.insert("exp".into(), json!(self.expires));
        claims.insert("type".into(), json!("app"));
        match self.subject {
            Subject::Person { identity, nonce, custom } => {
                claims.insert("nbf".into(), json!(self.now));
                claims.insert("sub".into(), json!(identity.user));
                claims.insert("email".into(), json!(identity.email));
                claims.insert("identity_nonce".into(), json!(nonce));
                if let Some(country) = identity.country() {
                    claims.insert("country".into(), json!(country));
                }
                let mut custom = custom_claims(identity, custom);
                let mut left = MAX_CUSTOM;
                custom.retain(|name, value| {
                    let size = json!(name).to_string().len() + value.to_string().len() + 2;
                    let fits = size <= left;
                    left -= if fits { size } else { 0 };
                    fits
                });
                if !custom.is_empty() {
                    claims.insert("custom".into(), Value::Object(custom));
                }
            }
            Subject::Service { client_id } => {
                claims.insert("sub".into(), json!(""));
                claims.insert("common_name".into(), json!(client_id));
            }
            Subject::Certificate { common_name } => {
                claims.insert("sub".into(), json!(""));
                claims.insert("common_name".into(), json!(common_name));
            }
        }
        claims
    }

    /// Signs the token.
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign(&self, keys: &KeyRing) -> Result<String, KeyError> {
        keys.current().sign(&self.claims())
    }
}

fn custom_claims(identity: &Identity, names: &[String]) -> Map<String, Value> {
    let mut custom = Map::new();
    for name in names.iter().take(MAX_CLAIMS) {
        let found = identity.steps.iter().flat_map(|step| step.claims.iter());
        let found = found.filter(|claim| *claim.0 == **name && claim.1.len() <= MAX_CLAIM);
        let mut values: Vec<Value> = found.take(MAX_CLAIMS).map(|claim| json!(claim.1)).collect();
        match values.len() {
            0 => {}
            1 => {
                custom.insert(name.clone(), values.remove(0));
            }
            _ => {
                custom.insert(name.clone(), Value::Array(values));
            }
        }
    }
    custom
}

/// What an accepted token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppToken {
    /// The person's id; empty for a program.
    pub subject: String,
    pub email: Option<String>,
    pub identity_nonce: Option<String>,
    pub common_name: Option<String>,
    pub issued: i64,
    pub expires: i64,
}

/// Why a presented token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    Jose(#[from] JoseError),
    #[error("the token is not from this organisation")]
    Issuer,
    #[error("the token is for another application")]
    Audience,
    #[error("the token is of another kind")]
    Kind,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
}

/// Accepts a token that was presented to an application, in the cookie or in `cf-access-token`.
///
/// # Errors
/// With why it is not accepted.
pub fn verify(token: &str, keys: &KeyRing, issuer: &str, audience: Audience, now: i64) -> Result<AppToken, TokenError> {
    let claims = keys.verify(token, now)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let number = |name: &str| claims.get(name).and_then(Value::as_i64);
    if text("iss") != Some(issuer) {
        return Err(TokenError::Issuer);
    }
    if text("type") != Some("app") {
        return Err(TokenError::Kind);
    }
    let wanted = audience.to_string();
    let audiences = claims.get("aud").and_then(Value::as_array);
    if !audiences.is_some_and(|list| list.iter().any(|one| one.as_str() == Some(&wanted))) {
        return Err(TokenError::Audience);
    }
    let (Some(issued), Some(expires)) = (number("iat"), number("exp")) else { return Err(TokenError::Expired) };
    if now >= expires {
        return Err(TokenError::Expired);
    }
    let starts = number("nbf").unwrap_or(issued).max(issued);
    if starts > now.saturating_add(SKEW) {
        return Err(TokenError::Early);
    }
    let owned = |name: &str| text(name).map(str::to_owned);
    Ok(AppToken {
        subject: owned("sub").unwrap_or_default(),
        email: owned("email"),
        identity_nonce: owned("identity_nonce"),
        common_name: owned("common_name"),
        issued,
        expires,
    })
}

/// Signs the answer to `cf-access-metadata-request`: what a command-line tool must know of an application.
///
/// # Errors
/// If signing fails.
pub fn metadata(
    keys: &KeyRing,
    host: &str,
    auth_domain: &str,
    audience: Audience,
    now: i64,
) -> Result<String, KeyError> {
    keys.current().sign(&json!({
        "type": "match", "hostname": host, "app_hostname": host, "auth_domain": auth_domain, "aud": audience, "iat": now,
    }))
}

/// Writes the document of `/cdn-cgi/access/get-identity`, which is also what an external evaluation is sent.
#[must_use]
pub fn identity_document(account: AccountId, identity: &Identity, context: &RequestContext<'_>, version: u32) -> Value {
    let steps = || identity.steps.iter();
    let groups: Vec<Value> = steps()
        .flat_map(|step| step.groups.iter())
        .map(|group| json!({"id": group.id, "name": group.name, "email": group.email}))
        .collect();
    let names: std::collections::BTreeSet<&str> =
        steps().flat_map(|step| step.claims.iter()).map(|claim| &*claim.0).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let passed = context.device.map(|device| device.passed).unwrap_or_default();
    let posture: Map<String, Value> =
        passed.iter().map(|rule| (rule.to_string(), json!({"id": rule, "success": true}))).collect();
    let certificate = context.certificate;
    json!({
        "id": identity.user,
        "user_uuid": identity.user,
        "name": identity.name,
        "email": identity.email,
        "idp": {"id": identity.provider, "type": identity.provider_type},
        "geo": {"country": context.country},
        "account_id": account,
        "iat": identity.signed_in,
        "ip": context.ip,
        "amr": identity.amr,
        "groups": groups,
        "oidc_fields": custom_claims(identity, &names),
        "devicePosture": posture,
        "is_warp": false,
        "is_gateway": false,
        "auth_status": if certificate.is_some() { "SUCCESS" } else { "NONE" },
        "common_name": certificate.and_then(|certificate| certificate.common_name.as_deref()).unwrap_or_default(),
        "mtls_auth": {
            "auth_status": if certificate.is_some() { "SUCCESS" } else { "NONE" },
            "cert_presented": certificate.is_some(),
            "cert_issuer_dn": certificate.map_or("", |certificate| certificate.issuer_dn.as_str()),
            "cert_issuer_ski": certificate.and_then(|certificate| certificate.issuer_ski.as_deref()).unwrap_or_default(),
            "cert_serial": certificate.map_or("", |certificate| certificate.serial.as_str()),
        },
        "version": version,
    })
}
