//! The SCIM endpoints of the real binary, asked in the words of Okta and Entra.

use serde_json::{Value, json};
use testkit::Platform;

use crate::access::{curl, person, publish, sign_in, until};
use crate::support::binary;

const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A provider's directory, as the provider knows it.
struct Directory<'p> {
    platform: &'p Platform,
    path: String,
    authorization: String,
}

impl<'p> Directory<'p> {
    /// Adds a provider with SCIM and waits until its endpoints answer.
    async fn connect(platform: &'p Platform, provider: Value) -> Self {
        let made = platform.api("POST", "/access/identity_providers", Some(provider)).await.unwrap();
        let base = made["scim_config"]["scim_base_url"].as_str().unwrap();
        let path = base[base.find("/cdn-cgi").unwrap()..].to_owned();
        let secret = made["scim_config"]["secret"].as_str().unwrap();
        let one = format!("/access/identity_providers/{}", made["id"].as_str().unwrap());
        let shown = platform.api("GET", &one, None).await.unwrap();
        assert_eq!(shown["scim_config"]["scim_base_url"], base);
        assert!(shown["scim_config"]["secret"].is_null(), "the secret is shown once");
        let directory = Self { platform, path, authorization: format!("authorization: Bearer {secret}") };
        for _ in 0..200 {
            if directory.ask("GET", "/ServiceProviderConfig", None).0 == 200 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        directory
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string);
        let mut arguments = vec!["--request", method, "--header", &self.authorization];
        if let Some(body) = &body {
            arguments.extend(["--header", "content-type: application/scim+json", "--data-raw", body]);
        }
        answer(&curl(self.platform, "access.localhost", &format!("{}{path}", self.path), &arguments))
    }
}

