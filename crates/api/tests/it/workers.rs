//! Workers through the API, uploaded as wrangler, the SDKs and curl upload them.

use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};
use store::Permission;

use crate::harness::{Console, Form};

const SOURCE: &str =
    "export default { async fetch(request: Request): Promise<Response> { return new Response(\"hi\"); } };\n";

async fn uploaded() -> Console {
    let console = Console::new().await;
    let metadata = json!({
        "main_module": "main.ts",
        "compatibility_date": "2026-01-01",
        "bindings": [
            {"name": "GREETING", "type": "plain_text", "text": "hello"},
            {"name": "TOKEN", "type": "secret_text", "text": "hush-hush"},
        ],
        "egress": ["*.example.com"],
        "isolation": "request",
    });
    console.upload("training", metadata, &[("main.ts", "application/typescript", SOURCE)]).await.result();
    console
}

#[tokio::test]
async fn an_upload_is_kept_as_its_author_wrote_it() {
    let console = uploaded().await;
    let list = console.get("workers/scripts").await.result();
    assert_eq!(list[0]["id"], "training");
    assert_eq!(list[0]["entry_point"], "main.ts");
    assert_eq!(list[0]["etag"].as_str().unwrap().len(), 64);
    let download = console.get("workers/scripts/training").await;
    assert_eq!(download.status, 200);
    assert_eq!(String::from_utf8(download.bytes).unwrap(), SOURCE);
    let content = console.get("workers/scripts/training/content/v2").await;
    let media_type = content.headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let boundary = console::multipart::boundary(&media_type).unwrap();
    let parts = console::multipart::parse(&boundary, &content.bytes, &console::multipart::Limits::default()).unwrap();
    assert_eq!((parts[0].name.as_str(), parts[0].body), ("main.ts", SOURCE.as_bytes()));
    assert_eq!(content.headers["cf-entrypoint"], "main.ts");
}

#[tokio::test]
async fn secrets_are_named_and_never_shown() {
    let console = uploaded().await;
    let settings = console.get("workers/scripts/training/settings").await.result();
    assert_eq!(settings["bindings"][1], json!({"name": "TOKEN", "type": "secret_text"}));
    assert_eq!(settings["egress"], json!(["*.example.com"]));
    assert_eq!(settings["isolation"], "request");
    let secret = json!({"name": "OTHER", "text": "more-secret", "type": "secret_text"});
    let set = console.put("workers/scripts/training/secrets", secret).await.result();
    assert_eq!(set, json!({"name": "OTHER", "type": "secret_text"}));
    let list = console.get("workers/scripts/training/secrets").await.result();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(console.get("workers/scripts/training/secrets/OTHER").await.result()["name"], "OTHER");
    let bulk =
        json!({"secrets": {"OTHER": null, "THIRD": {"name": "THIRD", "text": "most-secret", "type": "secret_text"}}});
    console.patch("workers/scripts/training/secrets-bulk", bulk).await.result();
    console.get("workers/scripts/training/secrets/OTHER").await.error(404);
    console.delete("workers/scripts/training/secrets/THIRD").await.result();
    console.delete("workers/scripts/training/secrets/THIRD").await.error(404);
    let clash = json!({"name": "GREETING", "text": "x", "type": "secret_text"});
    console.put("workers/scripts/training/secrets", clash).await.error(409);
    for text in ["hush-hush", "more-secret", "most-secret"] {
        assert!(console.audit().await.iter().all(|record| !record.to_string().contains(text)), "{text}");
    }
}

#[tokio::test]
async fn metadata_flattened_into_bracketed_fields_is_understood() {
    let console = Console::new().await;
    let form = Form::default()
        .field("metadata[main_module]", "main.mjs")
        .field("metadata[bindings][][name]", "GREETING")
        .field("metadata[bindings][][type]", "plain_text")
        .field("metadata[bindings][][text]", "hello")
        .field("metadata[bindings][][name]", "LIMIT")
        .field("metadata[bindings][][type]", "ratelimit")
        .field("metadata[bindings][][namespace_id]", "1")
        .field("metadata[bindings][][simple][limit]", "10")
        .field("metadata[bindings][][simple][period]", "60")
        .file("files[]", "main.mjs", "application/javascript+module", "export default {}")
        .file("files[]", "util.mjs", "application/javascript+module", "export const a = 1;");
    let request = console.request(Method::PUT, &console.path("workers/scripts/flat"));
    console.send(form.request(request)).await.result();
    let settings = console.get("workers/scripts/flat/settings").await.result();
    assert_eq!(settings["bindings"][1]["simple"], json!({"limit": 10, "period": 60}));
}

