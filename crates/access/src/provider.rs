//! Talking to identity providers: their description, their keys, the exchange of a code for tokens.
//!
//! What to send and what to believe is `identity::relying_party`'s. Invariant: every answer is bounded in bytes and time
//! and comes through the guarded upstream; a provider that is down fails one sign-in and nothing else.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use identity::claims::{self, ClaimsError, Established};
use identity::external_evaluation::{self, ReplyError};
use identity::github::{self, Answers, GithubError, GithubSettings};
use identity::jose::Jwks;
use identity::keys::{KeyError, KeyRing};
use identity::provider::{Client, Endpoints, OidcSettings};
use identity::relying_party::{
    Callback, CallbackError, IdTokenError, Metadata, MetadataError, PendingLogin, redeem, verify_id_token,
};
use identity::selector::ExternalEvaluation;
use identity::token_response::{AnswerError, TokenResponse, join_user_info};
use moka::future::Cache;
use net::proxy::body::{Body, boxed, collect, empty_body, full_body};
use net::upstream::{Pool, Route, SendError, request_for_json};
use serde_json::{Map, Value};
use types::{ProviderId, Secret};
use url::Url;

use crate::throttle::Throttle;
use crate::ticket;

/// Longest answer of a provider.
const LONGEST: usize = 1 << 20;
/// How long another service has to say whether a person may sign in, its keys included.
const EVALUATION: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3_600);

/// What is remembered of providers.
pub(crate) struct Providers {
    /// By issuer.
    metadata: Cache<String, Arc<Metadata>>,
    /// By the address of the key set.
    keys: Cache<String, Arc<Jwks>>,
    /// How often unknown keys may make us fetch again.
    refetches: Throttle<String>,
    within: Duration,
}

