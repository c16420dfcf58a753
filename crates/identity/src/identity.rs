//! Who somebody is: what sign-in established, frozen into their session.
//!
//! Decides nothing. What can change while a session lives (address, country, device, risk) is not here but in
//! [`crate::evaluation::RequestContext`]. Invariant: e-mail addresses are in lower case, and claims stand under the
//! provider that made them, so that one provider cannot speak for another.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::{Email, PostureRuleId, ProviderId, UserId};

use crate::provider::ProviderType;

/// A person who signed in. Small, for there is one for each live session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub user: UserId,
    pub email: Email,
    pub name: Box<str>,
    /// The first step of the sign-in: the provider that named the person.
    pub provider: ProviderId,
    pub provider_type: ProviderType,
    /// Seconds since the epoch.
    pub signed_in: i64,
    pub ip: IpAddr,
    /// Two upper-case letters, if a country is known for the address.
    pub country: Option<[u8; 2]>,
    /// RFC 8176 values of every step.
    pub amr: Arc<[Arc<str>]>,
    /// What each provider said, in the order of the steps.
    pub steps: Box<[ProviderClaims]>,
}

/// What one provider said about a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderClaims {
    pub provider: ProviderId,
    pub groups: Box<[Arc<GroupClaim>]>,
    /// Name and value; a claim with several values stands here several times.
    pub claims: Box<[Arc<Claim>]>,
    #[serde(default, skip_serializing_if = "Gaps::is_none")]
    pub gaps: Gaps,
}

/// What a provider did not say in full. Whatever is missing may be so or not: it cannot be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gaps {
    /// The person may be in further groups.
    pub groups: bool,
    /// Claims that are kept may have further values.
    pub claims: bool,
}

impl Gaps {
    /// For a provider that said all there is.
    pub const NONE: Self = Self { groups: false, claims: false };

    fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// The name and one value of a claim.
pub type Claim = (Box<str>, Box<str>);

/// A group at a provider. Okta names groups, Entra numbers them, Google gives them addresses; GitHub's organisations are
/// groups whose id is the organisation and whose name is the team.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupClaim {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub id: Box<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub name: Box<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub email: Box<str>,
}

impl Identity {
    /// Returns what a provider said, if the person passed it.
    #[must_use]
    pub fn step(&self, provider: ProviderId) -> Option<&ProviderClaims> {
        self.steps.iter().find(|step| step.provider == provider)
    }

    /// Returns the country of the sign-in.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.country.as_ref().and_then(|letters| std::str::from_utf8(letters).ok())
    }
}

/// Shares what many people's identities have in common: group names, claims, `amr` values. A directory has far fewer
/// groups than people times groups. The owner drops it with its sessions, or [`Interner::sweep`]s it.
#[derive(Debug, Default)]
pub struct Interner {
    amr: HashSet<Arc<[Arc<str>]>>,
    groups: HashSet<Arc<GroupClaim>>,
    claims: HashSet<Arc<Claim>>,
}

impl Interner {
    /// Makes an identity share its parts with those seen before.
    #[must_use]
    pub fn share(&mut self, mut identity: Identity) -> Identity {
        identity.amr = shared(&mut self.amr, &identity.amr);
        for step in &mut identity.steps {
            for group in &mut step.groups {
                *group = shared(&mut self.groups, group);
            }
            for claim in &mut step.claims {
                *claim = shared(&mut self.claims, claim);
            }
        }
        identity
    }

    /// Forgets what no identity uses any more.
    pub fn sweep(&mut self) {
        self.amr.retain(|amr| Arc::strong_count(amr) > 1);
        self.groups.retain(|group| Arc::strong_count(group) > 1);
        self.claims.retain(|claim| Arc::strong_count(claim) > 1);
    }
}

fn shared<T: ?Sized + Eq + std::hash::Hash>(known: &mut HashSet<Arc<T>>, value: &Arc<T>) -> Arc<T> {
    if let Some(found) = known.get(value) {
        return Arc::clone(found);
    }
    known.insert(Arc::clone(value));
    Arc::clone(value)
}

/// A client certificate that the listener checked against the authorities of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    pub common_name: Option<String>,
    /// As RFC 4514 writes it, with a blank after each comma; empty where that would be too long.
    #[serde(default)]
    pub subject_dn: String,
    /// In the same form.
    pub issuer_dn: String,
    /// Subject key identifier of the issuer, in upper-case hexadecimal.
    pub issuer_ski: Option<String>,
    /// Upper-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate in lower-case hexadecimal.
    pub fingerprint: String,
    /// Seconds since the epoch.
    #[serde(default)]
    pub not_before: i64,
    /// Seconds since the epoch.
    #[serde(default)]
    pub not_after: i64,
}

/// What is known about the device a request comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Device<'a> {
    /// Rules the device passes; a rule that is not here it fails.
    pub passed: &'a [PostureRuleId],
}
