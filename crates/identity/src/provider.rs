//! Identity providers: the v4 document (reference sections 3.1 and 3.3), and what it means once it is known to be sound.
//!
//! Decides which provider types are offered and what each needs; speaking to one is [`crate::relying_party`]. Invariant:
//! every endpoint of a [`Provider`] is an https URL, or one on loopback, where tests and development live.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{ProviderId, Secret};
use url::Url;

use crate::document::{self, Problem, Problems, words};
use crate::github::GithubSettings;

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 6] = ["id", "uid", "read_only", "created_at", "updated_at", "redirect_url"];
const MAX_CLAIMS: usize = 64;

words! {
    /// The `type` of a provider that is offered.
    ProviderType {
        OneTimePin = "onetimepin",
        Oidc = "oidc",
        AzureAd = "azureAD",
        Okta = "okta",
        Google = "google",
        GoogleApps = "google-apps",
        Github = "github",
        Onelogin = "onelogin",
        Pingone = "pingone",
        /// Ours: people with passkeys, kept by Portunus itself.
        BuiltIn = "portunus",
        /// Ours: generic OIDC with Keycloak's paths filled in.
        Keycloak = "keycloak",
        /// Ours: an OIDC provider that verifies who holds the phone, best as a second step.
        Nametag = "nametag",
    }
}

/// Provider types of the vendor's product that are not offered.
const OTHER_TYPES: [&str; 6] = ["saml", "centrify", "facebook", "linkedin", "yandex", "cloudflare"];

/// A provider as written. The client's secret is read and never shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderDocument {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Option<ProviderType>,
    pub config: ProviderConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scim_config: Option<ScimConfigDocument>,
}

/// `config` as written; which members a type uses is checked by [`Provider::parse`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The store keeps it sealed beside the document.
    #[serde(skip_serializing)]
    pub client_secret: Option<Secret<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_claim_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certs_url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkce_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditional_access_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_groups: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub okta_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_server_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apps_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onelogin_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_env_id: Option<String>,
    /// Ours: the issuer, from which discovery finds the rest (OpenID Connect Discovery 1.0 section 4); for GitHub, the base
    /// URL of an Enterprise Server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Ours: Keycloak's base URL and realm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keycloak_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
}

/// `scim_config` of a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScimConfigDocument {
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_update_behavior: Option<UpdateBehavior>,
    pub user_deprovision: bool,
    pub seat_deprovision: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scim_base_url: Option<String>,
}

words! {
    /// What a change of a person's record at the provider does to their sessions.
    UpdateBehavior {
        /// Carries the change into the session.
        Automatic = "automatic",
        /// Ends the session, so that the person signs in again.
        Reauth = "reauth",
        NoAction = "no_action",
    }
}

impl ProviderDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let word = value.get("type").and_then(Value::as_str).unwrap_or_default();
        if OTHER_TYPES.contains(&word) {
            let offered: Vec<&str> = ProviderType::WORDS.iter().map(|(word, _)| *word).collect();
            let instead = if word == "saml" { "; connect it by OpenID Connect, which it may speak too" } else { "" };
            let offered = offered.join(", ");
            let message = format!("providers of type `{word}` are not offered; {offered} are{instead}");
            return Err(vec![Problem::new("/type", message)]);
        }
        let mut value = value.clone();
        // All are shown by the API and sent back by its clients, and none is the author's to set.
        for (group, member) in [("config", "redirect_url"), ("scim_config", "secret"), ("scim_config", "scim_base_url")]
        {
            if let Some(members) = value.get_mut(group).and_then(Value::as_object_mut) {
                members.remove(member);
            }
        }
        document::read(&value, &READ_ONLY)
    }
}

/// A provider, known to be sound.
#[derive(Debug, Clone)]
pub struct Provider {
    pub id: ProviderId,
    pub name: String,
    pub kind: ProviderType,
    pub protocol: Protocol,
    pub scim: ScimRules,
}

/// How a provider is spoken to.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// A code by mail.
    OneTimePin,
    /// People kept by Portunus itself.
    BuiltIn,
    Oidc(Box<OidcSettings>),
    /// OAuth 2.0 and GitHub's own API for the person.
    Github(Box<GithubSettings>),
}

/// The client a provider knows Portunus as.
#[derive(Debug, Clone)]
pub struct Client {
    pub id: String,
    /// `None`: a public client, which PKCE alone protects.
    pub secret: Option<Secret<String>>,
}

