//! Endpoints of Access: applications, policies, tags, custom pages, bookmarks.

use axum::http::Method;
use serde_json::json;
use store::Permission::{AccessRead, AccessWrite};
use types::{AccessPolicyId, ApplicationId, CustomPageId};

use super::gate::{Cx, Input};
use super::reply::{Reply, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::failure::Failure;
use crate::operations::access::{
    AccessBody, AccessView, applications, bookmarks, pages, policies, policy_tests, tags, trials,
};
use crate::paging::PageRequest;

/// Most bytes of an application with its policies.
const APPLICATION_BYTES: usize = 2 << 20;
/// Most bytes of a custom page.
const PAGE_BYTES: usize = 512 << 10;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = application_endpoints();
    all.extend(application_policy_endpoints());
    all.extend(policy_endpoints());
    all.extend(policy_test_endpoints());
    all.extend(tag_endpoints());
    all.extend(page_endpoints());
    all.extend(bookmark_endpoints());
    all
}

/// Cuts a listing as v4 clients page.
pub(super) fn paged<T: serde::Serialize>(cx: &Cx, all: Vec<T>) -> Reply {
    let (items, info) = PageRequest::parse(cx.query("page"), cx.query("per_page"), 1000)?.cut(all);
    page(items, info)
}

fn application_endpoints() -> Vec<Endpoint> {
    const APPS: &str = "/accounts/{account_id}/access/apps";
    const APP: &str = "/accounts/{account_id}/access/apps/{app_id}";
    const SETTINGS: &str = "/accounts/{account_id}/access/apps/{app_id}/settings";
    const REVOKE: &str = "/accounts/{account_id}/access/apps/{app_id}/revoke_tokens";
    const CHECKS: &str = "/accounts/{account_id}/access/apps/{app_id}/user_policy_checks";
    vec![
        endpoint(Method::GET, APPS, Permission(AccessRead), "List applications", list_apps)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[("name", "only the application of this name"), ("domain", "only applications of this domain")]),
        endpoint(Method::POST, APPS, Permission(AccessWrite), "Publish an application", create_app)
            .takes_json::<AccessBody>()
            .returns::<AccessView>()
            .body_limit(APPLICATION_BYTES),
        endpoint(Method::GET, APP, Permission(AccessRead), "Get an application", get_app).returns::<AccessView>(),
        endpoint(Method::PUT, APP, Permission(AccessWrite), "Replace an application", put_app)
            .takes_json::<AccessBody>()
            .returns::<AccessView>()
            .body_limit(APPLICATION_BYTES),
        endpoint(
            Method::DELETE,
            APP,
            Permission(AccessWrite),
            "Delete an application and its own policies",
            delete_app,
        ),
        endpoint(Method::PUT, SETTINGS, Permission(AccessWrite), "Set two switches of an application", settings)
            .takes_json::<applications::ApplicationSettings>()
            .returns::<applications::ApplicationSettings>(),
        endpoint(Method::PATCH, SETTINGS, Permission(AccessWrite), "Change two switches of an application", settings)
            .takes_json::<applications::ApplicationSettings>()
            .returns::<applications::ApplicationSettings>(),
        endpoint(Method::POST, REVOKE, Permission(AccessWrite), "End every session at an application", revoke_tokens),
        endpoint(Method::GET, CHECKS, Permission(AccessRead), "Say what the policies decide for a person", checks)
            .returns::<AccessView>()
            .query(&[
                ("email", "whose access is checked; without it the administrator's"),
                ("user_id", "the same by id"),
            ]),
    ]
}

fn app_id(cx: &Cx) -> Result<ApplicationId, Failure> {
    cx.id("app_id", "application")
}

fn policy_id(cx: &Cx) -> Result<AccessPolicyId, Failure> {
    cx.id("policy_id", "policy")
}

async fn list_apps(cx: Cx) -> Reply {
    let mut all = applications::list(&cx.op).await?;
    for member in ["name", "domain"] {
        if let Some(wanted) = cx.query(member) {
            all.retain(|view| view.text(member) == wanted);
        }
    }
    paged(&cx, all)
}

