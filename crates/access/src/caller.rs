//! Who sends a request: a person by the application's token, a program by a service token, or nobody.
//!
//! It decides identity only; what the caller may do is the gate's. Invariant: a token counts only while the session it
//! names does, and a credential that is sent and is wrong never falls back to a weaker one.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use foldhash::quality::RandomState;
use http::HeaderValue;
use identity::app_token;
use identity::application::SelfHosted;
use identity::cookie;
use identity::identity::ClientCertificate;
use identity::keys::KeyRing;
use identity::mfa_requirement;
use identity::service_token::{self, ClientId, TokenCheck};
use identity::session::{AppSession, Ended, Moment, Session, SessionHash, SessionSecret};
use jiff::Timestamp;
use moka::sync::Cache;
use serde::Deserialize;
use types::{AccessPolicyId, Secret, ServiceTokenId};

use crate::exchange::Exchange;
use crate::session_table::Live;
use crate::snapshot::Published;

/// The header a program carries an application's token in.
pub(crate) const TOKEN_HEADER: &str = "cf-access-token";
/// Tokens tried at most; a browser sends two when two paths match.
const MOST_TOKENS: usize = 4;
/// Longest pair of HTTP Basic that is read, encoded.
const LONGEST_BASIC: usize = 512;

/// Tokens whose signature was checked lately.
pub(crate) struct Tokens {
    /// By their text: to hash so much of it well costs more than to compare it.
    verified: Cache<Text, Verified, RandomState>,
    /// Tokens minted for programs, by program and application.
    minted: Cache<(Holder, types::ApplicationId), (i64, Arc<str>)>,
}

/// A program that tokens are minted for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Holder {
    ServiceToken(ServiceTokenId),
    /// By the fingerprint of its certificate.
    Certificate(String),
}

/// The text of a token. Only one whose signature was right is ever kept, and where it is found nobody outside can know.
#[derive(PartialEq, Eq)]
struct Text(HeaderValue);

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[derive(Clone)]
struct Verified {
    /// What it was accepted for.
    application: types::ApplicationId,
    /// The ring that accepted it; another ring checks anew.
    keys: Arc<KeyRing>,
    token: Arc<Token>,
}

/// What an accepted token says.
pub(crate) struct Token {
    /// As the application is told it.
    pub(crate) header: HeaderValue,
    claims: app_token::AppToken,
    own: OwnClaims,
}

/// Claims of ours beside those of reference section 2.2.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnClaims {
    /// When the session at the application began, in milliseconds since the epoch.
    issued_ms: i64,
    policy_id: Option<AccessPolicyId>,
    /// Hash of the binding cookie.
    binding: Option<String>,
}

/// Who sends a request.
pub(crate) enum Who {
    Nobody,
    Person(Signed),
    Program(Program),
}

/// A person with a session at the application.
pub(crate) struct Signed {
    pub(crate) live: Arc<Live>,
    pub(crate) hash: SessionHash,
    pub(crate) token: Arc<Token>,
}

impl Signed {
    /// Returns the policy that let the person in.
    pub(crate) fn policy(&self) -> Option<AccessPolicyId> {
        self.token.own.policy_id
    }
}

/// A program with a service token.
pub(crate) struct Program {
    pub(crate) id: ServiceTokenId,
    pub(crate) client_id: ClientId,
}

/// Why a request is refused before any policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Presented(service_token::PresentedError),
    #[error("the service token is not valid")]
    WrongToken,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            verified: Cache::builder()
                .max_capacity(20_000)
                .time_to_live(minutes(5))
                .build_with_hasher(RandomState::default()),
            minted: Cache::builder().max_capacity(10_000).time_to_live(minutes(10)).build(),
        }
    }

    /// Checks a token for an application.
    fn verify(&self, exchange: &Exchange, published: &Published, text: &str) -> Option<Arc<Token>> {
        let snapshot = &exchange.snapshot;
        if text.len() > cookie::MAX_COOKIE {
            return None;
        }
        let (application, audience) = (published.application.id, published.application.aud);
        if let Some(known) = self.verified.get(text.as_bytes())
            && known.application == application
            && Arc::ptr_eq(&known.keys, &snapshot.keys)
        {
            return (exchange.now.seconds() < known.token.claims.expires).then_some(known.token);
        }
        let issuer = issuer(exchange);
        let claims = app_token::verify(text, &snapshot.keys, &issuer, audience, exchange.now.seconds()).ok()?;
        let payload = URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
        let own = serde_json::from_slice(&payload).ok()?;
        let header = HeaderValue::from_str(text).ok()?;
        let token = Arc::new(Token { header, claims, own });
        let verified = Verified { application, keys: Arc::clone(&snapshot.keys), token: Arc::clone(&token) };
        self.verified.insert(Text(token.header.clone()), verified);
        Some(token)
    }
}

