//! Lists, configuration, certificates, proxy endpoints, logging and catalogues through the API.

use serde_json::{Value, json};

use crate::harness::Console;

#[tokio::test]
async fn lists_are_made_changed_and_deleted_in_the_documented_shapes() {
    let console = Console::new().await;
    let list = json!({"name": "people", "type": "EMAIL", "description": "d", "items": [
        {"value": "ada@example.com", "description": "Ada"}, {"value": "bob@example.com"},
    ]});
    let created = console.post("gateway/lists", list).await.result();
    assert!(created.get("count").is_none(), "the answer that makes a list has no count");
    assert_eq!(created["items"][0]["description"], "Ada");
    let path = format!("gateway/lists/{}", created["id"].as_str().unwrap());
    assert_eq!(console.get("gateway/lists").await.result()[0]["count"], 2);
    assert_eq!(console.get("gateway/lists?type=IP").await.result(), json!([]));
    assert_eq!(console.get("gateway/lists?page=2").await.result(), json!([]));
    console.get("gateway/lists?type=PEOPLE").await.error(400);

    let patch = json!({"append": [{"value": "eve@example.com"}], "remove": ["ada@example.com", "nobody@example.com"]});
    let patched = console.patch(&path, patch).await.result();
    let values =
        |list: &Value| list["items"].as_array().unwrap().iter().map(|item| item["value"].clone()).collect::<Vec<_>>();
    assert_eq!(values(&patched), ["bob@example.com", "eve@example.com"]);

    let kept = console.put(&path, json!({"name": "renamed"})).await.result();
    assert_eq!((kept["name"].clone(), kept["count"].clone()), (json!("renamed"), json!(2)));
    assert_eq!(kept["description"], "d");
    let kept = console.put(&path, json!({"name": "renamed", "items": []})).await.result();
    assert_eq!(kept["count"], 2);
    let replaced = console.put(&path, json!({"name": "renamed", "items": [{"value": "x@example.com"}]})).await.result();
    assert_eq!(values(&replaced), ["x@example.com"]);

    let items = format!("{path}/items");
    assert_eq!(console.get(&items).await.result().as_array().unwrap().len(), 1);
    assert_eq!(console.get(&format!("{items}?page=2")).await.result(), json!([]));
    assert_eq!(console.get(&format!("{items}?per_page=1&page=2")).await.result(), json!([]));
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
}

#[tokio::test]
async fn items_that_do_not_fit_their_list_are_named() {
    let console = Console::new().await;
    for (kind, value) in
        [("IP", "10.0.0.0/99"), ("EMAIL", "nobody"), ("DOMAIN", "a b"), ("DEVICE", "x"), ("CATEGORY", "x")]
    {
        let list = json!({"name": "l", "type": kind, "items": [{"value": value}]});
        let (pointer, message) = console.post("gateway/lists", list).await.error(400);
        assert_eq!(pointer, "/items/0/value", "{kind}");
        assert!(message.contains(value), "{message}");
    }
    let list = json!({"name": "l", "type": "IP", "items": [{"valu": "10.0.0.1"}]});
    let (pointer, message) = console.post("gateway/lists", list).await.error(400);
    assert_eq!(pointer, "/items/0/valu");
    assert!(message.contains("did you mean \"value\""));
    console.post("gateway/lists", json!({"name": "l", "type": "IP"})).await.result();
    let taken = console.post("gateway/lists", json!({"name": "l", "type": "IP"})).await.error(409);
    assert_eq!(taken.0, "/name");
}

#[tokio::test]
async fn the_configuration_keeps_what_was_sent_and_merges() {
    let console = Console::new().await;
    assert_eq!(console.get("gateway/configuration").await.result()["settings"], json!({}));
    let settings = json!({"tls_decrypt": {"enabled": true}, "activity_log": {"enabled": true}});
    let replaced = console.put("gateway/configuration", json!({"settings": settings})).await.result();
    assert_eq!(replaced["settings"], settings);
    let patch = json!({"settings": {"activity_log": null, "block_page": {"enabled": true, "name": "Stop"}}});
    let merged = console.patch("gateway/configuration", patch).await.result();
    let expected = json!({"tls_decrypt": {"enabled": true}, "block_page": {"enabled": true, "name": "Stop"}});
    assert_eq!(merged["settings"], expected);
    let patch = json!({"settings": {"block_page": {"name": null}}});
    let merged = console.patch("gateway/configuration", patch).await.result();
    assert_eq!(merged["settings"]["block_page"], json!({"enabled": true}));
    assert_eq!(console.get("gateway/configuration").await.result(), merged);
    let wrong = json!({"settings": {"tls_decrypt": {"enable": true}}});
    let (pointer, message) = console.patch("gateway/configuration", wrong).await.error(400);
    assert_eq!(pointer, "/settings/tls_decrypt/enable");
    assert!(message.contains("did you mean \"enabled\""));
}