/// What the OIDC client is configured with.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    pub client: Client,
    pub endpoints: Endpoints,
    /// Always holds `openid`.
    pub scopes: Vec<String>,
    /// Claims that are kept for policies, besides those with a meaning of their own.
    pub claims: Vec<String>,
    /// The claim that holds the address; `None`: `email`.
    pub email_claim: Option<String>,
    /// Sends an S256 challenge.
    pub pkce: bool,
    pub prompt: Option<String>,
    /// The Google Workspace domain a person must belong to (`hd`).
    pub hosted_domain: Option<String>,
    /// The provider tells a person's groups; else nobody knows them. Entra's ids of groups stand in `groups`.
    pub groups: bool,
    /// Entra is asked for the authentication contexts that policies want.
    pub contexts: bool,
    /// What the ID token lacks is asked for at the user-info endpoint. Entra's tells nothing that its ID tokens cannot, and
    /// answers for tokens of another audience only.
    pub user_info: bool,
}

/// Where a provider's endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// Discovery at this issuer.
    Discover(Url),
    /// Written by hand; the issuer is taken from the configuration when it is named, and otherwise not compared.
    Fixed { authorization: Url, token: Url, keys: Url, issuer: Option<String> },
}

/// What inbound SCIM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScimRules {
    pub enabled: bool,
    pub updates: UpdateBehavior,
    /// Ends the sessions of a person who is removed or made inactive.
    pub deprovision: bool,
    /// Frees the person's seat too.
    pub free_seat: bool,
}

impl Default for ScimRules {
    fn default() -> Self {
        Self { enabled: false, updates: UpdateBehavior::NoAction, deprovision: false, free_seat: false }
    }
}

impl Provider {
    /// Makes a provider of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(id: ProviderId, document: &ProviderDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", document::name(&document.name, 255)).unwrap_or_default();
        let Some(kind) = document.kind else {
            problems.add("/type", "is required");
            return Err(problems.into_vec());
        };
        let scim = scim(document.scim_config.as_ref(), &mut problems);
        let config = &document.config;
        let protocol = match kind {
            ProviderType::OneTimePin => Some(Protocol::OneTimePin),
            ProviderType::BuiltIn => Some(Protocol::BuiltIn),
            ProviderType::Github => github(config, &mut problems).map(|github| Protocol::Github(Box::new(github))),
            ProviderType::Oidc
            | ProviderType::AzureAd
            | ProviderType::Okta
            | ProviderType::Google
            | ProviderType::GoogleApps
            | ProviderType::Onelogin
            | ProviderType::Pingone
            | ProviderType::Keycloak
            | ProviderType::Nametag => oidc(kind, config, &mut problems).map(|oidc| Protocol::Oidc(Box::new(oidc))),
        };
        match protocol {
            Some(protocol) => problems.finish(Self { id, name, kind, protocol, scim }),
            None => Err(problems.into_vec()),
        }
    }
}

fn scim(document: Option<&ScimConfigDocument>, problems: &mut Problems) -> ScimRules {
    let Some(document) = document else { return ScimRules::default() };
    if document.seat_deprovision && !document.user_deprovision {
        problems.add("/scim_config/seat_deprovision", "needs `user_deprovision`");
    }
    ScimRules {
        enabled: document.enabled,
        updates: document.identity_update_behavior.unwrap_or(UpdateBehavior::NoAction),
        deprovision: document.user_deprovision,
        free_seat: document.seat_deprovision,
    }
}

fn client(config: &ProviderConfig, secret_needed: bool, problems: &mut Problems) -> Option<Client> {
    let Some(id) = config.client_id.clone().filter(|id| !id.is_empty() && id.len() <= 1_024) else {
        problems.add("/config/client_id", "is required");
        return None;
    };
    let secret = config.client_secret.clone().filter(|secret| !secret.expose().is_empty());
    if secret_needed && secret.is_none() {
        problems.add("/config/client_secret", "is required");
        return None;
    }
    Some(Client { id, secret })
}

fn github(config: &ProviderConfig, problems: &mut Problems) -> Option<GithubSettings> {
    let client = client(config, true, problems)?;
    let base = config.issuer.as_deref().filter(|base| !base.is_empty());
    problems.check("/config/issuer", GithubSettings::new(client, base))
}

