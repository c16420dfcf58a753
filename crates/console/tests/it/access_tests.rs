//! What policies would decide for people who signed in, their sign-ins as v4 clients read them, and the audit log of
//! everything about Access.

use axum::http::Method;
use console::api::endpoints;
use console::api::table::Access;
use jiff::Timestamp;
use logs::AccessRequest;
use serde_json::{Value, json};
use store::{AccessProfile, Permission, Principal, WriteUsers};
use types::UserId;
use uuid::Uuid;

use crate::harness::Console;

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

/// Adds somebody who has signed in, as Access writes it down.
pub(crate) async fn signed_in(console: &Console, email: &str, name: &str) -> UserId {
    let made = console.post("access/users", json!({"email": email, "name": name})).await.result();
    let user: UserId = id(&made).parse().unwrap();
    let identity = json!({
        "user": user, "email": email, "name": name, "provider": Uuid::nil(), "provider_type": "portunus",
        "signed_in": 1_767_323_000, "ip": "192.0.2.7", "country": null, "amr": [], "steps": [],
    });
    let profile = AccessProfile {
        last_login_at: Some(console.store.now()),
        identity: Some(identity),
        ..AccessProfile::default()
    };
    let grant = Principal::system("test").authorize::<WriteUsers>(console.account).unwrap();
    console.store.access_profiles().put(&grant, user, profile).await.unwrap();
    user
}

fn allow(selectors: Value) -> Value {
    json!({"name": "Staff", "decision": "allow", "include": selectors})
}

#[tokio::test]
async fn the_policy_tester_tells_who_of_those_that_signed_in_would_enter() {
    let console = Console::new().await;
    signed_in(&console, "ada@example.com", "Ada").await;
    signed_in(&console, "bob@other.test", "Bob").await;
    // Somebody who never signed in is not counted, and one of whom too little is known is an error.
    console.post("access/users", json!({"email": "eve@example.com"})).await.result();
    let old = console.post("access/users", json!({"email": "old@example.com"})).await.result();
    let grant = Principal::system("test").authorize::<WriteUsers>(console.account).unwrap();
    let profile = AccessProfile { last_login_at: Some(console.store.now()), ..AccessProfile::default() };
    console.store.access_profiles().put(&grant, id(&old).parse().unwrap(), profile).await.unwrap();

    let list = json!({"name": "No", "type": "EMAIL", "items": [{"value": "ada@example.com"}]});
    let list = console.post("gateway/lists", list).await.result();
    let deny = json!({"name": "Gone", "decision": "deny", "include": [{"email_list": {"id": list["id"]}}]});
    let staff = allow(json!([{"email_domain": {"domain": "example.com"}}]));
    let reusable = console.post("access/policies", staff).await.result();
    for (policies, approved, blocked) in [
        (json!([reusable["id"]]), vec!["ada@example.com"], vec!["bob@other.test"]),
        (json!([deny, reusable["id"]]), vec![], vec!["ada@example.com", "bob@other.test"]),
        (json!([allow(json!([{"everyone": {}}]))]), vec!["ada@example.com", "bob@other.test"], vec![]),
    ] {
        let begun = console.post("access/policy-tests", json!({"policies": policies})).await.result();
        assert_eq!(begun["status"], "success");
        let path = format!("access/policy-tests/{}", id(&begun));
        let report = console.get(&path).await.result();
        assert_eq!(
            (&report["status"], &report["total_users"], &report["users_errored"], &report["percent_users_processed"]),
            (&json!("complete"), &json!(3), &json!(1), &json!(100))
        );
        assert_eq!(
            (&report["users_approved"], &report["users_blocked"]),
            (&json!(approved.len()), &json!(blocked.len()))
        );
        for (status, people) in [("success", &approved), ("fail", &blocked), ("error", &vec!["old@example.com"])] {
            let found = console.get(&format!("{path}/users?status={status}")).await.result();
            let mut emails: Vec<_> = found.as_array().unwrap().iter().map(|one| one["email"].clone()).collect();
            emails.sort_by_key(ToString::to_string);
            assert_eq!(emails, people.iter().map(|email| json!(email)).collect::<Vec<_>>(), "{status}");
        }
        assert_eq!(console.get(&format!("{path}/users")).await.result().as_array().unwrap().len(), 3);
        console.get(&format!("{path}/users?status=maybe")).await.error(400);
    }
}

