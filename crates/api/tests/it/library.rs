//! The library of applications through the API: shapes, statuses, evidence, lists, editions.

use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Console};

async fn text(console: &Console, path: &str, body: &str) -> Answer {
    let request = console.request(Method::PUT, &console.path(path)).header(header::CONTENT_TYPE, "text/plain");
    console.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn an_application_is_found_and_shown_in_the_documented_shape() {
    let console = Console::new().await;
    let answer = console.get("resource-library/applications?search=claude&order_by=id").await;
    let info = answer.json()["result_info"].clone();
    let found = answer.result();
    assert_eq!(found.as_array().unwrap().len() as u64, info["count"].as_u64().unwrap());
    let claude = &found[0];
    assert_eq!(
        (&claude["id"], &claude["human_id"], &claude["name"]),
        (&json!("2430"), &json!("claude"), &json!("Claude"))
    );
    let members = "application_confidence_score application_score_composition application_source application_type \
        application_type_description category_id created_at gen_ai_score hostnames human_id id ip_subnets name \
        port_protocols portunus support_domains supported updated_at version";
    let mut shown: Vec<&str> = claude.as_object().unwrap().keys().map(String::as_str).collect();
    shown.sort_unstable();
    assert_eq!(shown.join(" "), members);
    assert_eq!(claude["application_confidence_score"], -1.0, "too little is known of it to name a number");
    assert_eq!(claude["portunus"]["status"], "unreviewed");
    for (query, slug) in [("search=api.openai.com", "openai-api"), ("search=anthropic&ai=api", "anthropic-api")] {
        let found = console.get(&format!("resource-library/applications?{query}")).await.result();
        assert_eq!(found[0]["human_id"], slug, "{query}");
    }
    let page = console.get("resource-library/applications?ai=any&limit=2&offset=400").await;
    assert_eq!(page.json()["result_info"]["count"], 2);
    assert!(page.json()["result_info"]["total_count"].as_u64().unwrap() > 400);
    for wrong in ["search=x", "status=good", "ai=robots", "limit=300", "order_by=size"] {
        let (pointer, _) = console.get(&format!("resource-library/applications?{wrong}")).await.error(400);
        assert_eq!(pointer, wrong.split('=').next().unwrap());
    }
    let types = console.get("resource-library/categories").await.result();
    assert_eq!(types.as_array().unwrap().len(), 34);
    let all = console.get("gateway/app_types").await.result();
    assert!(all.as_array().unwrap().iter().any(|entry| entry["id"] == 1199 && entry["application_type_id"] == 25));
}

#[tokio::test]
async fn a_status_is_stored_audited_and_found_again() {
    let console = Console::new().await;
    let path = "resource-library/applications/chatgpt";
    let patch = json!({"status": "in review", "notes": "Legal looks at it.", "owner": "it@example.com", "review_date": "2027-01-31"});
    let patched = console.patch(path, patch).await.result();
    assert_eq!(patched["portunus"]["status"], "in review");
    let read = console.get("resource-library/applications/1199").await.result();
    assert_eq!(
        (&read["portunus"]["owner"], &read["portunus"]["notes"]),
        (&json!("it@example.com"), &json!("Legal looks at it."))
    );
    let found = console.get("resource-library/applications?status=in_review").await.result();
    assert_eq!(found.as_array().unwrap().len(), 1);
    let kept = console.patch(path, json!({"status": "approved", "review_date": ""})).await.result();
    assert_eq!(
        (&kept["portunus"]["owner"], &kept["portunus"]["review_date"]),
        (&json!("it@example.com"), &Value::Null)
    );
    let audit = console.audit().await;
    let changes: Vec<&Value> = audit.iter().filter(|record| record["ResourceType"] == "application").collect();
    assert_eq!(changes.len(), 2, "{audit:#?}");
    assert_eq!(changes[0]["ResourceID"], "1199");
    for (body, pointer) in [
        (json!({"status": "good"}), "/status"),
        (json!({"review_date": "soon"}), "/review_date"),
        (json!({"stat": "approved"}), "/stat"),
        (json!({"evidence": [{"fact": "mfa", "value": "maybe"}]}), "/evidence/0/value"),
        (json!({"evidence": [{"fact": "mfa", "value": "yes", "url": "javascript:x"}]}), "/evidence/0/url"),
        (json!({"evidence": [{"fact": "mfa", "value": "yes"}, {"fact": "mfa", "value": "no"}]}), "/evidence/1/fact"),
    ] {
        assert_eq!(console.patch(path, body).await.error(400).0, pointer);
    }
    console.patch("resource-library/applications/nobody", json!({"status": "approved"})).await.error(404);
}

#[tokio::test]
async fn evidence_makes_a_score_and_every_score_is_exported() {
    let console = Console::new().await;
    let fact = |fact: &str, value: &str| json!({"fact": fact, "value": value, "url": "https://trust.example.com/", "date": "2026-11-01"});
    let evidence = [
        fact("soc2", "yes"),
        fact("iso27001", "yes"),
        fact("retention", "limited"),
        fact("sharing", "none"),
        fact("finances", "strong"),
        fact("training", "opt_out"),
        fact("iso42001", "no"),
    ];
    let path = "resource-library/applications/mistral";
    let scored = console.patch(path, json!({"evidence": evidence})).await.result();
    assert_eq!(scored["application_confidence_score"], 2.75);
    assert_eq!(scored["gen_ai_score"], 1.0);
    let composition = &scored["application_score_composition"]["application"];
    assert_eq!((&composition["at_least"], &composition["at_most"]), (&json!(275), &json!(475)));
    let csv = console.get("portunus/catalog/scores").await;
    assert_eq!(csv.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let csv = String::from_utf8(csv.bytes.clone()).unwrap();
    let line = csv.lines().find(|line| line.contains(",mistral,")).unwrap();
    assert!(line.contains("2.75,4.75,"), "{line}");
    assert!(csv.lines().count() > 1_500);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().filter(|line| !line.contains('"')).all(|line| line.split(',').count() == columns));
    let json = console.get("portunus/catalog/scores?format=json").await.result();
    assert_eq!(json.as_array().unwrap().len() + 1, csv.lines().count());
    console.get("portunus/catalog/scores?format=xml").await.error(400);
}

#[tokio::test]
async fn a_list_is_imported_replaced_and_deleted() {
    let console = Console::new().await;
    let lists = "portunus/category_lists";
    let import = format!("{lists}?name=bets&category=Gambling");
    let made = text(&console, &import, "0.0.0.0 a.test\n0.0.0.0 www.a.test b.test\n").await.result();
    assert_eq!((&made["names"], &made["format"], &made["category_id"]), (&json!(2), &json!("hosts"), &json!(8)));
    let again = text(&console, &import, "||c.test^\n@@||d.test^\n").await.result();
    assert_eq!((&again["id"], &again["names"], &again["skipped"]), (&made["id"], &json!(1), &json!({"exceptions": 1})));
    let answer = text(&console, &import, "fine.test\nnot a name\nfine.test\nb@d.test\n").await;
    let errors = answer.json()["errors"].clone();
    let messages: Vec<&str> = errors.as_array().unwrap().iter().filter_map(|error| error["message"].as_str()).collect();
    assert_eq!(messages.len(), 2, "{errors}");
    assert!(messages[0].starts_with("line 2: ") && messages[1].starts_with("line 4: "), "{messages:?}");
    assert_eq!(console.get(lists).await.result()[0]["names"], 1, "a list that is refused changes nothing");
    for (query, pointer) in
        [("name=&category=8", "name"), ("name=x&category=999", "category"), ("name=x&category=8&format=x", "format")]
    {
        assert_eq!(text(&console, &format!("{lists}?{query}"), "a.test").await.error(400).0, pointer);
    }
    console.delete(&format!("{lists}/{}", made["id"].as_str().unwrap())).await.result();
    assert_eq!(console.get(lists).await.result(), json!([]));
}

#[tokio::test]
async fn an_edition_is_checked_compared_and_replaced() {
    let console = Console::new().await;
    let path = "portunus/catalog/edition";
    let before = console.get(path).await.result();
    assert_eq!((&before["embedded"], &before["statistics"]["conflicts"]), (&json!(true), &json!(0)));
    let edition = |version: &str, host: &str| {
        format!(
            "{{\"format\":1,\"version\":\"{version}\",\"next_id\":99999}}\n\
             {{\"id\":2430,\"slug\":\"claude\",\"name\":\"Claude\",\"type\":25,\"category\":184,\"ai\":[\"chat\"],\"hosts\":[\"claude.ai\"],\"sources\":[\"own\"]}}\n\
             {{\"id\":99998,\"slug\":\"ours\",\"name\":\"Ours\",\"type\":25,\"category\":184,\"ai\":[\"chat\"],\"hosts\":[\"{host}\"],\"sources\":[\"own\"]}}\n"
        )
    };
    let dry = text(&console, &format!("{path}?dry_run=true"), &edition("2027-01-01", "ours.test")).await.result();
    assert_eq!(dry["difference"]["added"], json!([{"id": 99998, "slug": "ours"}]));
    assert_eq!(console.get(path).await.result()["embedded"], true);
    let (_, message) = text(&console, path, &edition("2027-01-01", "claude.ai")).await.error(400);
    assert!(message.contains("claude.ai (claude and ours)"), "{message}");
    text(&console, path, &edition("2020-01-01", "ours.test")).await.error(409);
    let (_, message) = text(&console, path, &edition("2027-01-01", "not a host")).await.error(400);
    assert!(message.starts_with("line 3: host \"not a host\""), "{message}");
    let used = text(&console, path, &edition("2027-01-01", "ours.test")).await.result();
    assert_eq!((&used["embedded"], &used["statistics"]["applications"]), (&json!(false), &json!(2)));
    assert_eq!(console.get(path).await.result()["statistics"]["version"], "2027-01-01");
    assert_eq!(console.delete(path).await.result()["embedded"], true);
    console.delete(path).await.error(404);
}

#[tokio::test]
async fn a_host_is_looked_up_and_an_invented_request_knows_what_it_means() {
    let console = Console::new().await;
    let found = console.get("portunus/catalog/lookup?host=https://API.openai.com/v1").await.result();
    assert_eq!((&found["host"], &found["application"]["human_id"]), (&json!("api.openai.com"), &json!("openai-api")));
    assert_eq!(found["content_categories"], json!([{"id": 184, "name": "Artificial Intelligence"}]));
    console.get("portunus/catalog/lookup").await.error(400);
    let rule = json!({"name": "no AI", "action": "block", "enabled": true, "filters": ["http"], "traffic": "any(app.type.ids[*] in {25})"});
    let body =
        json!({"facts": {"http.request.uri": "https://chatgpt.com/", "http.request.method": "GET"}, "rules": [rule]});
    assert_eq!(console.post("gateway/rules/evaluate", body).await.result()["action"], "block");
}
