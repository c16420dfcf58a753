//! Calls that wait for a person: to be confirmed, or for a second factor.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use agents::Answer;
use agents::record::Outcome;
use agents::visit::{Person, Visit, Visitor};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use net::proxy::body::{empty_body, full_body};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Era, Server};
use crate::support::{Client, HOST, Plane, door, messages, next_event, person, plane};

const OPENS_PAGES: &str = r#"{"elicitation":{"form":{},"url":{}}}"#;

/// A person's browser at the portal.
struct Browser<'a> {
    plane: &'a Plane,
    person: Person,
}

impl<'a> Browser<'a> {
    fn of(plane: &'a Plane, number: u128) -> Self {
        Self { plane, person: Person { agent: false, ..person(number) } }
    }

    async fn go(
        &self,
        method: &str,
        path: &str,
        form: Option<&str>,
        origin: &str,
    ) -> Result<(StatusCode, String), Duration> {
        let request = Request::builder().method(method).uri(path).header("origin", origin);
        let body = form.map_or_else(empty_body, |form| full_body(form.to_owned()));
        let visit = Visit {
            request: request.body(body).unwrap(),
            id: Uuid::now_v7(),
            site: format!("https://{HOST}/").parse().unwrap(),
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            visitor: Visitor::Person(Arc::new(self.person.clone())),
            open: [door("one")].into(),
        };
        match self.plane.agents.answer(HOST, visit).await {
            Answer::Response(response) => {
                let status = response.status();
                let bytes = response.into_body().collect().await.unwrap().to_bytes();
                Ok((status, String::from_utf8(bytes.to_vec()).unwrap()))
            }
            Answer::Prove(within) => Err(within),
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.go("GET", path, None, "https://mcp.test").await.unwrap()
    }

    /// Reads the page and sends its form.
    async fn decide(&self, path: &str, decision: &str) -> (StatusCode, String) {
        let (_, page) = self.get(path).await;
        let hidden = |name: &str| {
            let at = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap().1;
            at.split_once('"').unwrap().0.to_owned()
        };
        // The first form of the page is the one that signs out; both carry the same token.
        let form = format!("token={}&id={}&decision={decision}", hidden("token"), hidden("id"));
        self.go("POST", "/approve", Some(&form), "https://mcp.test").await.unwrap()
    }
}

fn path(url: &Value) -> String {
    let url = url.as_str().unwrap();
    url.strip_prefix("https://mcp.test").unwrap().to_owned()
}

fn page_of(answer: &Value) -> String {
    let asked = &answer["error"]["data"]["elicitations"][0];
    assert_eq!((&answer["error"]["code"], &asked["mode"]), (&json!(-32_042), &json!("url")), "{answer}");
    path(&asked["url"])
}

fn careful() -> Value {
    json!([{"name": "careful", "expression": "mcp.tool.name == \"echo\"", "action": "require_approval"}])
}

#[tokio::test]
async fn a_person_confirms_one_call_in_their_browser_and_it_goes_on_once() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), careful()).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(serde_json::from_str(OPENS_PAGES).unwrap()).await;
    let mut stream = client.listen().await.into_body();
    let arguments = json!({"b": 1, "a": "del\u{202E}ete"});
    let page = page_of(&client.call("one_echo", arguments.clone()).await);
    assert!(one.seen("tools/call").is_empty(), "nothing goes on before it is confirmed");

    let agent = Browser { plane: &plane, person: person(1) };
    assert_eq!(agent.get(&page).await.0, StatusCode::FORBIDDEN, "an agent does not confirm its own calls");
    assert_eq!(Browser::of(&plane, 2).get(&page).await.0, StatusCode::NOT_FOUND);
    let browser = Browser::of(&plane, 1);
    let (status, shown) = browser.get(&page).await;
    assert_eq!(status, StatusCode::OK);
    for text in ["<code>echo</code>", "one", "careful", "del⟨U+202E⟩ete", "Allow once"] {
        assert!(shown.contains(text), "{text} is missing in {shown}");
    }
    let id = page.split_once("id=").unwrap().1;
    for (form, origin) in [
        (format!("id={id}&decision=allow"), "https://mcp.test"),
        (format!("id={id}&token=guess&decision=allow"), "https://mcp.test"),
        (format!("id={id}&decision=allow"), "https://evil.test"),
    ] {
        let (status, _) = browser.go("POST", "/approve", Some(&form), origin).await.unwrap();
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    page_of(&client.call("one_echo", arguments.clone()).await);

    assert_eq!(browser.decide(&page, "allow").await.0, StatusCode::OK);
    let told = next_event(&mut stream).await;
    assert_eq!(
        (&told["method"], &told["params"]["elicitationId"]),
        (&json!("notifications/elicitation/complete"), &json!(id))
    );
    page_of(&client.call("one_echo", json!({"a": "another"})).await);
    // The same call, written in another order.
    let passed = client.call("one_echo", serde_json::from_str("{\"a\":\"del\u{202E}ete\",\"b\":1}").unwrap()).await;
    assert!(passed["error"].is_null(), "{passed}");
    assert_ne!(page_of(&client.call("one_echo", arguments).await), page);
    assert_eq!(one.seen("tools/call").len(), 1);
    let records = plane.records.0.lock();
    let confirmed = records.iter().find(|record| record.method == "approve").unwrap();
    assert_eq!((&confirmed.outcome, confirmed.tool.as_deref()), (&Outcome::Success, Some("echo")));
}