#[tokio::test]
async fn a_policy_test_is_refused_where_it_is_at_fault_and_only_the_newest_are_kept() {
    let console = Console::new().await;
    for (policies, pointer) in [
        (json!([]), "/policies"),
        (json!([7]), "/policies/0"),
        (json!([Uuid::nil()]), "/policies/0"),
        (json!([allow(json!([{"everyone": {}}])), allow(json!([]))]), "/policies/1/include"),
    ] {
        let (found, message) = console.post("access/policy-tests", json!({"policies": policies})).await.error(400);
        assert_eq!(found, pointer, "{message}");
    }
    let mut begun = Vec::new();
    for _ in 0..5 {
        let policies = json!({"policies": [allow(json!([{"everyone": {}}]))]});
        begun.push(id(&console.post("access/policy-tests", policies).await.result()));
    }
    console.get(&format!("access/policy-tests/{}", begun[0])).await.error(404);
    console.get(&format!("access/policy-tests/{}", begun[1])).await.result();
    // What it shows of people needs the right to read them.
    let token = console.issue(&[Permission::AccessRead]).await;
    let request = axum::http::Request::builder()
        .uri(console.path(&format!("access/policy-tests/{}/users", begun[4])))
        .header("authorization", format!("Bearer {token}"));
    let answer = console.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert!(answer.error(403).1.contains(&Permission::UsersRead.to_string()));
}

#[tokio::test]
async fn what_the_policies_decide_for_one_person_is_told_with_the_reason() {
    let console = Console::new().await;
    let user = signed_in(&console, "ada@example.com", "Ada").await;
    signed_in(&console, "bob@other.test", "Bob").await;
    let app = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "wiki.example.com",
        "portunus": {"origin": {"url": "http://127.0.0.1:8080"}},
        "policies": [allow(json!([{"email_domain": {"domain": "example.com"}}]))],
    });
    let app = console.post("access/apps", app).await.result();
    let path = format!("access/apps/{}/user_policy_checks", id(&app));
    for (query, status, outcome) in [
        ("?email=Ada@Example.com".to_owned(), "approved", "matched"),
        (format!("?user_id={user}"), "approved", "matched"),
        ("?email=bob@other.test".to_owned(), "blocked", "did not match"),
    ] {
        let check = console.get(&format!("{path}{query}")).await.result();
        let state = &check["app_state"];
        assert_eq!(
            (&state["status"], &state["app_uid"], &state["hostname"]),
            (&json!(status), &app["id"], &app["domain"])
        );
        assert_eq!((&state["policies"][0]["status"], &state["aud"]), (&json!(outcome), &app["aud"]), "{query}");
        assert!(check["user_identity"]["user_uuid"].is_string());
    }
    console.get(&path).await.error(400);
    console.get(&format!("{path}?email=nobody@example.com")).await.error(404);
    console.post("access/users", json!({"email": "eve@example.com"})).await.result();
    assert!(console.get(&format!("{path}?email=eve@example.com")).await.error(404).1.contains("sign-in"));
    // Whoever was shut out is not let in by a policy.
    let person = console.get(&format!("portunus/users/{user}")).await.result();
    let mut changed = person.clone();
    changed["disabled"] = json!(true);
    for member in ["id", "created_at", "updated_at"] {
        changed.as_object_mut().unwrap().remove(member);
    }
    console.put(&format!("portunus/users/{user}"), changed).await.result();
    let check = console.get(&format!("{path}?email=ada@example.com")).await.result();
    assert_eq!(check["app_state"]["status"], "blocked");
}

/// A script of that name, so that a policy may ask it; what it says is the harness's.
pub(crate) async fn script(console: &Console, name: &str) {
    let source = "export default { access: () => ({ allow: true }) };";
    let metadata = json!({"main_module": "main.js"});
    console.upload(name, metadata, &[("main.js", "application/javascript+module", source)]).await.result();
}

pub(crate) fn asks(script: &str) -> Value {
    json!({
        "name": "Trained", "decision": "allow", "include": [{"everyone": {}}],
        "require": [{"portunus_worker": {"script": script, "timeout_ms": 1000, "ttl_s": 60}}],
    })
}