async fn create_app(cx: Cx, input: Input) -> Reply {
    ok(applications::create(&cx.op, &input.value()?).await?)
}

async fn get_app(cx: Cx) -> Reply {
    ok(applications::get(&cx.op, app_id(&cx)?).await?)
}

async fn put_app(cx: Cx, input: Input) -> Reply {
    ok(applications::replace(&cx.op, app_id(&cx)?, &input.value()?).await?)
}

async fn delete_app(cx: Cx) -> Reply {
    applications::delete(&cx.op, app_id(&cx)?).await?;
    ok(json!({"id": cx.text("app_id")}))
}

async fn settings(cx: Cx, input: Input) -> Reply {
    ok(applications::settings(&cx.op, app_id(&cx)?, input.json()?).await?)
}

async fn revoke_tokens(cx: Cx) -> Reply {
    applications::revoke_tokens(&cx.op, app_id(&cx)?).await?;
    ok(json!({}))
}

async fn checks(cx: Cx) -> Reply {
    ok(trials::check(&cx.op, app_id(&cx)?, cx.query("email"), cx.query("user_id")).await?)
}

fn application_policy_endpoints() -> Vec<Endpoint> {
    const POLICIES: &str = "/accounts/{account_id}/access/apps/{app_id}/policies";
    const POLICY: &str = "/accounts/{account_id}/access/apps/{app_id}/policies/{policy_id}";
    const REUSABLE: &str = "/accounts/{account_id}/access/apps/{app_id}/policies/{policy_id}/make_reusable";
    vec![
        endpoint(Method::GET, POLICIES, Permission(AccessRead), "List an application's policies in order", list_own)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, POLICIES, Permission(AccessWrite), "Add a policy to an application", add_own)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, POLICY, Permission(AccessRead), "Get a policy of an application", get_own)
            .returns::<AccessView>(),
        endpoint(Method::PUT, POLICY, Permission(AccessWrite), "Replace a policy of an application", put_own)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, POLICY, Permission(AccessWrite), "Take a policy out of an application", delete_own),
        endpoint(
            Method::PUT,
            REUSABLE,
            Permission(AccessWrite),
            "Make an application's policy reusable",
            make_reusable,
        )
        .returns::<AccessView>(),
    ]
}

async fn list_own(cx: Cx) -> Reply {
    let all = applications::list_policies(&cx.op, app_id(&cx)?).await?;
    paged(&cx, all)
}

async fn add_own(cx: Cx, input: Input) -> Reply {
    ok(applications::add_policy(&cx.op, app_id(&cx)?, &input.value()?).await?)
}

async fn get_own(cx: Cx) -> Reply {
    ok(applications::get_policy(&cx.op, app_id(&cx)?, policy_id(&cx)?).await?)
}

async fn put_own(cx: Cx, input: Input) -> Reply {
    ok(applications::replace_policy(&cx.op, app_id(&cx)?, policy_id(&cx)?, &input.value()?).await?)
}

async fn delete_own(cx: Cx) -> Reply {
    applications::delete_policy(&cx.op, app_id(&cx)?, policy_id(&cx)?).await?;
    ok(json!({"id": cx.text("policy_id")}))
}

async fn make_reusable(cx: Cx) -> Reply {
    ok(applications::make_reusable(&cx.op, app_id(&cx)?, policy_id(&cx)?).await?)
}

fn policy_endpoints() -> Vec<Endpoint> {
    const POLICIES: &str = "/accounts/{account_id}/access/policies";
    const POLICY: &str = "/accounts/{account_id}/access/policies/{policy_id}";
    const CHECK: &str = "/accounts/{account_id}/access/policies/check";
    vec![
        endpoint(Method::GET, POLICIES, Permission(AccessRead), "List reusable policies", list_policies)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, POLICIES, Permission(AccessWrite), "Create a reusable policy", create_policy)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::POST, CHECK, Permission(AccessRead), "Check a policy without storing it", check_policy)
            .takes_json::<AccessBody>()
            .returns::<policies::PolicyCheck>(),
        endpoint(Method::GET, POLICY, Permission(AccessRead), "Get a reusable policy", get_policy)
            .returns::<AccessView>(),
        endpoint(Method::PUT, POLICY, Permission(AccessWrite), "Replace a reusable policy", put_policy)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, POLICY, Permission(AccessWrite), "Delete a reusable policy", delete_policy),
    ]
}

