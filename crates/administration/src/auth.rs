//! Who is asking: bearer tokens, `X-Auth-Key`, and the console's session cookie.
//!
//! It decides whether a credential is valid and, for a cookie on a request that changes state, whether one of our own
//! pages sent it (CSRF token and Origin). It does not decide what the caller may do. Invariants: a request with two
//! kinds of credential is judged by the explicit one alone; a cookie without its CSRF token never changes anything.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use store::{Actor, AuthenticateError, Principal};
use types::{AccountId, Code, Email, ScriptName, Secret, TokenId, UserId};

use crate::app::{App, CallerKey};
use crate::failure::Failure;
use crate::guard;
use crate::session;

/// What proved the caller's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API token.
    Token(TokenId),
    /// A console session.
    Session {
        id: TokenId,
        administrator: UserId,
        email: Email,
        /// What forms carry back.
        csrf: String,
    },
    /// A Worker of this installation, through its admin API binding.
    Worker(ScriptName),
}

/// Put into a request's extensions by the process itself when a Worker calls the API through its binding.
///
/// # Security
///
/// Extensions never come over a connection; only code of this process can set one. The principal must already be
/// narrowed to what the binding grants.
#[derive(Debug, Clone)]
pub struct InProcess {
    pub principal: Principal,
    pub script: ScriptName,
}

/// A caller whose credential is valid.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Principal,
    pub credential: Credential,
}

impl Caller {
    pub fn key(&self) -> CallerKey {
        match &self.credential {
            Credential::Token(id) => CallerKey::Token(*id),
            Credential::Session { id, .. } => CallerKey::Session(*id),
            Credential::Worker(script) => CallerKey::Worker(script.clone()),
        }
    }

    /// Checks the CSRF token a form carried; a token caller needs none.
    ///
    /// # Errors
    ///
    /// [`AuthError::CrossSite`] when it is not this session's.
    pub fn check_form(&self, shown: &str) -> Result<(), AuthError> {
        match self.csrf() {
            Some(csrf) if !session::equal(shown.as_bytes(), csrf.as_bytes()) => Err(AuthError::CrossSite),
            _ => Ok(()),
        }
    }

    /// The CSRF token of a signed-in browser.
    #[must_use]
    pub fn csrf(&self) -> Option<&str> {
        match &self.credential {
            Credential::Token(_) | Credential::Worker(_) => None,
            Credential::Session { csrf, .. } => Some(csrf),
        }
    }
}

/// Everything an operation knows about its caller.
#[derive(Clone)]
pub struct OpContext {
    pub app: Arc<App>,
    pub caller: Caller,
    pub account: AccountId,
    /// Where the call came from, if the listener knows.
    pub address: Option<IpAddr>,
    /// Which surface was used, for the audit log.
    pub interface: Interface,
}

/// Which surface was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    Api,
    Console,
    /// A Worker's admin API binding.
    Worker,
}

impl OpContext {
    /// Proves that the caller holds scope `S` in the account.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that names the missing permission.
    pub fn authorize<S: store::Scope>(&self) -> Result<store::Grant<S>, Failure> {
        Ok(self.caller.principal.authorize::<S>(self.account)?)
    }

    /// The store behind every operation.
    #[must_use]
    pub fn store(&self) -> &store::Store {
        &self.app.deps.store
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.app.now()
    }

    /// Who acts, as the audit log names them.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        self.caller.principal.actor()
    }
}

/// Why nobody is asking.
#[derive(Debug)]
pub enum AuthError {
    /// There is no credential.
    Missing,
    /// There is one, and it is not valid.
    Invalid,
    /// A cookie without the proof that our own page sent the request.
    CrossSite,
    /// It could not be checked.
    Unavailable(Failure),
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::new(
                Code::Unauthenticated,
                "no credential; send \"Authorization: Bearer <token>\" (make a token in the console or with `portunus token create`)",
            ),
            AuthError::Invalid => {
                Self::new(Code::Unauthenticated, "the credential is unknown, expired or revoked; use a valid token")
            }
            AuthError::CrossSite => Self::new(
                Code::PermissionDenied,
                "the request does not come from a page of this console; reload the page and try again",
            ),
            AuthError::Unavailable(failure) => failure,
        }
    }
}

/// How a browser proves that one of our own pages sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The CSRF token stands in a header: requests of our scripts.
    Header,
    /// The CSRF token stands in a form field; the handler checks it with [`Caller::check_form`].
    Form,
}

