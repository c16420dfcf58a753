//! The authorization endpoint: from a request to a code (OAuth 2.1 section 4.1, RFC 7636, 8707, 9207).
//!
//! Decides whether a request may wait for a person, which errors may be sent to the client, and what a decision makes.
//! Deliberately signs nobody in. Invariant: nothing is ever sent to a redirect URI that the client did not register, and a
//! request is decided once, in the browser that brought it, by a person who was asked.

use serde::{Deserialize, Serialize};
use types::{ApplicationId, UserId};
use url::Url;

use super::client::{Client, GrantType};
use super::error::{ErrorCode, OauthError};
use super::form::Form;
use super::grant::{Grant, NewGrant};
use super::redirect;
use crate::application::OauthDocument;
use crate::opaque::{self, Digest, Seed};

/// Seconds a request waits for the person.
pub const REQUEST_LIFE: i64 = 10 * 60;
/// Most bytes of `state`.
const MAX_STATE: usize = 1_024;
const MAX_SCOPES: usize = 32;
/// Defaults of reference section 4.1, in seconds.
const ACCESS_LIFETIME: u64 = 15 * 60;
const GRANT_LIFETIME: u64 = 14 * 24 * 3_600;

/// How long what a request leads to lasts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetimes {
    pub access_token: u64,
    pub grant: u64,
}

impl Lifetimes {
    /// Reads the application's configuration.
    #[must_use]
    pub fn of(document: &OauthDocument) -> Self {
        let seconds = |lifetime: &Option<crate::document::Lifetime>, default| {
            lifetime.as_ref().map_or(default, |lifetime| lifetime.value().as_secs())
        };
        Self {
            access_token: seconds(&document.grant.access_token_lifetime, ACCESS_LIFETIME),
            grant: seconds(&document.grant.session_duration, GRANT_LIFETIME),
        }
    }
}

/// `prompt` of OpenID Connect, as far as it means something here; consent is always asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    #[default]
    Consent,
    /// The person must sign in again first.
    Login,
}

/// The application a request is about.
pub struct Target<'a> {
    pub application: ApplicationId,
    /// Our issuer, without a trailing slash.
    pub issuer: &'a str,
    /// What the token is for if the request does not say.
    pub default_resource: &'a str,
    /// Whether a URL lies within the application.
    pub contains: &'a dyn Fn(&Url) -> bool,
    /// Scopes the application knows; others are left out of what is granted.
    pub scopes: &'a [String],
    pub lifetimes: Lifetimes,
}

/// A request that waits for its person, as stored under [`PendingRequest::id`] (document version 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequest {
    /// Hash of the id that stands in URLs.
    pub id: Digest,
    /// Hash of the secret in the cookie of the browser that brought the request.
    pub browser: Digest,
    pub application: ApplicationId,
    pub issuer: String,
    pub client: String,
    pub redirect_uri: String,
    pub state: Option<String>,
    /// 43 characters of base64url: SHA-256 of the verifier.
    pub challenge: String,
    pub resource: String,
    pub scopes: Vec<String>,
    pub prompt: Prompt,
    pub with_refresh: bool,
    pub lifetimes: Lifetimes,
    /// Seconds since the epoch.
    pub expires_at: i64,
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Show a page; the client or its redirect URI is not to be trusted.
    Show(OauthError),
    /// Send the browser to this URL of the client.
    Redirect(Url),
}

/// What the caller draws and knows when a request comes in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The id that will stand in URLs.
    pub request_id: &'a str,
    /// The secret set as a cookie for this browser.
    pub browser_secret: &'a str,
    /// Seconds since the epoch.
    pub now: i64,
}

