//! One consent and every token that came of it: the code, the chain of refresh tokens, the access tokens.
//!
//! The whole family is one record, so that a write over the revision that was read makes each step atomic. Tokens are
//! stored as hashes. Each code and token carries the id of its grant, so that no index over them is needed.
//!
//! **Rotation.** A refresh token is used once. What was answered is kept sealed under a key made from the presented token
//! itself, as the seed that it was made from: whoever presents that token again within [`IDEMPOTENCY_WINDOW`] gets the newest answer of the chain, which
//! serves clients that refresh in several processes at once, while the record alone opens nothing. After the window, or
//! if it is older than the chain that is kept, a token that carries this grant's own tag was genuine once: somebody has a
//! copy, and the family ends. A text without a valid tag changes nothing, so that knowing an id ends nothing.
//!
//! Invariants: a code is redeemed at most once; its replay ends the family; at most one refresh token can be rotated; an
//! ended grant yields nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use types::{ApplicationId, Secret, UserId};
use uuid::Uuid;

use super::authorization::{Decision, Lifetimes, PendingRequest};
use super::client::{Authenticated, GrantType};
use super::error::{ErrorCode, OauthError};
use super::token::{Presented, TokenReply, TokenRequest, unknown};
use crate::opaque::{self, Digest, MacKey, Sealed, Seed};

/// Every access token starts so.
pub const ACCESS_PREFIX: &str = "oauth:";
/// Seconds a code lives.
pub const CODE_LIFE: i64 = 60;
/// Seconds in which a used refresh token still gets its answer.
pub const IDEMPOTENCY_WINDOW: i64 = 10;
/// Most used refresh tokens kept within the window.
const MAX_SUPERSEDED: usize = 8;
/// Most access tokens of one grant alive at once; the oldest ends when there would be more.
const MAX_ACCESS: usize = 8;

/// Names a grant. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub Uuid);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl GrantId {
    /// Reads the id out of a code: 16 bytes of id, 32 of secret.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        opaque::bytes::<48>(code).map(|bytes| Self::leading(&bytes))
    }

    /// Reads the id out of a refresh token: 16 bytes of id, 32 of secret, 16 of tag.
    #[must_use]
    pub fn of_refresh(token: &str) -> Option<Self> {
        opaque::bytes::<64>(token).map(|bytes| Self::leading(&bytes))
    }

    /// Reads the id out of an access token: the prefix, 16 bytes of id, 32 of secret.
    #[must_use]
    pub fn of_access(token: &str) -> Option<Self> {
        opaque::bytes::<48>(token.strip_prefix(ACCESS_PREFIX)?).map(|bytes| Self::leading(&bytes))
    }

    fn leading(bytes: &[u8]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        Self(Uuid::from_bytes(id))
    }
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The client revoked it.
    Client,
    /// A person or administrator revoked it, or the person was signed out.
    Revoked,
    /// A code was presented a second time.
    CodeReplay,
    /// A code was presented with a wrong client, redirect URI, verifier or resource.
    CodeMisuse,
    /// A used refresh token was presented after the window.
    RefreshReuse,
    /// A policy or the person's risk did not allow a refresh.
    Policy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Code {
    hash: Digest,
    redirect_uri: String,
    challenge: String,
    expires_at: i64,
    used: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Superseded {
    hash: Digest,
    at: i64,
    answer: Sealed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    hash: Digest,
    at: i64,
    expires_at: i64,
}

/// The tokens of an answer.
struct Answer {
    access: String,
    expires_at: i64,
    refresh: String,
}

/// What is sealed: the seed that the tokens of an answer are made from, and when the access token ends.
const SEALED_BYTES: usize = 32 + 8;

/// What one live access token stands for.
#[derive(Debug, Clone, Copy)]
pub struct Access<'g> {
    pub grant: &'g Grant,
    /// Seconds since the epoch.
    pub issued_at: i64,
    pub expires_at: i64,
}

/// A consent with its tokens, as stored (document version 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub user: UserId,
    pub application: ApplicationId,
    pub client: String,
    pub resource: String,
    pub scopes: Vec<String>,
    /// Hash of the session the person consented in.
    pub session: Digest,
    /// Seconds since the epoch.
    pub created_at: i64,
    /// Seconds since the epoch; no token outlives it.
    pub expires_at: i64,
    /// When and why it ended before its time.
    pub ended: Option<(i64, EndReason)>,
    with_refresh: bool,
    lifetimes: Lifetimes,
    code: Code,
    family: MacKey,
    refresh: Option<Digest>,
    superseded: Vec<Superseded>,
    access: Vec<Issued>,
}