#[tokio::test]
async fn a_policy_that_asks_a_worker_is_tried_with_its_answer_about_each_person() {
    let console = Console::new().await;
    let ada = signed_in(&console, "ada@example.com", "Ada").await;
    for number in 0..20 {
        signed_in(&console, &format!("p{number}@other.test"), "Person").await;
    }
    script(&console, "training").await;
    let test = json!({"policies": [asks("training")]});
    let begun = console.post("access/policy-tests", test).await.result();
    let path = format!("access/policy-tests/{}", id(&begun));
    let report = console.get(&path).await.result();
    assert_eq!((&report["users_approved"], &report["users_blocked"]), (&json!(1), &json!(20)), "{report}");
    let people = console.get(&format!("{path}/users?status=success")).await.result();
    assert_eq!(people[0]["portunus"]["workers"], json!(["Worker training allowed it in 3 ms: looked up"]));
    let people = console.get(&format!("{path}/users?status=fail")).await.result();
    assert_eq!(people[7]["portunus"]["workers"], json!(["Worker training did not allow it in 3 ms: looked up"]));
    let most = console.scripts.most_at_once.load(std::sync::atomic::Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} were asked at a time");

    // It is about the person, as they last signed in, and of no application.
    let asked = std::mem::take(&mut *console.scripts.asked.lock().unwrap());
    assert_eq!(asked.len(), 21, "everybody is asked about once");
    let about = asked.iter().find(|question| question["identity"]["user"] == json!(ada)).unwrap();
    assert_eq!((&about["account"], &about["application"]), (&json!(console.account), &Value::Null));
    assert_eq!(
        (&about["identity"]["email"], &about["identity"]["ip"]),
        (&json!("ada@example.com"), &json!("192.0.2.7"))
    );

    // A Worker that says nothing is an error, and not a refusal; and nobody is asked where nothing hangs on it.
    script(&console, "silent").await;
    let gone = json!({"name": "Gone", "decision": "deny", "include": [{"email": {"email": "ada@example.com"}}]});
    let test = json!({"policies": [gone, asks("silent")]});
    let begun = console.post("access/policy-tests", test).await.result();
    let path = format!("access/policy-tests/{}", id(&begun));
    let report = console.get(&path).await.result();
    assert_eq!((&report["users_errored"], &report["users_blocked"]), (&json!(20), &json!(1)), "{report}");
    let people = console.get(&format!("{path}/users?status=error")).await.result();
    let why = "Worker silent gave no answer in 3 ms: there is no Worker of that name that can run";
    assert_eq!(people[0]["portunus"]["workers"], json!([why]));
    let people = console.get(&format!("{path}/users?status=fail")).await.result();
    assert_eq!(people[0].get("portunus"), None, "{people}");
    assert_eq!(console.scripts.asked.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn a_policy_test_ends_in_time_whatever_a_worker_does() {
    let console = Console::new().await;
    for number in 0..3 {
        signed_in(&console, &format!("p{number}@example.com"), "Person").await;
    }
    script(&console, "asleep").await;
    let test = console.post("access/policy-tests", json!({"policies": [asks("asleep")]}));
    // Time passes once the Worker was asked; the store is not waited for then.
    let later = async {
        while console.scripts.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(11)).await;
        tokio::time::resume();
    };
    let (begun, ()) = tokio::join!(test, later);
    let begun = begun.result();
    let report = console.get(&format!("access/policy-tests/{}", id(&begun))).await.result();
    assert_eq!((&report["status"], &report["percent_users_processed"]), (&json!("exceeded time"), &json!(0)));
}

#[tokio::test]
async fn the_check_of_one_person_asks_the_worker_about_the_application_and_tells_what_it_said() {
    let console = Console::new().await;
    signed_in(&console, "ada@example.com", "Ada").await;
    signed_in(&console, "bob@other.test", "Bob").await;
    script(&console, "training").await;
    let app = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "wiki.example.com/docs",
        "portunus": {"origin": {"url": "http://127.0.0.1:8080"}}, "policies": [asks("training")],
    });
    let app = console.post("access/apps", app).await.result();
    let path = format!("access/apps/{}/user_policy_checks", id(&app));
    for (email, status, said) in
        [("ada@example.com", "approved", "allowed it"), ("bob@other.test", "blocked", "did not allow it")]
    {
        let check = console.get(&format!("{path}?email={email}")).await.result();
        assert_eq!(check["app_state"]["status"], status);
        let reasons = check["app_state"]["policies"][0]["reasons"].to_string();
        assert!(reasons.contains(&format!("Worker training {said} in 3 ms: looked up")), "{reasons}");
    }
    let asked = console.scripts.asked.lock().unwrap();
    let wiki = json!({"id": app["id"], "name": "Wiki", "url": "https://wiki.example.com:9443/docs"});
    assert_eq!(asked[0]["application"], wiki);
}

