//! The managed actions, each run as anyone's script would be.

use std::collections::HashMap;

use portunus_worker::protocol::{
    Binding, BodySource, KvValue, Operation, OperationResult, Outcome, RequestHead, ResponseHead,
};
use portunus_worker::templates::find;
use serde_json::{Value, json};

use super::harness::{Answer, Ended, Host, Setup, request};

fn load(name: &str, values: &Value) -> Host {
    let template = find(name).unwrap();
    let configured = template.configure(values.as_object().unwrap()).unwrap();
    let mut setup = Setup::new(&template.source).bind("parameters", Binding::Json(configured.parameters));
    for (name, secret) in configured.secrets {
        setup = setup.bind(&name, Binding::Text(secret));
    }
    if template.state {
        setup = setup.bind("STATE", Binding::Kv);
    }
    setup.load().unwrap()
}

fn from_ana(url: &str) -> RequestHead {
    let mut head = request(url);
    let groups = json!([{"id": "7", "name": "staff", "email": null}]);
    let identity = json!({"id": "1", "email": "ana@corp.test", "name": "Ana", "groups": groups});
    head.cf = json!({"identity": identity, "source": {"ip": "192.0.2.7", "port": 4711}, "device": null}).to_string();
    head.headers = vec![("accept".into(), b"text/html".to_vec())];
    head
}

fn answer(status: u16, body: &str) -> Answer {
    Ok(OperationResult::Response(ResponseHead {
        status,
        status_text: String::new(),
        headers: Vec::new(),
        body: BodySource::Inline(body.as_bytes().to_vec()),
        url: String::new(),
        redirected: false,
    }))
}

fn header(ended: &Ended, name: &str) -> String {
    let value = ended.response().headers.iter().find(|(known, _)| known == name);
    String::from_utf8(value.unwrap().1.clone()).unwrap()
}