/// What makes a grant.
pub(crate) struct NewGrant<'a> {
    pub(crate) request: &'a PendingRequest,
    pub(crate) decision: Decision<'a>,
    pub(crate) seed: &'a Seed,
}

/// What the caller found out about the person before a token is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The person exists, their session was not revoked, and policy and risk allow the application.
    Allowed,
    /// One of these is not so; the grant ends.
    Denied,
    /// It cannot be found out at the moment; nothing changes and nothing is given.
    Unknown,
}

/// What comes of a presented refresh token.
#[derive(Debug)]
pub enum RefreshStep {
    /// The same request was answered moments ago: this is the newest answer. Nothing is to be stored.
    Repeat(TokenReply),
    /// Check policy and risk, then call [`Grant::rotate`].
    Recheck(Rotation),
    /// Store the grant if it has changed, then answer with the error.
    Refused(OauthError),
}

/// A refresh that waits for the person's standing.
#[derive(Debug)]
pub struct Rotation {
    presented: Secret<String>,
    hash: Digest,
}

impl Grant {
    pub(crate) fn new(new: NewGrant<'_>) -> (Self, String) {
        let NewGrant { request, decision, seed } = new;
        let mut id = [0; 16];
        id.copy_from_slice(&opaque::derive(seed, b"grant id")[..16]);
        let id = GrantId(uuid::Builder::from_random_bytes(id).into_uuid());
        let code = opaque::text(&[id.0.as_bytes().as_slice(), &opaque::derive(seed, b"code")].concat());
        let grant = Self {
            id,
            user: decision.user,
            application: request.application,
            client: request.client.clone(),
            resource: request.resource.clone(),
            scopes: request.scopes.clone(),
            session: decision.session,
            created_at: decision.now,
            expires_at: after(decision.now, request.lifetimes.grant),
            ended: None,
            with_refresh: request.with_refresh,
            lifetimes: request.lifetimes,
            code: Code {
                hash: Digest::of(&code),
                redirect_uri: request.redirect_uri.clone(),
                challenge: request.challenge.clone(),
                expires_at: decision.now.saturating_add(CODE_LIFE),
                used: false,
            },
            family: MacKey::new(opaque::derive(seed, b"family")),
            refresh: None,
            superseded: Vec::new(),
            access: Vec::new(),
        };
        (grant, code)
    }

    /// Whether the grant can still yield or hold a token.
    #[must_use]
    pub const fn is_live(&self, now: i64) -> bool {
        self.ended.is_none() && now < self.expires_at
    }

    /// Redeems a code. The caller stores the grant before it answers, also after an error.
    ///
    /// # Errors
    /// `invalid_grant` for all that is wrong with the code, `temporarily_unavailable` if the standing is unknown.
    pub fn redeem(
        &mut self,
        request: &TokenRequest,
        client: Authenticated<'_>,
        standing: Standing,
        now: i64,
        seed: &Seed,
    ) -> Result<TokenReply, OauthError> {
        let Presented::Code { code, redirect_uri, verifier } = &request.presented else { return Err(unknown()) };
        if !self.code.hash.matches(code.expose()) || !self.is_live(now) {
            return Err(unknown());
        }
        if self.code.used {
            // RFC 6749 section 4.1.2: whoever comes second, one of the two is a thief.
            self.end(now, EndReason::CodeReplay);
            return Err(unknown());
        }
        if standing == Standing::Unknown {
            return Err(unavailable());
        }
        self.code.used = true;
        let bound = client.client().id == self.client
            && client.client().application == self.application
            && now < self.code.expires_at
            && redirect_uri.as_deref() == Some(&self.code.redirect_uri)
            && proves(verifier.expose(), &self.code.challenge);
        if !bound {
            self.end(now, EndReason::CodeMisuse);
            return Err(unknown());
        }
        if let Err(error) = self.check_resource(request) {
            self.end(now, EndReason::CodeMisuse);
            return Err(error);
        }
        if standing == Standing::Denied {
            self.end(now, EndReason::Policy);
            return Err(denied());
        }
        let answer = self.issue(now, seed);
        Ok(self.reply(answer, now))
    }

