//! Endpoints about people: those whose traffic is decided and those who administer.

use axum::http::Method;
use serde_json::json;
use store::Permission::{Admin, SettingsRead, UsersRead, UsersWrite};

use super::gate::{Cx, Input};
use super::reply::{Reply, done, ok, page};
use super::table::Access::{Authenticated, Permission};
use super::table::{Endpoint, Paging, endpoint};
use crate::operations::{administrators, people};
use crate::paging::{PageRequest, single};

const USERS: &str = "/accounts/{account_id}/portunus/users";
const USER: &str = "/accounts/{account_id}/portunus/users/{user_id}";
const PROXY_TOKENS: &str = "/accounts/{account_id}/portunus/users/{user_id}/proxy_tokens";
const PROXY_TOKEN: &str = "/accounts/{account_id}/portunus/users/{user_id}/proxy_tokens/{token_id}";
const ADMINISTRATORS: &str = "/accounts/{account_id}/portunus/administrators";
const ADMINISTRATOR: &str = "/accounts/{account_id}/portunus/administrators/{administrator_id}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, USERS, Permission(UsersRead), "List people", list)
            .lists::<people::PersonView>(Paging::Numbered),
        endpoint(Method::POST, USERS, Permission(UsersWrite), "Add a person", create)
            .takes_json::<people::PersonBody>()
            .returns::<people::PersonView>(),
        endpoint(Method::GET, USER, Permission(UsersRead), "Get a person", get).returns::<people::PersonView>(),
        endpoint(Method::PUT, USER, Permission(UsersWrite), "Replace what is known of a person", put)
            .takes_json::<people::PersonBody>()
            .returns::<people::PersonView>(),
        endpoint(Method::DELETE, USER, Permission(UsersWrite), "Remove a person and their proxy tokens", delete),
        endpoint(Method::GET, PROXY_TOKENS, Permission(UsersRead), "List a person's proxy tokens", list_tokens)
            .lists::<people::ProxyTokenView>(Paging::Single),
        endpoint(Method::POST, PROXY_TOKENS, Permission(UsersWrite), "Issue a proxy token", issue_token)
            .takes_json::<people::NewProxyToken>()
            .returns::<people::ProxyTokenView>(),
        endpoint(Method::DELETE, PROXY_TOKEN, Permission(UsersWrite), "Revoke a proxy token", revoke_token),
        endpoint(Method::GET, ADMINISTRATORS, Permission(SettingsRead), "List administrators", list_administrators)
            .lists::<administrators::AdministratorView>(Paging::Single),
        endpoint(Method::POST, ADMINISTRATORS, Permission(Admin), "Make an administrator", create_administrator)
            .takes_json::<administrators::NewAdministrator>()
            .returns::<administrators::AdministratorView>(),
        endpoint(Method::PATCH, ADMINISTRATOR, Permission(Admin), "Change an administrator", patch_administrator)
            .takes_json::<administrators::AdministratorPatch>()
            .returns::<administrators::AdministratorView>(),
        endpoint(Method::DELETE, ADMINISTRATOR, Permission(Admin), "Remove an administrator", delete_administrator),
        endpoint(Method::PUT, "/portunus/password", Authenticated, "Change one's own password", change_password)
            .takes_json::<administrators::PasswordChange>(),
    ]
}

async fn list(cx: Cx) -> Reply {
    let all = people::list(&cx.op).await?;
    let (items, info) = PageRequest::parse(cx.query("page"), cx.query("per_page"), 100)?.cut(all);
    page(items, info)
}

async fn create(cx: Cx, input: Input) -> Reply {
    ok(people::create(&cx.op, input.json()?).await?)
}

async fn get(cx: Cx) -> Reply {
    ok(people::get(&cx.op, cx.id("user_id", "user")?).await?)
}

async fn put(cx: Cx, input: Input) -> Reply {
    ok(people::replace(&cx.op, cx.id("user_id", "user")?, input.json()?).await?)
}

async fn delete(cx: Cx) -> Reply {
    people::delete(&cx.op, cx.id("user_id", "user")?).await?;
    ok(json!({"id": cx.text("user_id")}))
}

async fn list_tokens(cx: Cx) -> Reply {
    ok(single(people::tokens(&cx.op, cx.id("user_id", "user")?).await?, cx.query("page"))?)
}

async fn issue_token(cx: Cx, input: Input) -> Reply {
    ok(people::issue_token(&cx.op, cx.id("user_id", "user")?, input.json_or_default()?).await?)
}

async fn revoke_token(cx: Cx) -> Reply {
    let (user, token) = (cx.id("user_id", "user")?, cx.id("token_id", "proxy token")?);
    people::revoke_token(&cx.op, user, token).await?;
    ok(json!({"id": cx.text("token_id")}))
}

async fn list_administrators(cx: Cx) -> Reply {
    ok(single(administrators::list(&cx.op).await?, cx.query("page"))?)
}

async fn create_administrator(cx: Cx, input: Input) -> Reply {
    ok(administrators::create(&cx.op, input.json()?).await?)
}

async fn patch_administrator(cx: Cx, input: Input) -> Reply {
    ok(administrators::patch(&cx.op, cx.id("administrator_id", "administrator")?, input.json()?).await?)
}

async fn delete_administrator(cx: Cx) -> Reply {
    administrators::delete(&cx.op, cx.id("administrator_id", "administrator")?).await?;
    ok(json!({"id": cx.text("administrator_id")}))
}

async fn change_password(cx: Cx, input: Input) -> Reply {
    administrators::change_password(&cx.op, input.json()?).await?;
    done()
}