/// Decides whether a request may wait for its person. `client` is the client of the application whose id is the form's
/// `client_id`, if there is one.
///
/// # Errors
/// With a page to show or a redirect to send.
pub fn begin(
    form: &Form,
    client: Option<&Client>,
    target: &Target<'_>,
    arrival: Arrival<'_>,
) -> Result<PendingRequest, Refusal> {
    let show = |code, text: &'static str| Refusal::Show(OauthError::new(code, text));
    let client = client
        .filter(|client| client.application == target.application && form.get("client_id") == Some(&client.id))
        .ok_or_else(|| show(ErrorCode::InvalidClient, "the client is not registered with this application"))?;
    let redirect_uri =
        form.get("redirect_uri").ok_or_else(|| show(ErrorCode::InvalidRequest, "redirect_uri is missing"))?;
    if !redirect::matches(&client.redirect_uris, redirect_uri) {
        return Err(show(ErrorCode::InvalidRedirectUri, "redirect_uri is not one the client registered"));
    }
    let state = form.get("state").filter(|state| state.len() <= MAX_STATE);
    let answer = Answer { redirect_uri, issuer: target.issuer, state };
    let parsed = parameters(form, client, target)
        .map_err(|error| answer.error(&error).map_or(Refusal::Show(error), Refusal::Redirect))?;
    Ok(PendingRequest {
        id: Digest::of(arrival.request_id),
        browser: Digest::of(arrival.browser_secret),
        application: target.application,
        issuer: target.issuer.to_owned(),
        client: client.id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        state: state.map(str::to_owned),
        challenge: parsed.challenge,
        resource: parsed.resource,
        scopes: parsed.scopes,
        prompt: parsed.prompt,
        with_refresh: client.may(GrantType::RefreshToken),
        lifetimes: target.lifetimes,
        expires_at: arrival.now.saturating_add(REQUEST_LIFE),
    })
}

struct Parsed {
    challenge: String,
    resource: String,
    scopes: Vec<String>,
    prompt: Prompt,
}

fn parameters(form: &Form, client: &Client, target: &Target<'_>) -> Result<Parsed, OauthError> {
    let refuse = |code, text: &'static str| Err(OauthError::new(code, text));
    if form.get("request").is_some() {
        return refuse(ErrorCode::RequestNotSupported, "request objects are not supported");
    }
    if form.get("request_uri").is_some() {
        return refuse(ErrorCode::RequestUriNotSupported, "request_uri is not supported");
    }
    if form.get("state").is_some_and(|state| state.len() > MAX_STATE) {
        return refuse(ErrorCode::InvalidRequest, "state is longer than 1024 bytes");
    }
    match form.get("response_type") {
        Some("code") => {}
        Some(_) => return refuse(ErrorCode::UnsupportedResponseType, "the only response_type is code"),
        None => return refuse(ErrorCode::InvalidRequest, "response_type is missing"),
    }
    if form.get("response_mode").is_some_and(|mode| mode != "query") {
        return refuse(ErrorCode::InvalidRequest, "the only response_mode is query");
    }
    if !client.may(GrantType::AuthorizationCode) {
        return refuse(ErrorCode::UnauthorizedClient, "the client did not register for authorization_code");
    }
    let Some(challenge) = form.get("code_challenge") else {
        return refuse(ErrorCode::InvalidRequest, "code_challenge is missing: PKCE is required");
    };
    if form.get("code_challenge_method") != Some("S256") {
        return refuse(ErrorCode::InvalidRequest, "code_challenge_method must be S256");
    }
    if opaque::bytes::<32>(challenge).is_none() {
        return refuse(ErrorCode::InvalidRequest, "code_challenge is not the base64url form of a SHA-256 hash");
    }
    Ok(Parsed {
        challenge: challenge.to_owned(),
        resource: resource(form, target)?,
        scopes: scopes(form, target)?,
        prompt: prompt(form)?,
    })
}

fn resource(form: &Form, target: &Target<'_>) -> Result<String, OauthError> {
    let invalid = |text: &'static str| OauthError::new(ErrorCode::InvalidTarget, text);
    let mut named = form.all("resource");
    // Clients that do not know RFC 8707 leave it out; a token is for this application in any case.
    let Some(resource) = named.next() else { return Ok(target.default_resource.to_owned()) };
    if named.next().is_some() {
        return Err(invalid("a token is for one resource; resource is given more than once"));
    }
    let url = Url::parse(resource).map_err(|_| invalid("resource is not an absolute URI"))?;
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("resource must not have a fragment or credentials"));
    }
    if !matches!(url.scheme(), "http" | "https") || !(target.contains)(&url) {
        return Err(invalid("resource is not a URL of this application"));
    }
    Ok(resource.to_owned())
}

fn scopes(form: &Form, target: &Target<'_>) -> Result<Vec<String>, OauthError> {
    let Some(requested) = form.get("scope") else { return Ok(Vec::new()) };
    let words: Vec<&str> = requested.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() > MAX_SCOPES {
        return Err(OauthError::new(ErrorCode::InvalidScope, "scope has more than 32 words"));
    }
    Ok(target.scopes.iter().filter(|scope| words.contains(&scope.as_str())).cloned().collect())
}