/// Finds out who sent a request.
///
/// # Errors
///
/// [`AuthError`] when nobody valid did.
///
/// # Security
///
/// With [`Proof::Form`] the caller owes a [`Caller::check_form`] before it changes anything.
pub async fn authenticate(app: &App, parts: &Parts, proof: Proof) -> Result<Caller, AuthError> {
    if let Some(InProcess { principal, script }) = parts.extensions.get::<InProcess>() {
        return Ok(Caller { principal: principal.clone(), credential: Credential::Worker(script.clone()) });
    }
    if let Some(token) = token(&parts.headers)? {
        let principal = app.deps.store.authenticate_token(&token).await.map_err(refused)?;
        let Actor::Token { id, .. } = principal.actor() else { return Err(AuthError::Invalid) };
        let credential = Credential::Token(*id);
        return Ok(Caller { principal, credential });
    }
    let secret = session::cookie(&parts.headers, app.deps.addresses.https).ok_or(AuthError::Missing)?;
    let signed_in = match app.deps.store.authenticate_session(&secret).await {
        Ok(signed_in) => signed_in,
        Err(AuthenticateError::Invalid) => {
            app.recent.forget(&secret);
            return Err(AuthError::Invalid);
        }
        Err(AuthenticateError::Store(error)) => {
            let gone = error.code() == Code::Unavailable && !guard::changes_state(&parts.method);
            let known = gone.then(|| app.recent.recall(&secret, app.now())).flatten();
            return known.ok_or_else(|| AuthError::Unavailable(error.into()));
        }
    };
    let csrf = session::csrf_token(&secret);
    if guard::changes_state(&parts.method) {
        let shown = parts.headers.get(session::CSRF_HEADER).map(|value| value.as_bytes());
        let proven = match shown {
            Some(shown) => session::equal(shown, csrf.as_bytes()),
            None => proof == Proof::Form,
        };
        if !guard::is_same_origin(&parts.headers, &parts.uri, app.deps.addresses.https) || !proven {
            return Err(AuthError::CrossSite);
        }
    }
    let credential = Credential::Session {
        id: signed_in.session.id,
        administrator: signed_in.administrator.id,
        email: signed_in.administrator.document.email.clone(),
        csrf,
    };
    let caller = Caller { principal: signed_in.principal, credential };
    app.recent.remember(&secret, caller.clone(), signed_in.session.document.expires_at, app.now());
    Ok(caller)
}

fn refused(error: AuthenticateError) -> AuthError {
    match error {
        AuthenticateError::Invalid => AuthError::Invalid,
        AuthenticateError::Store(error) => AuthError::Unavailable(error.into()),
    }
}

/// Reads an explicit token: `Authorization: Bearer`, or the older `X-Auth-Email` with `X-Auth-Key`.
fn token(headers: &HeaderMap) -> Result<Option<Secret<String>>, AuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => {}
        (Some(_), Some(_)) => return Err(AuthError::Invalid),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| AuthError::Invalid)?;
            let (scheme, token) = text.split_once(' ').ok_or(AuthError::Invalid)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(AuthError::Invalid);
            }
            return Ok(Some(Secret::new(token.trim().to_owned())));
        }
    }
    let Some(key) = headers.get("x-auth-key") else { return Ok(None) };
    if !headers.contains_key("x-auth-email") {
        return Err(AuthError::Invalid);
    }
    let key = key.to_str().map_err(|_| AuthError::Invalid)?;
    Ok(Some(Secret::new(key.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::token;

    #[test]
    fn explicit_tokens_are_read_in_both_forms_and_nothing_else() {
        for (pairs, expected) in [
            (vec![], Ok(None)),
            (vec![("authorization", "Bearer abc")], Ok(Some("abc"))),
            (vec![("authorization", "bearer  abc ")], Ok(Some("abc"))),
            (vec![("authorization", "Basic abc")], Err(())),
            (vec![("authorization", "abc")], Err(())),
            (vec![("authorization", "Bearer a"), ("authorization", "Bearer b")], Err(())),
            (vec![("x-auth-email", "a@b.example"), ("x-auth-key", "abc")], Ok(Some("abc"))),
            (vec![("x-auth-key", "abc")], Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found = token(&headers).map(|token| token.map(types::Secret::into_inner)).map_err(|_| ());
            assert_eq!(found, expected.map(|text| text.map(str::to_owned)), "{pairs:?}");
        }
    }
}
