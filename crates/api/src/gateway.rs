//! Endpoints of the gateway: rules, lists, configuration, certificates, proxy endpoints, catalogues, logging.

use axum::http::Method;
use serde::Serialize;
use serde_json::json;
use store::Permission::{GatewayRead, GatewayWrite, ListsRead, ListsWrite};
use utoipa::ToSchema;

use super::gate::{Cx, Input};
use super::replay;
use super::reply::{Reply, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::operations::{catalog, certificates, configuration, evaluate, lists, logging, proxy_endpoints, rules};
use crate::paging::{PageRequest, single};

/// The account as the gateway knows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct GatewayView {
    pub(crate) id: String,
    pub(crate) gateway_tag: String,
    pub(crate) provider_name: &'static str,
}

/// Most bytes of a rule: three expressions of 140,000 characters.
const RULE_BYTES: usize = 2 << 20;
/// Most bytes of a list with its items.
const LIST_BYTES: usize = 32 << 20;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = rule_endpoints();
    all.extend(list_endpoints());
    all.extend(settings_endpoints());
    all
}

fn rule_endpoints() -> Vec<Endpoint> {
    const RULES: &str = "/accounts/{account_id}/gateway/rules";
    const RULE: &str = "/accounts/{account_id}/gateway/rules/{rule_id}";
    const RESET: &str = "/accounts/{account_id}/gateway/rules/{rule_id}/reset_expiration";
    vec![
        endpoint(Method::GET, RULES, Permission(GatewayRead), "List rules in order of precedence", list_rules)
            .lists::<rules::RuleView>(Paging::Single),
        endpoint(Method::POST, RULES, Permission(GatewayWrite), "Create a rule", create_rule)
            .takes_json::<rules::RuleBody>()
            .returns::<rules::RuleView>()
            .body_limit(RULE_BYTES),
        endpoint(
            Method::GET,
            "/accounts/{account_id}/gateway/rules/tenant",
            Permission(GatewayRead),
            "List rules inherited from a parent account; there is none here",
            tenant_rules,
        )
        .lists::<rules::RuleView>(Paging::Single),
        endpoint(
            Method::POST,
            "/accounts/{account_id}/gateway/rules/evaluate",
            Permission(GatewayRead),
            "Decide an invented request with the stored rules or a draft, with the trace",
            evaluate_rules,
        )
        .takes_json::<evaluate::EvaluateBody>()
        .returns::<evaluate::Evaluation>()
        .body_limit(RULE_BYTES * 2),
        replay::endpoint_of_rules(),
        endpoint(
            Method::POST,
            "/accounts/{account_id}/gateway/rules/check",
            Permission(GatewayRead),
            "Check a rule without storing it",
            check_rule,
        )
        .takes_json::<rules::RuleBody>()
        .returns::<rules::RuleCheck>()
        .body_limit(RULE_BYTES),
        endpoint(
            Method::POST,
            "/accounts/{account_id}/gateway/rules/reorder",
            Permission(GatewayWrite),
            "Give every rule of one hook a new place",
            reorder_rules,
        )
        .takes_json::<rules::Reorder>()
        .lists::<rules::RuleView>(Paging::No),
        endpoint(Method::GET, RULE, Permission(GatewayRead), "Get a rule", get_rule).returns::<rules::RuleView>(),
        endpoint(Method::PUT, RULE, Permission(GatewayWrite), "Replace a rule", put_rule)
            .takes_json::<rules::RuleBody>()
            .returns::<rules::RuleView>()
            .body_limit(RULE_BYTES),
        endpoint(Method::DELETE, RULE, Permission(GatewayWrite), "Delete a rule", delete_rule),
        endpoint(Method::POST, RESET, Permission(GatewayWrite), "Start a rule's life again", reset_rule)
            .returns::<rules::RuleView>(),
    ]
}

async fn list_rules(cx: Cx) -> Reply {
    ok(single(rules::list(&cx.op).await?, cx.query("page"))?)
}

async fn tenant_rules() -> Reply {
    ok(Vec::<rules::RuleView>::new())
}

async fn create_rule(cx: Cx, input: Input) -> Reply {
    ok(rules::create(&cx.op, input.value()?).await?)
}

async fn get_rule(cx: Cx) -> Reply {
    ok(rules::get(&cx.op, cx.id("rule_id", "rule")?).await?)
}

async fn put_rule(cx: Cx, input: Input) -> Reply {
    ok(rules::replace(&cx.op, cx.id("rule_id", "rule")?, input.value()?).await?)
}