#[tokio::test]
async fn what_a_person_refuses_is_blocked_and_what_they_allow_for_a_while_is_not_asked_again() {
    let one = Server::start("one", Era::Sessions).await;
    let rules = json!([
        {"name": "hourly", "expression": "mcp.tool.name == \"count\"", "action": "require_approval", "approval": {"lifetime": "1h"}},
        {"name": "careful", "expression": "mcp.tool.name == \"echo\"", "action": "require_approval"},
    ]);
    let plane = plane(&[("one", &one)], json!({}), rules).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(serde_json::from_str(OPENS_PAGES).unwrap()).await;
    let browser = Browser::of(&plane, 1);
    let page = page_of(&client.call("one_echo", json!({})).await);
    browser.decide(&page, "refuse").await;
    let refused = client.call("one_echo", json!({})).await;
    assert_eq!(refused["error"]["code"], -32_010);
    assert!(refused["error"]["message"].as_str().unwrap().contains("the person refused"), "{refused}");
    let page = page_of(&client.call("one_count", json!({"n": 1})).await);
    assert!(browser.get(&page).await.1.contains("Allow for 1 hour"));
    browser.decide(&page, "allow").await;
    for n in [1, 2, 3] {
        assert!(client.call("one_count", json!({"n": n})).await["error"].is_null());
    }
}

#[tokio::test]
async fn whoever_cannot_open_a_page_is_told_where_it_is_and_a_program_has_nobody_to_ask() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), careful()).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({"elicitation": {}})).await;
    let told = client.call("one_echo", json!({})).await;
    let text = told["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        told["result"]["isError"] == true && text.contains("careful") && text.contains("https://mcp.test/approve?id="),
        "{told}"
    );
    let stateless = Client::new(&plane, person(2), &["one"]);
    let capabilities = serde_json::from_str(OPENS_PAGES).unwrap();
    let asked = stateless.ask_able(capabilities, "tools/call", json!({"name": "one_echo", "arguments": {}})).await;
    let asked: Value = serde_json::from_slice(&asked.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let requests = asked["result"]["inputRequests"].as_object().unwrap();
    assert_eq!(requests.values().next().unwrap()["params"]["mode"], "url");
    let mut program = Client::new(&plane, person(3), &["one"]);
    program.visitor = Visitor::Program { id: types::ServiceTokenId(Uuid::from_u128(9)), name: "robot".to_owned() };
    let program = program.begin(json!({})).await;
    assert_eq!(program.call("one_echo", json!({})).await["error"]["code"], -32_010);
    assert!(one.seen("tools/call").is_empty());
}