fn oidc(kind: ProviderType, config: &ProviderConfig, problems: &mut Problems) -> Option<OidcSettings> {
    let endpoints = endpoints(kind, config, problems);
    let pkce = config.pkce_enabled.unwrap_or(true);
    let client = client(config, !pkce, problems);
    for (member, list) in [("claims", &config.claims), ("scopes", &config.scopes)] {
        let fits = |text: &String| {
            (1..=256).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        if list.len() > MAX_CLAIMS || !list.iter().all(fits) {
            problems.add(format!("/config/{member}"), format!("must hold at most {MAX_CLAIMS} names without spaces"));
        }
    }
    if config.prompt.as_deref().is_some_and(|word| !matches!(word, "login" | "select_account" | "none")) {
        problems.add("/config/prompt", "must be login, select_account or none");
    }
    let mut scopes = config.scopes.clone();
    if scopes.is_empty() {
        scopes = ["openid", "email", "profile"].map(str::to_owned).to_vec();
        if kind == ProviderType::Okta {
            scopes.push("groups".to_owned());
        }
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    let hosted_domain = (kind == ProviderType::GoogleApps).then(|| config.apps_domain.clone()).flatten();
    if kind == ProviderType::GoogleApps && hosted_domain.is_none() {
        problems.add("/config/apps_domain", "is required");
    }
    Some(OidcSettings {
        client: client?,
        endpoints: endpoints?,
        scopes,
        claims: config.claims.clone(),
        email_claim: config.email_claim_name.clone().filter(|name| !name.is_empty()),
        pkce,
        prompt: config.prompt.clone(),
        hosted_domain: hosted_domain.map(|domain| domain.to_ascii_lowercase()),
        groups: match kind {
            // No scope makes Google name a person's groups when they sign in.
            ProviderType::Google | ProviderType::GoogleApps => false,
            ProviderType::AzureAd => config.support_groups.unwrap_or(false),
            ProviderType::OneTimePin
            | ProviderType::Oidc
            | ProviderType::Okta
            | ProviderType::Github
            | ProviderType::Onelogin
            | ProviderType::Pingone
            | ProviderType::BuiltIn
            | ProviderType::Keycloak
            | ProviderType::Nametag => config.support_groups.unwrap_or(true),
        },
        contexts: kind == ProviderType::AzureAd && config.conditional_access_enabled.unwrap_or(true),
        user_info: kind != ProviderType::AzureAd,
    })
}

fn endpoints(kind: ProviderType, config: &ProviderConfig, problems: &mut Problems) -> Option<Endpoints> {
    let mut need = |member: &str, value: &Option<String>| {
        let value = value.as_deref().filter(|text| !text.is_empty());
        if value.is_none() {
            problems.add(format!("/config/{member}"), "is required");
        }
        value.map(|text| text.trim_end_matches('/').to_owned())
    };
    let (member, issuer) = match kind {
        ProviderType::AzureAd => {
            let directory = need("directory_id", &config.directory_id)?;
            // Under these names every tenant of the world signs in, and each writes its people's addresses as it likes.
            if ["common", "organizations", "consumers"].iter().any(|name| directory.eq_ignore_ascii_case(name)) {
                problems.add("/config/directory_id", "must be the id of your own directory");
                return None;
            }
            ("directory_id", format!("https://login.microsoftonline.com/{}/v2.0", segment(&directory)))
        }
        ProviderType::Okta => {
            let account = need("okta_account", &config.okta_account)?;
            let base = if account.contains("://") { account } else { format!("https://{account}") };
            match config.authorization_server_id.as_deref().filter(|id| !id.is_empty()) {
                Some(server) => ("okta_account", format!("{base}/oauth2/{}", segment(server))),
                None => ("okta_account", base),
            }
        }
        ProviderType::Google | ProviderType::GoogleApps => ("issuer", "https://accounts.google.com".to_owned()),
        ProviderType::Onelogin => {
            let account = need("onelogin_account", &config.onelogin_account)?;
            let base = if account.contains("://") { account } else { format!("https://{account}") };
            ("onelogin_account", format!("{base}/oidc/2"))
        }
        ProviderType::Pingone => {
            let environment = need("ping_env_id", &config.ping_env_id)?;
            ("ping_env_id", format!("https://auth.pingone.com/{}/as", segment(&environment)))
        }
        ProviderType::Keycloak => {
            let (base, realm) = (need("keycloak_url", &config.keycloak_url)?, need("realm", &config.realm)?);
            ("keycloak_url", format!("{base}/realms/{}", segment(&realm)))
        }
        ProviderType::Oidc if config.auth_url.is_some() || config.token_url.is_some() || config.certs_url.is_some() => {
            let authorization = need("auth_url", &config.auth_url);
            let token = need("token_url", &config.token_url);
            let keys = need("certs_url", &config.certs_url);
            return Some(Endpoints::Fixed {
                authorization: problems.check("/config/auth_url", endpoint(&authorization?))?,
                token: problems.check("/config/token_url", endpoint(&token?))?,
                keys: problems.check("/config/certs_url", endpoint(&keys?))?,
                issuer: config.issuer.clone().filter(|issuer| !issuer.is_empty()),
            });
        }
        ProviderType::Oidc | ProviderType::Nametag => ("issuer", need("issuer", &config.issuer)?),
        ProviderType::OneTimePin | ProviderType::BuiltIn | ProviderType::Github => return None,
    };
    problems.check(&format!("/config/{member}"), endpoint(&issuer)).map(Endpoints::Discover)
}

/// Writes outside text as one segment of a path.
fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%2D", "-")
}

/// Reads an endpoint: https, or http on loopback.
pub(crate) fn endpoint(text: &str) -> Result<Url, String> {
    let url = document::link(text)?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.fragment().is_some() {
        return Err("must not carry a fragment".to_owned());
    }
    if url.scheme() == "https" || loopback { Ok(url) } else { Err("must be an https URL".to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use types::ProviderId;
    use uuid::Uuid;

    use super::{Endpoints, Protocol, Provider, ProviderDocument};

    fn parse(value: &Value) -> Result<Provider, String> {
        let document = ProviderDocument::read(value).map_err(|faults| faults[0].to_string())?;
        Provider::parse(ProviderId(Uuid::nil()), &document).map_err(|faults| faults[0].to_string())
    }

    #[test]
    fn each_preset_finds_its_issuer() {
        for (kind, config, issuer) in [
            ("azureAD", json!({"directory_id": "d-1"}), "https://login.microsoftonline.com/d-1/v2.0"),
            ("okta", json!({"okta_account": "https://acme.okta.example/"}), "https://acme.okta.example/"),
            (
                "okta",
                json!({"okta_account": "acme.okta.example", "authorization_server_id": "default"}),
                "https://acme.okta.example/oauth2/default",
            ),
            ("google", json!({}), "https://accounts.google.com/"),
            (
                "keycloak",
                json!({"keycloak_url": "https://id.example/", "realm": "a/b"}),
                "https://id.example/realms/a%2Fb",
            ),
            ("oidc", json!({"issuer": "http://127.0.0.1:9000"}), "http://127.0.0.1:9000/"),
        ] {
            let mut config = config;
            config["client_id"] = json!("client");
            config["client_secret"] = json!("s");
            let provider = parse(&json!({"name": "x", "type": kind, "config": config})).unwrap();
            let Protocol::Oidc(oidc) = provider.protocol else { panic!("{kind}") };
            let Endpoints::Discover(found) = oidc.endpoints else { panic!("{kind}") };
            assert_eq!(found.as_str(), issuer, "{kind}");
        }
    }

    #[test]
    fn what_is_missing_or_not_offered_is_named() {
        for (value, expected) in [
            (json!({"name": "x", "type": "saml", "config": {}}), "/type: providers of type `saml` are not offered"),
            (json!({"name": "x", "type": "oidc", "config": {"client_id": "a"}}), "/config/issuer: is required"),
            (
                json!({"name": "x", "type": "oidc", "config": {"client_id": "a", "issuer": "http://id.example"}}),
                "/config/issuer: must be an https URL",
            ),
            (
                json!({"name": "x", "type": "oidc", "config": {"client_id": "a", "auth_url": "https://id.example"}}),
                "/config/token_url: is required",
            ),
            (
                json!({"name": "x", "type": "github", "config": {"client_id": "a"}}),
                "/config/client_secret: is required",
            ),
            (
                json!({"name": "x", "type": "github", "config": {"client_id": "a", "client_secret": "s", "issuer": "http://g.example"}}),
                "/config/issuer: must be an https URL",
            ),
            (
                json!({"name": "x", "type": "azureAD", "config": {"client_id": "a", "directory_id": "Common"}}),
                "/config/directory_id: must be the id of your own directory",
            ),
            (json!({"name": "x", "type": "onetimepin", "config": {"pin": 1}}), "/config/pin: unknown member `pin`"),
            (
                json!({"name": "x", "type": "onetimepin", "scim_config": {"seat_deprovision": true}}),
                "/scim_config/seat_deprovision: needs",
            ),
        ] {
            let fault = parse(&value).unwrap_err();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let value = json!({"name": "x", "type": "github", "config": {"client_id": "a", "client_secret": "hunter2"}});
        let document = ProviderDocument::read(&value).unwrap();
        assert!(!serde_json::to_string(&document).unwrap().contains("hunter2"));
        assert!(!format!("{document:?}").contains("hunter2"));
    }
}