async fn record(console: &Console, second: i64, action: &str, email: &str, allowed: bool, country: &str) -> Uuid {
    let id = Uuid::now_v7();
    let record = AccessRequest {
        id,
        datetime: Timestamp::from_second(1_767_323_000 + second).unwrap(),
        account_id: console.account.to_string(),
        action: action.to_owned(),
        allowed,
        app_domain: "wiki.example.com".to_owned(),
        app_uuid: Uuid::nil().to_string(),
        connection: "okta".to_owned(),
        country: country.to_owned(),
        email: email.to_owned(),
        ip_address: "192.0.2.7".to_owned(),
        ..AccessRequest::default()
    };
    console.logs.append(record).await.unwrap();
    id
}

#[tokio::test]
async fn sign_ins_are_listed_with_the_vendors_filters() {
    let console = Console::new().await;
    record(&console, 0, "login", "ada@example.com", true, "NL").await;
    let refused = record(&console, 1, "login", "bob@other.test", false, "FR").await;
    record(&console, 2, "logout", "ada@example.com", true, "NL").await;
    // These have no place in the vendor's shape.
    record(&console, 3, "request", "ada@example.com", false, "NL").await;
    record(&console, 4, "mfa", "ada@example.com", true, "NL").await;
    console.logs.flush().await.unwrap();
    let path = "access/logs/access_requests";
    let all = console.get(path).await.result();
    assert_eq!(
        all[1],
        json!({
            "action": "login", "allowed": false, "app_domain": "wiki.example.com", "app_name": "",
            "app_type": "self_hosted", "app_uid": Uuid::nil().to_string(), "connection": "okta", "country": "FR",
            "created_at": all[1]["created_at"], "ip_address": "192.0.2.7", "ray_id": refused.to_string(),
            "user_email": "bob@other.test", "user_id": "",
        })
    );
    for (query, acts) in [
        (String::new(), vec!["logout ada", "login bob", "login ada"]),
        ("?direction=asc".into(), vec!["login ada", "login bob", "logout ada"]),
        ("?limit=1".into(), vec!["logout ada"]),
        ("?per_page=2&page=2".into(), vec!["login ada"]),
        ("?direction=asc&per_page=1&page=2".into(), vec!["login bob"]),
        ("?email=ADA".into(), vec!["logout ada", "login ada"]),
        ("?email=ada&email_exact=true".into(), vec![]),
        ("?email=ada@example.com&emailOp=neq".into(), vec!["login bob"]),
        ("?allowed=false".into(), vec!["login bob"]),
        ("?allowed=false&allowedOp=neq".into(), vec!["logout ada", "login ada"]),
        ("?country_code=FR".into(), vec!["login bob"]),
        ("?country_code=FR&country_codeOp=neq".into(), vec!["logout ada", "login ada"]),
        ("?idp=okta".into(), vec!["logout ada", "login bob", "login ada"]),
        ("?app_uid=other".into(), vec![]),
        ("?app_type=saas".into(), vec![]),
        ("?app_type=saas&app_typeOp=neq".into(), vec!["logout ada", "login bob", "login ada"]),
        ("?non_identity=true".into(), vec![]),
        ("?non_identity=false".into(), vec!["logout ada", "login bob", "login ada"]),
        (format!("?ray_id={refused}"), vec!["login bob"]),
        ("?since=2026-01-02T03:03:21Z&until=2026-01-02T03:03:22Z".into(), vec!["login bob"]),
    ] {
        let found = console.get(&format!("{path}{query}")).await.result();
        let found: Vec<String> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let email = one["user_email"].as_str().unwrap().split('@').next().unwrap();
                format!("{} {email}", one["action"].as_str().unwrap())
            })
            .collect();
        assert_eq!(found, acts, "{query}");
    }
    let narrow = console.get(&format!("{path}?limit=1&fields=ray_id,action")).await.result();
    assert_eq!(narrow[0].as_object().unwrap().len(), 2);
    for wrong in
        ["limit=0", "direction=up", "since=soon", "emailOp=like&email=a", "allowed=maybe", "page=9999&per_page=1000"]
    {
        console.get(&format!("{path}?{wrong}")).await.error(400);
    }
}

