//! One sign-in at a server: where the person's browser is sent, whether what it brings back is believed, and what is posted
//! for tokens.
//!
//! Invariants: PKCE S256, `state` and `resource` are in every request; an answer is accepted once, in the browser it was
//! asked for, within [`LIFETIME`], and from the issuer it was asked of (RFC 9207, which closes mix-up).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;
use types::Secret;
use url::Url;

use super::client::Client;
use super::discovery::Authority;
use super::{encode, plain_error, scopes};
use crate::document::credentials::{ManualClient, TokenAuthMethod};

/// How long a person may take at the authorization server.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
const MAX_CODE: usize = 4_096;
const OFFLINE: &str = "offline_access";

/// The addresses of one authorization server that a sign-in and what comes of it need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Absent only where an administrator wrote the addresses and no issuer.
    pub issuer: Option<String>,
    pub authorization: Url,
    pub token: Url,
    pub revocation: Option<Url>,
    pub names_itself: bool,
    /// It wants to be asked for access without the person.
    pub offline: bool,
}

impl From<&Authority> for Endpoints {
    fn from(authority: &Authority) -> Self {
        Self {
            issuer: Some(authority.issuer.clone()),
            authorization: authority.authorization.clone(),
            token: authority.token.clone(),
            revocation: authority.revocation.clone(),
            names_itself: authority.names_itself,
            offline: authority.offline,
        }
    }
}

impl From<&ManualClient> for Endpoints {
    fn from(client: &ManualClient) -> Self {
        Self {
            issuer: client.issuer.clone(),
            authorization: client.authorization_endpoint.clone(),
            token: client.token_endpoint.clone(),
            revocation: client.revocation_endpoint.clone(),
            names_itself: false,
            offline: false,
        }
    }
}

/// Everything a sign-in is begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub endpoints: Endpoints,
    pub client: Client,
    /// What tokens are for, letter for letter (RFC 8707).
    pub resource: String,
    pub scope: Option<String>,
    pub redirect: Url,
}

/// Randomness of one sign-in.
pub struct Random {
    pub state: [u8; 32],
    pub verifier: [u8; 32],
}

/// A sign-in under way. Its `state` is kept apart: what finds it is no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    pub plan: Plan,
    verifier: String,
    /// The browser, as whoever knows it names it.
    bound: [u8; 32],
    /// Seconds since the epoch.
    expires: i64,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({}, until {})", self.plan.resource, self.expires)
    }
}

/// Chooses the scope of a sign-in: what the server asked for last, else everything it describes; with what was granted
/// before, so that nothing is lost by a step up.
#[must_use]
pub fn scope(challenged: Option<&str>, described: Option<&str>, granted: Option<&str>) -> Option<String> {
    let wanted = challenged.or(described)?;
    let granted = challenged.and(granted).unwrap_or_default();
    scopes(granted.split(' ').chain(wanted.split(' ')))
}

/// Begins a sign-in: where the browser goes, the `state` it is found by, and what is kept.
#[must_use]
pub fn begin(plan: Plan, bound: [u8; 32], random: &Random, now: i64) -> (Url, String, Pending) {
    let (state, verifier) = (encode(&random.state), encode(&random.verifier));
    let challenge = encode(digest(&SHA256, verifier.as_bytes()).as_ref());
    let mut url = plan.endpoints.authorization.clone();
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &plan.client.id)
            .append_pair("redirect_uri", plan.redirect.as_str())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &state)
            .append_pair("resource", &plan.resource);
        let words = plan.scope.iter().flat_map(|scope| scope.split(' '));
        let scope = scopes(words.chain(plan.endpoints.offline.then_some(OFFLINE)));
        if let Some(scope) = scope {
            query.append_pair("scope", &scope);
        }
        if plan.endpoints.offline {
            // OpenID Connect Core section 11: it counts only where the person is asked.
            query.append_pair("prompt", "consent");
        }
    }
    let length = i64::try_from(LIFETIME.as_secs()).unwrap_or(0);
    (url, state, Pending { plan, verifier, bound, expires: now.saturating_add(length) })
}

/// What the authorization server sent the browser back with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Callback<'a> {
    pub code: Option<&'a str>,
    pub iss: Option<&'a str>,
    pub error: Option<&'a str>,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    #[error("the sign-in was not started in this browser")]
    Browser,
    #[error("the sign-in took too long; start again")]
    Expired,
    #[error("the answer is of another authorization server than the one asked")]
    Issuer,
    #[error("the authorization server refused: {0}")]
    Refused(String),
    #[error("the answer holds no code")]
    NoCode,
}

/// A form to post, and how the client proves itself.
pub struct TokenRequest {
    pub address: Url,
    pub form: Vec<(&'static str, String)>,
    /// Id and secret, each form-encoded when they are joined (RFC 6749 section 2.3.1).
    pub basic: Option<(String, Secret<String>)>,
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRequest({})", self.address)
    }
}

