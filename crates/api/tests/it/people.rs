//! People, their proxy tokens and administrators through the API.

use serde_json::json;

use crate::harness::Console;

#[tokio::test]
async fn people_have_groups_and_one_address() {
    let console = Console::new().await;
    let ada = json!({"email": "Ada@Example.com ", "name": "Ada", "groups": [{"name": "finance"}, {"id": "g2", "name": "staff"}]});
    let made = console.post("portunus/users", ada.clone()).await.result();
    assert_eq!(made["email"], "ada@example.com");
    assert_eq!(made["groups"][0], json!({"id": "finance", "name": "finance"}));
    assert_eq!(console.post("portunus/users", ada).await.error(409).0, "/email");
    assert_eq!(console.post("portunus/users", json!({"email": "ada"})).await.error(400).0, "/email");
    let path = format!("portunus/users/{}", made["id"].as_str().unwrap());
    let changed = console.put(&path, json!({"email": "ada@example.com", "disabled": true})).await.result();
    assert_eq!((changed["disabled"].clone(), changed["groups"].clone()), (json!(true), json!([])));
    let tokens = format!("{path}/proxy_tokens");
    let token = console.post(&tokens, json!({"name": "laptop"})).await.result();
    assert!(token["value"].as_str().unwrap().starts_with("ptn_"));
    let listed = console.get(&tokens).await.result();
    assert!(listed[0].get("value").is_none());
    console.delete(&format!("{tokens}/{}", token["id"].as_str().unwrap())).await.result();
    assert_eq!(console.get(&tokens).await.result(), json!([]));
    console.delete(&path).await.result();
    console.get(&tokens).await.error(404);
}

#[tokio::test]
async fn someone_who_may_do_everything_is_always_left() {
    let console = Console::new().await;
    let administrator = |email: &str, permission: &str| json!({"email": email, "permissions": [permission], "password": "correct horse battery"});
    let first = console.post("portunus/administrators", administrator("a@example.com", "admin")).await.result();
    assert!(!first.to_string().contains("argon2"));
    let path = format!("portunus/administrators/{}", first["id"].as_str().unwrap());
    console.delete(&path).await.error(409);
    console.patch(&path, json!({"disabled": true})).await.error(409);
    console.patch(&path, json!({"permissions": ["lists:read"]})).await.error(409);
    console.post("portunus/administrators", administrator("b@example.com", "lists:read")).await.result();
    console.delete(&path).await.error(409);
    console.post("portunus/administrators", administrator("c@example.com", "admin")).await.result();
    console.delete(&path).await.result();
    let weak = json!({"email": "d@example.com", "permissions": ["admin"], "password": "short"});
    assert_eq!(console.post("portunus/administrators", weak).await.error(400).0, "/password");
    for record in console.audit().await {
        assert!(!record.to_string().contains("argon2") && !record.to_string().contains("battery"));
    }
}