#[tokio::test]
async fn who_writes_a_policy_about_what_nobody_knows_is_told() {
    let console = Console::new().await;
    let abroad = json!({"name": "Abroad", "include": [{"geo": {"country_code": "RU"}}]});
    let group = console.post("access/groups", abroad).await.result();
    for (exclude, expression, told) in [
        (json!([{"geo": {"country_code": "RU"}}]), "", "no geolocation database"),
        (json!([{"group": {"id": id(&group)}}]), "", "no geolocation database"),
        (json!([{"user_risk_score": {"user_risk_score": ["high"]}}]), "", "risk is scored"),
        (
            json!([{"gsuite": {"email": "all@example.com", "identity_provider_id": Uuid::nil()}}]),
            "",
            "Google names no groups",
        ),
        (json!([]), "http.src_ip.geo.country != \"RU\"", "waits for a geolocation database"),
    ] {
        let mut policy = allow(json!([{"email_domain": {"domain": "example.com"}}]));
        policy["exclude"] = exclude;
        policy["portunus"] = json!({"expression": expression});
        let checked = console.post("access/policies/check", policy).await.result();
        assert_eq!(checked["valid"], true);
        let warnings = checked["warnings"].as_array().unwrap();
        assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains(told), "{told}: {checked}");
    }
}

#[tokio::test]
async fn a_rule_that_is_not_offered_is_refused_with_its_place_and_the_reason() {
    let console = Console::new().await;
    let linked = json!({"linked_app_token": {"app_uid": Uuid::nil()}});
    let policy = json!({"name": "Linked", "decision": "non_identity",
        "include": [{"any_valid_service_token": {}}, linked.clone()]});
    let group = json!({"name": "Linked", "include": [linked]});
    for (path, document, place) in [("access/policies", policy, "/include/1"), ("access/groups", group, "/include/0")] {
        let (pointer, message) = console.post(path, document).await.error(400);
        assert!(pointer == place && message.contains("not offered"), "{path}: {pointer} {message}");
    }
}

/// Calls the mutating endpoints of Access one after the other and holds each against the audit log.
struct Audited {
    console: Console,
    seen: std::collections::BTreeSet<String>,
    records: usize,
}

impl Audited {
    /// `path` has the values of `template`'s parameters, in order, as `values`.
    async fn call(&mut self, method: Method, template: &str, values: &[&str], body: Value) -> Value {
        let mut path = template.to_owned();
        for value in values {
            let (start, end) = (path.find('{').unwrap(), path.find('}').unwrap());
            path.replace_range(start..=end, value);
        }
        let body = (!body.is_null()).then_some(body);
        let result = self.console.call(method.clone(), &path, body).await.result();
        let records = self.console.audit().await;
        assert!(records.len() > self.records, "{method} {path} left no record");
        assert!(records[0]["ActionResult"].as_bool().unwrap() && records[0]["ResourceType"].is_string());
        self.records = records.len();
        self.seen.insert(format!("{method} /accounts/{{account_id}}/{template}"));
        result
    }
}

/// What may be read and is asked with POST.
const READS: [&str; 2] =
    ["POST /accounts/{account_id}/access/policies/check", "POST /accounts/{account_id}/access/policy-tests"];