/// The status of an answer, and its body.
fn answer(text: &str) -> (u16, Value) {
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn patch(operations: Value) -> Value {
    json!({"schemas": [PATCH], "Operations": operations})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_okta_deactivates_is_out_at_once_and_cannot_come_back_as_another_record() {
    let router = axum::Router::new().fallback(|| async { "the wiki" });
    let origin = testkit::Origin::start(router, None).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let platform = Platform::start_in(binary(), data.path(), &[]).unwrap();
    let password = person(data.path().to_str().unwrap(), "ana@example.test");
    publish(&platform, origin.address).await;
    until(&platform, "docs.localhost", &[], "302").await;
    let okta = json!({
        "name": "Okta", "type": "okta",
        "config": {"okta_account": "https://acme.okta.test", "client_id": "c", "client_secret": "s"},
        "scim_config": {"enabled": true, "user_deprovision": true, "seat_deprovision": true,
            "identity_update_behavior": "reauth"},
    });
    let okta = Directory::connect(&platform, okta).await;

    // Okta looks for the person first, then makes the record with what it has, a password among it.
    let filter = "/Users?filter=userName%20eq%20%22ana%40example.test%22&startIndex=1&count=100";
    let (status, none) = okta.ask("GET", filter, None);
    assert_eq!((status, &none["totalResults"]), (200, &json!(0)));
    let ana = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ana@example.test",
        "name": {"givenName": "Ana", "familyName": "Example"}, "displayName": "Ana Example", "locale": "en-US",
        "emails": [{"primary": true, "value": "ana@example.test", "type": "work"}],
        "externalId": "00u1", "groups": [], "password": "hunter-two", "active": true,
    });
    let (status, made) = okta.ask("POST", "/Users", Some(&ana));
    assert_eq!(status, 201, "{made}");
    assert!(made["meta"]["location"].as_str().unwrap().contains(&okta.path) && made["password"].is_null());
    assert_eq!(okta.ask("POST", "/Users", Some(&ana)).0, 409);
    assert_eq!(okta.ask("GET", filter, None).1["Resources"][0]["externalId"], "00u1");
    let user = format!("/Users/{}", made["id"].as_str().unwrap());

    let jar = data.path().join("cookies");
    let browser = ["--location", "--cookie-jar", jar.to_str().unwrap(), "--cookie", jar.to_str().unwrap()];
    assert!(sign_in(&platform, &browser, "ana@example.test", &password).ends_with("the wiki"));
    let inside = || curl(&platform, "docs.localhost", "/", &browser).ends_with("the wiki");
    assert!(inside());
    // The answer to the request that deactivates comes after the sessions have ended.
    let (status, gone) = okta.ask("PATCH", &user, Some(&patch(json!([{"op": "replace", "value": {"active": false}}]))));
    assert_eq!((status, &gone["active"]), (200, &json!(false)));
    assert!(!inside());

    // Back again, and then removed from a group, which this provider asks a new sign-in for.
    let (_, back) = okta.ask("PATCH", &user, Some(&patch(json!([{"op": "replace", "value": {"active": true}}]))));
    assert_eq!(back["active"], true);
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Staff",
        "members": [{"value": made["id"], "display": "ana@example.test"}],
    });
    let (status, group) = okta.ask("POST", "/Groups", Some(&group));
    assert_eq!(status, 201, "{group}");
    assert!(sign_in(&platform, &browser, "ana@example.test", &password).ends_with("the wiki"));
    let path = format!("members[value eq \"{}\"]", made["id"].as_str().unwrap());
    let group_path = format!("/Groups/{}", group["id"].as_str().unwrap());
    let leave = patch(json!([{"op": "remove", "path": path}]));
    assert_eq!(okta.ask("PATCH", &group_path, Some(&leave)).0, 204);
    assert!(!inside());
    assert!(okta.ask("GET", &group_path, None).1["members"].as_array().unwrap().is_empty());

    // What happened is in the API: records, and the log without the password.
    let updates = platform.api("GET", "/access/logs/scim/updates", None).await.unwrap().to_string();
    assert!(updates.contains("00u1") && updates.contains("FAILURE") && !updates.contains("hunter-two"), "{updates}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entra_keeps_people_and_groups_and_a_stranger_nothing() {
    let platform = Platform::start(binary(), &[]).unwrap();
    let entra = json!({
        "name": "Entra", "type": "azureAD",
        "config": {"directory_id": "11111111-2222-3333-4444-555555555555", "client_id": "c", "client_secret": "s"},
        "scim_config": {"enabled": true, "user_deprovision": true, "identity_update_behavior": "automatic"},
    });
    let mut entra = Directory::connect(&platform, entra).await;
    let bob = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "bob", "userName": "Bob@example.test", "active": true, "displayName": "Bob",
        "emails": [{"primary": true, "type": "work", "value": "bob@example.test"}],
        "meta": {"resourceType": "User"}, "name": {"formatted": "Bob Example"},
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Sales"},
    });
    let (status, made) = entra.ask("POST", "/Users?aadOptscim062020", Some(&bob));
    assert_eq!(status, 201, "{made}");
    let user = format!("/Users/{}", made["id"].as_str().unwrap());
    let (status, changed) = entra.ask(
        "PATCH",
        &user,
        Some(&patch(json!([
            {"op": "Replace", "path": "displayName", "value": "Robert"},
            {"op": "Add", "path": "emails[type eq \"work\"].value", "value": "robert@example.test"},
            {"op": "Replace", "path": "active", "value": "False"},
        ]))),
    );
    assert_eq!((status, &changed["displayName"], &changed["active"]), (200, &json!("Robert"), &json!(false)));
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "externalId": "8aa1a0c0",
        "displayName": "Sales", "meta": {"resourceType": "Group"},
    });
    let (status, group) = entra.ask("POST", "/Groups", Some(&group));
    assert_eq!(status, 201, "{group}");
    let path = format!("/Groups/{}", group["id"].as_str().unwrap());
    let join = patch(json!([{"op": "Add", "path": "members", "value": [{"$ref": null, "value": made["id"]}]}]));
    assert_eq!(entra.ask("PATCH", &path, Some(&join)).0, 204);
    let lean = "?excludedAttributes=members&filter=displayName%20eq%20%22Sales%22";
    let (_, found) = entra.ask("GET", &format!("/Groups{lean}"), None);
    assert_eq!((&found["totalResults"], &found["Resources"][0]["members"]), (&json!(1), &Value::Null));
    assert_eq!(entra.ask("GET", &path, None).1["members"][0]["value"], made["id"]);
    let leave = patch(json!([{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": made["id"]}]}]));
    assert_eq!(entra.ask("PATCH", &path, Some(&leave)).0, 204);
    assert_eq!(entra.ask("DELETE", &user, None).0, 204);
    assert_eq!(entra.ask("GET", &user, None).0, 404);

    for (method, path, body, status) in [
        ("PUT", "/Users", None, 405),
        ("GET", "/Nothing", None, 404),
        ("GET", "/Users?filter=userName%20co%20%22a%22", None, 400),
        ("POST", "/Users", Some(json!({"displayName": "no name"})), 400),
        ("GET", "/Users/../Groups", None, 404),
    ] {
        let (found, error) = entra.ask(method, path, body.as_ref());
        assert_eq!(found, status, "{method} {path}: {error}");
    }
    for authorization in ["authorization: Bearer wrong", "authorization: Basic eDp5", "x-nothing: 1"] {
        authorization.clone_into(&mut entra.authorization);
        let (status, error) = entra.ask("GET", "/Users", None);
        assert_eq!((status, &error["status"]), (401, &json!("401")), "{authorization}");
    }
}
