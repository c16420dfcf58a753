//! A request that carries one of our access tokens: whose it is, whether the policies let them through, what the
//! application is told.
//!
//! Invariants: whatever is wrong with the token or the person is answered with 401 or 403 and a challenge, never with a
//! page or a redirect; a cookie beside the token changes nothing; the token itself never reaches the application.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use identity::app_token::{Subject, TokenRequest};
use identity::application::SelfHosted;
use identity::evaluation::{Trace, Verdict};
use identity::keys::KeyRing;
use identity::oauth::grant::{ACCESS_PREFIX, GrantId};
use identity::oauth::metadata::Challenge;
use identity::opaque::Digest;
use identity::session::Session;
use moka::sync::Cache;
use net::proxy::body::Body;
use serde_json::json;
use types::ApplicationId;

use super::discovery::{self, Server};
use super::standing;
use super::table::Held;
use crate::approval;
use crate::caller;
use crate::exchange::Exchange;
use crate::forward::{self, Assertion};
use crate::gate;
use crate::issue;
use crate::ledger::LedgerError;
use crate::page;
use crate::record::{self, Decision};
use crate::snapshot::Published;
use crate::throttle;
use crate::workers::Asker;

/// Application tokens minted for agents, by the hash of the access token.
pub(crate) struct Assertions {
    minted: Cache<Digest, Minted>,
    /// Tokens that the store did not know either; one that is unknown once is unknown for ever.
    missing: Cache<Digest, ()>,
}

#[derive(Clone)]
struct Minted {
    keys: Arc<KeyRing>,
    text: Arc<str>,
}

impl Assertions {
    pub(crate) fn new() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            minted: Cache::builder().max_capacity(20_000).time_to_live(minutes(10)).build(),
            missing: Cache::builder().max_capacity(20_000).time_to_live(minutes(1)).build(),
        }
    }
}

/// Finds an access token of ours among the credentials of a request.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && token.starts_with(ACCESS_PREFIX)).then_some(token)
    })
}

/// What an access token stands for: the grant that gave it.
pub(crate) struct Found {
    pub(crate) holder: Arc<Held>,
    /// When the token ends, in seconds since the epoch.
    expires_at: i64,
}

impl Found {
    fn at(holder: Arc<Held>, token: &str, application: ApplicationId, now: i64) -> Option<Self> {
        let expires_at = holder.access(token, application, now)?.expires_at;
        Some(Self { holder, expires_at })
    }

    fn session(&self) -> &Session {
        &self.holder.kept.session
    }
}

/// Why a token is not resolved.
pub(crate) enum Unresolved {
    /// It is unknown, over, revoked, or another application's.
    Invalid,
    /// The source showed too many tokens that nobody knows.
    TooMany,
    Ledger(LedgerError),
}

/// Finds what a token stands for at an application; a token that is revoked stands for nothing.
pub(crate) async fn resolve(exchange: &Exchange, token: &str, application: ApplicationId) -> Result<Found, Unresolved> {
    let Some(id) = GrantId::of_access(token) else { return Err(Unresolved::Invalid) };
    let plane = exchange.plane();
    let now = exchange.now.seconds();
    let known = plane.agents.find(id).and_then(|held| Found::at(held, token, application, now));
    let found = match known {
        Some(found) => found,
        None => look_up(exchange, id, token, application).await?,
    };
    if standing::is_revoked(exchange, application, found.holder.hash, found.session()) {
        plane.agents.forget(id);
        return Err(Unresolved::Invalid);
    }
    Ok(found)
}

async fn look_up(
    exchange: &Exchange,
    id: GrantId,
    token: &str,
    application: ApplicationId,
) -> Result<Found, Unresolved> {
    let plane = exchange.plane();
    let hash = Digest::of(token);
    if plane.oauth.assertions.missing.contains_key(&hash) {
        return Err(Unresolved::Invalid);
    }
    let source = throttle::source(exchange.source());
    if plane.oauth.unknown.is_spent(&source) {
        return Err(Unresolved::TooMany);
    }
    let held = read(exchange, id).await.map_err(Unresolved::Ledger)?;
    let found = held.and_then(|held| Found::at(held, token, application, exchange.now.seconds()));
    found.ok_or_else(|| {
        plane.oauth.assertions.missing.insert(hash, ());
        plane.oauth.unknown.admit(source);
        Unresolved::Invalid
    })
}

/// Reads a grant from the store, and holds it.
pub(crate) async fn read(exchange: &Exchange, id: GrantId) -> Result<Option<Arc<Held>>, LedgerError> {
    let plane = exchange.plane();
    let ahead = plane.agents.ahead(id);
    let kept = plane.oauth_ledger.grant(id).await?;
    Ok(kept.map(|kept| ahead.hold(kept, exchange.now.seconds())))
}

