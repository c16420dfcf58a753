//! The console's pages, as a browser meets them.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Console};

mod agents;
mod approvals;
mod custom;
mod entry;
mod explorer;
mod factors;
mod kinds;
mod library;
mod mcp;
mod mcp_calls;
mod mcp_servers;
mod mcp_sign_in;
mod overrides;
mod push;
mod reusable;
mod shadow_mcp;
mod signals;
mod tester;
mod usage;

const PASSWORD: &str = "correct horse battery";
const ORIGIN: &str = "http://localhost:9080";

/// A browser with a session.
struct Browser<'a> {
    console: &'a Console,
    cookie: String,
    csrf: String,
}

fn encode(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn post(path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(Method::POST).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::from(encode(fields))).unwrap()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes.clone()).unwrap()
}

fn location(answer: &Answer) -> &str {
    answer.headers.get(header::LOCATION).map_or("", |value| value.to_str().unwrap())
}

/// The value of a field of the page.
fn field(page: &str, name: &str) -> String {
    let marker = format!("name=\"{name}\" value=\"");
    assert!(page.contains(&marker), "no field {name} in {page}");
    page.split(&marker).nth(1).unwrap().split('"').next().unwrap().to_owned()
}

impl<'a> Browser<'a> {
    /// Follows the set-up link, fills in the form, and is signed in.
    async fn set_up(console: &'a Console) -> Self {
        let token = console.setup_link().await;
        let fields = [("token", token.as_str()), ("email", "ada@example.com"), ("name", "Ada"), ("password", PASSWORD)];
        let answer = console.send(post("/setup", &fields, &[("origin", ORIGIN)])).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", text(&answer));
        Self::with(console, &answer).await
    }

    async fn with(console: &'a Console, answer: &Answer) -> Self {
        let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
        let cookie = set.split(';').next().unwrap().to_owned();
        let mut browser = Self { console, cookie, csrf: String::new() };
        browser.csrf = field(&browser.page("/").await, "csrf");
        browser
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::builder().uri(path).header(header::COOKIE, &self.cookie).body(Body::empty());
        self.console.send(request.unwrap()).await
    }

