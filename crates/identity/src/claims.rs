//! What a provider's claims make of a person (reference section 3.1).
//!
//! Decides the address, name, groups, `amr` and kept claims of one step of a sign-in, what of them is not known in full, and
//! whether a later step is about the same person. Invariants: an address a provider says is not verified names nobody, a
//! step about another address never adds to an identity, and nothing is left out in silence.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};
use types::{Email, ProviderId, UserId};

use crate::identity::{Gaps, GroupClaim, Identity, ProviderClaims};
use crate::provider::{OidcSettings, ProviderType};

/// Most groups and most values of kept claims of one step; what a directory sends beyond is a gap.
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
    #[error("the sign-in is not finished")]
    Unfinished,
}

/// Tells whether the claims of an ID token lack something that the user-info endpoint may tell. Many providers put there what
/// a scope asks for as soon as there is an access token (Core section 5.4).
#[must_use]
pub fn lacks(settings: &OidcSettings, claims: &Map<String, Value>) -> bool {
    let email = settings.email_claim.as_deref().unwrap_or("email");
    let mut wanted = settings.claims.iter().map(String::as_str).chain([email, "name"]);
    let groups = || claims.keys().any(|name| name.eq_ignore_ascii_case("groups"));
    settings.user_info && (wanted.any(|name| !claims.contains_key(name)) || settings.groups && !groups())
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
    let email = text(name_of_email).and_then(address).ok_or(ClaimsError::NoEmail)?;
    // Some providers write the boolean as text. What is neither says nothing good.
    let unverified = |value: &Value| {
        value != &Value::Bool(true) && !value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    };
    if name_of_email == "email" && claims.get("email_verified").is_some_and(unverified) {
        return Err(ClaimsError::Unverified);
    }
    let mut gaps = Gaps { groups: !settings.groups, claims: false };
    let mut kept = Vec::new();
    for name in settings.claims.iter().map(String::as_str).chain(["acrs"]) {
        let Values { texts, cut } = claims.get(name).map(texts).unwrap_or_default();
        gaps.claims |= cut || stands_elsewhere(claims, name);
        kept.extend(texts.into_iter().map(|value| Arc::new((Box::from(name), value.into()))));
    }
    gaps.claims |= kept.len() > MAX_VALUES;
    kept.truncate(MAX_VALUES);
    let mut groups = Vec::new();
    for (_, value) in claims.iter().filter(|(name, _)| settings.groups && name.eq_ignore_ascii_case("groups")) {
        gaps.groups |= groups_of(value, &mut groups);
    }
    gaps.groups |= groups.len() > MAX_VALUES || stands_elsewhere(claims, "groups");
    groups.truncate(MAX_VALUES);
    Ok(Established {
        name: text("name").unwrap_or_default().chars().take(255).collect(),
        email,
        amr: claims.get("amr").map(texts).unwrap_or_default().texts.into_iter().take(32).map(Arc::from).collect(),
        claims: ProviderClaims {
            provider,
            groups: groups.into_iter().map(Arc::new).collect(),
            claims: kept.into(),
            gaps,
        },
    })
}

/// Tells whether a claim is only pointed at (Core section 5.6.2). Entra does so with more than 200 groups, and says `hasgroups`
/// where there is no room even for that.
fn stands_elsewhere(claims: &Map<String, Value>, name: &str) -> bool {
    let pointed = claims.get("_claim_names").and_then(Value::as_object);
    pointed.is_some_and(|names| names.keys().any(|pointed| pointed.eq_ignore_ascii_case(name)))
        || name == "groups" && claims.get("hasgroups").is_some_and(|value| texts(value).texts == ["true"])
}

/// Reads an address as an identity, in lower case.
///
/// # Security
/// A letter outside ASCII that becomes an ASCII letter in lower case (U+212A, the Kelvin sign, becomes `k`) would make one
/// mailbox another's, so an address that holds one is none.
pub fn address(text: &str) -> Option<Email> {
    let trimmed = text.trim();
    if trimmed.chars().any(|c| !c.is_ascii() && c.to_lowercase().any(|lower| lower.is_ascii())) {
        return None;
    }
    trimmed.to_lowercase().parse().ok()
}