/// Answers a request with an access token.
pub(crate) async fn answer(exchange: &mut Exchange, published: &Published, app: &SelfHosted) -> Response<Body> {
    let doubled = exchange.headers.get_all(header::AUTHORIZATION).iter().count() > 1;
    let Some(token) = presented(&exchange.headers).map(str::to_owned).filter(|_| !doubled) else {
        return refuse_token(exchange, published);
    };
    let found = match resolve(exchange, &token, published.application.id).await {
        Ok(found) => found,
        Err(Unresolved::Invalid) => return refuse_token(exchange, published),
        Err(Unresolved::TooMany) => return wait(StatusCode::TOO_MANY_REQUESTS, "too many unknown access tokens", "60"),
        Err(Unresolved::Ledger(error)) => {
            tracing::error!(%error, "an access token cannot be looked up");
            return wait(StatusCode::SERVICE_UNAVAILABLE, "access tokens cannot be checked at the moment", "10");
        }
    };
    decide(exchange, published, app, &token, &found).await
}

async fn decide(
    exchange: &mut Exchange,
    published: &Published,
    app: &SelfHosted,
    token: &str,
    found: &Found,
) -> Response<Body> {
    let session = found.session();
    let verdict = gate::ask_about(exchange, published, Asker::Person(session), None).await;
    match verdict {
        Verdict::Bypass(_) | Verdict::NonIdentity(_) => forward::send(exchange, published, Assertion::None).await,
        Verdict::Allow(index) if may_pass(exchange, published, app, found, index).await => {
            let Some(text) = assertion(exchange, published, token, found) else { return page::failed(exchange) };
            let assertion = Assertion::Agent { token: &text, held: &found.holder };
            forward::send(exchange, published, assertion).await
        }
        Verdict::Allow(_) | Verdict::Needs(_) | Verdict::SignIn => {
            let why = "the policy that covers the person asks for more than they gave when they consented";
            refuse(exchange, published, found, Decision::because(why.to_owned()))
        }
        Verdict::Deny(denied) => {
            // Asked again for the record alone: what is allowed pays nothing for explanations.
            let mut trace = Trace::default();
            gate::ask_about(exchange, published, Asker::Person(session), Some(&mut trace)).await;
            refuse(exchange, published, found, Decision::denied(published, denied, Some(&trace)))
        }
    }
}

/// Whether the consent covers what a policy asks for besides who the person is. A factor had to be fresh at the consent: an
/// agent cannot prove one. Nor can it answer a question, which the person was asked for one policy alone.
async fn may_pass(exchange: &Exchange, published: &Published, app: &SelfHosted, found: &Found, index: usize) -> bool {
    let session = found.session();
    let Some(policy) = published.policies.policy(index) else { return false };
    let rules = gate::mfa(exchange, policy, app);
    !approval::owed(exchange, published, policy, (found.holder.hash, session))
        && gate::fits(session, app)
        && !caller::owes_factor(rules.as_ref(), session, session.seen)
        && (policy.justification.is_none() || standing::stands_for_all(exchange, published, session, policy).await)
}

/// Returns the token the application is shown. It names no policy, so that it is not taken for a session here.
fn assertion(exchange: &Exchange, published: &Published, token: &str, found: &Found) -> Option<Arc<str>> {
    let minted = &exchange.plane().oauth.assertions.minted;
    let (key, keys) = (Digest::of(token), &exchange.snapshot.keys);
    if let Some(known) = minted.get(&key)
        && Arc::ptr_eq(&known.keys, keys)
    {
        return Some(known.text);
    }
    let session = found.session();
    let custom = issue::claim_names(exchange, session);
    let request = TokenRequest {
        issuer: &caller::issuer(exchange),
        audience: published.application.aud,
        subject: Subject::Person { identity: &session.identity, nonce: &found.holder.hash.text(), custom: &custom },
        now: exchange.now.seconds(),
        expires: found.expires_at,
    };
    let text: Arc<str> = request.sign(keys).ok()?.into();
    minted.insert(key, Minted { keys: Arc::clone(keys), text: Arc::clone(&text) });
    Some(text)
}

fn refuse_token(exchange: &Exchange, published: &Published) -> Response<Body> {
    if Server::of(&exchange.snapshot, &exchange.host, published).is_some() {
        return discovery::challenge(exchange, Challenge::InvalidToken);
    }
    let text = "this application takes no access tokens of managed OAuth";
    let mut response =
        page::json(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_token", "error_description": text}));
    let challenge = HeaderValue::from_static("Bearer realm=\"OAuth\", error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn refuse(exchange: &Exchange, published: &Published, found: &Found, mut decision: Decision) -> Response<Body> {
    decision.identity = Some(Arc::clone(&found.session().identity));
    decision.reason = format!("{}; asked by the client {}", decision.reason, found.holder.kept.grant.client);
    record::refused(exchange, published, &decision, "oauth");
    let text = "no policy of this application lets the person behind the token do this";
    let body = json!({"error": "access_denied", "error_description": text, "ray_id": exchange.id});
    let mut response = discovery::challenge(exchange, Challenge::Missing);
    let challenge = response.headers_mut().remove(header::WWW_AUTHENTICATE);
    let mut response = page::json(StatusCode::FORBIDDEN, &body);
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// An answer after which the token is still good.
pub(crate) fn wait(status: StatusCode, text: &str, seconds: &'static str) -> Response<Body> {
    let body = json!({"error": "temporarily_unavailable", "error_description": text});
    let mut response = page::json(status, &body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}
