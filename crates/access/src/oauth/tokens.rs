//! The token, revocation and introspection endpoints (RFC 6749 section 3.2, RFC 7009, RFC 7662).
//!
//! What a request leads to is `identity::oauth`'s; here it is read, the person's standing found out, and the grant written
//! before anything is answered. Invariants: an answer is given only after the grant it came from was written over the very
//! revision it was made from, so that of processes that refresh at once one rotates and the others repeat its answer; and
//! from a copy that this node held comes nothing else. What it would refuse, repeat or end is asked again of the store.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use identity::evaluation::Verdict;
use identity::oauth::client::{Client, Credential};
use identity::oauth::error::{ErrorCode, OauthError};
use identity::oauth::form::{self, Form};
use identity::oauth::grant::{EndReason, RefreshStep};
use identity::oauth::token::{
    Presented, RevocationRequest, TokenReply, TokenRequest, TokenText, introspection, unknown,
};
use net::proxy::body::{Body, collect, empty_body};

use super::bearer::{self, Unresolved};
use super::clients::{self, NoClient};
use super::discovery::Server;
use super::ledger::KeptGrant;
use super::standing;
use super::table::Held;
use crate::caller::{self, Who};
use crate::exchange::Exchange;
use crate::gate;
use crate::ledger::LedgerError;
use crate::page;
use crate::record;
use crate::throttle;
use crate::ticket;

/// How often a write is tried again after another came first.
const ATTEMPTS: usize = 16;

/// Why a request of these endpoints gets no answer of the engine's.
enum Stop {
    Refused(OauthError),
    Ledger(LedgerError),
    Failed,
}

impl From<OauthError> for Stop {
    fn from(error: OauthError) -> Self {
        Self::Refused(error)
    }
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<NoClient> for Stop {
    fn from(none: NoClient) -> Self {
        match none {
            NoClient::Refused(error) => Self::Refused(error),
            NoClient::Ledger(error) => Self::Ledger(error),
        }
    }
}

fn answered(exchange: &Exchange, outcome: Result<Response<Body>, Stop>) -> Response<Body> {
    match outcome {
        Ok(response) => response,
        Err(Stop::Refused(error)) => refuse(exchange, &error),
        Err(Stop::Ledger(error)) => unavailable(exchange, &error),
        Err(Stop::Failed) => failed(exchange),
    }
}

/// Gives tokens for a code or a refresh token.
pub(crate) async fn token(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    answered(exchange, give(exchange, server).await)
}

async fn give(exchange: &Exchange, server: Server<'_>) -> Result<Response<Body>, Stop> {
    let form = read(exchange).await?;
    let request = TokenRequest::read(&form, authorization(exchange)?)?;
    let Some(id) = request.grant() else {
        // Whoever cannot name itself learns that first.
        authenticated(exchange, server, &request.credential, None).await?;
        return Err(unknown().into());
    };
    let source = throttle::source(exchange.source());
    let oauth = &exchange.plane().oauth;
    if oauth.unknown.is_spent(&source) {
        return Ok(bearer::wait(StatusCode::TOO_MANY_REQUESTS, "too many unknown tokens; wait a minute", "60"));
    }
    let held = exchange.plane().agents.find(id).map(|held| (held, Source::Memory));
    let (mut found, mut from) = match held {
        Some(held) => held,
        None => match bearer::read(exchange, id).await? {
            Some(read) => (read, Source::Store),
            None => {
                oauth.unknown.admit(source);
                authenticated(exchange, server, &request.credential, None).await?;
                return Err(unknown().into());
            }
        },
    };
    // Of what a client is and whose grant this is, a copy says the same as the store.
    let client = authenticated(exchange, server, &request.credential, Some(&found.kept)).await?;
    for _ in 0..ATTEMPTS {
        if let Some(reply) = step(exchange, server, &request, &client, &found.kept, from).await? {
            if matches!(request.presented, Presented::Code { .. }) {
                clients::used(exchange, &client).await;
            }
            let mut response = page::json(StatusCode::OK, reply.document().expose());
            response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            return Ok(response);
        }
        let Some(read) = bearer::read(exchange, id).await? else { return Err(unknown().into()) };
        (found, from) = (read, Source::Store);
    }
    Err(LedgerError::Unavailable("a grant changed too often while it was used".to_owned()).into())
}

/// Where a grant that a request is decided on comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// What this node held: it may have been written, ended or deleted elsewhere since.
    Memory,
    Store,
}

