//! Endpoints about the account, the caller and API tokens, as SDKs and wrangler probe them.

use axum::http::Method;
use serde::Serialize;
use serde_json::{Value, json};
use store::Permission::{SettingsRead, TokensRead, TokensWrite};
use types::ResultInfo;
use utoipa::ToSchema;

use super::gate::{Cx, Input};
use super::reply::{Reply, ok, page};
use super::table::Access::{Authenticated, Permission};
use super::table::{Endpoint, Paging, endpoint};
use crate::failure::Failure;
use crate::operations::{account, identity, tokens};
use crate::paging::{PageRequest, single};

/// An id alone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct IdView {
    pub(crate) id: String,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const ACCOUNT: &str = "/accounts/{account_id}";
    let mut all = vec![
        endpoint(Method::GET, "/accounts", Authenticated, "List the accounts of the caller", list_accounts)
            .lists::<account::AccountView>(Paging::Numbered),
        endpoint(Method::GET, ACCOUNT, Permission(SettingsRead), "Get the account", get_account)
            .returns::<account::AccountView>(),
        endpoint(Method::GET, "/memberships", Authenticated, "List the caller's memberships", list_memberships)
            .lists::<account::MembershipView>(Paging::Numbered),
        endpoint(Method::GET, "/user", Authenticated, "Who is asking", get_user).returns::<identity::WhoAmI>(),
        endpoint(Method::GET, "/user/tokens/verify", Authenticated, "What the caller's token is", verify_token)
            .returns::<tokens::Verified>(),
        endpoint(
            Method::GET,
            "/accounts/{account_id}/tokens/verify",
            Authenticated,
            "What the caller's token is",
            verify_token,
        )
        .returns::<tokens::Verified>(),
        endpoint(
            Method::GET,
            "/user/tokens/permission_groups",
            Permission(TokensRead),
            "List what tokens can be made of",
            list_groups,
        )
        .lists::<tokens::PermissionGroup>(Paging::Single),
        endpoint(
            Method::GET,
            "/accounts/{account_id}/tokens/permission_groups",
            Permission(TokensRead),
            "List what tokens can be made of",
            list_groups,
        )
        .lists::<tokens::PermissionGroup>(Paging::Single),
    ];
    all.extend(token_endpoints("/user/tokens", "/user/tokens/{token_id}", "/user/tokens/{token_id}/value"));
    all.extend(token_endpoints(
        "/accounts/{account_id}/tokens",
        "/accounts/{account_id}/tokens/{token_id}",
        "/accounts/{account_id}/tokens/{token_id}/value",
    ));
    all
}

fn token_endpoints(tokens: &'static str, token: &'static str, value: &'static str) -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, tokens, Permission(TokensRead), "List API tokens", list_tokens)
            .lists::<tokens::TokenView>(Paging::Numbered),
        endpoint(Method::POST, tokens, Permission(TokensWrite), "Issue an API token", create_token)
            .takes_json::<tokens::TokenBody>()
            .returns::<tokens::TokenView>(),
        endpoint(Method::GET, token, Permission(TokensRead), "Get an API token", get_token)
            .returns::<tokens::TokenView>(),
        endpoint(Method::PUT, token, Permission(TokensWrite), "Change what an API token may do", put_token)
            .takes_json::<tokens::TokenBody>()
            .returns::<tokens::TokenView>(),
        endpoint(Method::DELETE, token, Permission(TokensWrite), "Revoke an API token", delete_token)
            .returns::<IdView>(),
        endpoint(Method::PUT, value, Permission(TokensWrite), "Give an API token a new text", roll_token)
            .returns::<String>(),
    ]
}

fn one_page<T: Serialize>(cx: &Cx, all: Vec<T>) -> Result<(Vec<T>, ResultInfo), Failure> {
    Ok(PageRequest::parse(cx.query("page"), cx.query("per_page"), 50)?.cut(all))
}

async fn list_accounts(cx: Cx) -> Reply {
    let (items, info) = one_page(&cx, vec![account::get(&cx.op).await?])?;
    page(items, info)
}

async fn get_account(cx: Cx) -> Reply {
    ok(account::get(&cx.op).await?)
}

async fn list_memberships(cx: Cx) -> Reply {
    let (items, info) = one_page(&cx, vec![account::membership(&cx.op).await?])?;
    page(items, info)
}

async fn get_user(cx: Cx) -> Reply {
    // A session's CSRF token belongs to our own pages; `GET /portunus/session` tells it.
    ok(identity::WhoAmI { csrf: None, ..identity::who_am_i(&cx.op) })
}

async fn verify_token(cx: Cx) -> Reply {
    ok(tokens::verify(&cx.op).await?)
}

async fn list_groups(cx: Cx) -> Reply {
    ok(single(tokens::permission_groups(), cx.query("page"))?)
}

async fn list_tokens(cx: Cx) -> Reply {
    let (items, info) = one_page(&cx, tokens::list(&cx.op).await?)?;
    page(items, info)
}

async fn create_token(cx: Cx, input: Input) -> Reply {
    ok(tokens::create(&cx.op, input.json()?).await?)
}

async fn get_token(cx: Cx) -> Reply {
    ok(tokens::get(&cx.op, cx.id("token_id", "token")?).await?)
}

async fn put_token(cx: Cx, input: Input) -> Reply {
    let body = without_read_only(input.value()?);
    ok(tokens::replace(&cx.op, cx.id("token_id", "token")?, crate::strict::from_value(body)?).await?)
}

/// Clients send back what they read; what the service sets is not theirs to change.
fn without_read_only(mut body: Value) -> Value {
    if let Value::Object(members) = &mut body {
        for name in ["id", "issued_on", "modified_on", "last_used_on"] {
            members.remove(name);
        }
    }
    body
}

async fn delete_token(cx: Cx) -> Reply {
    tokens::delete(&cx.op, cx.id("token_id", "token")?).await?;
    ok(json!({"id": cx.text("token_id")}))
}

async fn roll_token(cx: Cx) -> Reply {
    ok(tokens::roll(&cx.op, cx.id("token_id", "token")?).await?)
}
