//! The items of `include`, `require` and `exclude`: one key each, as the v4 API writes them (reference section 1.5).
//!
//! Decides only shape and when each kind may be checked; what holds for a person is [`crate::evaluation`]. Invariant:
//! every id, address, network and country of a [`Selector`] is well formed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::{AccessGroupId, AccountId, ApplicationId, ListId, PostureRuleId, ProviderId, ScriptName, ServiceTokenId};
use url::Url;

use crate::document::words;

/// One item. Its JSON is an object with exactly one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Selector {
    #[serde(rename = "email")]
    Email { email: EmailText },
    #[serde(rename = "email_domain")]
    EmailDomain { domain: Domain },
    #[serde(rename = "email_list")]
    EmailList { id: ListId },
    #[serde(rename = "everyone")]
    Everyone {},
    #[serde(rename = "group")]
    Group { id: AccessGroupId },
    #[serde(rename = "ip")]
    Ip { ip: Network },
    #[serde(rename = "ip_list")]
    IpList { id: ListId },
    #[serde(rename = "geo")]
    Country { country_code: Country },
    #[serde(rename = "certificate")]
    Certificate {},
    #[serde(rename = "common_name")]
    CommonName { common_name: String },
    #[serde(rename = "device_posture")]
    DevicePosture { integration_uid: PostureRuleId },
    #[serde(rename = "service_token")]
    ServiceToken { token_id: ServiceTokenId },
    #[serde(rename = "any_valid_service_token")]
    AnyServiceToken {},
    #[serde(rename = "linked_app_token")]
    LinkedAppToken { app_uid: ApplicationId },
    #[serde(rename = "user_risk_score")]
    Risk { user_risk_score: Vec<RiskScore> },
    #[serde(rename = "login_method")]
    LoginMethod { id: ProviderId },
    #[serde(rename = "auth_method")]
    AuthMethod { auth_method: String },
    #[serde(rename = "auth_context")]
    AuthContext { id: String, ac_id: String, identity_provider_id: ProviderId },
    #[serde(rename = "azureAD")]
    AzureGroup { id: String, identity_provider_id: ProviderId },
    #[serde(rename = "gsuite")]
    GoogleGroup { email: String, identity_provider_id: ProviderId },
    #[serde(rename = "okta")]
    OktaGroup { name: String, identity_provider_id: ProviderId },
    #[serde(rename = "github-organization")]
    GithubOrganization {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        team: Option<String>,
        identity_provider_id: ProviderId,
    },
    #[serde(rename = "saml")]
    SamlAttribute { attribute_name: String, attribute_value: String, identity_provider_id: ProviderId },
    #[serde(rename = "oidc")]
    OidcClaim { claim_name: String, claim_value: String, identity_provider_id: ProviderId },
    #[serde(rename = "external_evaluation")]
    ExternalEvaluation(ExternalEvaluation),
    /// Ours: a script of the owner's decides.
    #[serde(rename = "portunus_worker")]
    Worker(WorkerQuestion),
    #[serde(rename = "cloudflare_account_member")]
    AccountMember {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_id: Option<AccountId>,
    },
}

/// Another service that is asked at login.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExternalEvaluation {
    pub evaluate_url: Url,
    pub keys_url: Url,
}

/// A Worker that is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WorkerMembers")]
pub struct WorkerQuestion {
    pub script: ScriptName,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u32>,
}

#[derive(Deserialize)]
struct WorkerMembers {
    script: ScriptName,
    #[serde(default)]
    timeout_ms: Option<u32>,
    #[serde(default)]
    ttl_s: Option<u32>,
}

impl WorkerQuestion {
    /// Longest a request waits for an answer, in milliseconds.
    pub const MAX_TIMEOUT_MS: u32 = 5_000;
    /// Longest an answer is used again, in seconds.
    pub const MAX_TTL_S: u32 = 86_400;

    /// Returns how long a request waits for an answer; a second unless the author says otherwise.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(1_000).into())
    }

    /// Returns how long an answer is used again for the same caller at the same application; a minute unless the author
    /// says otherwise, and zero to ask for every request.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_s.unwrap_or(60).into())
    }
}

impl TryFrom<WorkerMembers> for WorkerQuestion {
    type Error = SelectorError;