/// One try over one revision of the grant. `None`: it must be read again, because another write came first, or because what
/// this node held is not enough to go by.
async fn step(
    exchange: &Exchange,
    server: Server<'_>,
    request: &TokenRequest,
    client: &Client,
    before: &KeptGrant,
    from: Source,
) -> Result<Option<TokenReply>, Stop> {
    let authenticated = client.authenticate(&request.credential)?;
    let now = exchange.now.seconds();
    let mut kept = before.clone();
    let mut why = String::new();
    let outcome = match &request.presented {
        Presented::Code { .. } => {
            let standing;
            (standing, why) = standing::of(exchange, server, &kept).await;
            let seed = ticket::random().ok_or(Stop::Failed)?;
            kept.grant.redeem(request, authenticated, standing, now, &seed)
        }
        Presented::Refresh { .. } => match kept.grant.refresh(request, authenticated, now) {
            RefreshStep::Repeat(reply) => Ok(reply),
            RefreshStep::Refused(error) => Err(error),
            RefreshStep::Recheck(rotation) => {
                let standing;
                (standing, why) = standing::of(exchange, server, &kept).await;
                let seed = ticket::random().ok_or(Stop::Failed)?;
                kept.grant.rotate(rotation, standing, now, &seed)
            }
        },
    };
    let changed = kept.grant != before.grant;
    if from == Source::Memory && (outcome.is_err() || !changed) {
        return Ok(None);
    }
    if changed {
        let ended = kept.grant.ended.filter(|_| before.grant.ended.is_none());
        let Some(written) = replace(exchange, kept, now).await? else { return Ok(None) };
        if let Some((_, reason)) = ended {
            record_end(exchange, server, &written.kept, reason, &why);
        }
    }
    Ok(Some(outcome?))
}

/// Writes a grant over the revision it was read at. `None`: another write came first.
async fn replace(exchange: &Exchange, mut kept: KeptGrant, now: i64) -> Result<Option<Arc<Held>>, LedgerError> {
    let plane = exchange.plane();
    let ahead = plane.agents.ahead(kept.grant.id);
    let Some(revision) = plane.oauth_ledger.replace(&kept).await? else { return Ok(None) };
    kept.revision = revision;
    Ok(Some(ahead.hold(kept, now)))
}

fn record_end(exchange: &Exchange, server: Server<'_>, kept: &KeptGrant, reason: EndReason, why: &str) {
    let what = match reason {
        EndReason::Client => "its client revoked it",
        EndReason::Revoked => "it was revoked",
        EndReason::CodeReplay => "its code was presented a second time",
        EndReason::CodeMisuse => "its code was presented with something that does not belong to it",
        EndReason::RefreshReuse => "a used refresh token was presented again: somebody has a copy",
        EndReason::Policy => why,
    };
    let why = format!("the grant of the client {} ended: {what}", kept.grant.client);
    record::oauth(exchange, server.published, Some(&kept.session.identity), why, reason == EndReason::Client);
}

/// Revokes a token, or everything that hangs on it.
pub(crate) async fn revoke(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    answered(exchange, end(exchange, server).await)
}

async fn end(exchange: &Exchange, server: Server<'_>) -> Result<Response<Body>, Stop> {
    let form = read(exchange).await?;
    let request = RevocationRequest::read(&form, authorization(exchange)?)?;
    let (id, text) = match &request.token {
        TokenText::Access(id, token) | TokenText::Refresh(id, token) => (Some(*id), token.expose().as_str()),
        TokenText::Other => (None, ""),
    };
    let mut found = match id {
        Some(id) => bearer::read(exchange, id).await?,
        None => None,
    };
    let kept = found.as_ref().map(|found| &found.kept);
    let client = authenticated(exchange, server, &request.credential, kept).await?;
    let authenticated = client.authenticate(&request.credential)?;
    for _ in 0..ATTEMPTS {
        let Some(before) = found.take() else { return Ok(done()) };
        let now = exchange.now.seconds();
        let mut kept = before.kept.clone();
        if !kept.grant.revoke(text, authenticated, now) {
            return Ok(done());
        }
        let id = kept.grant.id;
        if let Some(written) = replace(exchange, kept, now).await? {
            if before.kept.grant.ended.is_none()
                && let Some((_, reason)) = written.kept.grant.ended
            {
                record_end(exchange, server, &written.kept, reason, "");
            }
            return Ok(done());
        }
        found = bearer::read(exchange, id).await?;
    }
    Err(LedgerError::Unavailable("a grant changed too often while it was revoked".to_owned()).into())
}