impl TokenRequest {
    pub(crate) fn new(address: &Url, client: &Client, mut form: Vec<(&'static str, String)>) -> Self {
        let mut basic = None;
        match (client.method, &client.secret) {
            (TokenAuthMethod::Basic, Some(secret)) => basic = Some((client.id.clone(), secret.clone())),
            (TokenAuthMethod::Post, Some(secret)) => {
                form.push(("client_id", client.id.clone()));
                form.push(("client_secret", secret.expose().clone()));
            }
            (TokenAuthMethod::None, _) | (TokenAuthMethod::Basic | TokenAuthMethod::Post, None) => {
                form.push(("client_id", client.id.clone()));
            }
        }
        Self { address: address.clone(), form, basic }
    }
}

impl Pending {
    /// Checks an answer and says what to post for tokens.
    ///
    /// # Errors
    /// It does not belong to this sign-in.
    pub fn redeem(&self, callback: &Callback<'_>, bound: [u8; 32], now: i64) -> Result<TokenRequest, CallbackError> {
        if verify_slices_are_equal(&bound, &self.bound).is_err() {
            return Err(CallbackError::Browser);
        }
        if now >= self.expires {
            return Err(CallbackError::Expired);
        }
        self.check_issuer(callback.iss)?;
        if let Some(error) = callback.error {
            return Err(CallbackError::Refused(plain_error(error)));
        }
        let code = callback.code.filter(|code| (1..=MAX_CODE).contains(&code.len())).ok_or(CallbackError::NoCode)?;
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", self.plan.redirect.to_string()),
            ("code_verifier", self.verifier.clone()),
            ("resource", self.plan.resource.clone()),
        ];
        Ok(TokenRequest::new(&self.plan.endpoints.token, &self.plan.client, form))
    }

    /// RFC 9207 section 2.4: compared as texts; missing is a fault where the server said that it sends it.
    fn check_issuer(&self, named: Option<&str>) -> Result<(), CallbackError> {
        let endpoints = &self.plan.endpoints;
        let sound = match (named, &endpoints.issuer) {
            (Some(named), Some(issuer)) => named == issuer,
            // No issuer was written down: that it lives where the person was sent is what can be held against it.
            (Some(named), None) => Url::parse(named).is_ok_and(|url| url.origin() == endpoints.authorization.origin()),
            (None, _) => !endpoints.names_itself,
        };
        if sound { Ok(()) } else { Err(CallbackError::Issuer) }
    }

    /// Writes it down. The text holds secrets, and is sealed.
    #[must_use]
    pub fn write(&self) -> Secret<String> {
        let Plan { endpoints, client, resource, scope, redirect } = &self.plan;
        Secret::new(
            json!({
                "issuer": endpoints.issuer, "authorization": endpoints.authorization, "token": endpoints.token,
                "revocation": endpoints.revocation, "names_itself": endpoints.names_itself,
                "offline": endpoints.offline, "client_id": client.id,
                "client_secret": client.secret.as_ref().map(|secret| secret.expose()),
                "method": client.method, "secret_expires": client.secret_expires, "resource": resource,
                "scope": scope, "redirect": redirect, "verifier": self.verifier, "bound": encode(&self.bound),
                "expires": self.expires,
            })
            .to_string(),
        )
    }

    /// Reads what was written.
    #[must_use]
    pub fn read(text: &Secret<String>) -> Option<Self> {
        let found: Written = serde_json::from_str(text.expose()).ok()?;
        let bound = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, found.bound).ok()?;
        let endpoints = Endpoints {
            issuer: found.issuer,
            authorization: found.authorization,
            token: found.token,
            revocation: found.revocation,
            names_itself: found.names_itself,
            offline: found.offline,
        };
        let client = Client {
            id: found.client_id,
            secret: found.client_secret,
            method: found.method,
            secret_expires: found.secret_expires,
        };
        let plan = Plan { endpoints, client, resource: found.resource, scope: found.scope, redirect: found.redirect };
        Some(Self { plan, verifier: found.verifier, bound: bound.try_into().ok()?, expires: found.expires })
    }
}

#[derive(Deserialize)]
struct Written {
    issuer: Option<String>,
    authorization: Url,
    token: Url,
    revocation: Option<Url>,
    names_itself: bool,
    offline: bool,
    client_id: String,
    client_secret: Option<Secret<String>>,
    method: TokenAuthMethod,
    secret_expires: Option<i64>,
    resource: String,
    scope: Option<String>,
    redirect: Url,
    verifier: String,
    bound: String,
    expires: i64,
}

#[cfg(test)]
mod tests {
    use types::Secret;
    use url::Url;

    use super::{Callback, CallbackError, Endpoints, LIFETIME, Pending, Plan, Random, begin, scope};
    use crate::document::credentials::TokenAuthMethod;
    use crate::oauth::client::Client;

    const HERE: [u8; 32] = [1; 32];