/// A KV namespace and one answer for every fetch.
fn with_state<'a>(
    state: &'a mut HashMap<String, Vec<u8>>,
    fetched: &'a mut Vec<String>,
    reply: &'a str,
) -> impl FnMut(&Operation) -> Answer + 'a {
    move |operation| match operation {
        Operation::KvGet { key, .. } => {
            Ok(OperationResult::KvValue(state.get(key).map(|value| KvValue { value: value.clone(), metadata: None })))
        }
        Operation::KvPut { key, value, expiration_ttl_s, .. } => {
            assert!(expiration_ttl_s.is_some());
            state.insert(key.clone(), value.clone());
            Ok(OperationResult::Unit)
        }
        Operation::Fetch { request, incoming: false } => {
            let BodySource::Inline(body) = &request.body else { panic!() };
            let signature = request.headers.iter().find(|(name, _)| name == "x-portunus-signature");
            fetched.push(format!(
                "{} {}",
                String::from_utf8_lossy(body),
                signature.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
            ));
            answer(200, reply)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn training_is_looked_up() {
    let values = json!({"lookup_url": "https://lms.test/status", "training_url": "https://lms.test/course", "lookup_token": "tok"});
    let mut host = load("require-training", &values);
    let mut ask = |status: u16, body: &'static str| {
        host.fetch(from_ana("https://finance.test/pay?x=1"), |operation| {
            let Operation::Fetch { request, incoming: false } = operation else { panic!("{operation:?}") };
            assert_eq!(request.url, "https://lms.test/status?user=ana%40corp.test&course=compliance");
            assert!(request.headers.contains(&("authorization".into(), b"Bearer tok".to_vec())));
            answer(status, body)
        })
    };
    let ended = ask(200, r#"{"valid":false}"#);
    assert_eq!(ended.response().status, 302);
    assert_eq!(
        header(&ended, "location"),
        "https://lms.test/course?return_to=https%3A%2F%2Ffinance.test%2Fpay%3Fx%3D1"
    );
    let Ok(Outcome::Request(on)) = ask(200, r#"{"valid":true,"expires":"2030-01-01"}"#).result else { panic!() };
    assert!(on.headers.contains(&("x-training-valid".into(), b"2030-01-01".to_vec())));
    assert_eq!(ask(404, "").response().status, 302);
    assert!(ask(500, "").result.is_err(), "the rule's on_error decides");
    assert!(ask(200, r#"{"valid":"yes"}"#).result.is_err());
    let ended = host.get("https://finance.test/");
    assert_eq!(ended.response().status, 302, "nobody is signed in");
}

#[test]
fn a_ticket_is_opened_once_and_signed() {
    let values = json!({"webhook_url": "https://tickets.test/new", "webhook_secret": "s3cret", "message": "<b>No</b>"});
    let mut host = load("open-ticket", &values);
    let (mut state, mut fetched) = (HashMap::new(), Vec::new());
    for _ in 0..2 {
        let reply = r#"{"id":"T-1","url":"https://tickets.test/T-1"}"#;
        let ended =
            host.fetch(from_ana("https://site.test/p?token=hidden"), with_state(&mut state, &mut fetched, reply));
        assert_eq!(ended.response().status, 403);
        let page = ended.text();
        assert!(page.contains("ticket T-1") && page.contains("&#60;b&#62;"), "{page}");
        assert!(header(&ended, "content-security-policy").starts_with("default-src 'none'"));
    }
    assert_eq!(fetched.len(), 1, "the second time is within the quiet time");
    assert!(fetched[0].contains(" t=1700000000,v1=") && !fetched[0].contains("hidden"), "{}", fetched[0]);
}

#[test]
fn strangers_have_tickets_of_their_own() {
    let values = json!({"webhook_url": "https://tickets.test/new", "webhook_secret": "s3cret"});
    let mut host = load("open-ticket", &values);
    let (mut state, mut fetched) = (HashMap::new(), Vec::new());
    for ip in ["192.0.2.7", "192.0.2.8", "192.0.2.7"] {
        let mut head = from_ana("https://site.test/");
        head.cf = json!({"identity": null, "source": {"ip": ip, "port": 1}}).to_string();
        host.fetch(head, with_state(&mut state, &mut fetched, r#"{"id":"T-1"}"#));
    }
    assert_eq!(fetched.len(), 2);
}

#[test]
fn a_ticket_may_let_the_request_go_on() {
    let values = json!({"webhook_url": "https://tickets.test/new", "webhook_secret": "s", "block": false});
    let (mut state, mut fetched) = (HashMap::new(), Vec::new());
    let ended = load("open-ticket", &values).fetch(
        from_ana("https://site.test/"),
        with_state(&mut state, &mut fetched, r#"{"url":"javascript:alert(1)"}"#),
    );
    assert!(matches!(ended.result, Ok(Outcome::NoOpinion)));
}

#[test]
fn coaching_is_shown_until_it_is_acknowledged() {
    let mut host = load("coaching", &json!({"message": "Be <careful>.\n\nReally."}));
    let (mut state, mut fetched) = (HashMap::new(), Vec::new());
    let ended = host.fetch(from_ana("https://ai.test/chat?q=\"1"), with_state(&mut state, &mut fetched, ""));
    let page = ended.text();
    assert_eq!(ended.response().status, 403);
    assert!(
        page.contains("<html lang=\"en\">") && page.contains("Be &#60;careful&#62;") && page.contains("/chat?q=%221")
    );
    assert!(!page.contains("http"), "no outside resources");

    let acknowledge = |origin: &str, return_to: &str| {
        let mut head = from_ana("https://ai.test/.portunus/acknowledge");
        head.method = "POST".into();
        head.headers = vec![
            ("origin".into(), origin.as_bytes().to_vec()),
            ("content-type".into(), b"application/x-www-form-urlencoded".to_vec()),
        ];
        head.body = Some(2);
        (head, format!("return_to={return_to}").into_bytes())
    };
    let (head, body) = acknowledge("https://evil.test", "/");
    host.sources.insert(2, [body].into());
    assert_eq!(host.fetch(head, with_state(&mut state, &mut fetched, "")).response().status, 403);
    for (return_to, expected) in [("//evil.test", "/"), ("/chat", "/chat")] {
        state.clear();
        let (head, body) = acknowledge("https://ai.test", return_to);
        host.sources.insert(2, [body].into());
        let ended = host.fetch(head, with_state(&mut state, &mut fetched, ""));
        assert_eq!((ended.response().status, header(&ended, "location").as_str()), (303, expected));
    }
    let ended = host.fetch(from_ana("https://ai.test/chat"), with_state(&mut state, &mut fetched, ""));
    assert!(matches!(ended.result, Ok(Outcome::NoOpinion)));
    let ended = host.fetch(from_ana("https://other.test/"), with_state(&mut state, &mut fetched, ""));
    assert_eq!(ended.response().status, 403, "another site asks again");
}

#[test]
fn a_risk_service_decides() {
    let values = json!({"url": "https://risk.test/", "challenge_url": "https://mfa.test/"});
    let mut host = load("risk-api", &values);
    let mut ask = |status: u16, body: &'static str| {
        host.fetch(from_ana("https://site.test/private"), |operation| {
            let Operation::Fetch { request, .. } = operation else { panic!("{operation:?}") };
            let BodySource::Inline(sent) = &request.body else { panic!() };
            let sent: Value = serde_json::from_slice(sent).unwrap();
            assert_eq!((&sent["user"], &sent["url"]), (&json!("ana@corp.test"), &Value::Null));
            assert_eq!((&sent["groups"], &sent["client_ip"]), (&json!(["staff"]), &json!("192.0.2.7")));
            answer(status, body)
        })
    };
    assert!(matches!(ask(200, r#"{"decision":"allow"}"#).result, Ok(Outcome::NoOpinion)));
    assert_eq!(
        header(&ask(200, r#"{"decision":"challenge"}"#), "location"),
        "https://mfa.test/?return_to=https%3A%2F%2Fsite.test%2Fprivate"
    );
    let denied = ask(200, r#"{"decision":"deny","reason":"odd hours"}"#);
    assert_eq!((denied.response().status, denied.text().contains("odd hours")), (403, true));
    assert!(ask(200, r#"{"decision":"maybe"}"#).result.is_err());
    assert!(ask(503, "").result.is_err());
}