#[tokio::test]
async fn certificates_move_through_their_states() {
    let console = Console::new().await;
    let first = console.post("gateway/certificates", json!({})).await.result();
    assert_eq!(first["binding_status"], "inactive");
    assert_eq!(first["type"], "gateway_managed");
    assert_eq!(first["in_use"], false);
    assert!(first["certificate"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(!first.to_string().contains("PRIVATE KEY"));
    let path =
        |certificate: &Value, rest: &str| format!("gateway/certificates/{}{rest}", certificate["id"].as_str().unwrap());
    let active = console.post(&path(&first, "/activate"), json!({})).await.result();
    assert_eq!((active["binding_status"].clone(), active["in_use"].clone()), (json!("available"), json!(true)));
    console.post(&path(&first, "/deactivate"), json!({})).await.error(409);
    console.delete(&path(&first, "")).await.error(409);

    let second = console.post("gateway/certificates", json!({"validity_period_days": 30})).await.result();
    let choose = json!({"settings": {"certificate": {"id": second["id"]}}});
    console.patch("gateway/configuration", choose.clone()).await.error(400);
    console.post(&path(&second, "/activate"), json!({})).await.result();
    console.patch("gateway/configuration", choose).await.result();
    assert_eq!(console.get(&path(&second, "")).await.result()["in_use"], true);
    assert_eq!(console.get(&path(&first, "")).await.result()["in_use"], false);
    console.delete(&path(&first, "")).await.error(409);
    console.post(&path(&first, "/deactivate"), json!({})).await.result();
    console.delete(&path(&first, "")).await.result();
    assert_eq!(console.get("gateway/certificates").await.result().as_array().unwrap().len(), 1);
    for days in [0, 10_951] {
        let wrong = console.post("gateway/certificates", json!({"validity_period_days": days})).await.error(400);
        assert_eq!(wrong.0, "/validity_period_days");
    }
}

#[tokio::test]
async fn proxy_endpoints_know_their_ranges() {
    let console = Console::new().await;
    let created =
        console.post("gateway/proxy_endpoints", json!({"name": "office", "ips": ["192.0.2.0/24"]})).await.result();
    assert_eq!((created["kind"].clone(), created["ips"].clone()), (json!("ip"), json!(["192.0.2.0/24"])));
    assert!(!created["subdomain"].as_str().unwrap().is_empty());
    let path = format!("gateway/proxy_endpoints/{}", created["id"].as_str().unwrap());
    let patched = console.patch(&path, json!({"ips": ["2001:db8::/64", "198.51.100.7"]})).await.result();
    assert_eq!((patched["name"].clone(), patched["ips"][1].clone()), (json!("office"), json!("198.51.100.7")));
    for (ips, pointer) in
        [(json!(["x"]), "/ips/0"), (json!(["192.0.2.1", "0.0.0.0/0"]), "/ips/1"), (json!(["::/0"]), "/ips/0")]
    {
        assert_eq!(console.patch(&path, json!({"ips": ips})).await.error(400).0, pointer);
    }
    let identity =
        console.post("gateway/proxy_endpoints", json!({"name": "people", "kind": "identity"})).await.result();
    assert!(identity.get("ips").is_none());
    let wrong = json!({"name": "x", "kind": "identity", "ips": ["192.0.2.1"]});
    assert_eq!(console.post("gateway/proxy_endpoints", wrong).await.error(400).0, "/ips");
    assert_eq!(console.get("gateway/proxy_endpoints").await.result().as_array().unwrap().len(), 2);
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
}

#[tokio::test]
async fn logging_settings_and_catalogues_have_the_documented_shapes() {
    let console = Console::new().await;
    let default = console.get("gateway/logging").await.result();
    assert_eq!(default["settings_by_rule_type"]["http"], json!({"log_all": true, "log_blocks": false}));
    let chosen = json!({"redact_pii": true, "settings_by_rule_type": {
        "http": {"log_all": false, "log_blocks": true}, "l4": {"log_all": true, "log_blocks": false},
        "dns": {"log_all": true, "log_blocks": false},
    }});
    assert_eq!(console.put("gateway/logging", chosen.clone()).await.result(), chosen);
    assert_eq!(console.get("gateway/logging").await.result(), chosen);
    let gateway = console.get("gateway").await.result();
    assert_eq!(gateway["id"], console.account.to_string());
    let categories = console.get("gateway/categories").await.result();
    assert!(categories.as_array().unwrap().iter().any(|category| category["id"] == 26));
    let apps = console.get("gateway/app_types").await.result();
    assert!(apps.as_array().unwrap().iter().any(|app| app["id"] == 1199 && app["application_type_id"] == 25));
    let selectors = console.get("portunus/selectors").await.result();
    assert!(selectors.as_array().unwrap().iter().any(|selector| selector["name"] == "http.request.host"));
}