fn prompt(form: &Form) -> Result<Prompt, OauthError> {
    let words: Vec<&str> = form.get("prompt").unwrap_or_default().split(' ').collect();
    if words.contains(&"none") {
        // Consent is asked each time, so that a request without a person cannot succeed.
        let code = if words.len() == 1 { ErrorCode::InteractionRequired } else { ErrorCode::InvalidRequest };
        return Err(OauthError::new(code, "prompt=none cannot be served: the person must consent"));
    }
    Ok(if words.iter().any(|word| matches!(*word, "login" | "select_account")) {
        Prompt::Login
    } else {
        Prompt::Consent
    })
}

/// Builds answers that go through the browser to the client.
struct Answer<'a> {
    redirect_uri: &'a str,
    issuer: &'a str,
    state: Option<&'a str>,
}

impl Answer<'_> {
    fn url(&self, first: &[(&str, &str)]) -> Option<Url> {
        let mut url = Url::parse(self.redirect_uri).ok()?;
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(first);
            if let Some(state) = self.state {
                query.append_pair("state", state);
            }
            // RFC 9207: the client can tell which server answered, also in errors.
            query.append_pair("iss", self.issuer);
        }
        Some(url)
    }

    fn error(&self, error: &OauthError) -> Option<Url> {
        self.url(&[("error", error.code.as_str()), ("error_description", &error.description)])
    }
}

/// Who decided, and how it is known that they were asked here.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    pub user: UserId,
    /// Hash of the person's session.
    pub session: Digest,
    /// The id from the URL.
    pub request_id: &'a str,
    /// The secret from the browser's cookie.
    pub browser_secret: &'a str,
    /// The token from the consent form, made by [`consent_token`].
    pub consent_token: &'a str,
    /// Seconds since the epoch.
    pub now: i64,
}

/// Why a decision is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    #[error("the request is no longer open; start again in the application")]
    Expired,
    #[error("the decision does not come from the page that asked for it")]
    Forged,
    #[error("the answer cannot be built")]
    Internal,
}

/// Returns the token that the consent form carries: only a page shown to this browser, this session and this request
/// holds it.
#[must_use]
pub fn consent_token(browser_secret: &str, request_id: &str, session: &Digest) -> String {
    let bound = [b"consent\0".as_slice(), &session.0, request_id.as_bytes()].concat();
    opaque::text(&opaque::derive(browser_secret.as_bytes(), &bound))
}

impl PendingRequest {
    /// Whether the request still waits.
    #[must_use]
    pub const fn is_open(&self, now: i64) -> bool {
        now < self.expires_at
    }

    /// Makes the grant and the URL that carries the code. The caller deletes the request with the same write, so that it
    /// is decided once.
    ///
    /// # Errors
    /// If the request is over, or the decision does not come from its page.
    pub fn approve(&self, decision: Decision<'_>, seed: &Seed) -> Result<(Grant, Url), DecisionError> {
        self.check(decision)?;
        let (grant, code) = Grant::new(NewGrant { request: self, decision, seed });
        let url = self.answer().url(&[("code", &code)]).ok_or(DecisionError::Internal)?;
        Ok((grant, url))
    }

    /// Returns the URL that tells the client that the person, or a policy, said no.
    ///
    /// # Errors
    /// As [`PendingRequest::approve`].
    pub fn deny(&self, decision: Decision<'_>) -> Result<Url, DecisionError> {
        self.check(decision)?;
        self.refuse(&OauthError::new(ErrorCode::AccessDenied, "the person or a policy refused"))
            .ok_or(DecisionError::Internal)
    }

    /// Returns the URL that tells the client of an error that was found while the person signed in.
    #[must_use]
    pub fn refuse(&self, error: &OauthError) -> Option<Url> {
        self.answer().error(error)
    }

    fn check(&self, decision: Decision<'_>) -> Result<(), DecisionError> {
        if !self.is_open(decision.now) {
            return Err(DecisionError::Expired);
        }
        let expected = consent_token(decision.browser_secret, decision.request_id, &decision.session);
        let genuine = self.id.matches(decision.request_id)
            && self.browser.matches(decision.browser_secret)
            && Digest::of(&expected).matches(decision.consent_token);
        if genuine { Ok(()) } else { Err(DecisionError::Forged) }
    }

    fn answer(&self) -> Answer<'_> {
        Answer { redirect_uri: &self.redirect_uri, issuer: &self.issuer, state: self.state.as_deref() }
    }
}
