//! First run, sign-in, sign-out.
//!
//! The operations count attempts and check passwords; these pages ask and answer. Invariant: a page never says which of
//! address and password was wrong.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use types::{Code, Secret};

use super::Page;
use super::control::{Control, Problems};
use super::frame::{Refused, bare};
use super::visitor::{Guest, Submission, Theme, local_path};
use crate::app::App;
use crate::failure::Failure;
use crate::operations::identity::{self, Setup, SignIn, Started};
use crate::session;

/// Serves `GET /sign-in`.
pub(super) async fn sign_in_page(State(app): State<Arc<App>>, headers: HeaderMap, guest: Guest) -> Response {
    // Someone who is signed in is not asked again.
    if let Some(secret) = session::cookie(&headers, app.deps.addresses.https)
        && app.deps.store.authenticate_session(&secret).await.is_ok()
    {
        return Redirect::to(&local_path(guest.query.get("next"))).into_response();
    }
    let body = sign_in_form("", guest.query.get("next"), Problems::NONE);
    bare("Sign in", guest.theme, StatusCode::OK, &body)
}

/// Serves `POST /sign-in`.
pub(super) async fn sign_in(guest: Guest) -> Page {
    let Guest { app, attempt, theme, form, .. } = guest;
    let attempted =
        SignIn { email: form.get("email").to_owned(), password: Secret::new(form.raw("password").to_owned()) };
    match identity::sign_in(&app, attempted, attempt).await {
        Ok(started) => Ok(signed_in(&app, &started, &local_path(form.get("next")))?),
        Err(failure) => {
            let body = sign_in_form(form.get("email"), form.get("next"), Problems::of(&failure));
            Ok(bare("Sign in", theme, status(&failure), &body))
        }
    }
}

fn sign_in_form(email: &str, next: &str, problems: Problems<'_>) -> Markup {
    html! {
        h1 { "Sign in" }
        (problems.general())
        form.stack method="post" action="/sign-in" {
            input type="hidden" name="next" value=(next);
            (Control::new("email", "E-mail address").required().autocomplete("username").problems(problems.at("/email")).input("email", email))
            (Control::new("password", "Password").required().autocomplete("current-password").input("password", ""))
            button.primary type="submit" { "Sign in" }
        }
    }
}

/// Serves `GET /setup?token=…`.
pub(super) async fn setup_page(guest: Guest) -> Page {
    let token = Secret::new(guest.query.get("token").to_owned());
    if let Err(failure) = identity::check_setup(&guest.app, &token, &guest.attempt).await {
        return Ok(no_setup(guest.theme, &failure));
    }
    let body = setup_form(guest.query.get("token"), ["", ""], Problems::NONE);
    Ok(bare("Set up", guest.theme, StatusCode::OK, &body))
}

/// Serves `POST /setup`.
pub(super) async fn setup(guest: Guest) -> Page {
    let Guest { app, attempt, theme, form, .. } = guest;
    let wanted = Setup {
        token: Secret::new(form.get("token").to_owned()),
        email: form.get("email").to_owned(),
        name: form.get("name").to_owned(),
        password: Secret::new(form.raw("password").to_owned()),
    };
    match identity::setup(&app, wanted, attempt).await {
        Ok(started) => Ok(signed_in(&app, &started, "/")?),
        Err(failure) if failure.code == Code::NotFound => Ok(no_setup(theme, &failure)),
        Err(failure) => {
            let body = setup_form(form.get("token"), [form.get("email"), form.get("name")], Problems::of(&failure));
            Ok(bare("Set up", theme, status(&failure), &body))
        }
    }
}

fn setup_form(token: &str, [email, name]: [&str; 2], problems: Problems<'_>) -> Markup {
    html! {
        h1 { "Welcome" }
        p.lead { "Make the first administrator of this installation. The link works once." }
        (problems.general())
        form.stack method="post" action="/setup" {
            input type="hidden" name="token" value=(token);
            (Control::new("email", "E-mail address").required().autocomplete("username").problems(problems.at("/email")).input("email", email))
            (Control::new("name", "Name").hint("Shown in the audit log and on pages. May stay empty.").autocomplete("name").problems(problems.at("/name")).input("text", name))
            (Control::new("password", "Password").required().hint("At least twelve characters. A few words are easiest to remember.").autocomplete("new-password").problems(problems.at("/password")).input("password", ""))
            button.primary type="submit" { "Make the administrator" }
        }
    }
}

fn no_setup(theme: Theme, failure: &Failure) -> Response {
    let body = html! {
        h1 { "This link does not work" }
        @for problem in &failure.problems { p { (problem.message) } }
        p { "If nobody has set up this installation yet, restart it: it prints a fresh link. If somebody has, sign in." }
        p { a.button.primary href="/sign-in" { "Sign in" } }
    };
    bare("Set up", theme, status(failure), &body)
}

fn status(failure: &Failure) -> StatusCode {
    StatusCode::from_u16(failure.code.status()).unwrap_or(StatusCode::BAD_REQUEST)
}

fn signed_in(app: &App, started: &Started, next: &str) -> Result<Response, Failure> {
    let cookie = session::set_cookie(&started.secret, app.deps.limits.session_lifetime, app.deps.addresses.https);
    let cookie = cookie.ok_or_else(|| Failure::new(Code::Internal, "the session cookie could not be written"))?;
    let mut response = Redirect::to(next).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Serves `POST /sign-out`.
pub(super) async fn sign_out(submission: Submission) -> Result<Response, Refused> {
    let cx = &submission.visitor.cx;
    identity::sign_out(cx).await?;
    let mut response = Redirect::to("/sign-in").into_response();
    response.headers_mut().append(header::SET_COOKIE, session::clear_cookie(cx.app.deps.addresses.https));
    Ok(response)
}