#[tokio::test]
async fn a_proof_in_the_browser_counts_for_the_agent_that_waits_for_it() {
    let one = Server::start("one", Era::Sessions).await;
    let rules = json!([{"name": "fresh", "expression": "mcp.tool.name == \"echo\"", "action": "require_mfa", "mfa": {"max_age": "10m"}}]);
    let plane = plane(&[("one", &one)], json!({}), rules).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(serde_json::from_str(OPENS_PAGES).unwrap()).await;
    let page = page_of(&client.call("one_echo", json!({})).await);
    // Another sign-in of the same person than the agent's.
    let mut browser = Browser::of(&plane, 1);
    browser.person.sign_in = [77; 32];
    assert_eq!(browser.go("GET", &page, None, "https://mcp.test").await, Err(Duration::from_secs(600)));
    page_of(&client.call("one_echo", json!({})).await);
    browser.person.factor_at = Some(jiff::Timestamp::now().as_second() - 1);
    assert!(browser.get(&page).await.1.contains("Let your agent go on?"));
    // To look is not to agree.
    page_of(&client.call("one_echo", json!({})).await);
    assert_eq!(browser.decide(&page, "allow").await.0, StatusCode::OK);
    for _ in 0..2 {
        assert!(client.call("one_echo", json!({})).await["error"].is_null());
    }
    let other = Client::new(&plane, Person { sign_in: [3; 32], ..person(1) }, &["one"]);
    let other = other.begin(serde_json::from_str(OPENS_PAGES).unwrap()).await;
    page_of(&other.call("one_echo", json!({})).await);
}

#[tokio::test]
async fn what_cannot_be_shown_as_it_is_sent_is_not_confirmed() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), careful()).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(serde_json::from_str(OPENS_PAGES).unwrap()).await;
    for (arguments, shown) in [("{\"n\":12.5}", true), ("{\"n\":100000000000000000001}", false)] {
        let call = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"one_echo\",\"arguments\":{arguments}}}}}"
        );
        let answer = messages(client.send("POST", full_body(call), &[]).await).await.remove(0);
        assert_eq!(answer["error"]["code"], if shown { -32_042 } else { -32_010 }, "{answer}");
    }
    // What a client answers in advance is part of what is confirmed.
    let call = |input: Value| json!({"name": "one_echo", "arguments": {}, "inputResponses": input});
    let (_, first) =
        client.ask("tools/call", call(json!({"a": {"action": "accept", "content": {"project": "HR"}}}))).await;
    let (_, other) =
        client.ask("tools/call", call(json!({"a": {"action": "accept", "content": {"project": "ENG"}}}))).await;
    let (first, other) = (page_of(&first), page_of(&other));
    assert_ne!(first, other);
    assert!(Browser::of(&plane, 1).get(&first).await.1.contains("HR"));
}

#[tokio::test]
async fn an_agent_sees_nothing_that_guards_the_forms_of_its_person() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), careful()).await;
    let agent = Browser { plane: &plane, person: person(1) };
    for path in ["/", "/approve?id=x", "/authorize?elicitationId=x"] {
        assert!(!agent.get(path).await.1.contains("name=\"token\""), "{path}");
    }
    assert!(Browser::of(&plane, 1).get("/").await.1.contains("name=\"token\""));
}

#[tokio::test]
async fn a_worker_that_is_not_there_blocks_or_is_passed_over_as_its_rule_says() {
    let one = Server::start("one", Era::Sessions).await;
    for (on_error, code) in [("block", json!(-32_010)), ("continue", Value::Null)] {
        let rules = json!([{"name": "ask", "expression": "mcp.tool.name == \"echo\"", "action": "worker", "worker": {"script": "gone", "on_error": on_error}}]);
        let plane = plane(&[("one", &one)], json!({}), rules).await;
        let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
        assert_eq!(client.call("one_echo", json!({})).await["error"]["code"], code);
    }
}