    fn try_from(members: WorkerMembers) -> Result<Self, Self::Error> {
        let WorkerMembers { script, timeout_ms, ttl_s } = members;
        if timeout_ms.is_some_and(|ms| !(1..=Self::MAX_TIMEOUT_MS).contains(&ms)) {
            return Err(SelectorError("`timeout_ms` must be from 1 to 5000"));
        }
        if ttl_s.is_some_and(|seconds| seconds > Self::MAX_TTL_S) {
            return Err(SelectorError("`ttl_s` must be from 0 to 86400"));
        }
        Ok(Self { script, timeout_ms, ttl_s })
    }
}

words! {
    /// A level of risk as policies name it. Somebody without a level is `unscored`, which is not `low`.
    RiskScore {
        Low = "low",
        Medium = "medium",
        High = "high",
        Unscored = "unscored",
    }
}

/// A linked application is one of type `saas`, whose token reference section 2.5 has another application take.
const NO_LINKED_APPS: &str =
    "tokens of linked applications are not offered: a token of managed OAuth opens its own application alone";

/// When a selector is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// At login; the answer is frozen into the session.
    Login,
    /// On every request.
    EveryRequest,
    /// As what the group holds is checked.
    ByContent,
}

impl Selector {
    /// Returns when this selector is checked (reference section 1.5).
    #[must_use]
    pub const fn checked(&self) -> Checked {
        match self {
            Self::Group { .. } => Checked::ByContent,
            Self::Ip { .. }
            | Self::IpList { .. }
            | Self::Country { .. }
            | Self::Certificate {}
            | Self::CommonName { .. }
            | Self::DevicePosture { .. }
            | Self::ServiceToken { .. }
            | Self::AnyServiceToken {}
            | Self::LinkedAppToken { .. }
            | Self::Worker(_)
            | Self::Risk { .. } => Checked::EveryRequest,
            Self::Email { .. }
            | Self::EmailDomain { .. }
            | Self::EmailList { .. }
            | Self::Everyone {}
            | Self::LoginMethod { .. }
            | Self::AuthMethod { .. }
            | Self::AuthContext { .. }
            | Self::AzureGroup { .. }
            | Self::GoogleGroup { .. }
            | Self::OktaGroup { .. }
            | Self::GithubOrganization { .. }
            | Self::SamlAttribute { .. }
            | Self::OidcClaim { .. }
            | Self::ExternalEvaluation(_)
            | Self::AccountMember { .. } => Checked::Login,
        }
    }