#[tokio::test]
async fn every_change_of_anything_about_access_stands_in_the_audit_log() {
    let console = Console::new().await;
    let authority = json!({"validity_period_days": 365});
    let authority = console.post("gateway/certificates", authority).await.result();
    let records = console.audit().await.len();
    let mut audited = Audited { console, seen: std::collections::BTreeSet::new(), records };
    let everyone = || allow(json!([{"everyone": {}}]));
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);

    let app = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "wiki.example.com",
        "portunus": {"origin": {"url": "http://127.0.0.1:8080"}},
    });
    let made = audited.call(post.clone(), "access/apps", &[], app.clone()).await;
    let app_id = id(&made);
    let one = "access/apps/{app_id}";
    audited.call(put.clone(), one, &[&app_id], app).await;
    for method in [put.clone(), patch] {
        audited.call(method, "access/apps/{app_id}/settings", &[&app_id], json!({"allow_iframe": true})).await;
    }
    audited.call(post.clone(), "access/apps/{app_id}/revoke_tokens", &[&app_id], Value::Null).await;
    let own = audited.call(post.clone(), "access/apps/{app_id}/policies", &[&app_id], everyone()).await;
    let policy = "access/apps/{app_id}/policies/{policy_id}";
    audited.call(put.clone(), policy, &[&app_id, &id(&own)], everyone()).await;
    let reusable = "access/apps/{app_id}/policies/{policy_id}/make_reusable";
    audited.call(put.clone(), reusable, &[&app_id, &id(&own)], Value::Null).await;
    audited.call(delete.clone(), policy, &[&app_id, &id(&own)], Value::Null).await;
    audited.call(delete.clone(), one, &[&app_id], Value::Null).await;

    let page = json!({"name": "No", "type": "forbidden", "custom_html": "<h1>No</h1>"});
    let group = json!({"name": "Staff", "include": [{"everyone": {}}]});
    let provider = json!({"name": "Okta", "type": "okta", "config": {"client_id": "a", "client_secret": "b", "okta_account": "https://x.okta.com"}, "scim_config": {"enabled": true}});
    let tag = json!({"name": "tools"});
    let pem = json!({"name": "Devices", "certificate": authority["certificate"], "associated_hostnames": []});
    for (collection, member, document) in [
        ("access/policies", "access/policies/{policy_id}", everyone()),
        ("access/custom_pages", "access/custom_pages/{custom_page_id}", page),
        ("access/groups", "access/groups/{group_id}", group),
        ("access/identity_providers", "access/identity_providers/{identity_provider_id}", provider),
        ("access/service_tokens", "access/service_tokens/{service_token_id}", json!({"name": "agent"})),
        ("access/users", "access/users/{user_id}", json!({"email": "ada@example.com", "name": "Ada"})),
        ("access/tags", "access/tags/{tag_name}", tag),
        ("access/certificates", "access/certificates/{certificate_id}", pem),
    ] {
        let made = audited.call(post.clone(), collection, &[], document.clone()).await;
        let mut key = if collection == "access/tags" { "tools".to_owned() } else { id(&made) };
        let document = match collection {
            "access/certificates" => json!({"name": "Phones", "associated_hostnames": []}),
            "access/tags" => json!({"name": "instruments"}),
            _ => document,
        };
        audited.call(put.clone(), member, &[&key], document).await;
        if collection == "access/tags" {
            "instruments".clone_into(&mut key);
        }
        match collection {
            "access/identity_providers" => {
                let path = "access/identity_providers/{identity_provider_id}/refresh_scim_secret";
                audited.call(post.clone(), path, &[&key], Value::Null).await;
            }
            "access/service_tokens" => {
                for act in ["refresh", "rotate"] {
                    let path = format!("access/service_tokens/{{service_token_id}}/{act}");
                    audited.call(post.clone(), &path, &[&key], Value::Null).await;
                }
            }
            "access/users" => people(&mut audited, &key).await,
            _ => {}
        }
        audited.call(delete.clone(), member, &[&key], Value::Null).await;
    }

    mcp(&mut audited).await;

    let (bookmark, key) = ("access/bookmarks/{bookmark_id}", Uuid::new_v4().to_string());
    let document = json!({"name": "Docs", "domain": "https://docs.example.com"});
    for (method, body) in [(post.clone(), document.clone()), (put.clone(), document), (delete, Value::Null)] {
        audited.call(method, bookmark, &[&key], body).await;
    }
    let settings = json!({"settings": [{"hostname": "wiki.example.com"}]});
    audited.call(put.clone(), "access/certificates/settings", &[], settings).await;
    let organization = json!({"name": "Example", "auth_domain": "login.example.com"});
    for method in [post.clone(), put.clone()] {
        audited.call(method, "access/organizations", &[], organization.clone()).await;
    }
    audited.call(put, "access/keys", &[], json!({"key_rotation_interval_days": 30})).await;
    audited.call(post, "access/keys/rotate", &[], Value::Null).await;

    let wanted = endpoints().into_iter().filter(|endpoint| {
        let parts = ["/portunus/users/{user_id}/sessions", "/portunus/approvals", "/access/"];
        let ours = parts.iter().any(|part| endpoint.path.contains(part));
        ours && endpoint.method != Method::GET && matches!(endpoint.access, Access::Permission(_))
    });
    for endpoint in wanted {
        let called = format!("{} {}", endpoint.method, endpoint.path);
        assert!(audited.seen.contains(&called) || READS.contains(&called.as_str()), "{called} is not tried here");
    }
}