async fn list_policies(cx: Cx) -> Reply {
    let all = policies::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_policy(cx: Cx, input: Input) -> Reply {
    ok(policies::create(&cx.op, &input.value()?).await?)
}

async fn check_policy(cx: Cx, input: Input) -> Reply {
    ok(policies::check(&cx.op, &input.value()?).await?)
}

async fn get_policy(cx: Cx) -> Reply {
    ok(policies::get(&cx.op, policy_id(&cx)?).await?)
}

async fn put_policy(cx: Cx, input: Input) -> Reply {
    ok(policies::replace(&cx.op, policy_id(&cx)?, &input.value()?).await?)
}

async fn delete_policy(cx: Cx) -> Reply {
    policies::delete(&cx.op, policy_id(&cx)?).await?;
    ok(json!({"id": cx.text("policy_id")}))
}

fn policy_test_endpoints() -> Vec<Endpoint> {
    const TESTS: &str = "/accounts/{account_id}/access/policy-tests";
    const TEST: &str = "/accounts/{account_id}/access/policy-tests/{policy_test_id}";
    const PEOPLE: &str = "/accounts/{account_id}/access/policy-tests/{policy_test_id}/users";
    vec![
        endpoint(Method::POST, TESTS, Permission(AccessRead), "Try policies on everybody who signed in", start_test)
            .takes_json::<policy_tests::TestBody>()
            .returns::<policy_tests::Started>()
            .body_limit(APPLICATION_BYTES),
        endpoint(Method::GET, TEST, Permission(AccessRead), "Get the counts of a policy test", get_test)
            .returns::<AccessView>(),
        endpoint(Method::GET, PEOPLE, Permission(AccessRead), "List what a policy test found for each person", tested)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[("status", "success, fail or error")]),
    ]
}

fn test_id(cx: &Cx) -> Result<uuid::Uuid, Failure> {
    cx.id("policy_test_id", "policy test")
}

async fn start_test(cx: Cx, input: Input) -> Reply {
    ok(policy_tests::start(&cx.op, &input.json()?).await?)
}

async fn get_test(cx: Cx) -> Reply {
    ok(policy_tests::get(&cx.op, test_id(&cx)?)?)
}

async fn tested(cx: Cx) -> Reply {
    let all = policy_tests::people(&cx.op, test_id(&cx)?, cx.query("status"))?;
    paged(&cx, all)
}

fn tag_endpoints() -> Vec<Endpoint> {
    const TAGS: &str = "/accounts/{account_id}/access/tags";
    const TAG: &str = "/accounts/{account_id}/access/tags/{tag_name}";
    vec![
        endpoint(Method::GET, TAGS, Permission(AccessRead), "List tags", list_tags)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, TAGS, Permission(AccessWrite), "Make a tag", create_tag)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, TAG, Permission(AccessRead), "Get a tag", get_tag).returns::<AccessView>(),
        endpoint(Method::PUT, TAG, Permission(AccessWrite), "Rename a tag", put_tag)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, TAG, Permission(AccessWrite), "Delete a tag", delete_tag),
    ]
}