    fn plan() -> Plan {
        let endpoints = Endpoints {
            issuer: Some("https://as.example".into()),
            authorization: "https://as.example/authorize?tenant=1".parse().unwrap(),
            token: "https://as.example/token".parse().unwrap(),
            revocation: None,
            names_itself: false,
            offline: false,
        };
        let client = Client {
            id: "c".into(),
            secret: Some(Secret::new("s".to_owned())),
            method: TokenAuthMethod::Basic,
            secret_expires: None,
        };
        Plan {
            endpoints,
            client,
            resource: "https://a.example/mcp".into(),
            scope: Some("read write".into()),
            redirect: "https://mcp.example.com/servers-callback".parse().unwrap(),
        }
    }

    fn started(plan: Plan) -> (Url, Pending) {
        let (url, state, pending) = begin(plan, HERE, &Random { state: [2; 32], verifier: [3; 32] }, 1_000);
        assert!(url.query_pairs().any(|(name, value)| name == "state" && value == state));
        (url, pending)
    }

    fn member(url: &Url, name: &str) -> Option<String> {
        url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn the_browser_is_sent_with_pkce_resource_and_scope() {
        let (url, pending) = started(plan());
        for (name, expected) in [
            ("tenant", "1"),
            ("response_type", "code"),
            ("code_challenge_method", "S256"),
            ("resource", "https://a.example/mcp"),
            ("scope", "read write"),
            ("redirect_uri", "https://mcp.example.com/servers-callback"),
        ] {
            assert_eq!(member(&url, name).as_deref(), Some(expected));
        }
        assert!(!url.as_str().contains(&pending.verifier));
        let mut offline = plan();
        offline.endpoints.offline = true;
        let (url, _) = started(offline);
        assert_eq!(member(&url, "scope").as_deref(), Some("read write offline_access"));
        assert_eq!(member(&url, "prompt").as_deref(), Some("consent"));
    }

    #[test]
    fn an_answer_counts_in_its_browser_in_time_and_from_its_issuer() {
        let (_, pending) = started(plan());
        let good = Callback { code: Some("x"), iss: Some("https://as.example"), error: None };
        let request = pending.redeem(&good, HERE, 1_001).unwrap();
        assert!(request.form.contains(&("resource", "https://a.example/mcp".to_owned())));
        assert_eq!(request.basic.as_ref().map(|(id, _)| id.as_str()), Some("c"));
        assert!(!format!("{pending:?} {request:?}").contains(&pending.verifier));
        let late = 1_000 + i64::try_from(LIFETIME.as_secs()).unwrap();
        for (callback, bound, now, expected) in [
            (good, [9; 32], 1_001, CallbackError::Browser),
            (good, HERE, late, CallbackError::Expired),
            (Callback { iss: Some("https://evil.example"), ..good }, HERE, 1_001, CallbackError::Issuer),
            (Callback { iss: Some("https://as.example/"), ..good }, HERE, 1_001, CallbackError::Issuer),
            (
                Callback { error: Some("access_denied\n<b>"), code: None, ..good },
                HERE,
                1_001,
                CallbackError::Refused("access_deniedb".into()),
            ),
            (Callback { code: None, ..good }, HERE, 1_001, CallbackError::NoCode),
            (Callback { code: Some(""), ..good }, HERE, 1_001, CallbackError::NoCode),
        ] {
            assert_eq!(pending.redeem(&callback, bound, now).unwrap_err(), expected, "{callback:?}");
        }
        assert!(pending.redeem(&Callback { iss: None, ..good }, HERE, 1_001).is_ok());
        let mut names = plan();
        names.endpoints.names_itself = true;
        let (_, names) = started(names);
        assert_eq!(names.redeem(&Callback { iss: None, ..good }, HERE, 1).unwrap_err(), CallbackError::Issuer);
        let mut unnamed = plan();
        unnamed.endpoints.issuer = None;
        let (_, unnamed) = started(unnamed);
        assert!(unnamed.redeem(&good, HERE, 1).is_ok());
        let elsewhere = Callback { iss: Some("https://evil.example"), ..good };
        assert_eq!(unnamed.redeem(&elsewhere, HERE, 1).unwrap_err(), CallbackError::Issuer);
    }

    #[test]
    fn a_sign_in_that_was_written_down_is_the_same_when_it_is_read() {
        let (_, pending) = started(plan());
        assert_eq!(Pending::read(&pending.write()), Some(pending));
        assert_eq!(Pending::read(&Secret::new("{}".to_owned())), None);
    }

    #[test]
    fn the_scope_is_the_challenges_with_what_was_granted_else_all_that_is_described() {
        for (challenged, described, granted, expected) in [
            (None, None, Some("a"), None),
            (None, Some("a b"), None, Some("a b")),
            (Some("c"), Some("a b"), None, Some("c")),
            (Some("c"), Some("a b"), Some("a"), Some("a c")),
            (Some("a \"x\" a"), None, Some("a"), Some("a")),
        ] {
            assert_eq!(scope(challenged, described, granted).as_deref(), expected);
        }
    }
}
