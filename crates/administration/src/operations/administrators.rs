//! The people who sign in to the console.
//!
//! Invariants: there is always an administrator left who may do everything; changing a password ends every session of
//! its owner.

use serde::{Deserialize, Serialize};
use store::{Administer, Administrator, Operate, Permission, Permissions, ReadSettings, Stored};
use types::{Code, Secret, UserId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::people::read_email;
use super::{check_name, time};
use crate::audit::{Change, Verb};
use crate::auth::{Credential, OpContext};
use crate::failure::Failure;
use crate::password;

/// An administrator, as the API shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AdministratorView {
    pub id: String,
    pub email: String,
    pub name: String,
    #[schema(value_type = Vec<String>)]
    pub permissions: Vec<String>,
    pub disabled: bool,
    pub created_at: String,
    pub updated_at: String,
}

/// An administrator to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdministrator {
    pub email: String,
    #[serde(default)]
    pub name: String,
    /// Words such as `gateway:write`; `admin` is everything.
    pub permissions: Vec<String>,
    /// At least twelve characters.
    #[schema(value_type = String)]
    pub password: Secret<String>,
}

/// What changes of an administrator.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdministratorPatch {
    pub name: Option<String>,
    pub permissions: Option<Vec<String>>,
    pub disabled: Option<bool>,
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret<String>>,
}

/// A change of one's own password.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    #[schema(value_type = String)]
    pub current_password: Secret<String>,
    #[schema(value_type = String)]
    pub password: Secret<String>,
}

fn view(stored: &Stored<Administrator>) -> AdministratorView {
    let document = &stored.document;
    AdministratorView {
        id: stored.id.to_string(),
        email: document.email.to_string(),
        name: document.name.clone(),
        permissions: document.permissions.iter().map(|permission| permission.to_string()).collect(),
        disabled: document.disabled,
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

/// Returns every administrator.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AdministratorView>, Failure> {
    let grant = cx.authorize::<ReadSettings>()?;
    Ok(cx.store().administrators().list(&grant).await?.iter().map(view).collect())
}

/// Makes an administrator.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, new: NewAdministrator) -> Result<AdministratorView, Failure> {
    let grant = cx.authorize::<Administer>()?;
    let email = read_email("/email", &new.email)?;
    if !new.name.is_empty() {
        check_name("/name", &new.name, 255)?;
    }
    let permissions = read_permissions(&new.permissions)?;
    password::check_strength(&new.password, email.as_str())?;
    let password_hash = Some(password::hash(new.password).await?);
    let document = Administrator { email, name: new.name, permissions, password_hash, disabled: false };
    let after = summary(&document);
    let id = UserId(Uuid::now_v7());
    let created = cx.store().administrators().create(&grant, id, document).await;
    let stored = created.map_err(|error| {
        crate::failure::taken(error, || Failure::conflict("/email", "another administrator has this address"))
    })?;
    cx.record(Change::new(Verb::Create, "administrator", id).after(after)).await?;
    Ok(view(&stored))
}

/// Changes an administrator.
///
/// # Errors
///
/// `NotFound`, `Conflict` when nobody would be left who may do everything.
pub async fn patch(cx: &OpContext, id: UserId, patch: AdministratorPatch) -> Result<AdministratorView, Failure> {
    let grant = cx.authorize::<Administer>()?;
    let before = cx.store().administrators().get(&grant, &id).await?.ok_or_else(missing)?;
    let mut document = before.document.clone();
    if let Some(name) = patch.name {
        check_name("/name", &name, 255)?;
        document.name = name;
    }
    if let Some(words) = patch.permissions {
        document.permissions = read_permissions(&words)?;
    }
    document.disabled = patch.disabled.unwrap_or(document.disabled);
    let password_changed = patch.password.is_some();
    if let Some(password) = patch.password {
        password::check_strength(&password, document.email.as_str())?;
        document.password_hash = Some(password::hash(password).await?);
    }
    let still_in_charge = document.permissions.allow(Permission::Admin) && !document.disabled;
    if !still_in_charge {
        someone_else_in_charge(cx, &grant, id).await?;
    }
    let ends_sessions = password_changed || document.disabled;
    let after = summary(&document);
    let stored = cx.store().administrators().replace(&grant, id, document, Some(before.revision)).await?;
    cx.app.recent.forget_administrator(id);
    if ends_sessions {
        end_sessions(cx, id).await?;
    }
    let mut change = Change::new(Verb::Update, "administrator", id).before(summary(&before.document)).after(after);
    if password_changed {
        change = change.note("password changed");
    }
    cx.record(change).await?;
    Ok(view(&stored))
}