/// Returns the issuer of application tokens, as reference section 2.2 writes it: the sign-in host without a port.
pub(crate) fn issuer(exchange: &Exchange) -> String {
    format!("https://{}", exchange.snapshot.organization.auth_domain)
}

/// Finds who sends a request to an application. `Err(Some(_))` on the way tells that a session has ended.
pub(crate) fn identify(
    exchange: &Exchange,
    published: &Published,
    app: &SelfHosted,
) -> Result<(Who, Option<Ended>), Refusal> {
    if let Some(program) = program(exchange, app)? {
        return Ok((Who::Program(program), None));
    }
    let header = exchange.header(TOKEN_HEADER).map(str::trim).filter(|text| !text.is_empty());
    let texts = header.into_iter().chain(exchange.cookies(cookie::AUTHORIZATION)).take(MOST_TOKENS);
    let mut ended = None;
    for text in texts {
        let Some(token) = exchange.plane().tokens.verify(exchange, published, text) else { continue };
        match token.claims.identity_nonce.as_deref() {
            Some(nonce) => match signed(exchange, published, &token, nonce) {
                Ok(signed) => return Ok((Who::Person(signed), None)),
                Err(why) => ended = ended.or(why),
            },
            None => {
                if let Some(program) = program_by_cookie(exchange, published, &token) {
                    return Ok((Who::Program(program), None));
                }
            }
        }
    }
    Ok((Who::Nobody, ended))
}

fn signed(
    exchange: &Exchange,
    published: &Published,
    token: &Arc<Token>,
    nonce: &str,
) -> Result<Signed, Option<Ended>> {
    let hash = SessionHash::parse(nonce).ok_or(None)?;
    let sessions = &exchange.plane().sessions;
    let live = sessions.find(hash, exchange.snapshot.organization.idle, exchange.now)?;
    let session = AppSession {
        parent: hash,
        application: published.application.id,
        policy: token.own.policy_id.ok_or(None)?,
        issued: Moment(token.own.issued_ms),
        expires: Moment(token.claims.expires.saturating_mul(1_000)),
        binding: match &token.own.binding {
            Some(text) => Some(SessionHash::parse(text).ok_or(None)?),
            None => None,
        },
    };
    let user = live.session().identity.user;
    let revocations = sessions.revocations();
    let mut outcome = session.check(user, published.application.id, None, &revocations, exchange.now);
    for text in exchange.cookies(cookie::BINDING).take(MOST_TOKENS) {
        if outcome != Err(Ended::Unbound) {
            break;
        }
        let secret = SessionSecret::parse(text);
        outcome = session.check(user, published.application.id, secret.as_ref(), &revocations, exchange.now);
    }
    outcome.map_err(Some)?;
    Ok(Signed { live, hash, token: Arc::clone(token) })
}

/// Reads a service token from the headers.
fn program(exchange: &Exchange, app: &SelfHosted) -> Result<Option<Program>, Refusal> {
    let values = |name: &str| exchange.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let presented = service_token::read(values, app.service_tokens.header.as_deref()).map_err(Refusal::Presented)?;
    let Some(presented) = presented else { return Ok(None) };
    checked(exchange, &presented.client_id, &presented.secret).map(Some).ok_or(Refusal::WrongToken)
}

fn checked(exchange: &Exchange, client_id: &ClientId, secret: &Secret<String>) -> Option<Program> {
    let now = Timestamp::from_millisecond(exchange.now.0).ok()?;
    let token = exchange.snapshot.service_tokens.get(client_id)?;
    match token.check(secret, now) {
        TokenCheck::Valid | TokenCheck::ValidByPrevious => {
            Some(Program { id: token.id, client_id: token.client_id.clone() })
        }
        TokenCheck::WrongSecret | TokenCheck::Expired | TokenCheck::Disabled => None,
    }
}

