//! Access through the API: applications with their policies, groups, providers, service tokens, people.

use identity::approval::{self, Answer, ApprovalRequest, Approvers, Asked};
use identity::session::SessionSecret;
use serde_json::{Value, json};
use store::{
    AccessProfile, AccessSession, Approval, Factor, HashId, NewMail, Operate, Permission, Principal, Revoked,
    WriteUsers,
};
use types::{AccessPolicyId, ApplicationId, FactorId, Secret, UserId};
use uuid::Uuid;

use crate::harness::Console;

fn policy(name: &str) -> Value {
    json!({"name": name, "decision": "allow", "include": [{"email_domain": {"domain": "example.com"}}]})
}

fn wiki() -> Value {
    json!({
        "type": "self_hosted", "name": "Wiki", "domain": "wiki.example.com",
        "portunus": {"origin": {"url": "http://127.0.0.1:8080"}},
    })
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_application_is_published_changed_and_deleted() {
    let console = Console::new().await;
    let mut document = wiki();
    document["policies"] = json!([policy("Staff")]);
    let created = console.post("access/apps", document.clone()).await.result();
    assert_eq!(created["aud"].as_str().unwrap().len(), 64);
    assert_eq!(created["session_duration"], "24h");
    assert_eq!((&created["policies"][0]["name"], &created["policies"][0]["precedence"]), (&json!("Staff"), &json!(1)));
    assert_eq!(created["policies"][0]["reusable"], false);
    let path = format!("access/apps/{}", id(&created));
    assert_eq!(console.get(&path).await.result(), created);
    assert_eq!(console.get("access/apps").await.result(), json!([created]));
    assert_eq!(console.get("access/apps?page=2").await.result(), json!([]));

    // What a client reads can be sent back as it is.
    console.advance(60);
    let mut again = created.clone();
    again["name"] = json!("Handbook");
    let replaced = console.put(&path, again).await.result();
    assert_eq!((&replaced["name"], &replaced["aud"]), (&json!("Handbook"), &created["aud"]));
    assert_eq!(replaced["policies"][0]["id"], created["policies"][0]["id"]);
    // Without `policies` they stay, with an empty list they go.
    let kept = console.put(&path, wiki()).await.result();
    assert_eq!(kept["policies"].as_array().unwrap().len(), 1);
    document["policies"] = json!([]);
    assert_eq!(console.put(&path, document).await.result()["policies"], json!([]));

    let taken = console.post("access/apps", wiki()).await.error(409);
    assert_eq!(taken.0, "/domain");
    console.put(&format!("{path}/settings"), json!({"allow_iframe": true})).await.result();
    assert_eq!(console.get(&path).await.result()["allow_iframe"], true);
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
    let audit = console.audit().await;
    let verbs: Vec<&str> = audit
        .iter()
        .filter(|record| record["ResourceType"] == "access_application")
        .filter_map(|record| record["ActionType"].as_str())
        .collect();
    assert_eq!(verbs, ["delete", "update", "update", "update", "update", "create"]);
}

#[tokio::test]
async fn an_application_names_only_what_exists() {
    let console = Console::new().await;
    let nobody = "01302951-49f9-47c9-a400-0297e60b6a10";
    for (member, value, pointer) in [
        ("allowed_idps", json!([nobody]), "/allowed_idps/0"),
        ("tags", json!(["unknown"]), "/tags/0"),
        ("custom_pages", json!([nobody]), "/custom_pages/0"),
        ("policies", json!([nobody]), "/policies/0"),
        ("policies", json!([{"name": "x", "decision": "allow", "include": []}]), "/policies/0/include"),
        ("domain", json!("https://wiki.example.com"), "/domain"),
        ("colour", json!("blue"), "/colour"),
        ("type", json!("saas"), "/type"),
    ] {
        let mut document = wiki();
        document[member] = value;
        let (found, message) = console.post("access/apps", document).await.error(400);
        assert_eq!(found, pointer, "{member}: {message}");
    }
    assert_eq!(console.get("access/apps").await.result(), json!([]));
}

#[tokio::test]
async fn policies_hang_on_applications_in_order() {
    let console = Console::new().await;
    let reusable = console.post("access/policies", policy("Everyone here")).await.result();
    assert_eq!((&reusable["reusable"], &reusable["app_count"]), (&json!(true), &json!(0)));
    let mut document = wiki();
    document["policies"] = json!([{"id": reusable["id"], "precedence": 5}]);
    let app = console.post("access/apps", document).await.result();
    let path = format!("access/apps/{}/policies", id(&app));
    let own = console.post(&path, policy("Own")).await.result();
    assert_eq!((&own["reusable"], &own["precedence"]), (&json!(false), &json!(6)));
    let first =
        json!({"name": "First", "decision": "deny", "include": [{"geo": {"country_code": "AQ"}}], "precedence": 1});
    console.post(&path, first).await.result();
    let names = |listed: &Value| listed.as_array().unwrap().iter().map(|p| p["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&console.get(&path).await.result()), ["First", "Everyone here", "Own"]);

    let used = format!("access/policies/{}", id(&reusable));
    assert_eq!(console.get(&used).await.result()["app_count"], 1);
    console.delete(&used).await.error(409);
    console.put(&format!("{path}/{}", id(&reusable)), policy("x")).await.error(409);
    let changed = console.put(&format!("{path}/{}", id(&own)), policy("Renamed")).await.result();
    assert_eq!((&changed["name"], &changed["precedence"]), (&json!("Renamed"), &json!(6)));
    console.get(&format!("access/policies/{}", id(&own))).await.error(404);
    let made =
        console.call(axum::http::Method::PUT, &format!("{path}/{}/make_reusable", id(&own)), None).await.result();
    assert_eq!(made["reusable"], true);
    console.get(&format!("access/policies/{}", id(&own))).await.result();
    console.delete(&format!("{path}/{}", id(&reusable))).await.result();
    console.delete(&used).await.result();
    assert_eq!(names(&console.get(&path).await.result()), ["First", "Renamed"]);
}

#[tokio::test]
async fn a_policy_is_checked_before_it_is_stored() {
    let console = Console::new().await;
    let nobody = "01302951-49f9-47c9-a400-0297e60b6a10";
    let check = |document: Value| {
        let console = &console;
        async move { console.post("access/policies/check", document).await.result() }
    };
    let open = json!({"name": "Open", "decision": "allow", "include": [{"everyone": {}}]});
    let checked = check(open).await;
    assert_eq!(checked["valid"], true);
    assert!(checked["warnings"][0].as_str().unwrap().contains("mailbox"));
    for (document, pointer) in [
        (json!({"name": "x", "decision": "allow", "include": [{"group": {"id": nobody}}]}), "/include/0"),
        (json!({"name": "x", "decision": "allow", "include": [{"service_token": {"token_id": nobody}}]}), "/include/0"),
        (json!({"name": "x", "include": [{"everyone": {}}]}), "/decision"),
        (
            json!({"name": "x", "decision": "allow", "include": [{"everyone": {}}], "portunus": {"expression": "nope =="}}),
            "/portunus/expression",
        ),
    ] {
        let checked = check(document.clone()).await;
        assert_eq!(checked["valid"], false, "{document}");
        assert_eq!(checked["errors"][0]["pointer"], pointer, "{checked}");
        let (found, _) = console.post("access/policies", document).await.error(400);
        assert_eq!(found, pointer);
    }
}

#[tokio::test]
async fn groups_never_name_themselves_and_stay_while_they_are_used() {
    let console = Console::new().await;
    let group = |name: &str, other: Option<&str>| {
        let include = other.map_or_else(|| json!({"everyone": {}}), |other| json!({"group": {"id": other}}));
        json!({"name": name, "include": [include]})
    };
    let first = id(&console.post("access/groups", group("first", None)).await.result());
    let second = id(&console.post("access/groups", group("second", Some(&first))).await.result());
    let (pointer, message) =
        console.put(&format!("access/groups/{first}"), group("first", Some(&second))).await.error(400);
    assert_eq!(pointer, "/include");
    assert!(message.contains("names itself"), "{message}");
    console.delete(&format!("access/groups/{first}")).await.error(409);
    console.delete(&format!("access/groups/{second}")).await.result();
    console.delete(&format!("access/groups/{first}")).await.result();
}

#[tokio::test]
async fn a_providers_secret_is_written_kept_and_never_shown() {
    let console = Console::new().await;
    let provider = json!({
        "name": "Okta", "type": "okta",
        "config": {"client_id": "portunus", "client_secret": "hunter2", "okta_account": "https://acme.okta.example"},
        "scim_config": {"enabled": true, "user_deprovision": true},
    });
    let created = console.post("access/identity_providers", provider).await.result();
    let secret = created["scim_config"]["secret"].as_str().unwrap().to_owned();
    let path = format!("access/identity_providers/{}", id(&created));
    let read = console.get(&path).await.result();
    assert!(read["scim_config"].get("secret").is_none());
    // What a client reads can be sent back: the secret stays.
    let replaced = console.put(&path, read.clone()).await.result();
    assert!(replaced["scim_config"].get("secret").is_none());
    let refreshed = console.post(&format!("{path}/refresh_scim_secret"), json!({})).await.result();
    assert_ne!(refreshed["scim_config"]["secret"], json!(secret));
    let grant = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let mut stored = console.store.providers().list(&grant).await.unwrap().remove(0);
    assert_eq!(
        console.store.providers().open_members(&grant, &mut stored).unwrap()["client_secret"].expose(),
        "hunter2"
    );
    let everything = format!("{created}{read}{replaced}{refreshed}{:?}", console.audit().await);
    assert!(!everything.contains("hunter2"));

    let mut app = wiki();
    app["allowed_idps"] = json!([created["id"]]);
    console.post("access/apps", app).await.result();
    console.delete(&path).await.error(409);
    let github = json!({"name": "x", "type": "github", "config": {"client_id": "a"}});
    assert_eq!(console.post("access/identity_providers", github).await.error(400).0, "/config/client_secret");
}

#[tokio::test]
async fn a_service_tokens_secret_is_shown_once_and_rotates() {
    let console = Console::new().await;
    let created = console.post("access/service_tokens", json!({"name": "backup"})).await.result();
    let secret = created["client_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("cfast_") && created["client_id"].as_str().unwrap().ends_with(".access"));
    assert_eq!((&created["duration"], &created["client_secret_version"]), (&json!("8760h"), &json!(1)));
    let path = format!("access/service_tokens/{}", id(&created));
    let read = console.get(&path).await.result();
    assert!(read.get("client_secret").is_none());
    let refreshed = console.post(&format!("{path}/refresh"), json!({})).await.result();
    assert!(refreshed["expires_at"].as_str() > read["expires_at"].as_str());
    let renamed = console.put(&path, json!({"name": "nightly", "enabled": false})).await.result();
    assert_eq!((&renamed["name"], &renamed["enabled"]), (&json!("nightly"), &json!(false)));
    assert_eq!(renamed["expires_at"], refreshed["expires_at"]);
    let forever = console.put(&path, json!({"name": "nightly", "duration": "forever"})).await.result();
    assert_eq!(forever["expires_at"], Value::Null);

    let soon = json!({"previous_client_secret_expires_at": "2026-01-02T03:30:00Z"});
    console.post(&format!("{path}/rotate"), soon).await.error(400);
    let later = json!({"previous_client_secret_expires_at": "2026-01-04T00:00:00Z"});
    let rotated = console.post(&format!("{path}/rotate"), later).await.result();
    assert_eq!(rotated["client_secret_version"], 2);
    assert_ne!(rotated["client_secret"], json!(secret));
    assert_eq!(console.delete(&path).await.result()["client_id"], created["client_id"]);
    let everything = format!("{:?}{}", console.audit().await, console.get("access/service_tokens").await.result());
    assert!(!everything.contains("cfast_"));
    for duration in ["1s", "never", "-1h"] {
        let wrong = json!({"name": "x", "duration": duration});
        assert_eq!(console.post("access/service_tokens", wrong).await.error(400).0, "/duration");
    }
}

#[tokio::test]
async fn the_organisation_keeps_what_is_not_sent() {
    let console = Console::new().await;
    let default = console.get("access/organizations").await.result();
    assert_eq!((&default["name"], &default["session_duration"]), (&json!("Example"), &json!("24h")));
    // Storing anything must not move the place where people sign in.
    let stored = console.put("access/organizations", json!({"session_duration": "24h"})).await.result();
    for settings in [&default, &stored] {
        assert_eq!(settings["auth_domain"], "access.localhost");
    }
    let sent = json!({"auth_domain": "login.example.com", "login_design": {"background_color": "#112233"}});
    console.put("access/organizations", sent).await.result();
    let saved = console.put("access/organizations", json!({"session_duration": "12h"})).await.result();
    assert_eq!((&saved["auth_domain"], &saved["session_duration"]), (&json!("login.example.com"), &json!("12h")));
    assert_eq!(saved["login_design"]["background_color"], "#112233");
    for (member, value, pointer) in [
        ("session_duration", json!("1m"), "/session_duration"),
        ("auth_domain", json!("https://x/y"), "/auth_domain"),
        ("login_design", json!({"background_color": "red;}"}), "/login_design/background_color"),
    ] {
        let (found, _) = console.put("access/organizations", json!({member: value})).await.error(400);
        assert_eq!(found, pointer);
    }
}

#[tokio::test]
async fn tags_and_pages_stay_while_an_application_uses_them() {
    let console = Console::new().await;
    console.post("access/tags", json!({"name": "docs"})).await.result();
    console.post("access/tags", json!({"name": "docs"})).await.error(409);
    let page = json!({"name": "No", "type": "identity_denied", "custom_html": "<h1>No</h1>"});
    let page = console.post("access/custom_pages", page).await.result();
    let mut app = wiki();
    app["tags"] = json!(["docs"]);
    app["custom_pages"] = json!([page["uid"]]);
    let app = console.post("access/apps", app).await.result();
    assert_eq!(console.get("access/tags/docs").await.result()["app_count"], 1);
    let path = format!("access/custom_pages/{}", page["uid"].as_str().unwrap());
    assert_eq!(console.get(&path).await.result()["app_count"], 1);
    let listed = console.get("access/custom_pages").await.result()[0].clone();
    assert_eq!((listed.get("custom_html"), &listed["app_count"]), (None, &json!(1)));
    console.delete("access/tags/docs").await.error(409);
    console.delete(&path).await.error(409);
    console.delete(&format!("access/apps/{}", id(&app))).await.result();
    assert_eq!(console.put("access/tags/docs", json!({"name": "wiki"})).await.result()["name"], "wiki");
    console.delete("access/tags/wiki").await.result();
    console.delete(&path).await.result();

    let bookmark = format!("access/bookmarks/{}", Uuid::new_v4());
    let made = console.post(&bookmark, json!({"name": "News", "domain": "news.example.com"})).await.result();
    assert_eq!(made["domain"], "news.example.com");
    assert_eq!(console.get("access/apps").await.result()[0]["type"], "bookmark");
    assert_eq!(console.get("access/bookmarks").await.result().as_array().unwrap().len(), 1);
    console.delete(&bookmark).await.result();
}

#[tokio::test]
async fn a_custom_page_is_named_only_where_it_would_be_shown() {
    let console = Console::new().await;
    let page = |kind: &str| json!({"name": "No", "type": kind, "custom_html": "<h1>No</h1>"});
    // Types that are shown nowhere are not taken as if they were.
    for kind in ["login", "interstitial"] {
        let (pointer, message) = console.post("access/custom_pages", page(kind)).await.error(400);
        assert_eq!((pointer.as_str(), message.contains("are shown nowhere")), ("/type", true), "{message}");
    }
    let made = console.post("access/custom_pages", page("forbidden")).await.result();
    let path = format!("access/custom_pages/{}", made["uid"].as_str().unwrap());
    let nobody = Uuid::new_v4().to_string();
    let named = |member: &str, id: &Value| json!({"custom_pages": {member: id}});
    for (member, id, why) in [
        ("identity_denied", &made["uid"], "of type `identity_denied`"),
        ("forbidden", &json!(nobody), "there is no such custom page"),
    ] {
        let (pointer, message) = console.put("access/organizations", named(member, id)).await.error(400);
        assert_eq!(pointer, format!("/custom_pages/{member}"));
        assert!(message.contains(why), "{message}");
    }
    console.put("access/organizations", named("forbidden", &made["uid"])).await.result();
    // While the organisation shows it, it stays what it is; its text may change.
    console.delete(&path).await.error(409);
    let (pointer, _) = console.put(&path, page("identity_denied")).await.error(409);
    assert_eq!(pointer, "/type");
    console.put(&path, page("forbidden")).await.result();
    console.put("access/organizations", json!({"custom_pages": null})).await.result();
    console.delete(&path).await.result();
}

#[tokio::test]
async fn signing_keys_rotate_and_the_one_before_is_accepted_for_a_week() {
    let console = Console::new().await;
    assert_eq!(console.get("access/keys").await.result()["key_rotation_interval_days"], 42);
    let first = console.post("access/keys/rotate", json!({})).await.result();
    assert_eq!(first["days_until_next_rotation"], 42);
    console.advance(10 * 86_400);
    assert_eq!(console.get("access/keys").await.result()["days_until_next_rotation"], 32);
    console.post("access/keys/rotate", json!({})).await.result();
    let grant = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let mut keys = console.store.access_keys().get(&grant, &store::Only).await.unwrap().unwrap();
    assert_eq!(keys.document.keys.len(), 2);
    assert_eq!(keys.document.keys[0].accepted_until, None);
    let week = keys.document.last_rotation_at + std::time::Duration::from_secs(7 * 86_400);
    assert_eq!(keys.document.keys[1].accepted_until, Some(week));
    let opened = console.store.access_keys().open_members(&grant, &mut keys).unwrap();
    assert!(opened.keys().all(|kid| kid.len() == 64) && opened.len() == 2);
    console.put("access/keys", json!({"key_rotation_interval_days": 20})).await.error(400);
    assert_eq!(
        console.put("access/keys", json!({"key_rotation_interval_days": 30})).await.result()["key_rotation_interval_days"],
        30
    );
}

async fn sign_in(console: &Console, user: UserId, name: &str) -> HashId {
    let grant = Principal::system("test").authorize::<WriteUsers>(console.account).unwrap();
    let now = console.store.now();
    let session = AccessSession {
        user,
        nonce: name.to_owned(),
        issued_at: now,
        expires_at: now + std::time::Duration::from_secs(3_600),
        user_agent: "Browser".to_owned(),
        ip: "192.0.2.1".to_owned(),
        state: json!({"secret": "state"}),
    };
    console.store.access_sessions().start(&grant, HashId::of(name.as_bytes()), session).await.unwrap().id
}

#[tokio::test]
async fn a_persons_sessions_and_factors_are_seen_and_ended() {
    let console = Console::new().await;
    let made = console.post("access/users", json!({"email": "Ada@Example.com", "name": "Ada"})).await.result();
    assert_eq!((&made["email"], &made["access_seat"]), (&json!("ada@example.com"), &json!(false)));
    let user: UserId = id(&made).parse().unwrap();
    let path = format!("access/users/{user}");
    for name in ["one", "two", "three"] {
        sign_in(&console, user, name).await;
    }
    let sessions = console.get(&format!("{path}/active_sessions")).await.result();
    assert_eq!(sessions.as_array().unwrap().len(), 3);
    assert!(!sessions.to_string().contains("state"));
    assert_eq!(console.get(&format!("{path}/active_sessions/one")).await.result()["metadata"]["ttl"], 3_600);
    console.delete(&format!("portunus/users/{user}/sessions/one")).await.result();
    console.get(&format!("{path}/active_sessions/one")).await.error(404);
    console.post("access/organizations/revoke_user", json!({"email": "nobody@example.com"})).await.error(404);
    console.post("access/organizations/revoke_user", json!({"email": "ada@example.com"})).await.result();
    assert_eq!(console.get(&format!("{path}/active_sessions")).await.result(), json!([]));
    let grant = Principal::system("test").authorize::<WriteUsers>(console.account).unwrap();
    for what in [Revoked::User(user), Revoked::Session(HashId::of(b"one"))] {
        assert!(console.store.revocations().get(&grant, &what).await.unwrap().is_some());
    }

    let factor = FactorId(Uuid::new_v4());
    let factors = console.store.factors();
    let secret = factors.seal_member(&grant, &factor, "secret", &Secret::new("seed".to_owned())).unwrap();
    let document = Factor { user, kind: "totp".to_owned(), name: "Phone".to_owned(), last_used_at: None, secret };
    factors.create(&grant, factor, document).await.unwrap();
    let listed = console.get(&format!("portunus/users/{user}/mfa_authenticators")).await.result();
    assert_eq!((&listed[0]["type"], &listed[0]["name"]), (&json!("totp"), &json!("Phone")));
    sign_in(&console, user, "four").await;
    console.delete(&format!("{path}/mfa_authenticators/{factor}")).await.result();
    console.delete(&format!("{path}/mfa_authenticators/{factor}")).await.error(404);
    assert_eq!(console.get(&format!("{path}/active_sessions")).await.result(), json!([]));

    // A reset takes all of them, ends the sessions and is written down.
    for kind in ["totp", "recovery_codes", "security_key", "passkey"] {
        let factor = FactorId(Uuid::new_v4());
        let secret = factors.seal_member(&grant, &factor, "secret", &Secret::new("seed".to_owned())).unwrap();
        let document = Factor { user, kind: kind.to_owned(), name: String::new(), last_used_at: None, secret };
        factors.create(&grant, factor, document).await.unwrap();
    }
    sign_in(&console, user, "reset").await;
    let all = format!("portunus/users/{user}/mfa_authenticators");
    console.delete(&all).await.result();
    assert_eq!(console.get(&all).await.result(), json!([]));
    assert_eq!(console.get(&format!("{path}/active_sessions")).await.result(), json!([]));
    console.delete(&format!("portunus/users/{}/mfa_authenticators", Uuid::new_v4())).await.error(404);

    // Who loses the seat is signed out, and has it again after the next sign-in. One wrong entry changes nobody.
    let profile = AccessProfile { last_login_at: Some(jiff::Timestamp::now()), ..AccessProfile::default() };
    console.store.access_profiles().put(&grant, user, profile).await.unwrap();
    sign_in(&console, user, "seat").await;
    let seat = |uid: String, access: bool| json!({"seat_uid": uid, "access_seat": access, "gateway_seat": false});
    let wrong = json!([seat(user.to_string(), false), seat(Uuid::new_v4().to_string(), false)]);
    let refused = console.patch("access/seats", wrong).await;
    assert_eq!(refused.error(400).0, "/1/seat_uid");
    let kept = console.patch("access/seats", json!([seat(user.to_string(), true)])).await.result();
    assert_eq!((&kept[0]["seat_uid"], &kept[0]["access_seat"]), (&json!(user), &json!(true)));
    assert_eq!(console.get(&format!("{path}/active_sessions")).await.result().as_array().unwrap().len(), 1);
    let taken = console.patch("access/seats", json!([seat(user.to_string(), false)])).await.result();
    assert_eq!((&taken[0]["access_seat"], &taken[0]["email"]), (&json!(false), &Value::Null));
    assert_eq!(console.get(&format!("{path}/active_sessions")).await.result(), json!([]));
    assert_eq!(console.get(&path).await.result()["access_seat"], json!(false));

    // A person who is disabled, or removed, is signed out.
    sign_in(&console, user, "five").await;
    let disabled = json!({"email": "ada@example.com", "disabled": true});
    console.put(&format!("portunus/users/{user}"), disabled).await.result();
    assert_eq!(console.get(&format!("{path}/active_sessions")).await.result(), json!([]));
    assert_eq!(console.get("access/users?search=ADA").await.result().as_array().unwrap().len(), 1);
    assert_eq!(console.get("access/users?email=bob@example.com").await.result(), json!([]));
    console.get(&format!("{path}/last_seen_identity")).await.error(404);
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
}

#[tokio::test]
async fn revoking_an_applications_tokens_is_told() {
    let console = Console::new().await;
    let app = console.post("access/apps", wiki()).await.result();
    console.post(&format!("access/apps/{}/revoke_tokens", id(&app)), json!({})).await.result();
    let grant = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let what = Revoked::Application(id(&app).parse().unwrap());
    assert!(console.store.revocations().get(&grant, &what).await.unwrap().is_some());
}

/// Writes down that a person asks for an approval; returns its id and what is stored.
pub(crate) async fn asked(console: &Console, user: UserId) -> (String, String) {
    let grant = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let now = console.store.now();
    let asked = Asked {
        user,
        email: "ada@example.com".parse().unwrap(),
        application: ApplicationId(Uuid::from_u128(1)),
        policy: AccessPolicyId(Uuid::from_u128(2)),
        session: SessionSecret::of([7; 32]).hash(),
        justification: Some("INC-7".to_owned()),
    };
    let id = approval::id(asked.session, asked.application, asked.policy);
    let people = ["boss@example.com", "chief@example.com"].map(|email| email.parse().unwrap()).to_vec();
    let groups = [Approvers { needed: 2, people }];
    let (mut request, mail) = ApprovalRequest::open(asked, &groups, &[1; 32], now.as_second()).unwrap();
    let answer = Answer::Grant(std::time::Duration::from_secs(3_600));
    request.answer(&mail[0].to, mail[0].link.expose(), answer, now.as_second()).unwrap();
    let document = Approval {
        user,
        application: request.asked.application,
        policy: request.asked.policy,
        expires_at: now + std::time::Duration::from_secs(86_400),
        state: json!(request),
    };
    let stored = document.state.to_string();
    let id = HashId::from_bytes(id.0);
    console.store.approvals().write(&grant, id, document, None, Vec::new()).await.unwrap().unwrap();
    (id.to_string(), stored)
}

#[tokio::test]
async fn requests_for_approval_are_listed_and_ended() {
    let console = Console::new().await;
    let made = console.post("access/users", json!({"email": "ada@example.com", "name": "Ada"})).await.result();
    let (request, _) = asked(&console, id(&made).parse().unwrap()).await;
    let listed = console.get(&format!("portunus/approvals?status=waiting&user_id={}", id(&made))).await.result();
    let found = &listed.as_array().unwrap()[0];
    for (member, value) in [
        ("id", json!(request)),
        ("email", json!("ada@example.com")),
        ("justification", json!("INC-7")),
        ("invited", json!(["boss@example.com", "chief@example.com"])),
        ("approvers", json!(["boss@example.com"])),
        ("missing", json!(1)),
    ] {
        assert_eq!(found[member], value, "{member}");
    }
    assert!(!found.to_string().contains("link"), "nothing that opens a link is shown");
    for other in ["status=granted".to_owned(), format!("user_id={}", Uuid::new_v4())] {
        assert_eq!(console.get(&format!("portunus/approvals?{other}")).await.result(), json!([]), "{other}");
    }
    let path = format!("portunus/approvals/{request}");
    assert_eq!(console.get(&path).await.result()["status"], "waiting");
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
    console.delete(&path).await.error(404);
    assert_eq!(console.audit().await[0]["ResourceType"], "access_approval");
}

#[tokio::test]
async fn the_outbox_is_for_administrators_alone() {
    let console = Console::new().await;
    let grant = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let mail = NewMail {
        html: None,
        to: "ada@example.com".to_owned(),
        subject: "Your code".to_owned(),
        text: Secret::new("424242".to_owned()),
        expires_at: console.store.now() + std::time::Duration::from_secs(600),
    };
    let queued = console.store.outbox().enqueue(&grant, mail).await.unwrap();
    let listed = console.get("portunus/outbox").await.result();
    assert_eq!((&listed[0]["status"], listed[0].get("text")), (&json!("pending"), None));
    let path = format!("portunus/outbox/{}", queued.id);
    assert_eq!(console.get(&path).await.result()["text"], "424242");
    let all_but_admin: Vec<Permission> =
        Permission::ALL.iter().copied().filter(|permission| *permission != Permission::Admin).collect();
    let token = console.issue(&all_but_admin).await;
    let request = axum::http::Request::builder()
        .uri(console.path("portunus/outbox"))
        .header("authorization", format!("Bearer {token}"));
    console.send(request.body(axum::body::Body::empty()).unwrap()).await.error(403);
}

#[tokio::test]
async fn client_certificate_settings_name_hosts() {
    let console = Console::new().await;
    let settings = json!({"settings": [{"hostname": "Wiki.example.com", "client_certificate_forwarding": true}]});
    let saved = console.put("access/certificates/settings", settings).await.result();
    assert_eq!(
        saved[0],
        json!({"hostname": "wiki.example.com", "china_network": false, "client_certificate_forwarding": true})
    );
    assert_eq!(console.get("access/certificates/settings").await.result(), saved);
    assert_eq!(console.get("access/certificates/settings?page=2").await.result(), json!([]));
    let wrong = json!({"settings": [{"hostname": "a/b"}]});
    assert_eq!(console.put("access/certificates/settings", wrong).await.error(400).0, "/settings/0/hostname");
    let leaf = json!({"name": "x", "certificate": "not PEM", "associated_hostnames": []});
    assert_eq!(console.post("access/certificates", leaf).await.error(400).0, "/certificate");
}
