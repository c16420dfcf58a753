//! API tokens through the API.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::json;
use store::Permission;

use crate::harness::Console;

#[tokio::test]
async fn a_token_is_shown_once_works_and_can_be_revoked() {
    let console = Console::new().await;
    let groups = console.get("tokens/permission_groups").await.result();
    let group = groups.as_array().unwrap().iter().find(|group| group["key"] == "lists:read").unwrap();
    let body = json!({"name": "reader", "policies": [{
        "effect": "allow",
        "permission_groups": [{"id": group["id"]}],
        "resources": {format!("com.cloudflare.api.account.{}", console.account): "*"},
    }]});
    let made = console.post("tokens", body).await.result();
    let value = made["value"].as_str().unwrap().to_owned();
    assert_eq!(made["permissions"], json!(["lists:read"]));
    let path = format!("tokens/{}", made["id"].as_str().unwrap());
    let shown = console.get(&path).await.result();
    assert!(shown.get("value").is_none());
    assert_eq!(shown["status"], "active");
    let with = |path: String| Request::builder().uri(path).header(header::AUTHORIZATION, format!("Bearer {value}"));
    console.send(with(console.path("gateway/lists")).body(Body::empty()).unwrap()).await.result();
    console.send(with(console.path("gateway/rules")).body(Body::empty()).unwrap()).await.error(403);
    let verified =
        console.send(with("/client/v4/user/tokens/verify".to_owned()).body(Body::empty()).unwrap()).await.result();
    assert_eq!((verified["id"].clone(), verified["status"].clone()), (made["id"].clone(), json!("active")));
    console.delete(&path).await.result();
    console.send(with(console.path("gateway/lists")).body(Body::empty()).unwrap()).await.error(401);
    assert!(console.audit().await.iter().all(|record| !record.to_string().contains(&value)));
}

#[tokio::test]
async fn nobody_issues_rolls_or_widens_beyond_their_own_permissions() {
    let mut console = Console::new().await;
    let strong = console.post("tokens", json!({"name": "strong", "permissions": ["admin"]})).await.result();
    console.token = console.issue(&[Permission::TokensWrite, Permission::ListsRead]).await;
    let weak = console.post("tokens", json!({"name": "weak", "permissions": ["lists:read"]})).await.result();
    for permission in ["lists:write", "admin", "gateway:read"] {
        let body = json!({"name": "x", "permissions": [permission]});
        assert!(console.post("tokens", body.clone()).await.error(403).1.contains(permission));
        console.put(&format!("tokens/{}", weak["id"].as_str().unwrap()), body).await.error(403);
    }
    let path = format!("tokens/{}", strong["id"].as_str().unwrap());
    console.put(&path, json!({"name": "mine", "permissions": ["lists:read"]})).await.error(403);
    console.put(&format!("{path}/value"), json!({})).await.error(403);
}

#[tokio::test]
async fn restrictions_that_would_not_be_kept_are_refused() {
    let console = Console::new().await;
    let policy = |effect: &str, resources: serde_json::Value| json!({"effect": effect, "permission_groups": [{"id": "lists:read"}], "resources": resources});
    for (body, pointer) in [
        (json!({"name": "x", "permissions": []}), "/policies"),
        (json!({"name": "x", "permissions": ["lists:reed"]}), "/permissions/0"),
        (
            json!({"name": "x", "permissions": ["lists:read"], "condition": {"request_ip": {"in": ["192.0.2.1"]}}}),
            "/condition",
        ),
        (json!({"name": "x", "policies": [policy("deny", json!({}))]}), "/policies/0/effect"),
        (
            json!({"name": "x", "policies": [policy("allow", json!({"com.cloudflare.api.account.zone.*": "*"}))]}),
            "/policies/0/resources",
        ),
        (json!({"name": "x", "permissions": ["lists:read"], "expires_on": "2020-01-01T00:00:00Z"}), "/expires_on"),
        (json!({"name": "x", "permissions": ["lists:read"], "expires_on": "soon"}), "/expires_on"),
    ] {
        assert_eq!(console.post("tokens", body.clone()).await.error(400).0, pointer, "{body}");
    }
}

#[tokio::test]
async fn tokens_expire_and_roll() {
    let console = Console::new().await;
    let body = json!({"name": "t", "permissions": ["lists:read"], "expires_on": "2026-01-02T04:00:00Z"});
    let made = console.post("tokens", body).await.result();
    let path = format!("tokens/{}/value", made["id"].as_str().unwrap());
    let rolled = console.put(&path, json!({})).await.result().as_str().unwrap().to_owned();
    let list = |token: &str| {
        let request = Request::builder().method(Method::GET).uri(console.path("gateway/lists"));
        request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap()
    };
    console.send(list(made["value"].as_str().unwrap())).await.error(401);
    console.send(list(&rolled)).await.result();
    console.advance(3600);
    console.send(list(&rolled)).await.error(401);
    let shown = console.get(&format!("tokens/{}", made["id"].as_str().unwrap())).await.result();
    assert_eq!(shown["status"], "expired");
}

#[tokio::test]
async fn probes_of_sdks_and_wrangler_are_answered() {
    let console = Console::new().await;
    let get = |path: &str| {
        let request = console.request(Method::GET, &format!("/client/v4{path}")).body(Body::empty()).unwrap();
        console.send(request)
    };
    assert_eq!(get("/accounts").await.result()[0]["id"], console.account.to_string());
    assert_eq!(get("/accounts?page=2").await.result(), json!([]));
    assert_eq!(get(&format!("/accounts/{}", console.account)).await.result()["name"], "Example");
    assert_eq!(get("/memberships").await.result()[0]["account"]["name"], "Example");
    assert!(get("/user").await.result()["permissions"].as_array().unwrap().contains(&json!("admin")));
    assert_eq!(get("/user/tokens").await.result().as_array().unwrap().len(), 1);
}
