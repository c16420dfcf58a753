//! What stands before every API handler, in order: who asks, how often, for which account, with which permission.
//!
//! A handler behind it finds an [`OpContext`] and runs only for a caller the endpoint's [`Access`] admits; the store's
//! grants check the same again. Invariant: a request that is refused has touched nothing but the rate limits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::MockConnectInfo;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use types::{AccountId, Code};

use super::reply::refuse;
use super::table::Access;
use crate::app::{App, CallerKey};
use crate::auth::{AuthError, Credential, Interface, OpContext, Proof, authenticate};
use crate::failure::Failure;
use crate::multipart;
use crate::refusal::UNSUPPORTED_TYPE;
use crate::strict;
use crate::throttle::address_key;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What an endpoint tells its gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub access: Access,
    pub body_limit: usize,
}

/// Returns the address a request came from, if the listener told.
pub fn peer(parts: &Parts) -> Option<IpAddr> {
    let told = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let mocked = || parts.extensions.get::<MockConnectInfo<SocketAddr>>().map(|info| info.0);
    told.or_else(mocked).map(|address| address.ip().to_canonical())
}

/// Lets a request through to its handler or answers it.
pub(crate) async fn admit(State((app, terms)): State<(Arc<App>, Terms)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match judge(&app, &mut parts, terms).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(failure) => failure.into_response(),
    }
}

async fn judge(app: &Arc<App>, parts: &mut Parts, terms: Terms) -> Result<(), Failure> {
    let address = peer(parts);
    let counted = address_key(address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)));
    let now = app.now();
    parts.extensions.insert(terms);
    if terms.access == Access::Public {
        return app.call_rate.check(CallerKey::Address(counted), now).map_err(too_often);
    }
    let caller = match authenticate(app, parts, Proof::Header).await {
        Ok(caller) => caller,
        Err(error @ (AuthError::Missing | AuthError::Invalid)) => {
            app.failure_rate.check(counted, now).map_err(too_often)?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    app.call_rate.check(caller.key(), now).map_err(too_often)?;
    let account = named_account(app, parts).await?;
    if caller.principal.account().is_some_and(|own| own != account) || account != app.deps.account {
        return Err(Failure::not_found("account").numbered(7003));
    }
    if let Access::Permission(permission) = terms.access
        && !caller.principal.permissions().allow(permission)
    {
        return Err(Failure::missing_permission(permission));
    }
    let app = Arc::clone(app);
    let interface = if matches!(caller.credential, Credential::Worker(_)) { Interface::Worker } else { Interface::Api };
    parts.extensions.insert(OpContext { app, caller, account, address, interface });
    Ok(())
}

/// The account in the path, or this installation's own where the path names none.
async fn named_account(app: &App, parts: &mut Parts) -> Result<AccountId, Failure> {
    let unknown = || Failure::not_found("account").numbered(7003);
    let parameters = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| unknown())?;
    match parameters.iter().find(|(name, _)| *name == "account_id") {
        Some((_, text)) => text.parse().map_err(|_| unknown()),
        None => Ok(app.deps.account),
    }
}

fn too_often(wait: Duration) -> Failure {
    Failure::rate_limited(wait.as_secs() + 1)
}

/// What an API handler works with.
pub(crate) struct Cx {
    pub op: OpContext,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl FromRequestParts<Arc<App>> for Cx {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<App>) -> Result<Self, Response> {
        // Without the gate there is no context: a route that forgot it answers nothing.
        let Some(op) = parts.extensions.get::<OpContext>().cloned() else {
            return Err(Failure::new(Code::Internal, "the route is not gated").into_response());
        };
        let _ = state;
        let path = RawPathParams::from_request_parts(parts, &()).await.map_err(IntoResponse::into_response)?;
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { op, path, query: read_query(parts) })
    }
}

pub(crate) fn read_query(parts: &Parts) -> Vec<(String, String)> {
    const MOST: usize = 100;
    let text = parts.uri.query().unwrap_or_default();
    url::form_urlencoded::parse(text.as_bytes()).take(MOST).map(|(name, value)| (name.into(), value.into())).collect()
}