    /// Looks at a presented refresh token.
    pub fn refresh(&mut self, request: &TokenRequest, client: Authenticated<'_>, now: i64) -> RefreshStep {
        let Presented::Refresh { token, scope } = &request.presented else { return RefreshStep::Refused(unknown()) };
        if !self.is_live(now) || !self.is_genuine(token.expose()) {
            return RefreshStep::Refused(unknown());
        }
        // A token in another client's hands is refused; the family goes on, since that client cannot use it.
        if client.client().id != self.client || client.client().application != self.application {
            return RefreshStep::Refused(unknown());
        }
        if !client.client().may(GrantType::RefreshToken) {
            let text = "the client did not register for refresh_token";
            return RefreshStep::Refused(OauthError::new(ErrorCode::UnauthorizedClient, text));
        }
        if let Err(error) = self.check_resource(request).and_then(|()| self.check_scope(scope.as_deref())) {
            return RefreshStep::Refused(error);
        }
        let hash = Digest::of(token.expose());
        if self.refresh == Some(hash) {
            return RefreshStep::Recheck(Rotation { presented: token.clone(), hash });
        }
        if let Some(answer) = self.newest(token.expose(), now) {
            return RefreshStep::Repeat(self.reply(answer, now));
        }
        self.end(now, EndReason::RefreshReuse);
        RefreshStep::Refused(unknown())
    }

    /// Gives the next tokens, or ends the grant. The caller stores the grant before it answers, also after an error; if
    /// the write finds another revision, it reads the grant again and starts again with [`Grant::refresh`].
    ///
    /// # Errors
    /// `invalid_grant` if the person may not go on, `temporarily_unavailable` if that is unknown.
    pub fn rotate(
        &mut self,
        rotation: Rotation,
        standing: Standing,
        now: i64,
        seed: &Seed,
    ) -> Result<TokenReply, OauthError> {
        if !self.is_live(now) || self.refresh != Some(rotation.hash) {
            return Err(unknown());
        }
        match standing {
            Standing::Unknown => return Err(unavailable()),
            Standing::Denied => {
                self.end(now, EndReason::Policy);
                return Err(denied());
            }
            Standing::Allowed => {}
        }
        let answer = self.issue(now, seed);
        let plain = [seed.as_slice(), &answer.expires_at.to_be_bytes()].concat();
        let sealed = Sealed::new(rotation.presented.expose(), seed, &plain)
            .ok_or_else(|| OauthError::new(ErrorCode::ServerError, "the tokens cannot be sealed"))?;
        self.superseded.retain(|old| within_window(old.at, now));
        if self.superseded.len() == MAX_SUPERSEDED {
            self.superseded.remove(0);
        }
        self.superseded.push(Superseded { hash: rotation.hash, at: now, answer: sealed });
        Ok(self.reply(answer, now))
    }

    /// Revokes what a client presents (RFC 7009): a refresh token ends the grant, an access token ends alone. Tokens of
    /// another client or grant change nothing. Returns whether the grant has changed.
    pub fn revoke(&mut self, token: &str, client: Authenticated<'_>, now: i64) -> bool {
        if client.client().id != self.client || client.client().application != self.application {
            return false;
        }
        if token.starts_with(ACCESS_PREFIX) {
            let hash = Digest::of(token);
            let before = self.access.len();
            self.access.retain(|issued| issued.hash != hash);
            return self.access.len() != before;
        }
        let genuine = self.is_genuine(token) && self.is_live(now);
        if genuine {
            self.end(now, EndReason::Client);
        }
        genuine
    }

    /// Ends the grant: nothing it gave works any more. The first reason stays.
    pub fn end(&mut self, now: i64, reason: EndReason) {
        self.ended.get_or_insert((now, reason));
        self.refresh = None;
        self.superseded.clear();
        self.access.clear();
    }