async fn mcp(audited: &mut Audited) {
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let server = json!({"id": "jira", "name": "Jira", "hostname": "https://jira.example.com/mcp", "auth_type": "unauthenticated"});
    let portal = json!({"id": "staff", "name": "Staff", "hostname": "mcp.example.com"});
    for (collection, member, key, document) in [
        ("access/ai-controls/mcp/servers", "access/ai-controls/mcp/servers/{server_id}", "jira", server),
        ("access/ai-controls/mcp/portals", "access/ai-controls/mcp/portals/{portal_id}", "staff", portal),
    ] {
        audited.call(post.clone(), collection, &[], document).await;
        audited.call(put.clone(), member, &[key], json!({"description": "For work"})).await;
        if key == "jira" {
            let sync = "access/ai-controls/mcp/servers/{server_id}/sync";
            audited.call(post.clone(), sync, &[key], Value::Null).await;
            decisions(audited, sync).await;
            for method in [post.clone(), delete.clone()] {
                audited.call(method, "access/ai-controls/mcp/servers/{server_id}/sign_in", &[key], Value::Null).await;
            }
        }
        audited.call(delete.clone(), member, &[key], Value::Null).await;
    }
}

/// What waits at the server is approved and refused.
async fn decisions(audited: &mut Audited, sync: &str) {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    for (act, tools) in [("refuse", vec![tool("one")]), ("approve", vec![tool("one"), tool("two")])] {
        *audited.console.upstreams.tools.lock().unwrap() = tools;
        audited.call(Method::POST, sync, &["jira"], Value::Null).await;
        let waiting =
            audited.console.get("access/ai-controls/mcp/servers/jira/definitions?state=waiting").await.result();
        let one = &waiting[0];
        let choice = json!({"kind": "tool", "name": one["name"], "digest": one["digest"]});
        let path = format!("access/ai-controls/mcp/servers/{{server_id}}/definitions/{act}");
        audited.call(Method::POST, &path, &["jira"], json!({"definitions": [choice]})).await;
    }
}

async fn people(audited: &mut Audited, user: &str) {
    let id: UserId = user.parse().unwrap();
    let grant = Principal::system("test").authorize::<WriteUsers>(audited.console.account).unwrap();
    let store = audited.console.store.clone();
    let now = store.now();
    let session = store::AccessSession {
        user: id,
        nonce: "one".to_owned(),
        issued_at: now,
        expires_at: now + std::time::Duration::from_secs(3_600),
        user_agent: "Browser".to_owned(),
        ip: "192.0.2.1".to_owned(),
        state: json!({}),
    };
    store.access_sessions().start(&grant, store::HashId::of(b"one"), session).await.unwrap();
    let path = "portunus/users/{user_id}/sessions/{nonce}";
    audited.call(Method::DELETE, path, &[user, "one"], Value::Null).await;
    let factor = types::FactorId(Uuid::new_v4());
    let secret = types::Secret::new("seed".to_owned());
    let secret = store.factors().seal_member(&grant, &factor, "secret", &secret).unwrap();
    let document = store::Factor { user: id, kind: "totp".into(), name: "Phone".into(), last_used_at: None, secret };
    store.factors().create(&grant, factor, document).await.unwrap();
    let path = "access/users/{user_id}/mfa_authenticators/{authenticator_id}";
    audited.call(Method::DELETE, path, &[user, &factor.to_string()], Value::Null).await;
    let (approval, request) = crate::access::asked(&audited.console, id).await;
    assert!(request.contains("INC-7"));
    audited.call(Method::DELETE, "portunus/approvals/{approval_id}", &[&approval], Value::Null).await;
    let seats = json!([{"seat_uid": user, "access_seat": false, "gateway_seat": false}]);
    audited.call(Method::PATCH, "access/seats", &[], seats).await;
    audited.call(Method::POST, "access/organizations/revoke_user", &[], json!({"user_uid": user})).await;
}