/// Removes an administrator.
///
/// # Errors
///
/// `NotFound`, `Conflict` when nobody would be left who may do everything.
pub async fn delete(cx: &OpContext, id: UserId) -> Result<(), Failure> {
    let grant = cx.authorize::<Administer>()?;
    let before = cx.store().administrators().get(&grant, &id).await?.ok_or_else(missing)?;
    someone_else_in_charge(cx, &grant, id).await?;
    cx.store().administrators().delete(&grant, &id, Some(before.revision)).await?;
    end_sessions(cx, id).await?;
    cx.record(Change::new(Verb::Delete, "administrator", id).before(summary(&before.document))).await
}

/// Changes the password of the administrator who is signed in; every session ends, this one included.
///
/// # Errors
///
/// `PermissionDenied` when the current password is wrong, `RateLimited` after too many tries.
pub async fn change_password(cx: &OpContext, change: PasswordChange) -> Result<(), Failure> {
    let Credential::Session { administrator: id, ref email, .. } = cx.caller.credential else {
        return Err(Failure::new(Code::InvalidInput, "a token has no password; sign in to the console"));
    };
    let app = &cx.app;
    app.strikes_by_account.check(email, cx.now()).map_err(|wait| Failure::rate_limited(wait.as_secs() + 1))?;
    app.strikes_by_account.strike(email, cx.now());
    let system = store::Principal::system("change of one's own password");
    let grant = system.authorize::<Administer>(cx.account)?;
    let before = cx.store().administrators().get(&grant, &id).await?.ok_or_else(missing)?;
    if !password::verify(change.current_password, before.document.password_hash.clone()).await? {
        return Err(Failure {
            code: Code::PermissionDenied,
            ..Failure::invalid("/current_password", "is not the current password")
        });
    }
    app.strikes_by_account.clear(email);
    password::check_strength(&change.password, email.as_str())?;
    let password_hash = Some(password::hash(change.password).await?);
    let document = Administrator { password_hash, ..before.document };
    cx.store().administrators().replace(&grant, id, document, Some(before.revision)).await?;
    end_sessions(cx, id).await?;
    cx.record(Change::new(Verb::Update, "administrator", id).note("password changed")).await
}

async fn someone_else_in_charge(cx: &OpContext, grant: &store::Grant<Administer>, id: UserId) -> Result<(), Failure> {
    let all = cx.store().administrators().list(grant).await?;
    let other = all.iter().any(|stored| {
        stored.id != id && !stored.document.disabled && stored.document.permissions.allow(Permission::Admin)
    });
    if other {
        return Ok(());
    }
    let message = "nobody else may do everything; give another administrator the permission \"admin\" first";
    Err(Failure::new(Code::Conflict, message))
}

async fn end_sessions(cx: &OpContext, id: UserId) -> Result<(), Failure> {
    cx.app.recent.forget_administrator(id);
    let operate = store::Principal::system("end sessions").authorize::<Operate>(cx.account)?;
    Ok(cx.store().sessions().end_all(&operate, id).await?)
}

fn read_permissions(words: &[String]) -> Result<Permissions, Failure> {
    let mut permissions = Permissions::NONE;
    for (index, word) in words.iter().enumerate() {
        let unknown = |_| Failure::invalid(format!("/permissions/{index}"), "there is no such permission");
        permissions = permissions.with(word.parse().map_err(unknown)?);
    }
    if permissions.is_empty() {
        return Err(Failure::invalid("/permissions", "an administrator needs at least one permission"));
    }
    Ok(permissions)
}

fn missing() -> Failure {
    Failure::not_found("administrator")
}

fn summary(administrator: &Administrator) -> serde_json::Value {
    serde_json::json!({
        "email": administrator.email,
        "name": administrator.name,
        "permissions": administrator.permissions,
        "disabled": administrator.disabled,
    })
}