/// Why a provider did not help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("{0} is not an address that can be asked")]
    Address(Url),
    #[error("the identity provider did not answer in time")]
    Timeout,
    #[error("the identity provider cannot be reached")]
    Send(#[from] SendError),
    #[error("the identity provider's answer is too large or broke off")]
    Body,
    #[error("the identity provider answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("the identity provider's keys are not a key set")]
    Keys,
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Callback(#[from] CallbackError),
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error(transparent)]
    Github(#[from] GithubError),
    #[error("the question cannot be signed")]
    Sign(#[from] KeyError),
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error("there is no randomness")]
    Randomness,
}

impl Providers {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            metadata: Cache::builder().max_capacity(1_000).time_to_live(HOUR).build(),
            keys: Cache::builder().max_capacity(1_000).time_to_live(HOUR).build(),
            refetches: Throttle::new(6),
            within,
        }
    }

    /// Returns where a provider's endpoints are.
    pub(crate) async fn metadata(&self, pool: &Pool, settings: &OidcSettings) -> Result<Arc<Metadata>, ProviderError> {
        let issuer = match &settings.endpoints {
            Endpoints::Fixed { authorization, token, keys, issuer } => {
                return Ok(Arc::new(Metadata {
                    issuer: issuer.clone(),
                    authorization: authorization.clone(),
                    token: token.clone(),
                    keys: keys.clone(),
                    end_session: None,
                    user_info: None,
                    names_itself: false,
                }));
            }
            Endpoints::Discover(issuer) => issuer,
        };
        if let Some(known) = self.metadata.get(issuer.as_str()).await {
            return Ok(known);
        }
        let location = Metadata::location(issuer);
        let address = Url::parse(&location).map_err(|_| ProviderError::Address(issuer.clone()))?;
        let body = self.get(pool, &address).await?;
        let metadata = Arc::new(Metadata::parse(&body, issuer)?);
        self.metadata.insert(issuer.as_str().to_owned(), Arc::clone(&metadata)).await;
        Ok(metadata)
    }

    /// Exchanges the code of a callback and returns the claims of the ID token, with those of the user-info endpoint where the
    /// token lacks some. `settings` are those of the provider the
    /// login was begun with, and no other's (RFC 9700 section 4.4).
    pub(crate) async fn claims(
        &self,
        pool: &Pool,
        settings: &OidcSettings,
        callback: &Callback<'_>,
        pending: &PendingLogin,
        redirect: &Url,
        now: i64,
    ) -> Result<Map<String, Value>, ProviderError> {
        let metadata = self.metadata(pool, settings).await?;
        let form = redeem(callback, pending, settings, &metadata, redirect, now)?;
        let tokens = self.exchange(pool, &metadata.token, Some(&settings.client), &form).await?;
        let id_token = tokens.id_token()?.expose();
        let access = Some(tokens.access_token.expose().as_str());
        let keys = self.keys(pool, &metadata.keys, false).await?;
        let claims = match verify_id_token(id_token, access, pending, settings, &metadata, &keys, now) {
            Err(IdTokenError::FreshKeys) if self.refetches.admit(metadata.keys.to_string()) => {
                let keys = self.keys(pool, &metadata.keys, true).await?;
                verify_id_token(id_token, access, pending, settings, &metadata, &keys, now)?
            }
            outcome => outcome?,
        };
        // What is not answered is a fault: a person is never taken to be in no group because a provider was down.
        match &metadata.user_info {
            Some(address) if claims::lacks(settings, &claims) => {
                let (status, body) = self.ask_as(pool, address, Some(&tokens.access_token)).await?;
                Ok(join_user_info(claims, status.as_u16(), &body)?)
            }
            Some(_) | None => Ok(claims),
        }
    }

    async fn keys(&self, pool: &Pool, address: &Url, fresh: bool) -> Result<Arc<Jwks>, ProviderError> {
        if !fresh && let Some(known) = self.keys.get(address.as_str()).await {
            return Ok(known);
        }
        let body = self.get(pool, address).await?;
        let keys = Arc::new(Jwks::parse(&body).map_err(|_| ProviderError::Keys)?);
        self.keys.insert(address.as_str().to_owned(), Arc::clone(&keys)).await;
        Ok(keys)
    }

    async fn exchange(
        &self,
        pool: &Pool,
        address: &Url,
        basic: Option<&Client>,
        form: &[(&'static str, String)],
    ) -> Result<TokenResponse, ProviderError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = request(Method::POST, address, full_body(body))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(client) = basic
            && let Some(secret) = &client.secret
        {
            // RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
            let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(&client.id), encode(secret.expose())));
            let mut value = http::HeaderValue::try_from(format!("Basic {pair}"))
                .map_err(|_| ProviderError::Address(address.clone()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let (status, body) = self.send(pool, address, request).await?;
        Ok(TokenResponse::parse(status.as_u16(), &body)?)
    }

    /// Exchanges the code of a callback and asks GitHub's API who holds the token. What is not answered is a fault: a
    /// person is never taken to be in no organisation because a list broke off.
    pub(crate) async fn github(
        &self,
        pool: &Pool,
        (provider, settings): (ProviderId, &GithubSettings),
        callback: &Callback<'_>,
        pending: &PendingLogin,
        redirect: &Url,
        now: i64,
    ) -> Result<Established, ProviderError> {
        let client = &settings.oauth.client;
        let mut form = redeem(callback, pending, &settings.oauth, &settings.metadata, redirect, now)?;
        // GitHub documents the secret in the form alone.
        if let Some(secret) = &client.secret {
            form.push(("client_secret", secret.expose().clone()));
        }
        let tokens = self.exchange(pool, &settings.metadata.token, None, &form).await?;
        let token = &tokens.access_token;
        let answers = Answers {
            user: self.get_as(pool, &settings.user, Some(token)).await?.to_vec(),
            emails: self.get_as(pool, &settings.emails, Some(token)).await?.to_vec(),
            organizations: self.pages(pool, &settings.organizations, token).await?,
            teams: self.pages(pool, &settings.teams, token).await?,
        };
        Ok(answers.establish(provider)?)
    }

    async fn pages(&self, pool: &Pool, list: &Url, token: &Secret<String>) -> Result<Vec<Vec<u8>>, ProviderError> {
        let mut pages = Vec::new();
        for number in 1..=github::MAX_PAGES {
            let page = self.get_as(pool, &github::page(list, number), Some(token)).await?.to_vec();
            let full = Answers::is_full(&page)?;
            pages.push(page);
            if !full {
                break;
            }
        }
        Ok(pages)
    }

    /// Asks another service whether a person may sign in (reference section 3.4). `identity` is what get-identity shows.
    pub(crate) async fn evaluate(
        &self,
        pool: &Pool,
        evaluation: &ExternalEvaluation,
        ring: &KeyRing,
        identity: &Value,
        now: i64,
    ) -> Result<bool, ProviderError> {
        let random = ticket::random().ok_or(ProviderError::Randomness)?;
        let question = external_evaluation::ask(ring, identity, random, now)?;
        let asked = async {
            let mut request = request(Method::POST, &evaluation.evaluate_url, full_body(question.body.to_string()))?;
            request.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            let (status, body) = self.send(pool, &evaluation.evaluate_url, request).await?;
            if status != StatusCode::OK {
                return Err(ProviderError::Status(status));
            }
            let keys = self.keys(pool, &evaluation.keys_url, false).await?;
            match question.answer(&body, &keys, now) {
                // The same reply under fresh keys: the question is answered once, so nobody can be asked twice.
                Err(ReplyError::FreshKeys) if self.refetches.admit(evaluation.keys_url.to_string()) => {
                    let keys = self.keys(pool, &evaluation.keys_url, true).await?;
                    Ok(question.answer(&body, &keys, now)?)
                }
                outcome => Ok(outcome?),
            }
        };
        tokio::time::timeout(EVALUATION.min(self.within), asked).await.map_err(|_| ProviderError::Timeout)?
    }

    async fn get(&self, pool: &Pool, address: &Url) -> Result<Bytes, ProviderError> {
        self.get_as(pool, address, None).await
    }

    async fn get_as(&self, pool: &Pool, address: &Url, token: Option<&Secret<String>>) -> Result<Bytes, ProviderError> {
        let (status, body) = self.ask_as(pool, address, token).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(ProviderError::Status(status)) }
    }

    async fn ask_as(
        &self,
        pool: &Pool,
        address: &Url,
        token: Option<&Secret<String>>,
    ) -> Result<(StatusCode, Bytes), ProviderError> {
        let mut request = request(Method::GET, address, empty_body())?;
        if let Some(token) = token {
            let mut value = http::HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| ProviderError::Address(address.clone()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.send(pool, address, request).await
    }

    async fn send(
        &self,
        pool: &Pool,
        address: &Url,
        request: Request<Body>,
    ) -> Result<(StatusCode, Bytes), ProviderError> {
        let route = route(address)?;
        let whole = async {
            let answer = pool.send(&route, request).await?;
            let status = answer.response.status();
            let body = collect(boxed(answer.response.into_body()), LONGEST).await.ok_or(ProviderError::Body)?;
            Ok((status, body))
        };
        tokio::time::timeout(self.within, whole).await.map_err(|_| ProviderError::Timeout)?
    }
}

pub(crate) fn route(address: &Url) -> Result<Route, ProviderError> {
    Route::to(address).ok_or_else(|| ProviderError::Address(address.clone()))
}

pub(crate) fn request(method: Method, address: &Url, body: Body) -> Result<Request<Body>, ProviderError> {
    request_for_json(method, address, body).map_err(|_| ProviderError::Address(address.clone()))
}