/// Reads a service token from its headers or, as OAuth libraries send a credential, from HTTP Basic.
pub(crate) fn program_of(exchange: &Exchange, app: &SelfHosted) -> Option<Program> {
    if let Some(program) = program(exchange, app).ok()? {
        return Some(program);
    }
    let (scheme, encoded) = exchange.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > LONGEST_BASIC {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    checked(exchange, &id.parse().ok()?, &Secret::new(secret.to_owned()))
}

/// Outside of strict mode the cookie that a service token earned stands for it (reference section 2.7).
fn program_by_cookie(exchange: &Exchange, published: &Published, token: &Token) -> Option<Program> {
    let snapshot = &exchange.snapshot;
    if snapshot.organization.strict_service_tokens {
        return None;
    }
    let client_id: ClientId = token.claims.common_name.as_deref()?.parse().ok()?;
    let known = snapshot.service_tokens.get(&client_id)?;
    let now = Timestamp::from_millisecond(exchange.now.0).ok()?;
    let live = known.enabled && known.expires_at.is_none_or(|expires| now < expires);
    let session = AppSession {
        parent: SessionHash::of([0; 32]),
        application: published.application.id,
        policy: token.own.policy_id?,
        issued: Moment(token.claims.issued.saturating_mul(1_000)),
        expires: Moment(token.claims.expires.saturating_mul(1_000)),
        binding: None,
    };
    let nobody = types::UserId(uuid::Uuid::nil());
    let revocations = exchange.plane().sessions.revocations();
    session.check(nobody, published.application.id, None, &revocations, exchange.now).ok()?;
    live.then_some(Program { id: known.id, client_id })
}

/// Returns the token an application is shown for a program; minted anew every few minutes.
pub(crate) fn program_token(
    exchange: &Exchange,
    published: &Published,
    program: &Program,
    policy: AccessPolicyId,
    lifetime: Duration,
) -> Option<Arc<str>> {
    let subject = app_token::Subject::Service { client_id: &program.client_id };
    minted(exchange, published, Holder::ServiceToken(program.id), subject, policy, lifetime)
}

/// The same for a machine that a client certificate names.
pub(crate) fn certificate_token(
    exchange: &Exchange,
    published: &Published,
    certificate: &ClientCertificate,
    policy: AccessPolicyId,
    lifetime: Duration,
) -> Option<Arc<str>> {
    let common_name = certificate.common_name.as_deref().unwrap_or_default();
    let holder = Holder::Certificate(certificate.fingerprint.clone());
    minted(exchange, published, holder, app_token::Subject::Certificate { common_name }, policy, lifetime)
}

fn minted(
    exchange: &Exchange,
    published: &Published,
    holder: Holder,
    subject: app_token::Subject<'_>,
    policy: AccessPolicyId,
    lifetime: Duration,
) -> Option<Arc<str>> {
    let key = (holder, published.application.id);
    let now = exchange.now.seconds();
    let tokens = &exchange.plane().tokens;
    if let Some((expires, text)) = tokens.minted.get(&key)
        && now.saturating_add(60) < expires
    {
        return Some(text);
    }
    let expires = now.saturating_add(i64::try_from(lifetime.as_secs()).ok()?.max(120));
    let request = app_token::TokenRequest {
        issuer: &issuer(exchange),
        audience: published.application.aud,
        subject,
        now,
        expires,
    };
    let mut claims = request.claims();
    claims.insert("policy_id".to_owned(), serde_json::json!(policy));
    let text: Arc<str> = exchange.snapshot.keys.current().sign(&claims).ok()?.into();
    tokens.minted.insert(key, (expires, Arc::clone(&text)));
    Some(text)
}

/// Tells whether a second factor is still owed under these rules.
pub(crate) fn owes_factor(rules: Option<&mfa_requirement::MfaRules>, session: &Session, now: Moment) -> bool {
    let Some(rules) = rules else { return false };
    let amr: Vec<String> = session.identity.amr.iter().map(|value| value.to_string()).collect();
    let login = session.identity.signed_in;
    mfa_requirement::step_up(rules, &session.proofs(), &amr, login, now.seconds()) == mfa_requirement::StepUp::Needed
}