#[tokio::test]
async fn a_form_that_the_typescript_sdk_labels_javascript_is_still_a_form() {
    let console = Console::new().await;
    let form = Form::default().field("metadata[main_module]", "m.js").file(
        "files[]",
        "m.js",
        "text/javascript",
        "export default {}",
    );
    let request = console.request(Method::PUT, &console.path("workers/scripts/labelled"));
    let mut request = form.request(request);
    request.headers_mut().insert(header::CONTENT_TYPE, "application/javascript".parse().unwrap());
    assert_eq!(console.send(request).await.result()["entry_point"], "m.js");
}

#[tokio::test]
async fn one_module_can_be_the_whole_body() {
    let console = Console::new().await;
    for (media_type, main) in [("application/typescript", "worker.ts"), ("application/javascript+module", "worker.js")]
    {
        let request = console.request(Method::PUT, &console.path("workers/scripts/single"));
        let request = request.header(header::CONTENT_TYPE, media_type).body(Body::from("export default {}"));
        assert_eq!(console.send(request.unwrap()).await.result()["entry_point"], main);
    }
    let request = console.request(Method::PUT, &console.path("workers/scripts/single"));
    let request = request.header(header::CONTENT_TYPE, "application/pdf").body(Body::from("x"));
    console.send(request.unwrap()).await.error(415);
}

#[tokio::test]
async fn a_syntax_error_is_reported_with_line_and_column() {
    let console = Console::new().await;
    let source = "export default {\n  fetch() { return new Response( }\n};\n";
    let answer =
        console.upload("broken", json!({"main_module": "a.ts"}), &[("a.ts", "application/typescript", source)]).await;
    let (_, message) = answer.error(400);
    assert!(message.starts_with("a.ts:2:"), "{message}");
    assert_eq!(answer.json()["errors"][0]["code"], 10021);
    console.get("workers/scripts/broken").await.error(404);
}

#[tokio::test]
async fn uploads_that_make_no_worker_are_refused_with_what_to_do() {
    let console = Console::new().await;
    let module = [("m.js", "application/javascript+module", "export default {}")];
    for (name, metadata, modules, status, message) in [
        ("w", json!({}), &module[..], 400, "name the module"),
        ("w", json!({"main_module": "x.js"}), &module[..], 400, "upload has only: m.js"),
        ("w", json!({"main_modul": "m.js"}), &module[..], 400, "did you mean \"main_module\""),
        ("w", json!({"main_module": "m.js", "egress": ["http://["]}), &module[..], 400, ""),
        ("w", json!({"main_module": "m.js", "limits": {"cpu_ms": 0}}), &module[..], 400, "1 to 30000"),
        (
            "w",
            json!({"main_module": "m.js", "bindings": [{"name": "D", "type": "d1", "text": "x"}]}),
            &module[..],
            400,
            "not offered",
        ),
        ("Upper", json!({"main_module": "m.js"}), &module[..], 400, "a script name"),
        ("w", json!({"main_module": "m.wasm"}), &[("m.wasm", "application/wasm", "x")], 400, "WebAssembly"),
    ] {
        let answer = console.upload(name, metadata.clone(), modules).await;
        let (_, told) = answer.error(status);
        assert!(told.contains(message), "{metadata}: {told}");
    }
    assert_eq!(console.get("workers/scripts").await.result(), json!([]));
}

#[tokio::test]
async fn versions_are_kept_and_one_of_them_serves() {
    let console = uploaded().await;
    let first = console.get("workers/scripts/training").await.headers[header::ETAG].clone();
    let form = Form::default().field("metadata", r#"{"main_module":"main.js"}"#).file(
        "main.js",
        "main.js",
        "application/javascript+module",
        "export default { x: 2 }",
    );
    let request = console.request(Method::POST, &console.path("workers/scripts/training/versions"));
    let waiting = console.send(form.request(request)).await.result();
    assert_eq!(waiting["number"], 2);
    assert_eq!(console.get("workers/scripts/training").await.headers[header::ETAG], first);
    let versions = console.get("workers/scripts/training/versions").await.result();
    assert_eq!(versions["items"].as_array().unwrap().len(), 2);
    assert_eq!(console.get("workers/scripts/training/versions?page=2").await.result()["items"], json!([]));
    let deploy = json!({"strategy": "percentage", "versions": [{"version_id": waiting["id"], "percentage": 100}]});
    console.post("workers/scripts/training/deployments", deploy).await.result();
    assert_ne!(console.get("workers/scripts/training").await.headers[header::ETAG], first);
    let deployments = console.get("workers/scripts/training/deployments").await.result();
    assert_eq!(deployments["deployments"][0]["versions"][0]["version_id"], waiting["id"]);
    let split = json!({"strategy": "percentage", "versions": [{"version_id": waiting["id"], "percentage": 50}]});
    console.post("workers/scripts/training/deployments", split).await.error(400);
    let path = format!("workers/scripts/training/versions/{}", waiting["id"].as_str().unwrap());
    assert_eq!(console.get(&path).await.result()["resources"]["script_runtime"]["usage_model"], "standard");
    console.get(&path.replace("training", "other")).await.error(404);
}