async fn delete_rule(cx: Cx) -> Reply {
    rules::delete(&cx.op, cx.id("rule_id", "rule")?).await?;
    ok(json!({}))
}

async fn reset_rule(cx: Cx) -> Reply {
    ok(rules::reset_expiration(&cx.op, cx.id("rule_id", "rule")?).await?)
}

async fn reorder_rules(cx: Cx, input: Input) -> Reply {
    ok(rules::reorder(&cx.op, input.json()?).await?)
}

async fn check_rule(cx: Cx, input: Input) -> Reply {
    ok(rules::check(&cx.op, &input.value()?).await?)
}

async fn evaluate_rules(cx: Cx, input: Input) -> Reply {
    ok(evaluate::evaluate(&cx.op, input.json()?).await?)
}

fn list_endpoints() -> Vec<Endpoint> {
    const LISTS: &str = "/accounts/{account_id}/gateway/lists";
    const LIST: &str = "/accounts/{account_id}/gateway/lists/{list_id}";
    const ITEMS: &str = "/accounts/{account_id}/gateway/lists/{list_id}/items";
    vec![
        endpoint(Method::GET, LISTS, Permission(ListsRead), "List lists", list_lists)
            .lists::<lists::ListView>(Paging::Single)
            .query(&[("type", "only lists of this type")]),
        endpoint(Method::POST, LISTS, Permission(ListsWrite), "Create a list", create_list)
            .takes_json::<lists::NewList>()
            .returns::<lists::ListView>()
            .body_limit(LIST_BYTES),
        endpoint(Method::GET, LIST, Permission(ListsRead), "Get a list with its items", get_list)
            .returns::<lists::ListView>(),
        endpoint(Method::PUT, LIST, Permission(ListsWrite), "Replace a list; absent items are kept", put_list)
            .takes_json::<lists::ListReplacement>()
            .returns::<lists::ListView>()
            .body_limit(LIST_BYTES),
        endpoint(Method::PATCH, LIST, Permission(ListsWrite), "Append and remove items", patch_list)
            .takes_json::<lists::ListPatch>()
            .returns::<lists::ListView>()
            .body_limit(LIST_BYTES),
        endpoint(Method::DELETE, LIST, Permission(ListsWrite), "Delete a list that no rule uses", delete_list),
        endpoint(Method::GET, ITEMS, Permission(ListsRead), "List the items of a list", list_items)
            .lists::<lists::ItemView>(Paging::Numbered),
    ]
}

async fn list_lists(cx: Cx) -> Reply {
    ok(single(lists::list(&cx.op, cx.query("type")).await?, cx.query("page"))?)
}

async fn create_list(cx: Cx, input: Input) -> Reply {
    ok(lists::create(&cx.op, input.json()?).await?)
}

async fn get_list(cx: Cx) -> Reply {
    ok(lists::get(&cx.op, cx.id("list_id", "list")?).await?)
}

async fn put_list(cx: Cx, input: Input) -> Reply {
    ok(lists::replace(&cx.op, cx.id("list_id", "list")?, input.json()?).await?)
}

async fn patch_list(cx: Cx, input: Input) -> Reply {
    ok(lists::patch(&cx.op, cx.id("list_id", "list")?, input.json()?).await?)
}

async fn delete_list(cx: Cx) -> Reply {
    lists::delete(&cx.op, cx.id("list_id", "list")?).await?;
    ok(json!({}))
}

/// Clients that do not page expect every item at once, and clients that do an empty page in the end.
async fn list_items(cx: Cx) -> Reply {
    let items = lists::items(&cx.op, cx.id("list_id", "list")?).await?;
    if cx.query("per_page").is_none() {
        return ok(single(items, cx.query("page"))?);
    }
    let (items, info) = PageRequest::parse(cx.query("page"), cx.query("per_page"), 1000)?.cut(items);
    page(items, info)
}