    #[track_caller]
    fn page(&self, path: &str) -> impl Future<Output = String> {
        let path = path.to_owned();
        async move {
            let answer = self.get(&path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", text(&answer));
            text(&answer)
        }
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> = [("csrf", self.csrf.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.console.send(post(path, &fields, &[("origin", ORIGIN), ("cookie", &self.cookie)])).await
    }

    /// Sends a form that must be taken, and returns where it leads.
    async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.send(path, fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {}", text(&answer));
        location(&answer).split('?').next().unwrap().to_owned()
    }
}

const RULE: [(&str, &str); 5] = [
    ("name", "no uploads"),
    ("hook", "http"),
    ("action", "block"),
    ("enabled", "1"),
    ("traffic", "http.request.host == \"files.example\" and\r\n  http.request.method == \"POST\""),
];

const SOURCE: &str = "export default {\n  async fetch(request: Request) {\n    return undefined;\n  },\n};\n";

/// Every kind of page, over a console that has one of everything. Text of people holds markup.
async fn furnish(browser: &Browser<'_>) -> Vec<String> {
    let named: Vec<_> = RULE
        .iter()
        .map(|(name, value)| (*name, if *name == "name" { "<script>alert(1)</script>" } else { value }))
        .collect();
    let rule = browser.submit("/rules", &named).await;
    let list = browser
        .submit("/lists", &[("name", "<b>hosts"), ("type", "DOMAIN"), ("items", "a.example # <i>one\nb.example")])
        .await;
    let names = [("name", "<b>hosts"), ("category", "8"), ("text", "a.example")];
    browser.submit("/library/lists", &names).await;
    let said =
        [("status", "approved"), ("owner", "<i>one"), ("notes", "<script>alert(1)</script>"), ("review_date", "")];
    browser.submit("/library/claude", &said).await;
    let person = browser
        .submit(
            "/settings/people",
            &[("email", "ann@example.com"), ("name", "<script>"), ("groups", "<u>finance, staff")],
        )
        .await;
    let worker = browser.submit("/workers", &[("name", "checker"), ("source", SOURCE)]).await;
    let namespace = browser.submit("/kv", &[("title", "<b>memory")]).await;
    browser.submit(&namespace, &[("key", "<i>one"), ("value", "<script>"), ("metadata", "\"<u>m\"")]).await;
    browser.submit("/settings/authority", &[("days", "30")]).await;
    browser.console.logs.flush().await.unwrap();
    let audit = browser.console.audit().await;
    let record = audit[0]["ID"].as_str().unwrap();
    let fixed = [
        "/",
        "/?fragment",
        "/rules",
        "/rules/new",
        "/rules/new?worker=checker",
        "/rules/test",
        "/lists",
        "/library",
        "/library?ai=any&status=unreviewed&order_by=status&offset=50",
        "/library/lists",
        "/library/claude",
        "/library/claude/findings",
        "/library/claude/policies",
        "/usage",
        "/usage?ai=any&status=unreviewed&order_by=growth&days=90",
        "/usage/review",
        "/usage/digest",
        "/usage/applications/claude",
        "/usage/applications/0?days=1",
        "/usage/people",
        "/usage/people/%3Cscript%3E",
        "/usage/groups",
        "/usage/groups/%3Cu%3Efinance",
        "/workers",
        "/workers/new",
        "/kv",
        "/activity",
        "/activity?dataset=gateway_network",
        "/activity?dataset=worker",
        "/activity?dataset=audit&person=ada&since=2026-01-01T00:00",
        "/settings",
        "/settings/authority",
        "/settings/people",
        "/settings/tokens",
        "/settings/network",
        "/settings/gateway",
        "/settings/records",
        "/settings/account",
    ];
    let mut pages: Vec<String> = fixed.iter().map(|page| (*page).to_owned()).collect();
    pages.extend([
        rule.clone(),
        format!("{rule}/delete"),
        list.clone(),
        format!("{list}/delete"),
        person.clone(),
        format!("{person}/delete"),
        namespace.clone(),
        format!("{namespace}/value?key=%3Ci%3Eone"),
        format!("{namespace}/delete?key=%3Ci%3Eone"),
    ]);
    pages.extend(["", "/settings", "/calls", "/versions", "/delete"].map(|tail| format!("{worker}{tail}")));
    pages.push(format!("/activity/audit/{record}"));
    pages.extend(furnish_access(browser, &person).await);
    pages.extend(agents::furnish(browser).await);
    pages
}

/// One of everything of Access.
async fn furnish_access(browser: &Browser<'_>, person: &str) -> Vec<String> {
    let okta = [
        ("type", "okta"),
        ("name", "<b>hosts"),
        ("okta_account", "https://acme.okta.example"),
        ("client_id", "portunus"),
        ("client_secret", "hush"),
    ];
    browser.submit("/access/providers", &okta).await;
    browser.submit("/access/groups", &[("name", "<u>finance"), ("include", "@example.com")]).await;
    let app = [
        ("name", "<script>alert(1)</script>"),
        ("domain", "wiki.example.com"),
        ("origin", "http://127.0.0.1:8080"),
        ("include", "group <u>finance"),
    ];
    let published = browser.submit("/access", &app).await;
    let app = published.trim_end_matches("/published").to_owned();
    let id = |listed: Value| listed[0]["id"].as_str().unwrap().to_owned();
    let provider = format!("/access/providers/{}", id(browser.console.get("access/identity_providers").await.result()));
    let group = format!("/access/groups/{}", id(browser.console.get("access/groups").await.result()));
    let policies = format!("access/apps/{}/policies", app.trim_start_matches("/access/apps/"));
    let policy = format!("{app}/policies/{}", id(browser.console.get(&policies).await.result()));
    let shared = [("name", "<b>hosts"), ("decision", "allow"), ("include", "group <u>finance")];
    let shared = browser.submit("/access/policies", &shared).await;
    browser.submit(&format!("{shared}/attach"), &[("app", app.trim_start_matches("/access/apps/"))]).await;
    let token = browser.console.post("access/service_tokens", json!({"name": "<i>one"})).await.result();
    let token = token["id"].as_str().unwrap().to_owned();
    browser.submit("/access/appearance/tags", &[("tag", "tools")]).await;
    let custom = [("name", "<b>no"), ("type", "forbidden"), ("custom_html", "<script>alert(1)</script>")];
    browser.submit("/access/appearance/pages", &custom).await;
    let custom = id(browser.console.get("access/custom_pages").await.result());
    let fixed = [
        "",
        "/new",
        "/new?type=bookmark",
        "/new?type=app_launcher",
        "/policies",
        "/policies/new",
        "/log",
        "/log?q=nobody&refused=1",
        "/log?q=01302951-49f9-47c9-a400-0297e60b6a10",
        "/test",
        "/certificates",
        "/appearance",
        "/providers",
        "/providers/new?type=okta",
        "/groups",
        "/tokens",
        "/people",
        "/approvals",
        "/organization",
    ];
    let mut pages: Vec<String> = fixed.iter().map(|tail| format!("/access{tail}")).collect();
    pages.extend([
        app.clone(),
        published,
        format!("/access/appearance/pages/{custom}"),
        format!("{app}/delete"),
        format!("{app}/policies/new"),
        policy,
        shared.clone(),
        format!("{shared}/delete"),
        provider.clone(),
        format!("{provider}/delete"),
        group.clone(),
        format!("{group}/delete"),
        format!("/access/tokens/{token}/delete"),
        person.replace("/settings/people", "/access/people"),
        "/access/outbox".to_owned(),
    ]);
    pages
}

/// What the Content-Security-Policy would refuse, and what a person's text must never become.
#[track_caller]
fn assert_clean(path: &str, page: &str) {
    for forbidden in [
        "<script>",
        "<u>m",
        "<b>memory",
        " style=",
        "javascript:",
        " onclick=",
        " onload=",
        "<style",
        "<i>one",
        "<b>hosts",
        "<u>finance",
    ] {
        assert!(!page.contains(forbidden), "{path} holds {forbidden}");
    }
    for script in page.split("<script").skip(1) {
        assert!(script.starts_with(" src=\"/assets/console."), "{path} holds an inline script");
    }
}

#[tokio::test]
async fn every_page_is_shown_to_an_administrator_and_to_nobody_else() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    for path in furnish(&browser).await {
        let answer = browser.get(&path).await;
        let page = text(&answer);
        assert_eq!(answer.status, StatusCode::OK, "{path}: {page}");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.headers[header::REFERRER_POLICY], "same-origin", "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_clean(&path, &page);
        let stranger = console.send(Request::builder().uri(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(stranger.status, StatusCode::SEE_OTHER, "{path}");
        assert!(location(&stranger).starts_with("/sign-in"), "{path}");
    }
}

#[tokio::test]
async fn every_control_has_a_label() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    for path in furnish(&browser).await {
        let page = browser.page(&path).await;
        for tag in ["<input", "<textarea", "<select"] {
            for control in page.split(tag).skip(1) {
                let control = control.split('>').next().unwrap();
                let named = control.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next());
                let labelled = named.is_some_and(|id| page.contains(&format!("for=\"{id}\"")));
                let inside = page
                    .split(control)
                    .next()
                    .is_some_and(|before| before.matches("<label").count() > before.matches("</label>").count());
                let said = control.contains("type=\"hidden\"") || control.contains("aria-label");
                assert!(labelled || inside || said, "{path}: {tag}{control}");
            }
        }
    }
}

#[tokio::test]
async fn a_form_without_our_token_or_from_another_site_changes_nothing() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let rule = browser.submit("/rules", &RULE).await;
    let forms = [
        "/rules".to_owned(),
        rule.clone(),
        format!("{rule}/enabled"),
        format!("{rule}/move"),
        format!("{rule}/delete"),
        "/rules/check".to_owned(),
        "/rules/test".to_owned(),
        "/rules/replay".to_owned(),
        "/lists".to_owned(),
        "/workers".to_owned(),
        "/settings/people".to_owned(),
        "/settings/tokens".to_owned(),
        "/settings/network".to_owned(),
        "/settings/gateway".to_owned(),
        "/settings/records".to_owned(),
        "/settings/records/erase".to_owned(),
        "/settings/account".to_owned(),
        "/settings/authority".to_owned(),
        "/access".to_owned(),
        "/access/policies/check".to_owned(),
        "/access/providers".to_owned(),
        "/access/groups".to_owned(),
        "/access/tokens".to_owned(),
        "/access/organization".to_owned(),
        "/access/organization/rotate".to_owned(),
        "/access/organization/keys".to_owned(),
        "/access/test".to_owned(),
        "/access/certificates".to_owned(),
        "/access/appearance/tags".to_owned(),
        "/access/appearance/tags/delete".to_owned(),
        "/access/appearance/pages".to_owned(),
        "/sign-out".to_owned(),
        "/theme".to_owned(),
    ];
    for path in forms {
        let cookie = ("cookie", browser.cookie.as_str());
        let right = [("csrf", browser.csrf.as_str()), ("name", "x"), ("action", "block")];
        for (what, fields, headers) in [
            ("no token", &right[1..], vec![cookie, ("origin", ORIGIN)]),
            ("wrong token", &[("csrf", "x"), ("name", "x")][..], vec![cookie, ("origin", ORIGIN)]),
            ("other origin", &right[..], vec![cookie, ("origin", "https://evil.example")]),
            ("opaque origin", &right[..], vec![cookie, ("origin", "null")]),
            ("no origin", &right[..], vec![cookie]),
        ] {
            let answer = console.send(post(&path, fields, &headers)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {what}");
        }
        let stranger = console.send(post(&path, &right, &[("origin", ORIGIN)])).await;
        assert_eq!(location(&stranger), "/sign-in", "{path}");
    }
    assert_eq!(console.get("gateway/rules").await.result().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_rule_written_in_the_form_is_the_rule_the_api_returns() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let path = browser.submit("/rules", &RULE).await;
    let id = path.trim_start_matches("/rules/");
    let rule = console.get(&format!("gateway/rules/{id}")).await.result();
    assert_eq!(rule["name"], "no uploads");
    assert_eq!(rule["traffic"], "http.request.host == \"files.example\" and\n  http.request.method == \"POST\"");
    // What the form has no control for survives; what it has changes.
    let mut document = rule.clone();
    document["rule_settings"] = json!({"block_reason": "old", "payload_log": {"enabled": true}});
    console.put(&format!("gateway/rules/{id}"), document).await.result();
    let page = browser.page(&path).await;
    assert!(page.contains("payload_log") && page.contains("value=\"old\""));
    let edited: Vec<_> = RULE
        .into_iter()
        .chain([("block_reason", "new"), ("settings_json", "{\"payload_log\": {\"enabled\": true}}")])
        .collect();
    browser.submit(&path, &edited).await;
    let rule = console.get(&format!("gateway/rules/{id}")).await.result();
    assert_eq!(rule["rule_settings"], json!({"block_reason": "new", "payload_log": {"enabled": true}}));
    browser.submit(&format!("{path}/enabled"), &[("enabled", "no")]).await;
    assert_eq!(console.get(&format!("gateway/rules/{id}")).await.result()["enabled"], false);
    let second = browser.submit("/rules", &[("name", "second"), ("action", "allow"), ("enabled", "1")]).await;
    browser.submit(&format!("{second}/move"), &[("by", "up")]).await;
    browser.submit(&format!("{second}/move"), &[("position", "2")]).await;
    let moved = browser.send(&format!("{second}/move"), &[("position", "1")]).await;
    let page = browser.page(location(&moved)).await;
    assert_eq!(page.matches("autofocus").count(), 1, "the keyboard goes on at the rule that moved");
    for wrong in ["0", "", "first"] {
        assert_eq!(
            browser.send(&format!("{second}/move"), &[("position", wrong)]).await.status,
            StatusCode::BAD_REQUEST
        );
    }
    let names: Vec<Value> = console
        .get("gateway/rules")
        .await
        .result()
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["name"].clone())
        .collect();
    assert_eq!(names, ["second", "no uploads"]);
    browser.submit(&format!("{path}/delete"), &[]).await;
    console.get(&format!("gateway/rules/{id}")).await.error(404);
    assert!(
        console
            .audit()
            .await
            .iter()
            .any(|record| record["Interface"] == "UI" && record["ResourceType"] == "gateway_rule")
    );
}

#[tokio::test]
async fn a_saved_query_stays_open_when_it_is_run() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let saved = json!({"name": "By host", "sql": "SELECT 1 AS one"});
    let saved = console.post("portunus/logs/queries", saved).await.result();
    let id = saved["id"].as_str().unwrap();
    for sql in ["SELECT 2 AS two", "SELECT nothing FROM nowhere"] {
        let fields = [("query", sql), ("saved", id), ("name", "By host and day"), ("description", "")];
        let page = text(&browser.send("/explore", &fields).await);
        assert!(page.contains(&format!("value=\"{id}\"")) && page.contains("value=\"By host and day\""), "{page}");
    }
    let unsaved = text(&browser.send("/explore", &[("query", "SELECT 3 AS three")]).await);
    assert!(!unsaved.contains("name=\"saved\""));
}

#[tokio::test]
async fn a_refused_form_keeps_what_was_typed_and_says_why_beside_it() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let fields = [
        ("name", "kept name"),
        ("action", "redirect"),
        ("traffic", "http.request.hots == \"x\""),
        ("redirect_target", "ftp://x"),
    ];
    let answer = browser.send("/rules", &fields).await;
    let page = text(&answer);
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        page.contains("value=\"kept name\"")
            && page.contains("http.request.hots")
            && page.contains("value=\"ftp://x\"")
    );
    assert!(page.contains("id=\"redirect_target-problem\""), "{page}");
    let broken = browser.send("/workers", &[("name", "w"), ("source", "export default {\n  async fetch( {\n")]).await;
    let page = text(&broken);
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    assert!(page.contains("async fetch( {"), "{page}");
}