#[tokio::test]
async fn settings_and_content_change_apart_from_each_other() {
    let console = uploaded().await;
    let patch = json!({"bindings": [{"name": "GREETING", "type": "inherit"}, {"name": "N", "type": "json", "json": {"a": [1]}}]});
    let form = Form::default().field("settings", &patch.to_string());
    let request = console.request(Method::PATCH, &console.path("workers/scripts/training/settings"));
    let settings = console.send(form.request(request)).await.result();
    let names: Vec<_> =
        settings["bindings"].as_array().unwrap().iter().map(|binding| binding["name"].clone()).collect();
    assert_eq!(names, ["GREETING", "N", "TOKEN"]);
    assert_eq!(settings["compatibility_date"], "2026-01-01");
    let form = Form::default().field("metadata", r#"{"main_module":"new.js"}"#).file(
        "new.js",
        "new.js",
        "application/javascript+module",
        "export default {}",
    );
    let request = console.request(Method::PUT, &console.path("workers/scripts/training/content"));
    assert_eq!(console.send(form.request(request)).await.result()["entry_point"], "new.js");
    let after = console.get("workers/scripts/training/settings").await.result();
    assert_eq!(after["bindings"], settings["bindings"]);
    let tags = console.patch("workers/scripts/training/script-settings", json!({"tags": ["a"]})).await.result();
    assert_eq!(tags["tags"], json!(["a"]));
}

#[tokio::test]
async fn cron_triggers_are_checked_and_kept() {
    let console = uploaded().await;
    let set = console.put("workers/scripts/training/schedules", json!([{"cron": "*/5 * * * *"}])).await.result();
    assert_eq!(set["schedules"][0]["cron"], "*/5 * * * *");
    assert_eq!(console.get("workers/scripts/training/schedules").await.result(), set);
    let wrong =
        console.put("workers/scripts/training/schedules", json!([{"cron": "* * * * *"}, {"cron": "daily"}])).await;
    assert_eq!(wrong.error(400).0, "/1/cron");
    assert_eq!(console.put("workers/scripts/training/schedules", json!([])).await.result()["schedules"], json!([]));
}

#[tokio::test]
async fn nobody_uploads_code_that_may_do_more_than_they_may() {
    let mut console = Console::new().await;
    let metadata = json!({"main_module": "m.js", "bindings": [{"name": "API", "type": "admin_api", "permissions": ["users:write"]}]});
    let module = [("m.js", "application/javascript+module", "export default {}")];
    console.upload("tool", metadata.clone(), &module).await.result();
    console.token = console.issue(&[Permission::WorkersWrite]).await;
    console.upload("tool", metadata, &module).await.error(403);
    // Nor do they change the code that runs with it.
    let form = Form::default().field("metadata", r#"{"main_module":"m.js"}"#).file(
        "m.js",
        "m.js",
        "text/javascript",
        "export default {}",
    );
    let request = console.request(Method::PUT, &console.path("workers/scripts/tool/content"));
    console.send(form.request(request)).await.error(403);
    console.patch("workers/scripts/tool/settings", json!({"egress": ["*.example.com"]})).await.error(403);
}

#[tokio::test]
async fn a_preview_runs_what_serves_or_a_draft() {
    let console = uploaded().await;
    let event = json!({"type": "fetch", "url": "https://finance.example/", "headers": [["accept", "text/html"]]});
    let report = console.post("workers/scripts/training/preview", json!({"event": event})).await.result();
    assert_eq!(report["detail"]["main"], "main.ts");
    let draft = json!({"modules": [{"name": "draft.ts", "text": "export default {}"}], "settings": {"bindings": []}});
    let report =
        console.post("workers/scripts/training/preview", json!({"event": event, "draft": draft})).await.result();
    assert_eq!(
        (report["detail"]["main"].clone(), report["detail"]["bindings"].clone()),
        (json!("draft.ts"), json!([]))
    );
    let broken = json!({"modules": [{"name": "draft.ts", "text": "export default {"}]});
    console.post("workers/scripts/new/preview", json!({"event": event, "draft": broken})).await.error(400);
    let relative = json!({"type": "fetch", "url": "/x"});
    assert_eq!(
        console.post("workers/scripts/training/preview", json!({"event": relative})).await.error(400).0,
        "/event/url"
    );
}

#[tokio::test]
async fn what_wrangler_asks_first_is_answered() {
    let console = uploaded().await;
    let service = console.get("workers/services/training").await.result();
    assert_eq!(service["default_environment"]["environment"], "production");
    let missing: Value = console.get("workers/services/unknown").await.json();
    assert_eq!(missing["errors"][0]["code"], 10090);
    assert_eq!(console.get("workers/scripts/training/subdomain").await.result()["enabled"], false);
}