async fn list_tags(cx: Cx) -> Reply {
    let all = tags::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_tag(cx: Cx, input: Input) -> Reply {
    ok(tags::create(&cx.op, &input.value()?).await?)
}

async fn get_tag(cx: Cx) -> Reply {
    ok(tags::get(&cx.op, &cx.id("tag_name", "tag")?).await?)
}

async fn put_tag(cx: Cx, input: Input) -> Reply {
    ok(tags::rename(&cx.op, &cx.id("tag_name", "tag")?, &input.value()?).await?)
}

async fn delete_tag(cx: Cx) -> Reply {
    tags::delete(&cx.op, &cx.id("tag_name", "tag")?).await?;
    ok(json!({"name": cx.text("tag_name")}))
}

fn page_endpoints() -> Vec<Endpoint> {
    const PAGES: &str = "/accounts/{account_id}/access/custom_pages";
    const PAGE: &str = "/accounts/{account_id}/access/custom_pages/{custom_page_id}";
    vec![
        endpoint(Method::GET, PAGES, Permission(AccessRead), "List custom pages", list_pages)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, PAGES, Permission(AccessWrite), "Make a custom page", create_page)
            .takes_json::<AccessBody>()
            .returns::<AccessView>()
            .body_limit(PAGE_BYTES),
        endpoint(Method::GET, PAGE, Permission(AccessRead), "Get a custom page", get_page).returns::<AccessView>(),
        endpoint(Method::PUT, PAGE, Permission(AccessWrite), "Replace a custom page", put_page)
            .takes_json::<AccessBody>()
            .returns::<AccessView>()
            .body_limit(PAGE_BYTES),
        endpoint(Method::DELETE, PAGE, Permission(AccessWrite), "Delete a custom page", delete_page),
    ]
}

fn page_id(cx: &Cx) -> Result<CustomPageId, Failure> {
    cx.id("custom_page_id", "custom page")
}

async fn list_pages(cx: Cx) -> Reply {
    let all = pages::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_page(cx: Cx, input: Input) -> Reply {
    ok(pages::create(&cx.op, &input.value()?).await?)
}

async fn get_page(cx: Cx) -> Reply {
    ok(pages::get(&cx.op, page_id(&cx)?).await?)
}

async fn put_page(cx: Cx, input: Input) -> Reply {
    ok(pages::replace(&cx.op, page_id(&cx)?, &input.value()?).await?)
}

async fn delete_page(cx: Cx) -> Reply {
    pages::delete(&cx.op, page_id(&cx)?).await?;
    ok(json!({"id": cx.text("custom_page_id")}))
}

fn bookmark_endpoints() -> Vec<Endpoint> {
    const BOOKMARKS: &str = "/accounts/{account_id}/access/bookmarks";
    const BOOKMARK: &str = "/accounts/{account_id}/access/bookmarks/{bookmark_id}";
    vec![
        endpoint(Method::GET, BOOKMARKS, Permission(AccessRead), "List bookmarks", list_bookmarks)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::GET, BOOKMARK, Permission(AccessRead), "Get a bookmark", get_bookmark).returns::<AccessView>(),
        endpoint(Method::POST, BOOKMARK, Permission(AccessWrite), "Make a bookmark", create_bookmark)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::PUT, BOOKMARK, Permission(AccessWrite), "Replace a bookmark", put_bookmark)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, BOOKMARK, Permission(AccessWrite), "Delete a bookmark", delete_bookmark),
    ]
}

async fn list_bookmarks(cx: Cx) -> Reply {
    let all = bookmarks::list(&cx.op).await?;
    paged(&cx, all)
}

async fn get_bookmark(cx: Cx) -> Reply {
    ok(bookmarks::get(&cx.op, cx.id("bookmark_id", "bookmark")?).await?)
}

async fn create_bookmark(cx: Cx, input: Input) -> Reply {
    ok(bookmarks::create(&cx.op, cx.id("bookmark_id", "bookmark")?, &input.value()?).await?)
}

async fn put_bookmark(cx: Cx, input: Input) -> Reply {
    ok(bookmarks::replace(&cx.op, cx.id("bookmark_id", "bookmark")?, &input.value()?).await?)
}

async fn delete_bookmark(cx: Cx) -> Reply {
    bookmarks::delete(&cx.op, cx.id("bookmark_id", "bookmark")?).await?;
    ok(json!({"id": cx.text("bookmark_id")}))
}
