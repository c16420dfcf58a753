//! First run, sign-in and sign-out.
//!
//! Failed attempts are counted before the slow password check, per address and per account, so that parallel attempts
//! cannot outrun the count. Invariant: an unknown address, a disabled administrator and a wrong password are answered
//! alike and take equally long.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use store::{Administrator, AuthenticateError, Operate, Permissions, Principal};
use types::{Code, Secret, UserId};
use utoipa::ToSchema;

use super::check_name;
use super::people::read_email;
use crate::app::App;
use crate::audit::{self, Change, Verb};
use crate::auth::{Credential, OpContext};
use crate::failure::Failure;
use crate::password;
use crate::throttle::address_key;

/// What makes the first administrator.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// From the set-up link.
    #[schema(value_type = String)]
    pub token: Secret<String>,
    pub email: String,
    #[serde(default)]
    pub name: String,
    /// At least twelve characters.
    #[schema(value_type = String)]
    pub password: Secret<String>,
}

/// What signs an administrator in.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    pub email: String,
    #[schema(value_type = String)]
    pub password: Secret<String>,
}

/// Where an attempt comes from.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    pub address: Option<IpAddr>,
    pub user_agent: String,
}

/// A session that was started.
#[derive(Debug, Clone)]
pub struct Started {
    pub id: UserId,
    pub email: String,
    /// For the cookie.
    pub secret: Secret<String>,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WhoAmI {
    pub id: String,
    pub email: String,
    #[schema(value_type = Vec<String>)]
    pub permissions: Vec<String>,
    /// What requests of our own pages carry in `X-CSRF-Token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
}

/// Says whether a set-up link still works.
///
/// # Errors
///
/// `NotFound` when it does not.
pub async fn check_setup(app: &App, token: &Secret<String>, attempt: &Attempt) -> Result<(), Failure> {
    let address = admit_address(app, attempt)?;
    match app.deps.store.check_setup_link(token).await {
        Ok(account) if account == app.deps.account => Ok(()),
        Ok(_) | Err(AuthenticateError::Invalid) => {
            app.strikes_by_address.strike(&address, app.now());
            Err(used_link())
        }
        Err(AuthenticateError::Store(error)) => Err(error.into()),
    }
}

/// Makes the first administrator and signs them in.
///
/// # Errors
///
/// `NotFound` when the link is used up, a [`Failure`] that points at the member at fault.
pub async fn setup(app: &App, setup: Setup, attempt: Attempt) -> Result<Started, Failure> {
    check_setup(app, &setup.token, &attempt).await?;
    let email = read_email("/email", &setup.email)?;
    if !setup.name.is_empty() {
        check_name("/name", &setup.name, 255)?;
    }
    password::check_strength(&setup.password, email.as_str())?;
    let password_hash = Some(password::hash(setup.password).await?);
    let document =
        Administrator { email, name: setup.name, permissions: Permissions::ADMIN, password_hash, disabled: false };
    let (account, stored) = match app.deps.store.redeem_setup_link(&setup.token, document).await {
        Ok(made) => made,
        Err(AuthenticateError::Invalid) => return Err(used_link()),
        Err(AuthenticateError::Store(error)) => return Err(error.into()),
    };
    if account != app.deps.account {
        return Err(used_link());
    }
    let email = stored.document.email.to_string();
    let change = Change::new(Verb::Create, "administrator", stored.id)
        .after(serde_json::json!({"email": email, "permissions": stored.document.permissions}))
        .note("first administrator, through the set-up link");
    audit::record_for(app, &email, attempt.address, change).await?;
    start(app, stored.id, email, attempt).await
}

/// Signs an administrator in.
///
/// # Errors
///
/// `Unauthenticated` whatever is wrong with the credentials, `RateLimited` after too many failures.
pub async fn sign_in(app: &App, sign_in: SignIn, attempt: Attempt) -> Result<Started, Failure> {
    let address = admit_address(app, &attempt)?;
    let now = app.now();
    let email = read_email("/email", &sign_in.email)?;
    app.strikes_by_account.check(&email, now).map_err(|wait| Failure::rate_limited(wait.as_secs() + 1))?;
    app.strikes_by_address.strike(&address, now);
    app.strikes_by_account.strike(&email, now);
    let found = match app.deps.store.administrator_by_email(&email).await {
        Ok((account, stored)) if account == app.deps.account => Some(stored),
        Ok(_) | Err(AuthenticateError::Invalid) => None,
        Err(AuthenticateError::Store(error)) => return Err(error.into()),
    };
    let hash = found.as_ref().and_then(|stored| stored.document.password_hash.clone());
    let matches = password::verify(sign_in.password, hash).await?;
    let Some(administrator) = found.filter(|_| matches) else {
        let change = Change::new(Verb::SignIn, "session", "").failed();
        audit::record_for(app, email.as_str(), attempt.address, change).await?;
        return Err(Failure::new(Code::Unauthenticated, "the address or the password is wrong"));
    };
    app.strikes_by_address.clear(&address);
    app.strikes_by_account.clear(&email);
    let change = Change::new(Verb::SignIn, "session", "");
    audit::record_for(app, email.as_str(), attempt.address, change).await?;
    start(app, administrator.id, email.to_string(), attempt).await
}

/// Ends the session of the caller.
///
/// # Errors
///
/// `InvalidInput` for a token, which has no session.
pub async fn sign_out(cx: &OpContext) -> Result<(), Failure> {
    let Credential::Session { id, .. } = cx.caller.credential else {
        return Err(Failure::new(Code::InvalidInput, "a token has no session to end; revoke it instead"));
    };
    let operate = Principal::system("sign-out").authorize::<Operate>(cx.account)?;
    cx.app.recent.forget_session(id);
    cx.store().sessions().end(&operate, id).await?;
    cx.record(Change::new(Verb::SignOut, "session", "")).await
}

/// Says who is asking.
#[must_use]
pub fn who_am_i(cx: &OpContext) -> WhoAmI {
    let (id, email) = match &cx.caller.credential {
        Credential::Token(id) => (id.to_string(), String::new()),
        Credential::Session { administrator, email, .. } => (administrator.to_string(), email.to_string()),
        Credential::Worker(script) => (script.to_string(), String::new()),
    };
    let permissions = cx.caller.principal.permissions().iter().map(|permission| permission.to_string()).collect();
    WhoAmI { id, email, permissions, csrf: cx.caller.csrf().map(str::to_owned) }
}

async fn start(app: &App, id: UserId, email: String, attempt: Attempt) -> Result<Started, Failure> {
    let operate = Principal::system("sign-in").authorize::<Operate>(app.deps.account)?;
    let lifetime = app.deps.limits.session_lifetime;
    let (_, secret) = app.deps.store.sessions().start(&operate, id, attempt.user_agent, lifetime).await?;
    Ok(Started { id, email, secret })
}

fn admit_address(app: &App, attempt: &Attempt) -> Result<IpAddr, Failure> {
    let address = address_key(attempt.address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)));
    let wait = app.strikes_by_address.check(&address, app.now());
    wait.map_err(|wait| Failure::rate_limited(wait.as_secs() + 1))?;
    Ok(address)
}

fn used_link() -> Failure {
    Failure::new(Code::NotFound, "this set-up link is used or expired; restart Portunus to get a fresh one")
}