/// RFC 7009 section 2.2: the same answer whatever the token was.
fn done() -> Response<Body> {
    let mut response = Response::new(empty_body());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// Tells an origin about a token; the origin shows a service token that a Service Auth policy of the application covers.
pub(crate) async fn introspect(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    answered(exchange, tell(exchange, server).await)
}

async fn tell(exchange: &Exchange, server: Server<'_>) -> Result<Response<Body>, Stop> {
    let who = caller::program_of(exchange, server.app).map(Who::Program);
    let verdict = match &who {
        Some(who) => Some(gate::ask(exchange, server.published, who, None).await),
        None => None,
    };
    let covered = matches!(verdict, Some(Verdict::NonIdentity(_)));
    if !covered {
        let text = "show a service token that a Service Auth policy of this application covers";
        return Err(OauthError { code: ErrorCode::InvalidClient, description: text.into() }.into());
    }
    let form = read(exchange).await?;
    let Some(token) = form.get("token") else {
        return Err(OauthError { code: ErrorCode::InvalidRequest, description: "token is missing".into() }.into());
    };
    let application = server.published.application.id;
    let found = match bearer::resolve(exchange, token, application).await {
        Ok(found) => Some(found),
        Err(Unresolved::Invalid) => None,
        Err(Unresolved::TooMany) => {
            return Ok(bearer::wait(StatusCode::TOO_MANY_REQUESTS, "too many unknown tokens; wait a minute", "60"));
        }
        Err(Unresolved::Ledger(error)) => return Err(error.into()),
    };
    let issuer = server.issuer(exchange).ok_or(Stop::Failed)?.url();
    let held = found.as_ref().map(|found| &*found.holder);
    let username = held.map(|held| held.kept.session.identity.email.as_str());
    let access = held.and_then(|held| held.access(token, application, exchange.now.seconds()));
    let document = introspection(access, &issuer, username);
    Ok(page::json(StatusCode::OK, &document))
}

/// Finds a client and checks its credential. A client whose id is a document is fetched only where a grant names it, so
/// that nobody else can make us fetch.
async fn authenticated(
    exchange: &Exchange,
    server: Server<'_>,
    credential: &Credential,
    kept: Option<&KeptGrant>,
) -> Result<Arc<Client>, Stop> {
    let failed = || OauthError { code: ErrorCode::InvalidClient, description: "client authentication failed".into() };
    let is_url = credential.client_id.starts_with("https:");
    if is_url && kept.is_none_or(|kept| kept.grant.client != credential.client_id) {
        return Err(unknown().into());
    }
    let client = clients::find(exchange, server, &credential.client_id).await?.ok_or_else(failed)?;
    client.authenticate(credential)?;
    Ok(client)
}

/// Reads the form of a request.
async fn read(exchange: &Exchange) -> Result<Form, OauthError> {
    let wrong = |text: &'static str| OauthError { code: ErrorCode::InvalidRequest, description: text.into() };
    let kind = exchange.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(wrong("the request must be application/x-www-form-urlencoded"));
    }
    let within = exchange.plane().config.head_timeout;
    let body = tokio::time::timeout(within, collect(exchange.take_body(), form::MAX_BYTES)).await;
    let Ok(Some(body)) = body else { return Err(wrong("the request is too large or did not arrive")) };
    Form::parse(&body)
        .map_err(|error| OauthError { code: ErrorCode::InvalidRequest, description: error.to_string().into() })
}

fn authorization(exchange: &Exchange) -> Result<Option<&str>, OauthError> {
    let mut values = exchange.headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next().map(|value| value.to_str());
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        (Some(_), _) => {
            let text = "the Authorization header is doubled or not text";
            Err(OauthError { code: ErrorCode::InvalidRequest, description: text.into() })
        }
    }
}

/// Answers with an error of the engine's.
pub(crate) fn refuse(exchange: &Exchange, error: &OauthError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = page::json(status, &error.document());
    if status == StatusCode::UNAUTHORIZED && exchange.headers.contains_key(header::AUTHORIZATION) {
        // RFC 6749 section 5.2: in the scheme that was tried.
        let challenge = HeaderValue::from_static("Basic realm=\"OAuth\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    }
    response
}

/// The answer while the store does not answer.
pub(crate) fn unavailable(exchange: &Exchange, error: &LedgerError) -> Response<Body> {
    tracing::error!(%error, "managed OAuth cannot reach what is kept");
    let text = "what is kept about clients and grants cannot be reached; try again";
    refuse(exchange, &OauthError { code: ErrorCode::TemporarilyUnavailable, description: text.into() })
}

pub(crate) fn failed(exchange: &Exchange) -> Response<Body> {
    let text = "something went wrong here";
    refuse(exchange, &OauthError { code: ErrorCode::ServerError, description: text.into() })
}