fn settings_endpoints() -> Vec<Endpoint> {
    const GATEWAY: &str = "/accounts/{account_id}/gateway";
    const CONFIGURATION: &str = "/accounts/{account_id}/gateway/configuration";
    const LOGGING: &str = "/accounts/{account_id}/gateway/logging";
    let mut all = vec![
        endpoint(Method::GET, GATEWAY, Permission(GatewayRead), "Get the gateway of the account", gateway)
            .returns::<GatewayView>(),
        endpoint(Method::POST, GATEWAY, Permission(GatewayWrite), "Make the gateway; it is always there", gateway)
            .returns::<GatewayView>(),
        endpoint(Method::GET, CONFIGURATION, Permission(GatewayRead), "Get the configuration", get_configuration)
            .returns::<configuration::ConfigurationView>(),
        endpoint(Method::PUT, CONFIGURATION, Permission(GatewayWrite), "Replace the configuration", put_configuration)
            .takes_json::<configuration::ConfigurationView>()
            .returns::<configuration::ConfigurationView>(),
        endpoint(
            Method::PATCH,
            CONFIGURATION,
            Permission(GatewayWrite),
            "Merge into the configuration; null unsets",
            patch_configuration,
        )
        .takes_json::<configuration::ConfigurationView>()
        .returns::<configuration::ConfigurationView>(),
        endpoint(Method::GET, LOGGING, Permission(GatewayRead), "Get what is recorded", get_logging)
            .returns::<logging::LoggingSettings>(),
        endpoint(Method::PUT, LOGGING, Permission(GatewayWrite), "Choose what is recorded", put_logging)
            .takes_json::<logging::LoggingSettings>()
            .returns::<logging::LoggingSettings>(),
    ];
    all.extend(catalog_endpoints());
    all.extend(certificate_endpoints());
    all.extend(proxy_endpoint_endpoints());
    all
}

async fn gateway(cx: Cx) -> Reply {
    let id = cx.op.account.to_string();
    ok(GatewayView { gateway_tag: id.clone(), id, provider_name: "portunus" })
}

async fn get_configuration(cx: Cx) -> Reply {
    ok(configuration::get(&cx.op).await?)
}

async fn put_configuration(cx: Cx, input: Input) -> Reply {
    ok(configuration::replace(&cx.op, input.value()?).await?)
}

async fn patch_configuration(cx: Cx, input: Input) -> Reply {
    ok(configuration::merge(&cx.op, input.value()?).await?)
}

async fn get_logging(cx: Cx) -> Reply {
    ok(logging::get(&cx.op).await?)
}

async fn put_logging(cx: Cx, input: Input) -> Reply {
    ok(logging::replace(&cx.op, input.json()?).await?)
}

/// The category tree, as documented for clients.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CategoryView {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) class: String,
    pub(crate) beta: bool,
    #[schema(value_type = Vec<Object>)]
    pub(crate) subcategories: Vec<serde_json::Value>,
}

/// An application or a type of applications, as documented for clients.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AppTypeView {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) application_type_id: Option<u32>,
    pub(crate) description: Option<String>,
    pub(crate) created_at: String,
}

fn catalog_endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            Method::GET,
            "/accounts/{account_id}/gateway/categories",
            Permission(GatewayRead),
            "List content categories",
            list_categories,
        )
        .lists::<CategoryView>(Paging::Single),
        endpoint(
            Method::GET,
            "/accounts/{account_id}/gateway/app_types",
            Permission(GatewayRead),
            "List applications and their types",
            list_app_types,
        )
        .lists::<AppTypeView>(Paging::Single),
        endpoint(
            Method::GET,
            "/accounts/{account_id}/portunus/selectors",
            Permission(GatewayRead),
            "List the selectors of rule expressions",
            list_selectors,
        )
        .lists::<catalog::SelectorView>(Paging::Single),
        endpoint(
            Method::GET,
            "/accounts/{account_id}/portunus/templates",
            Permission(GatewayRead),
            "List managed actions",
            list_templates,
        )
        .lists::<catalog::TemplateView>(Paging::Single),
    ]
}

async fn list_categories(cx: Cx) -> Reply {
    ok(single(catalog::categories(&cx.op)?, cx.query("page"))?)
}

async fn list_app_types(cx: Cx) -> Reply {
    ok(single(catalog::app_types(&cx.op)?, cx.query("page"))?)
}

async fn list_selectors(cx: Cx) -> Reply {
    ok(single(catalog::selectors(&cx.op)?, cx.query("page"))?)
}

async fn list_templates(cx: Cx) -> Reply {
    ok(single(catalog::templates(&cx.op)?, cx.query("page"))?)
}

