//! Endpoints for first run, sign-in and sign-out.

use std::sync::Arc;

use administration::session;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::response::Response;
use serde::Deserialize;
use types::Secret;
use utoipa::ToSchema;

use super::gate::{Cx, Input, peer};
use super::reply::{Reply, done, ok};
use super::table::Access::{Authenticated, Public};
use super::table::{Endpoint, endpoint};
use crate::app::App;
use crate::failure::Failure;
use crate::operations::identity::{self, Attempt, Setup, SignIn, Started};

/// A set-up link's token alone.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupToken {
    #[schema(value_type = String)]
    pub(crate) token: Secret<String>,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const BODY: usize = 16 << 10;
    vec![
        endpoint(Method::POST, "/portunus/setup/check", Public, "Whether a set-up link still works", check_setup)
            .takes_json::<SetupToken>()
            .body_limit(BODY),
        endpoint(Method::POST, "/portunus/setup", Public, "Make the first administrator and sign in", setup)
            .takes_json::<Setup>()
            .returns::<String>()
            .body_limit(BODY),
        endpoint(Method::POST, "/portunus/session", Public, "Sign in", sign_in)
            .takes_json::<SignIn>()
            .returns::<String>()
            .body_limit(BODY),
        endpoint(Method::GET, "/portunus/session", Authenticated, "Who is signed in", who)
            .returns::<identity::WhoAmI>(),
        endpoint(Method::DELETE, "/portunus/session", Authenticated, "Sign out", sign_out),
    ]
}

/// Where an attempt comes from, read before its body.
struct From(Attempt);

impl FromRequestParts<Arc<App>> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Self::Rejection> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(Attempt { address: peer(parts), user_agent: agent.to_owned() }))
    }
}

async fn check_setup(State(app): State<Arc<App>>, from: From, input: Input) -> Reply {
    let SetupToken { token } = input.json()?;
    identity::check_setup(&app, &token, &from.0).await?;
    done()
}

async fn setup(State(app): State<Arc<App>>, from: From, input: Input) -> Reply {
    signed_in(&app, identity::setup(&app, input.json::<Setup>()?, from.0).await?)
}

async fn sign_in(State(app): State<Arc<App>>, from: From, input: Input) -> Reply {
    signed_in(&app, identity::sign_in(&app, input.json::<SignIn>()?, from.0).await?)
}

fn signed_in(app: &App, started: Started) -> Reply {
    let https = app.deps.addresses.https;
    let cookie = session::set_cookie(&started.secret, app.deps.limits.session_lifetime, https);
    let cookie =
        cookie.ok_or_else(|| Failure::new(types::Code::Internal, "the session cookie could not be written"))?;
    let csrf = session::csrf_token(&started.secret);
    let mut response = ok(serde_json::json!({"id": started.id.to_string(), "email": started.email, "csrf": csrf}))?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

async fn who(cx: Cx) -> Reply {
    ok(identity::who_am_i(&cx.op))
}

async fn sign_out(cx: Cx) -> Reply {
    identity::sign_out(&cx.op).await?;
    let mut response: Response = done()?;
    response.headers_mut().append(header::SET_COOKIE, session::clear_cookie(cx.op.app.deps.addresses.https));
    Ok(response)
}