/// The values of a claim.
#[derive(Default)]
struct Values {
    texts: Vec<String>,
    /// Some are too many or too long.
    cut: bool,
}

/// Writes the values of a claim as texts; an object has none.
fn texts(value: &Value) -> Values {
    let one = std::slice::from_ref(value);
    let items = value.as_array().map_or(one, Vec::as_slice);
    let mut found = Values { texts: Vec::new(), cut: items.len() > MAX_VALUES };
    for item in items.iter().take(MAX_VALUES) {
        match item {
            Value::String(text) if text.len() <= MAX_TEXT => found.texts.push(text.clone()),
            Value::String(_) => found.cut = true,
            Value::Bool(truth) => found.texts.push(truth.to_string()),
            Value::Number(number) => found.texts.push(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
    found
}

/// Reads groups: texts, which are ids and names at once (and addresses if they look so), or objects. True if some are too many
/// or too long to be read.
fn groups_of(value: &Value, found: &mut Vec<GroupClaim>) -> bool {
    let of_text = |text: String| GroupClaim {
        email: if text.contains('@') { text.as_str().into() } else { "".into() },
        name: text.as_str().into(),
        id: text.into(),
    };
    let Values { texts, mut cut } = texts(value);
    found.extend(texts.into_iter().map(of_text));
    for members in value.as_array().into_iter().flatten().take(MAX_VALUES).filter_map(Value::as_object) {
        let mut part = |name: &str| {
            let text = members.get(name).and_then(Value::as_str).unwrap_or_default();
            cut |= text.len() > MAX_TEXT;
            if text.len() > MAX_TEXT { "" } else { text }
        };
        found.push(GroupClaim { id: part("id").into(), name: part("name").into(), email: part("email").into() });
    }
    cut
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
    // A step that is passed again takes its own place, and what followed it is asked for again.
    if let Some(at) = steps.iter().position(|step| step.claims.provider == next.claims.provider) {
        steps.truncate(at);
    }
    steps.push(next);
    Ok(())
}

/// Returns the provider to send a person to next; `None` when every step of the chain was passed in order.
#[must_use]
pub fn next_step(chain: &[ProviderId], passed: &[Established]) -> Option<ProviderId> {
    let done = chain.iter().zip(passed).take_while(|(wanted, step)| **wanted == step.claims.provider).count();
    chain.get(done).copied()
}

/// What is known of a sign-in besides its steps.
#[derive(Debug, Clone, Copy)]
pub struct SignInFacts {
    /// The person the first step's address belongs to.
    pub user: UserId,
    /// The type of the first step's provider.
    pub provider_type: ProviderType,
    /// Seconds since the epoch.
    pub signed_in: i64,
    pub ip: IpAddr,
    /// Two upper-case letters.
    pub country: Option<[u8; 2]>,
}

/// Makes an identity of a finished sign-in. `wanted` is the chain that was asked for; empty asks for any one step.
///
/// # Errors
/// If a step is missing or out of order, or the steps are not about one person.
pub fn assemble(wanted: &[ProviderId], steps: Vec<Established>, facts: SignInFacts) -> Result<Identity, ClaimsError> {
    if next_step(wanted, &steps).is_some() {
        return Err(ClaimsError::Unfinished);
    }
    let Some(first) = steps.first() else { return Err(ClaimsError::Unfinished) };
    if steps.iter().any(|step| step.email != first.email) {
        return Err(ClaimsError::OtherPerson);
    }
    let (email, provider) = (first.email.clone(), first.claims.provider);
    let name = steps.iter().map(|step| step.name.trim()).find(|name| !name.is_empty()).unwrap_or(email.as_str());
    let mut amr: Vec<Arc<str>> = Vec::new();
    for value in steps.iter().flat_map(|step| &step.amr) {
        if !amr.contains(value) {
            amr.push(Arc::clone(value));
        }
    }
    Ok(Identity {
        user: facts.user,
        name: name.into(),
        email,
        provider,
        provider_type: facts.provider_type,
        signed_in: facts.signed_in,
        ip: facts.ip.to_canonical(),
        country: facts.country,
        amr: amr.into(),
        steps: steps.into_iter().map(|step| step.claims).collect(),
    })
}