impl Cx {
    /// A path parameter as text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// A path parameter as an id; a text that cannot be one names nothing.
    pub(crate) fn id<T: std::str::FromStr>(&self, name: &str, thing: &str) -> Result<T, Failure> {
        self.text(name).parse().map_err(|_| Failure::not_found(thing))
    }

    /// A query parameter; an empty one counts as absent.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Every query parameter.
    pub(crate) fn queries(&self) -> &[(String, String)] {
        &self.query
    }
}

/// A request's body, read within the endpoint's bound.
pub(crate) struct Input {
    headers: HeaderMap,
    bytes: Bytes,
}

impl FromRequest<Arc<App>> for Input {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Response> {
        let limit = request.extensions().get::<Terms>().map_or(0, |terms| terms.body_limit);
        let (parts, body) = request.into_parts();
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if declared.is_some_and(|length: usize| length > limit) {
            return Err(too_large(limit));
        }
        match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, limit)).await {
            Ok(Ok(bytes)) => Ok(Self { headers: parts.headers, bytes }),
            Ok(Err(error)) => Err(body_error(&error, limit)),
            Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, 10408, "the body did not arrive in time")),
        }
    }
}

fn body_error(error: &axum::Error, limit: usize) -> Response {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.to_string().contains("length limit exceeded") {
            return too_large(limit);
        }
        source = cause.source();
    }
    refuse(StatusCode::BAD_REQUEST, 6003, "the body broke off")
}

fn too_large(limit: usize) -> Response {
    Failure::new(Code::LimitExceeded, format!("the body is larger than {limit} bytes")).into_response()
}

/// A body of a type the endpoint does not take.
#[derive(Debug)]
pub(crate) struct Unsupported(pub &'static str);

impl Input {
    fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn essence(&self) -> String {
        self.content_type().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn is_form(&self) -> bool {
        self.essence() == "multipart/form-data" || self.unlabelled_boundary().is_some()
    }

    /// The boundary of a form that the published TypeScript SDK labels `application/javascript`. No script begins with a
    /// boundary line followed by a part's disposition.
    fn unlabelled_boundary(&self) -> Option<&str> {
        const DISPOSITION: &[u8] = b"content-disposition: form-data;";
        if self.essence() != "application/javascript" {
            return None;
        }
        let rest = self.bytes.strip_prefix(b"--")?;
        let end = rest.iter().take(72).position(|byte| *byte == b'\r')?;
        let header = rest[end..].strip_prefix(b"\r\n")?.get(..DISPOSITION.len())?;
        let boundary = std::str::from_utf8(&rest[..end]).ok()?;
        header.eq_ignore_ascii_case(DISPOSITION).then_some(boundary)
    }

    /// The body as JSON; a client that names another type is told.
    pub(crate) fn value(&self) -> Result<Value, InputError> {
        let essence = self.essence();
        let json = essence == "application/json" || essence.ends_with("+json") || essence.is_empty();
        if !json {
            return Err(InputError::Type(Unsupported("application/json")));
        }
        Ok(strict::parse_value(&self.bytes)?)
    }

    /// The body as `T`.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        Ok(strict::from_value(self.value()?)?)
    }

    /// The body as `T`, or `T`'s default when there is none.
    pub(crate) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, InputError> {
        if self.bytes.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// The body as a multipart form.
    pub(crate) fn form(&self, limits: &multipart::Limits) -> Result<Vec<multipart::Part<'_>>, InputError> {
        if !self.is_form() {
            return Err(InputError::Type(Unsupported("multipart/form-data")));
        }
        let refused = |error: multipart::MultipartError| Failure::new(Code::InvalidInput, error.to_string());
        let boundary = match self.unlabelled_boundary() {
            Some(boundary) => boundary.to_owned(),
            None => multipart::boundary(self.content_type()).map_err(refused)?,
        };
        Ok(multipart::parse(&boundary, &self.bytes, limits).map_err(refused)?)
    }
}

/// Why a body was not accepted.
#[derive(Debug)]
pub(crate) enum InputError {
    Type(Unsupported),
    Failure(Failure),
}

impl From<Failure> for InputError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Failure(failure) => failure,
            InputError::Type(Unsupported(wanted)) => {
                Self::new(Code::InvalidInput, format!("the content type must be {wanted}")).numbered(UNSUPPORTED_TYPE)
            }
        }
    }
}