    /// Returns why nothing knows what the selector asks about, if that is so.
    #[must_use]
    pub const fn unknowable(&self) -> Option<&'static str> {
        match self {
            Self::Country { .. } => Some("there is no geolocation database"),
            Self::DevicePosture { .. } => Some("there is no device client"),
            Self::Risk { .. } => Some("nobody's risk is scored"),
            Self::AccountMember { .. } => Some("there is no account of the vendor"),
            Self::LinkedAppToken { .. } => Some(NO_LINKED_APPS),
            Self::GoogleGroup { .. } => Some("Google names no groups when somebody signs in"),
            Self::Email { .. }
            | Self::EmailDomain { .. }
            | Self::EmailList { .. }
            | Self::Everyone {}
            | Self::Group { .. }
            | Self::Ip { .. }
            | Self::IpList { .. }
            | Self::Certificate {}
            | Self::CommonName { .. }
            | Self::ServiceToken { .. }
            | Self::AnyServiceToken {}
            | Self::LoginMethod { .. }
            | Self::AuthMethod { .. }
            | Self::AuthContext { .. }
            | Self::AzureGroup { .. }
            | Self::OktaGroup { .. }
            | Self::GithubOrganization { .. }
            | Self::SamlAttribute { .. }
            | Self::OidcClaim { .. }
            | Self::ExternalEvaluation(_)
            | Self::Worker(_) => None,
        }
    }

    /// Returns why an author may not write the selector, if that is so. One that is stored already is kept and broken.
    #[must_use]
    pub const fn not_offered(&self) -> Option<&'static str> {
        if let Self::LinkedAppToken { .. } = self { Some(NO_LINKED_APPS) } else { None }
    }

    /// Tells whether the selector asks who the person is, so that it says nothing about somebody who has not signed in.
    #[must_use]
    pub const fn needs_person(&self) -> bool {
        matches!(self.checked(), Checked::Login) && !matches!(self, Self::Everyone {})
            || matches!(self, Self::Risk { .. })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email { email } => write!(f, "e-mail is {email}"),
            Self::EmailDomain { domain } => write!(f, "e-mail ends in @{domain}"),
            Self::EmailList { id } => write!(f, "e-mail is in list {id}"),
            Self::Everyone {} => f.write_str("everyone"),
            Self::Group { id } => write!(f, "rule group {id}"),
            Self::Ip { ip } => write!(f, "address is in {ip}"),
            Self::IpList { id } => write!(f, "address is in list {id}"),
            Self::Country { country_code } => write!(f, "country is {country_code}"),
            Self::Certificate {} => f.write_str("any valid client certificate"),
            Self::CommonName { common_name } => write!(f, "client certificate is for {common_name}"),
            Self::DevicePosture { integration_uid } => write!(f, "device passes posture check {integration_uid}"),
            Self::ServiceToken { token_id } => write!(f, "service token {token_id}"),
            Self::AnyServiceToken {} => f.write_str("any valid service token"),
            Self::LinkedAppToken { app_uid } => write!(f, "token of application {app_uid}"),
            Self::Risk { user_risk_score } => {
                let levels: Vec<&str> = user_risk_score.iter().map(|level| level.as_str()).collect();
                write!(f, "risk is {}", levels.join(" or "))
            }
            Self::LoginMethod { id } => write!(f, "signed in with provider {id}"),
            Self::AuthMethod { auth_method } => write!(f, "sign-in used {auth_method}"),
            Self::AuthContext { ac_id, .. } => write!(f, "authentication context is {ac_id}"),
            Self::AzureGroup { id, .. } => write!(f, "member of Entra group {id}"),
            Self::GoogleGroup { email, .. } => write!(f, "member of Google group {email}"),
            Self::OktaGroup { name, .. } => write!(f, "member of Okta group {name}"),
            Self::GithubOrganization { name, team: None, .. } => write!(f, "member of GitHub organisation {name}"),
            Self::GithubOrganization { name, team: Some(team), .. } => {
                write!(f, "member of team {team} of GitHub organisation {name}")
            }
            Self::SamlAttribute { attribute_name, attribute_value, .. } => {
                write!(f, "SAML attribute {attribute_name} is {attribute_value}")
            }
            Self::OidcClaim { claim_name, claim_value, .. } => write!(f, "claim {claim_name} is {claim_value}"),
            Self::ExternalEvaluation(external) => write!(f, "{} says yes", external.evaluate_url),
            Self::Worker(question) => write!(f, "Worker {} allows it", question.script),
            Self::AccountMember { .. } => f.write_str("member of the account"),
        }
    }
}

/// A text that does not fit its selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(&'static str);

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = SelectorError;

            fn from_str(text: &str) -> Result<Self, SelectorError> {
                let parse: fn(&str) -> Result<String, SelectorError> = $parse;
                parse(text).map(|text| Self(text.into()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

text_type!(
    /// An address in a policy, in lower case.
    EmailText,
    |text| {
        let lower = text.trim().to_lowercase();
        lower.parse::<types::Email>().map_err(|_| SelectorError("not an e-mail address"))?;
        Ok(lower)
    }
);
text_type!(
    /// The domain of an e-mail address, in lower case and without `@`.
    Domain,
    |text| {
        let lower = text.trim().trim_start_matches('@').to_lowercase();
        let valid = !lower.is_empty()
            && lower.len() <= 253
            && !lower.starts_with('.')
            && !lower.chars().any(|c| c == '@' || c == '*' || c.is_whitespace() || c.is_control());
        if valid { Ok(lower) } else { Err(SelectorError("not the domain of an e-mail address")) }
    }
);
text_type!(
    /// An ISO 3166-1 alpha-2 code in upper case.
    Country,
    |text| {
        let valid = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic() || b.is_ascii_digit());
        if valid { Ok(text.to_ascii_uppercase()) } else { Err(SelectorError("not a country code of two letters")) }
    }
);

/// A network, or one address. Host bits are cleared; an IPv4 address in IPv6 form is an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Tells whether an address lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Returns the network.
    #[must_use]
    pub const fn net(&self) -> IpNet {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Network {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError("not an address or network such as `10.0.0.0/8`");
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address.to_canonical())));
        }
        let network = text.parse::<IpNet>().map_err(|_| wrong())?.trunc();
        let IpNet::V6(mapped) = network else { return Ok(Self(network)) };
        // `::ffff:10.0.0.0/104` is 10.0.0.0/8: addresses are compared as IPv4, so the network must be too.
        match (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96)) {
            (Some(address), Some(length)) => {
                ipnet::Ipv4Net::new(address, length).map(|network| Self(network.trunc().into())).map_err(|_| wrong())
            }
            _ => Ok(Self(network)),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
