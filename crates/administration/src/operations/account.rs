//! The account itself, as its members see it. Invariant: a caller learns of no account but their own.

use serde::Serialize;
use serde_json::{Value, json};
use store::{Principal, ReadSettings};
use utoipa::ToSchema;

use super::time;
use crate::auth::OpContext;
use crate::failure::Failure;

/// The account.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AccountView {
    pub id: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[schema(value_type = Object)]
    pub settings: Value,
    pub created_on: String,
}

/// The caller's place in the account.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MembershipView {
    pub id: String,
    pub status: &'static str,
    #[schema(value_type = Object)]
    pub account: AccountView,
    pub roles: Vec<String>,
}

/// Returns the caller's account.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<AccountView, Failure> {
    // Its name is no secret to whoever holds a credential of it, whatever that may do.
    let system = Principal::system("show the account to its own member");
    let stored = cx.store().account().get(&system.authorize::<ReadSettings>(cx.account)?, &cx.account).await?;
    let stored = stored.ok_or_else(|| Failure::not_found("account").numbered(7003))?;
    Ok(AccountView {
        id: stored.id.to_string(),
        name: stored.document.name,
        kind: "standard",
        settings: json!({"enforce_twofactor": false}),
        created_on: time(stored.created_at),
    })
}

/// Returns the caller's membership.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn membership(cx: &OpContext) -> Result<MembershipView, Failure> {
    let account = get(cx).await?;
    let roles = cx.caller.principal.permissions().iter().map(|permission| permission.cloudflare_name().to_owned());
    Ok(MembershipView { id: account.id.clone(), status: "accepted", roles: roles.collect(), account })
}
