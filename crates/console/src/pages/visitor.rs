//! Who looks at a page, and what they submit.
//!
//! [`Visitor`] admits a signed-in administrator to a page, [`Submission`] a form of one. It does not decide what they may
//! do: operations do. Invariant: a [`Submission`] exists only when the session, the Origin and the CSRF token are right.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use types::Code;

use super::fields::Fields;
use super::frame::Refused;
use crate::api::peer;
use crate::app::{App, CallerKey};
use crate::auth::{AuthError, Credential, Interface, OpContext, Proof, authenticate};
use crate::failure::Failure;
use crate::operations::identity::Attempt;
use crate::session::CSRF_FIELD;
use crate::throttle::address_key;

/// Largest form: the source of a large Worker, percent-encoded.
pub(super) const LARGEST_FORM: usize = 4 << 20;
/// Longest time a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(60);

/// A signed-in administrator who looks at a page.
pub(super) struct Visitor {
    pub cx: OpContext,
    pub email: String,
    /// What every form carries.
    pub csrf: String,
    pub theme: Theme,
    pub path: String,
    pub query: Fields,
}

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// What the system prefers.
    System,
    Light,
    Dark,
}

impl Theme {
    pub(super) fn named(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    pub(super) const fn word(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }

    pub(super) fn read(headers: &HeaderMap) -> Self {
        let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let word = pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(b"portunus_theme="));
        Self::named(word.and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default())
    }

    pub(super) fn cookie(self, https: bool) -> String {
        let secure = if https { "; Secure" } else { "" };
        let (word, seconds) = self.word().map_or(("", 0), |word| (word, 31_536_000));
        format!("portunus_theme={word}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }
}

/// A path of ours, or the overview: a sign-in never leads to another site.
pub(super) fn local_path(text: &str) -> String {
    let ours = text.starts_with('/')
        && !text.starts_with("//")
        && !text.contains(['\\', '\n', '\r', '\t'])
        && text.len() < 2_000
        && HeaderValue::from_str(text).is_ok();
    if ours { text.to_owned() } else { "/".to_owned() }
}

impl Visitor {
    async fn admit(app: &Arc<App>, parts: &Parts) -> Result<Self, Response> {
        let now = app.now();
        let caller = match authenticate(app, parts, Proof::Form).await {
            Ok(caller) => caller,
            Err(AuthError::Missing | AuthError::Invalid) => return Err(sign_in_first(parts)),
            Err(error) => return Err(Refused(error.into()).into_response()),
        };
        let Credential::Session { email, csrf, .. } = &caller.credential else { return Err(sign_in_first(parts)) };
        let (email, csrf) = (email.to_string(), csrf.clone());
        let account = app.deps.account;
        if caller.principal.account().is_some_and(|own| own != account) {
            return Err(Refused(Failure::not_found("account")).into_response());
        }
        admit_rate(app, caller.key(), now).map_err(IntoResponse::into_response)?;
        let cx =
            OpContext { app: Arc::clone(app), caller, account, address: peer(parts), interface: Interface::Console };
        let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(Self { cx, email, csrf, theme: Theme::read(&parts.headers), path: parts.uri.path().to_owned(), query })
    }

    /// Whether the administrator holds a permission, to leave out what would be refused.
    pub(super) fn may(&self, permission: store::Permission) -> bool {
        self.cx.caller.principal.permissions().allow(permission)
    }
}

fn admit_rate(app: &App, key: CallerKey, now: jiff::Timestamp) -> Result<(), Refused> {
    app.call_rate.check(key, now).map_err(|wait| Refused(Failure::rate_limited(wait.as_secs() + 1)))
}

fn sign_in_first(parts: &Parts) -> Response {
    let wanted = parts.uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    // A form that was answered so is lost; its page can be opened again.
    let path = if parts.method == axum::http::Method::GET { local_path(wanted) } else { "/".to_owned() };
    if path == "/" {
        return Redirect::to("/sign-in").into_response();
    }
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", &path).finish();
    Redirect::to(&format!("/sign-in?{query}")).into_response()
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        Self::admit(app, parts).await
    }
}

/// A form a signed-in administrator sent from one of our pages.
pub(super) struct Submission {
    pub visitor: Visitor,
    pub fields: Fields,
}

impl FromRequest<Arc<App>> for Submission {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let visitor = Visitor::admit(app, &parts).await?;
        let fields = read_form(body).await.map_err(IntoResponse::into_response)?;
        let proven = visitor.cx.caller.check_form(fields.get(CSRF_FIELD));
        proven.map_err(|error| Refused(error.into()).into_response())?;
        Ok(Self { visitor, fields })
    }
}

async fn read_form(body: axum::body::Body) -> Result<Fields, Refused> {
    match tokio::time::timeout(FORM_TIMEOUT, axum::body::to_bytes(body, LARGEST_FORM)).await {
        Ok(Ok(bytes)) => Ok(Fields::parse(&bytes)),
        Ok(Err(_)) => Err(Refused(Failure::new(Code::LimitExceeded, "the form is too large or did not arrive whole"))),
        Err(_) => Err(Refused(Failure::new(Code::InvalidInput, "the form did not arrive in time; send it again"))),
    }
}

/// A form, or a look at a page, of someone who has not signed in.
pub(super) struct Guest {
    pub app: Arc<App>,
    pub attempt: Attempt,
    pub theme: Theme,
    pub query: Fields,
    pub form: Fields,
}

impl FromRequest<Arc<App>> for Guest {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let address = peer(&parts);
        let counted = address_key(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        admit_rate(app, CallerKey::Address(counted), app.now()).map_err(IntoResponse::into_response)?;
        // Nobody is signed in, so there is no token to check; another site still cannot sign a browser in.
        if crate::guard::changes_state(&parts.method)
            && !crate::guard::is_same_origin(&parts.headers, &parts.uri, app.deps.addresses.https)
        {
            return Err(Refused(AuthError::CrossSite.into()).into_response());
        }
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let attempt = Attempt { address, user_agent: agent.to_owned() };
        let form = read_form(body).await.map_err(IntoResponse::into_response)?;
        let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(Self { app: Arc::clone(app), attempt, theme: Theme::read(&parts.headers), query, form })
    }
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn a_sign_in_leads_to_pages_of_ours_only() {
        for (text, path) in [
            ("/rules?x=1", "/rules?x=1"),
            ("", "/"),
            ("rules", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
        ] {
            assert_eq!(local_path(text), path, "{text}");
        }
    }
}