    /// Finds what a presented access token stands for at `application`. One of another application is not found.
    #[must_use]
    pub fn access(&self, token: &str, application: ApplicationId, now: i64) -> Option<Access<'_>> {
        if self.application != application || !self.is_live(now) {
            return None;
        }
        let hash = Digest::of(token);
        let issued = self.access.iter().find(|issued| issued.hash == hash && now < issued.expires_at)?;
        Some(Access { grant: self, issued_at: issued.at, expires_at: issued.expires_at })
    }

    /// Returns when the last of its access tokens ends or ended; `None` where it has none.
    #[must_use]
    pub fn last_access(&self) -> Option<i64> {
        self.access.iter().map(|issued| issued.expires_at).max()
    }

    /// Whether this grant once gave this refresh token.
    fn is_genuine(&self, token: &str) -> bool {
        opaque::bytes::<64>(token).is_some_and(|bytes| {
            let (body, tag) = bytes.split_at(48);
            body[..16] == *self.id.0.as_bytes() && self.family.verifies(body, tag)
        })
    }

    /// Follows the answers of the last seconds from a used token to the newest one.
    fn newest(&self, token: &str, now: i64) -> Option<Answer> {
        let mut token = token.to_owned();
        for _ in 0..MAX_SUPERSEDED {
            let hash = Digest::of(&token);
            let old = self.superseded.iter().find(|old| old.hash == hash && within_window(old.at, now))?;
            let answer = self.reopened(&old.answer.open(&token)?)?;
            if self.refresh == Some(Digest::of(&answer.refresh)) {
                return Some(answer);
            }
            token = answer.refresh;
        }
        None
    }

    fn issue(&mut self, now: i64, seed: &Seed) -> Answer {
        let expires_at = after(now, self.lifetimes.access_token).min(self.expires_at);
        let answer = self.answer(seed, expires_at);
        self.access.retain(|issued| now < issued.expires_at);
        if self.access.len() == MAX_ACCESS {
            self.access.remove(0);
        }
        self.access.push(Issued { hash: Digest::of(&answer.access), at: now, expires_at });
        self.refresh = self.with_refresh.then(|| Digest::of(&answer.refresh));
        answer
    }

    /// Makes the tokens of a seed.
    fn answer(&self, seed: &Seed, expires_at: i64) -> Answer {
        let body = |purpose: &[u8]| [self.id.0.as_bytes().as_slice(), &opaque::derive(seed, purpose)].concat();
        let access = format!("{ACCESS_PREFIX}{}", opaque::text(&body(b"access token")));
        let refresh = body(b"refresh token");
        let tag = self.family.tag(&refresh);
        Answer { access, expires_at, refresh: opaque::text(&[refresh.as_slice(), &tag].concat()) }
    }

    /// Makes the tokens of an answer again from what was sealed.
    fn reopened(&self, plain: &[u8]) -> Option<Answer> {
        let plain: &[u8; SEALED_BYTES] = plain.try_into().ok()?;
        let (seed, expires_at) = plain.split_first_chunk::<32>()?;
        Some(self.answer(seed, i64::from_be_bytes(expires_at.try_into().ok()?)))
    }

    fn reply(&self, answer: Answer, now: i64) -> TokenReply {
        TokenReply {
            access_token: Secret::new(answer.access),
            expires_in: u64::try_from(answer.expires_at.saturating_sub(now)).unwrap_or(0),
            scope: self.scopes.join(" "),
            resource: self.resource.clone(),
            refresh_token: self.with_refresh.then(|| Secret::new(answer.refresh)),
        }
    }

    fn check_resource(&self, request: &TokenRequest) -> Result<(), OauthError> {
        if request.resource.as_ref().is_none_or(|resource| *resource == self.resource) {
            return Ok(());
        }
        Err(OauthError::new(ErrorCode::InvalidTarget, "resource is not the one the person consented to"))
    }

    fn check_scope(&self, scope: Option<&str>) -> Result<(), OauthError> {
        let mut asked = scope.unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        // Scopes that were left out when the grant was made may be asked again without harm only if none was granted.
        if self.scopes.is_empty() || asked.all(|word| self.scopes.iter().any(|scope| scope == word)) {
            return Ok(());
        }
        Err(OauthError::new(ErrorCode::InvalidScope, "scope goes beyond what the person consented to"))
    }
}

/// Whether a token used at `at` still gets its answer. A clock that went back closes the window.
const fn within_window(at: i64, now: i64) -> bool {
    let age = now.saturating_sub(at);
    age >= 0 && age < IDEMPOTENCY_WINDOW
}

fn after(now: i64, seconds: u64) -> i64 {
    now.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// PKCE with S256 (RFC 7636 section 4.6).
fn proves(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    well_formed && opaque::bytes::<32>(challenge).is_some_and(|hash| Digest(hash).matches(verifier))
}

fn unavailable() -> OauthError {
    OauthError::new(ErrorCode::TemporarilyUnavailable, "the person's access cannot be checked; try again")
}

fn denied() -> OauthError {
    OauthError::new(ErrorCode::InvalidGrant, "the person may not use this application any more")
}