fn certificate_endpoints() -> Vec<Endpoint> {
    const CERTIFICATES: &str = "/accounts/{account_id}/gateway/certificates";
    const CERTIFICATE: &str = "/accounts/{account_id}/gateway/certificates/{certificate_id}";
    vec![
        endpoint(Method::GET, CERTIFICATES, Permission(GatewayRead), "List certificates", list_certificates)
            .lists::<certificates::CertificateView>(Paging::Single),
        endpoint(Method::POST, CERTIFICATES, Permission(GatewayWrite), "Make a certificate", create_certificate)
            .takes_json::<certificates::NewAuthority>()
            .returns::<certificates::CertificateView>(),
        endpoint(Method::GET, CERTIFICATE, Permission(GatewayRead), "Get a certificate", get_certificate)
            .returns::<certificates::CertificateView>(),
        endpoint(Method::DELETE, CERTIFICATE, Permission(GatewayWrite), "Delete a certificate", delete_certificate)
            .returns::<certificates::CertificateView>(),
        endpoint(
            Method::POST,
            "/accounts/{account_id}/gateway/certificates/{certificate_id}/activate",
            Permission(GatewayWrite),
            "Make a certificate available",
            activate_certificate,
        )
        .returns::<certificates::CertificateView>(),
        endpoint(
            Method::POST,
            "/accounts/{account_id}/gateway/certificates/{certificate_id}/deactivate",
            Permission(GatewayWrite),
            "Take a certificate out of service",
            deactivate_certificate,
        )
        .returns::<certificates::CertificateView>(),
    ]
}

async fn list_certificates(cx: Cx) -> Reply {
    ok(single(certificates::list(&cx.op).await?, cx.query("page"))?)
}

async fn create_certificate(cx: Cx, input: Input) -> Reply {
    ok(certificates::create(&cx.op, input.json_or_default()?).await?)
}

async fn get_certificate(cx: Cx) -> Reply {
    ok(certificates::get(&cx.op, cx.id("certificate_id", "certificate")?).await?)
}

async fn delete_certificate(cx: Cx) -> Reply {
    ok(certificates::delete(&cx.op, cx.id("certificate_id", "certificate")?).await?)
}

async fn activate_certificate(cx: Cx) -> Reply {
    ok(certificates::activate(&cx.op, cx.id("certificate_id", "certificate")?).await?)
}

async fn deactivate_certificate(cx: Cx) -> Reply {
    ok(certificates::deactivate(&cx.op, cx.id("certificate_id", "certificate")?).await?)
}

fn proxy_endpoint_endpoints() -> Vec<Endpoint> {
    const ENDPOINTS: &str = "/accounts/{account_id}/gateway/proxy_endpoints";
    const ENDPOINT: &str = "/accounts/{account_id}/gateway/proxy_endpoints/{proxy_endpoint_id}";
    vec![
        endpoint(Method::GET, ENDPOINTS, Permission(GatewayRead), "List proxy endpoints", list_proxy_endpoints)
            .lists::<proxy_endpoints::ProxyEndpointView>(Paging::Single),
        endpoint(Method::POST, ENDPOINTS, Permission(GatewayWrite), "Make a proxy endpoint", create_proxy_endpoint)
            .takes_json::<proxy_endpoints::NewProxyEndpoint>()
            .returns::<proxy_endpoints::ProxyEndpointView>(),
        endpoint(Method::GET, ENDPOINT, Permission(GatewayRead), "Get a proxy endpoint", get_proxy_endpoint)
            .returns::<proxy_endpoints::ProxyEndpointView>(),
        endpoint(Method::PATCH, ENDPOINT, Permission(GatewayWrite), "Change a proxy endpoint", patch_proxy_endpoint)
            .takes_json::<proxy_endpoints::ProxyEndpointPatch>()
            .returns::<proxy_endpoints::ProxyEndpointView>(),
        endpoint(Method::DELETE, ENDPOINT, Permission(GatewayWrite), "Delete a proxy endpoint", delete_proxy_endpoint)
            .returns::<proxy_endpoints::ProxyEndpointView>(),
    ]
}

async fn list_proxy_endpoints(cx: Cx) -> Reply {
    ok(single(proxy_endpoints::list(&cx.op).await?, cx.query("page"))?)
}

async fn create_proxy_endpoint(cx: Cx, input: Input) -> Reply {
    ok(proxy_endpoints::create(&cx.op, input.json()?).await?)
}

async fn get_proxy_endpoint(cx: Cx) -> Reply {
    ok(proxy_endpoints::get(&cx.op, cx.id("proxy_endpoint_id", "proxy endpoint")?).await?)
}

async fn patch_proxy_endpoint(cx: Cx, input: Input) -> Reply {
    let id = cx.id("proxy_endpoint_id", "proxy endpoint")?;
    ok(proxy_endpoints::patch(&cx.op, id, input.json()?).await?)
}

async fn delete_proxy_endpoint(cx: Cx) -> Reply {
    ok(proxy_endpoints::delete(&cx.op, cx.id("proxy_endpoint_id", "proxy endpoint")?).await?)
}
