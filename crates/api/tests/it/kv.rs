//! Workers KV through the API.

use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};

use crate::harness::{Console, Form};

async fn namespace(console: &Console) -> String {
    let made = console.post("storage/kv/namespaces", json!({"title": "seen"})).await.result();
    format!("storage/kv/namespaces/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn namespaces_are_made_renamed_listed_and_deleted() {
    let console = Console::new().await;
    let path = namespace(&console).await;
    console.post("storage/kv/namespaces", json!({"title": "seen"})).await.error(409);
    assert_eq!(console.put(&path, json!({"title": "known"})).await.result()["title"], "known");
    let answer = console.get("storage/kv/namespaces?per_page=1").await.json();
    assert_eq!(answer["result"][0]["title"], "known");
    assert_eq!(
        answer["result_info"],
        json!({"page": 1, "per_page": 1, "count": 1, "total_count": 1, "total_pages": 1})
    );
    assert_eq!(console.get("storage/kv/namespaces?page=2").await.result(), json!([]));
    console.delete(&path).await.result();
    assert_eq!(console.get(&path).await.json()["errors"][0]["code"], 10013);
}

#[tokio::test]
async fn values_are_written_raw_and_as_forms_and_read_as_data() {
    let console = Console::new().await;
    let path = namespace(&console).await;
    let raw = console.path(&format!("{path}/values/a%2Fb?expiration_ttl=3600"));
    let bytes = b"<script>\x00\xff".to_vec();
    console.send(console.request(Method::PUT, &raw).body(Body::from(bytes.clone())).unwrap()).await.result();
    let read = console.get(&format!("{path}/values/a%2Fb")).await;
    assert_eq!((read.status.as_u16(), read.bytes), (200, bytes));
    assert_eq!(read.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(read.headers[header::CONTENT_DISPOSITION], "attachment");
    assert!(read.headers.contains_key("expiration"));

    for form in [
        Form::default().field("value", "v").field("metadata", r#"{"who":"ada"}"#),
        Form::default().field("value", "v").field("metadata[who]", "ada"),
    ] {
        let request = console.request(Method::PUT, &console.path(&format!("{path}/values/k")));
        console.send(form.request(request)).await.result();
        assert_eq!(console.get(&format!("{path}/metadata/k")).await.result(), json!({"who": "ada"}));
    }
    console.delete(&format!("{path}/values/k")).await.result();
    assert_eq!(console.get(&format!("{path}/values/k")).await.json()["errors"][0]["code"], 10009);
    let request = console.request(Method::PUT, &console.path(&format!("{path}/values/k")));
    console.send(Form::default().field("valeu", "x").request(request)).await.error(400);
    console.call(Method::PUT, &format!("{path}/values/k?expiration_ttl=1"), None).await.error(400);
    console.advance(3601);
    console.get(&format!("{path}/values/a%2Fb")).await.error(404);
}

#[tokio::test]
async fn keys_are_listed_with_a_cursor_that_ends() {
    let console = Console::new().await;
    let path = namespace(&console).await;
    let pairs: Vec<Value> = (0..5).map(|n| json!({"key": format!("k{n}"), "value": "v"})).collect();
    let written = console.put(&format!("{path}/bulk"), json!(pairs)).await.result();
    assert_eq!(written, json!({"successful_key_count": 5, "unsuccessful_keys": []}));
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = console.get(&format!("{path}/keys?limit=2&prefix=k&cursor={cursor}")).await.json();
        names.extend(page["result"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()));
        cursor = page["result_info"]["cursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["k0", "k1", "k2", "k3", "k4"]);
    console.get(&format!("{path}/keys?cursor=%21%21")).await.error(400);
}

#[tokio::test]
async fn many_values_are_read_and_deleted_at_once() {
    let console = Console::new().await;
    let path = namespace(&console).await;
    let pairs = json!([
        {"key": "a", "value": "{\"n\":1}", "metadata": {"m": 1}},
        {"key": "b", "value": "aGk=", "base64": true},
        {"key": "c", "value": "!", "base64": true},
    ]);
    let written = console.put(&format!("{path}/bulk"), pairs).await.result();
    assert_eq!(written, json!({"successful_key_count": 2, "unsuccessful_keys": ["c"]}));
    let read = console.post(&format!("{path}/bulk/get"), json!({"keys": ["a", "b", "z"]})).await.result();
    assert_eq!(read["values"], json!({"a": "{\"n\":1}", "b": "hi", "z": null}));
    let read = console
        .post(&format!("{path}/bulk/get"), json!({"keys": ["a"], "type": "json", "withMetadata": true}))
        .await
        .result();
    assert_eq!(read["values"]["a"], json!({"value": {"n": 1}, "metadata": {"m": 1}}));
    console.post(&format!("{path}/bulk/delete"), json!(["a", "b"])).await.result();
    console.get(&format!("{path}/values/a")).await.error(404);
    assert!(console.audit().await.iter().all(|record| !record.to_string().contains("aGk=")));
}