#[tokio::test]
async fn expressions_are_checked_while_they_are_written() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    for (traffic, expected) in [
        ("http.request.hots == \"x\"", "http.request.host"),
        ("http.request.host eq \"x\"", "Read as"),
        ("http.request.host == \"x\"", "Ready to save."),
        ("http.request.host == ", "^"),
    ] {
        let answer = browser.send("/rules/check", &[("name", "n"), ("action", "block"), ("traffic", traffic)]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(text(&answer).contains(expected), "{traffic}: {}", text(&answer));
    }
}

#[tokio::test]
async fn values_are_found_by_prefix_page_by_page_edited_and_deleted() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let namespace = browser.submit("/kv", &[("title", "memory")]).await;
    let id = namespace.trim_start_matches("/kv/");
    let pairs: Vec<_> = (0..105).map(|n| json!({ "key": format!("seen/{n:03}"), "value": "x" })).collect();
    console.put(&format!("storage/kv/namespaces/{id}/bulk"), json!(pairs)).await.result();

    let first = browser.page(&format!("{namespace}?prefix=seen%2F")).await;
    assert!(first.contains("seen/000") && first.contains("seen/099") && !first.contains("seen/100"));
    let next = first.split("href=\"").find(|link| link.contains("cursor=")).unwrap().split('"').next().unwrap();
    let second = browser.page(&next.replace("&amp;", "&")).await;
    assert!(second.contains("seen/104") && !second.contains("seen/099") && !second.contains("cursor="));
    assert!(browser.page(&format!("{namespace}?prefix=other")).await.contains("No key begins with this"));

    let value =
        [("key", "a b"), ("value", "one\ntwo"), ("metadata", "{\"by\":1}"), ("expires", "2099-01-01T00:00:00Z")];
    browser.submit(&namespace, &value).await;
    let taken = browser.send(&namespace, &[("key", "a b"), ("value", "kept as typed")]).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(text(&taken).contains("kept as typed"));
    let page = browser.page(&format!("{namespace}/value?key=a+b")).await;
    assert!(page.contains("one\ntwo") && page.contains("2099-01-01T00:00:00Z"), "{page}");
    let path = format!("{namespace}/value");
    for (field, wrong) in [("metadata", "{"), ("expires", "soon"), ("expires", "2001-01-01T00:00:00Z")] {
        let refused = browser.send(&path, &[("key", "a b"), ("value", "typed"), (field, wrong)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{field}");
        assert!(text(&refused).contains("typed"));
    }
    browser.submit(&path, &[("key", "a b"), ("value", "three"), ("metadata", "{\"by\":1}")]).await;
    assert!(browser.page(&format!("{namespace}/value?key=a+b")).await.contains("three"));
    browser.submit(&format!("{namespace}/delete?key=a+b"), &[]).await;
    assert_eq!(browser.get(&format!("{namespace}/value?key=a+b")).await.status, StatusCode::NOT_FOUND);

    let lines = json!([{ "key": "crlf", "value": "a\r\nb" }]);
    console.put(&format!("storage/kv/namespaces/{id}/bulk"), lines).await.result();
    assert!(browser.page(&format!("{namespace}/value?key=crlf")).await.contains("no text that a form would give back"));
    assert_eq!(browser.send(&path, &[("key", "crlf"), ("value", "lost")]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_first_preview_is_of_someone_who_exists_at_a_host_that_a_rule_names() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let worker = browser.submit("/workers", &[("name", "checker"), ("source", SOURCE)]).await;
    assert!(browser.page(&worker).await.contains("value=\"https://example.com/\""));
    let rule = json!({
        "name": "r", "action": "worker", "traffic": "http.request.host == \"finance.acme.test\"",
        "rule_settings": { "worker": { "script": "checker" } },
    });
    console.post("gateway/rules", rule).await.result();
    browser.submit("/settings/people", &[("email", "bo@acme.test"), ("name", "Bo"), ("groups", "Finance")]).await;
    let page = browser.page(&worker).await;
    assert!(page.contains("value=\"https://finance.acme.test/\""), "{page}");
    assert!(page.contains("bo@acme.test") && page.contains("Finance") && !page.contains("ann@example.com"), "{page}");
}

#[tokio::test]
async fn a_test_explains_every_rule_and_takes_a_draft_from_the_editor() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    browser.submit("/rules", &RULE).await;
    let request = [
        ("method", "POST"),
        ("url", "https://files.example/up"),
        ("headers", "Accept: text/html"),
        ("person", "ann@example.com"),
    ];
    let page = text(&browser.send("/rules/test", &request).await);
    assert!(page.contains("no uploads") && page.contains("matched") && page.contains("files.example"), "{page}");
    let drafted = text(
        &browser
            .send("/rules/test", &[("name", "a draft"), ("action", "allow"), ("precedence", "1"), ("enabled", "1")])
            .await,
    );
    assert!(drafted.contains("With your draft"));
    let draft = r#"{"name":"a draft","action":"allow","filters":["http"],"precedence":1}"#;
    let page = text(
        &browser.send("/rules/test", &[("method", "POST"), ("url", "https://files.example/"), ("draft", draft)]).await,
    );
    let decision = page.split("Rules, in order").next().unwrap();
    assert!(decision.contains("a draft") && decision.contains("allow"), "{page}");
    let wrong = browser.send("/rules/test", &[("url", "https://x.example/"), ("facts", "[")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn lists_people_and_settings_go_through_their_forms() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let list = browser
        .submit("/lists", &[("name", "hosts"), ("type", "DOMAIN"), ("items", "a.example # first\nb.example")])
        .await;
    browser.submit(&format!("{list}/items"), &[("append", "c.example"), ("remove", "b.example")]).await;
    let items = console.get(&format!("gateway{list}/items")).await.result();
    let values: Vec<_> =
        items.as_array().unwrap().iter().map(|item| (item["value"].clone(), item["description"].clone())).collect();
    assert_eq!(values, [(json!("a.example"), json!("first")), (json!("c.example"), json!(""))]);
    let wrong = browser.send(&format!("{list}/items"), &[("append", "not a host")]).await;
    assert!(wrong.status == StatusCode::BAD_REQUEST && text(&wrong).contains("not a host"));
    let network = [
        ("hosts", "intranet.example 192.0.2.7"),
        ("allow", "10.0.0.0/8"),
        ("own_list", "1"),
        ("bypass", "*.pinned.example # pinned"),
    ];
    browser.submit("/settings/network", &network).await;
    let stored = console.get("portunus/network").await.result();
    assert_eq!(stored["hosts"]["intranet.example"], "192.0.2.7");
    assert_eq!(stored["bypass"], json!([{"pattern": "*.pinned.example", "reason": "pinned"}]));
    browser
        .submit(
            "/settings/gateway",
            &[("block_header_text", "No."), ("tls_decrypt", "on"), ("log_http", "blocks"), ("log_l4", "all")],
        )
        .await;
    let settings = console.get("gateway/configuration").await.result()["settings"].clone();
    assert_eq!(settings["block_page"]["header_text"], "No.");
    assert_eq!(settings["tls_decrypt"], json!({"enabled": true}));
    assert_eq!(console.get("gateway/logging").await.result()["settings_by_rule_type"]["http"]["log_all"], false);
    browser.submit("/settings/records", &kept(&[("days_gateway_http", "30"), ("size_gateway_http", "1.5")])).await;
    let stored = console.get("portunus/logs/retention").await.result();
    assert_eq!((&stored[0]["days"], &stored[0]["max_bytes"]), (&json!(30), &json!(1_610_612_736_u64)));
    assert!(stored.as_array().unwrap()[1..].iter().all(|view| view["default"] == true));
    let wrong = browser.send("/settings/records", &kept(&[("days_audit", "7")])).await;
    assert!(wrong.status == StatusCode::BAD_REQUEST && text(&wrong).contains("must be 30 to 3650"));
    assert!(browser.page("/settings/records?erase=ada%40example.com").await.contains("value=\"ada@example.com\""));
    let once = browser.send("/settings/records/erase", &[("email", "ada@example.com"), ("confirm", "ada")]).await;
    assert!(once.status == StatusCode::BAD_REQUEST && text(&once).contains("must be the same address again"));
    browser.submit("/settings/records/erase", &[("email", "ada@example.com"), ("confirm", "ada@example.com")]).await;
    assert_eq!(console.get("portunus/logs/erasures").await.result().as_array().unwrap().len(), 1);
    browser.submit(&format!("{list}/delete"), &[]).await;
    assert_eq!(browser.get(&list).await.status, StatusCode::NOT_FOUND);
}

/// The fields of the form about retention, as by default except for some.
fn kept<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let default = [
        ("days_gateway_http", "90"),
        ("days_gateway_network", "90"),
        ("days_worker", "90"),
        ("days_audit", "400"),
        ("days_access_requests", "400"),
        ("days_mcp_portal_logs", "90"),
    ];
    changed.iter().copied().chain(default).collect()
}

#[tokio::test]
async fn a_credential_is_shown_once() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let person = browser.submit("/settings/people", &[("email", "ann@example.com"), ("groups", "staff")]).await;
    for (path, page, fields) in [
        (format!("{person}/tokens"), person.clone(), vec![("token_name", "laptop")]),
        (
            "/settings/tokens".to_owned(),
            "/settings/tokens".to_owned(),
            vec![("name", "ci"), ("permission", "gateway:read")],
        ),
    ] {
        let answer = browser.send(&path, &fields).await;
        let shown = text(&answer);
        assert_eq!(answer.status, StatusCode::OK, "{shown}");
        let marker = "data-copy>";
        let start = shown.find(marker).unwrap() + marker.len();
        let secret = shown[start..].split('<').next().unwrap().to_owned();
        assert!(secret.len() > 20, "{secret}");
        assert!(!browser.page(&page).await.contains(&secret));
        assert!(console.audit().await.iter().all(|record| !record.to_string().contains(&secret)));
    }
}

#[tokio::test]
async fn the_modules_of_a_worker_are_added_renamed_and_removed_below_the_editor() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let worker = browser.submit("/workers", &[("name", "checker"), ("source", SOURCE)]).await;
    let modules = format!("{worker}/modules");
    let page = browser.page(&worker).await;
    assert!(page.contains("1 of 100") && page.contains("of 4.0 MiB"), "the limits are shown: {page}");

    let added = browser.send(&modules, &[("module", "worker.ts"), ("new", "lib/rate.ts")]).await;
    assert!(location(&added).ends_with("module=lib%2Frate.ts"), "{}", text(&added));
    let source = "export const rate = 1;\n";
    browser.submit(&worker, &[("module", "lib/rate.ts"), ("source", source)]).await;
    let importing = format!("import {{ rate }} from './lib/rate';\nvoid rate;\n{SOURCE}");
    browser.submit(&worker, &[("module", "worker.ts"), ("source", &importing)]).await;

    let open = format!("{worker}?module=lib%2Frate.ts");
    assert!(browser.page(&open).await.contains("cannot be removed while these import it"));
    let removed = browser.send(&format!("{modules}/remove"), &[("module", "lib/rate.ts")]).await;
    assert_eq!(removed.status, StatusCode::CONFLICT);
    assert!(text(&removed).contains("worker.ts imports it"), "{}", text(&removed));
    let refused = browser.send(&modules, &[("module", "worker.ts"), ("new", "../out.ts")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("must be a relative path"), "{}", text(&refused));
    let refused = browser.send(&modules, &[("module", "worker.ts"), ("new", "image.png")]).await;
    assert!(text(&refused).contains("end the name with"), "{}", text(&refused));

    let to = [("module", "lib/rate.ts"), ("to", "speed.ts")];
    browser.submit(&format!("{modules}/rename"), &to).await;
    assert!(browser.page(&worker).await.contains("from './speed';"));
    let to = [("module", "worker.ts"), ("to", "src/main.ts")];
    browser.submit(&format!("{modules}/rename"), &to).await;
    let page = browser.page(&worker).await;
    assert!(page.contains("src/main.ts (main)") && page.contains("from '../speed';"), "{page}");

    browser.submit(&worker, &[("module", "src/main.ts"), ("source", SOURCE)]).await;
    browser.submit(&format!("{modules}/remove"), &[("module", "speed.ts")]).await;
    assert!(browser.page(&worker).await.contains("1 of 100"));
    let main = browser.send(&format!("{modules}/remove"), &[("module", "src/main.ts")]).await;
    assert_eq!(main.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_worker_is_written_bound_and_served_through_its_pages() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let worker = browser.submit("/workers", &[("name", "checker"), ("source", SOURCE)]).await;
    let changed = SOURCE.replace("undefined", "new Response('no')");
    browser.submit(&worker, &[("module", "worker.ts"), ("source", &changed)]).await;
    assert!(
        browser.page(&worker).await.contains("new Response(&#39;no&#39;)")
            || browser.page(&worker).await.contains("new Response('no')")
    );
    browser
        .submit(
            &format!("{worker}/variables"),
            &[("variable_name", "LIMIT"), ("variable_kind", "json"), ("variable_value", "{\"a\": 1}")],
        )
        .await;
    browser
        .submit(
            &format!("{worker}/variables"),
            &[("variable_name", "SEEN"), ("variable_kind", "kv_namespace"), ("variable_value", "seen")],
        )
        .await;
    browser.submit(&format!("{worker}/secrets"), &[("secret_name", "KEY"), ("secret_text", "hidden-value")]).await;
    browser
        .submit(
            &format!("{worker}/settings"),
            &[("egress", "api.example.com"), ("isolation", "request"), ("cpu_ms", "20")],
        )
        .await;
    browser.submit(&format!("{worker}/triggers"), &[("crons", "*/5 * * * *")]).await;
    let page = browser.page(&format!("{worker}/settings")).await;
    assert!(
        page.contains("LIMIT")
            && page.contains("KEY")
            && page.contains("api.example.com")
            && !page.contains("hidden-value")
    );
    let settings = console.get("workers/scripts/checker/settings").await.result();
    assert_eq!(
        (&settings["egress"], &settings["isolation"], &settings["limits"]["cpu_ms"]),
        (&json!(["api.example.com"]), &json!("request"), &json!(20))
    );
    assert_eq!(settings["bindings"].as_array().unwrap().len(), 3);
    let preview = browser
        .send(
            &format!("{worker}/preview"),
            &[
                ("partial", "1"),
                ("event", "fetch"),
                ("url", "https://x.example/"),
                ("module", "worker.ts"),
                ("source", &changed),
            ],
        )
        .await;
    assert!(preview.status == StatusCode::OK && text(&preview).contains("It answered."), "{}", text(&preview));
    browser.submit(&format!("{worker}/variables/delete"), &[("name", "LIMIT")]).await;
    browser.submit(&format!("{worker}/secrets/delete"), &[("name", "KEY")]).await;
    assert_eq!(console.get("workers/scripts/checker/settings").await.result()["bindings"].as_array().unwrap().len(), 1);
    let versions = console.get("workers/scripts/checker/versions").await.result()["items"].clone();
    let first = versions.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    browser.submit(&format!("{worker}/versions"), &[("version", &first)]).await;
    assert!(browser.page(&worker).await.contains("return undefined;"));
    browser.submit(&format!("{worker}/delete"), &[]).await;
    assert_eq!(browser.get(&worker).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_administrator_sees_only_what_they_may() {
    let console = Console::new().await;
    let chief = Browser::set_up(&console).await;
    let fields =
        [("email", "rita@example.com"), ("new_administrator_password", PASSWORD), ("permission", "gateway:read")];
    chief.submit("/settings/account", &fields).await;
    let signed = console
        .send(post("/sign-in", &[("email", "rita@example.com"), ("password", PASSWORD)], &[("origin", ORIGIN)]))
        .await;
    let set = signed.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let reader = Browser { console: &console, cookie: set, csrf: String::new() };
    let page = reader.page("/rules").await;
    assert!(!page.contains("New rule"));
    let reader = Browser { csrf: field(&page, "csrf"), ..reader };
    for path in ["/", "/workers", "/settings/people", "/settings/tokens", "/activity"] {
        let refused = reader.get(path).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        assert!(text(&refused).contains("lacks the permission"), "{path}");
    }
    assert_eq!(reader.send("/rules", &RULE).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_application_is_published_and_its_policies_ordered_through_forms() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let app = [("name", "Wiki"), ("domain", "wiki.example.com"), ("origin", "http://127.0.0.1:8080")];
    let refused = browser.send("/access", &[&app[..], &[("include", "somebody")]].concat()).await;
    let page = text(&refused);
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(page.contains("is not a selector") && page.contains("value=\"wiki.example.com\""), "{page}");

    let people = [("include", "@example.com\nada@other.example")];
    let published = browser.submit("/access", &[&app[..], &people].concat()).await;
    let page = browser.page(&published).await;
    assert!(page.contains("https://wiki.example.com:9443/") && page.contains("answers with status 204"), "{page}");
    assert!(page.contains("no identity provider yet"), "{page}");
    let path = published.trim_end_matches("/published");
    let stored = console.get("access/apps").await.result();
    let expected = json!([{"email_domain": {"domain": "example.com"}}, {"email": {"email": "ada@other.example"}}]);
    assert_eq!(stored[0]["policies"][0]["include"], expected);
    assert_eq!(stored[0]["portunus"]["origin"]["url"], "http://127.0.0.1:8080");

    let second = [("name", "Machines"), ("decision", "non_identity"), ("include", "any service token")];
    browser.submit(&format!("{path}/policies"), &second).await;
    let policies = format!("access/apps/{}/policies", path.trim_start_matches("/access/apps/"));
    let names = |listed: Value| listed.as_array().unwrap().iter().map(|p| p["name"].clone()).collect::<Vec<_>>();
    let listed = console.get(&policies).await.result();
    browser.submit(&format!("{path}/policies/{}/move", listed[1]["id"].as_str().unwrap()), &[("to", "up")]).await;
    assert_eq!(names(console.get(&policies).await.result()), ["Machines", "Who may enter"]);
    let wrong = [("name", "x"), ("decision", "allow"), ("include", "any service token")];
    let refused = browser.send(&format!("{path}/policies"), &wrong).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("service tokens are for policies"), "{}", text(&refused));
    let checked = browser.send("/access/policies/check", &wrong).await;
    assert!(text(&checked).contains("service tokens are for policies"));

    let saved = [
        ("name", "Handbook"),
        ("domain", "wiki.example.com"),
        ("origin", "http://127.0.0.1:9090"),
        ("session_duration", "8h"),
        ("markdown", "1"),
    ];
    browser.submit(path, &saved).await;
    let stored = console.get("access/apps").await.result()[0].clone();
    assert_eq!((&stored["name"], &stored["session_duration"]), (&json!("Handbook"), &json!("8h")));
    assert_eq!(stored["portunus"], json!({"markdown": true, "origin": {"url": "http://127.0.0.1:9090"}}));
    assert_eq!(names(console.get(&policies).await.result()), ["Machines", "Who may enter"]);
    let look = [
        ("name", "Example"),
        ("auth_domain", "login.example.com"),
        ("background_color", "#112233"),
        ("factor", "totp"),
    ];
    browser.submit("/access/organization", &look).await;
    let organization = console.get("access/organizations").await.result();
    assert_eq!(organization["login_design"], json!({"background_color": "#112233"}));
    assert_eq!(organization["mfa_config"]["allowed_authenticators"], json!(["totp"]));
}

#[tokio::test]
async fn a_service_tokens_secret_is_on_one_page_and_a_providers_on_none() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let made = text(&browser.send("/access/tokens", &[("name", "backup"), ("duration", "8760h")]).await);
    assert_eq!(made.matches("cfast_").count(), 2);
    assert!(!browser.page("/access/tokens").await.contains("cfast_"));
    let okta = [
        ("type", "okta"),
        ("name", "Okta"),
        ("okta_account", "https://acme.okta.example"),
        ("client_id", "portunus"),
        ("client_secret", "hush-hush"),
    ];
    browser.submit("/access/providers", &okta).await;
    let provider = console.get("access/identity_providers").await.result()[0].clone();
    let path = format!("/access/providers/{}", provider["id"].as_str().unwrap());
    assert!(!browser.page(&path).await.contains("hush-hush"));
    let with_scim = text(&browser.send(&path, &[&okta[..4], &[("scim", "1")]].concat()).await);
    assert!(with_scim.contains("The secret of the directory."), "{with_scim}");
    assert!(!browser.page(&path).await.contains("The secret of the directory."));
}

#[tokio::test]
async fn an_address_left_empty_is_suggested_from_the_name_beside_the_sign_in_host() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    console.put("access/organizations", json!({"name": "Example", "auth_domain": "login.example.com"})).await.result();
    let app = [("name", "Team Wiki"), ("domain", ""), ("origin", "http://127.0.0.1:8080"), ("include", "everyone")];
    browser.submit("/access", &app).await;
    assert_eq!(console.get("access/apps").await.result()[0]["domain"], "team-wiki.example.com");
    assert!(browser.page("/access/new").await.contains("@example.com"), "colleagues are suggested");
}

#[tokio::test]
async fn a_help_desk_reads_why_somebody_was_refused() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let id = uuid::Uuid::now_v7();
    let record = logs::AccessRequest {
        id,
        datetime: jiff::Timestamp::from_second(1_767_323_000).unwrap(),
        account_id: console.account.to_string(),
        action: "login".to_owned(),
        app_name: "Wiki".to_owned(),
        email: "ann@example.com".to_owned(),
        reason: "no policy of the application covers the caller".to_owned(),
        trace: Some(
            json!([{"name": "Staff", "decision": "allow", "outcome": "no", "reasons": ["the address is not in other.test"]}]),
        ),
        ..logs::AccessRequest::default()
    };
    console.logs.append(record).await.unwrap();
    console.logs.flush().await.unwrap();
    let listed = browser.page("/access/log?q=ann&refused=1").await;
    assert!(listed.contains(&format!("/access/log?q={id}")) && listed.contains("signing in to Wiki"), "{listed}");
    for path in [format!("/access/log?q={id}"), format!("/activity/access_requests/{id}")] {
        let page = browser.page(&path).await;
        for words in [
            "ann@example.com: signing in to Wiki",
            "No policy of the application covers the caller.",
            "does not fit",
            "the address is not in other.test",
            "Add the person to one",
        ] {
            assert!(page.contains(words), "{path} lacks {words}: {page}");
        }
    }
    assert!(browser.page("/activity?dataset=access_requests").await.contains("refused"));
    assert!(!browser.page("/access/log?q=bob").await.contains("Wiki"));
    let person = console.post("access/users", json!({"email": "ann@example.com"})).await.result();
    assert!(
        browser
            .page(&format!("/access/people/{}", person["id"].as_str().unwrap()))
            .await
            .contains("signing in to Wiki")
    );
}

#[tokio::test]
async fn policies_are_tried_on_people_through_the_form() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let page = text(&browser.send("/access/test", &[("include", "@example.com")]).await);
    assert!(page.contains("Everybody who ever signed in"), "{page}");
    let refused = browser.send("/access/test", &[("include", "somebody")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("is not a selector"));
    let refused = browser.send("/access/test", &[("person", "ann@example.com")]).await;
    assert!(text(&refused).contains("choose the application"));
    let wrong = [("name", "Devices"), ("certificate", "not PEM")];
    assert_eq!(browser.send("/access/certificates", &wrong).await.status, StatusCode::BAD_REQUEST);
    let made = console.post("gateway/certificates", json!({"validity_period_days": 365})).await.result();
    let authority = made["certificate"].as_str().unwrap();
    let right = [("name", "Devices"), ("certificate", authority), ("hosts", "a.example.com\nb.example.com")];
    browser.submit("/access/certificates", &right).await;
    let other = json!({"settings": [{"hostname": "c.example.com", "client_certificate_forwarding": true}]});
    console.put("access/certificates/settings", other).await.result();
    browser.submit("/access/certificates/settings", &[("forward", "b.example.com")]).await;
    let settings = console.get("access/certificates/settings").await.result();
    for (index, (host, forwards)) in
        [("c.example.com", true), ("a.example.com", false), ("b.example.com", true)].into_iter().enumerate()
    {
        assert_eq!(settings[index]["hostname"], host);
        assert_eq!(settings[index]["client_certificate_forwarding"], forwards, "{host}");
    }
    let interval = browser.send("/access/organization/keys", &[("key_rotation_interval_days", "9")]).await;
    assert_eq!(interval.status, StatusCode::BAD_REQUEST);
    browser.submit("/access/organization/keys", &[("key_rotation_interval_days", "30")]).await;
    assert_eq!(console.get("access/keys").await.result()["key_rotation_interval_days"], 30);
}
