//! What a provider's claims make of a person (reference section 3.1).
//!
//! Decides the address, name, groups, `amr` and kept claims of one step of a sign-in, and whether a later step is about
//! the same person. Invariant: an address a provider says is not verified names nobody, and a step about another address
//! never adds to an identity.

use std::sync::Arc;

use serde_json::{Map, Value};
use types::{Email, ProviderId};

use crate::identity::{GroupClaim, ProviderClaims};
use crate::provider::OidcSettings;

/// Most groups and most values of kept claims of one step; a directory that sends more is cut short.
pub const MAX_VALUES: usize = 512;
const MAX_TEXT: usize = 1_024;

/// What one step of a sign-in established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    pub email: Email,
    pub name: String,
    /// RFC 8176 values.
    pub amr: Vec<Arc<str>>,
    pub claims: ProviderClaims,
}

/// Why claims name nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("the identity provider sent no e-mail address")]
    NoEmail,
    #[error("the identity provider says that the e-mail address is not verified")]
    Unverified,
    #[error("this step was passed by somebody else than the steps before it")]
    OtherPerson,
}

/// Reads the claims of an ID token that was checked, with those of the user-info endpoint put in by the caller.
///
/// # Errors
/// If they hold no usable address.
pub fn establish(
    provider: ProviderId,
    settings: &OidcSettings,
    claims: &Map<String, Value>,
) -> Result<Established, ClaimsError> {
    let name_of_email = settings.email_claim.as_deref().unwrap_or("email");
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let email = text(name_of_email).and_then(|text| text.to_lowercase().parse().ok()).ok_or(ClaimsError::NoEmail)?;
    // Some providers write the boolean as text.
    let unverified = |value: &Value| value == &Value::Bool(false) || value.as_str() == Some("false");
    if name_of_email == "email" && claims.get("email_verified").is_some_and(unverified) {
        return Err(ClaimsError::Unverified);
    }
    let mut kept = Vec::new();
    for name in settings.claims.iter().map(String::as_str).chain(["acrs"]) {
        for value in claims.get(name).into_iter().flat_map(texts) {
            kept.push(Arc::new((Box::from(name), value.into())));
        }
    }
    kept.truncate(MAX_VALUES);
    let groups = claims.iter().filter(|(name, _)| settings.groups && name.eq_ignore_ascii_case("groups"));
    let groups = groups.flat_map(|(_, value)| groups_of(value)).take(MAX_VALUES).map(Arc::new);
    Ok(Established {
        name: text("name").unwrap_or_default().chars().take(255).collect(),
        email,
        amr: claims.get("amr").into_iter().flat_map(texts).take(32).map(Arc::from).collect(),
        claims: ProviderClaims { provider, groups: groups.collect(), claims: kept.into() },
    })
}

/// Writes the values of a claim as texts; an object has none.
fn texts(value: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) if text.len() <= MAX_TEXT => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Array(items) => items.iter().take(MAX_VALUES).filter_map(one).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            one(value).into_iter().collect()
        }
    }
}

/// Reads groups: texts, which are ids and names at once (and addresses if they look so), or objects.
fn groups_of(value: &Value) -> Vec<GroupClaim> {
    let of_text = |text: String| GroupClaim {
        email: if text.contains('@') { text.as_str().into() } else { "".into() },
        name: text.as_str().into(),
        id: text.into(),
    };
    let of_object = |members: &Map<String, Value>| {
        let part = |name: &str| {
            members.get(name).and_then(Value::as_str).filter(|text| text.len() <= MAX_TEXT).unwrap_or_default()
        };
        GroupClaim { id: part("id").into(), name: part("name").into(), email: part("email").into() }
    };
    let objects = value.as_array().into_iter().flatten().filter_map(Value::as_object).map(of_object);
    texts(value).into_iter().map(of_text).chain(objects).take(MAX_VALUES).collect()
}

/// Adds a later step of a login chain to those before it. The address must be the same: a second step proves that the
/// person is who the first step said, so it can never make them somebody else.
///
/// # Errors
/// If the step is about another person.
pub fn chain(steps: &mut Vec<Established>, next: Established) -> Result<(), ClaimsError> {
    if steps.first().is_some_and(|first| first.email != next.email) {
        return Err(ClaimsError::OtherPerson);
    }
    steps.retain(|step| step.claims.provider != next.claims.provider);
    steps.push(next);
    Ok(())
}

/// Returns the provider to send a person to next; `None` when every step of the chain was passed in order.
#[must_use]
pub fn next_step(chain: &[ProviderId], passed: &[Established]) -> Option<ProviderId> {
    let done = chain.iter().zip(passed).take_while(|(wanted, step)| **wanted == step.claims.provider).count();
    chain.get(done).copied()
}
