//! Worker actions, with a stand-in for the processes: what a script is told, what its answer does, what failure does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::any;
use http::{Request, Response};
use http_body_util::BodyExt;
use logs::Dataset;
use serde_json::{Value, json};
use testkit::Origin;
use worker::{
    Answer, Call, CallContext, CallError, CallErrorKind, CallReport, EventKind, FetchTarget, Script, empty_body,
    full_body,
};

use crate::support::{Behaviour, EMAIL, Setup, Stand, TOKEN, credential, get, post, rule, rule_with, with};

fn worker(settings: Value) -> Value {
    rule_with("ask", "worker", "http.request.host == \"site.test\"", json!({ "worker": settings }))
}

fn behaviour<F, R>(run: F) -> Option<Behaviour>
where
    F: Fn(Request<worker::Body>, Call, Arc<Script>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Answer, CallError>> + Send + 'static,
{
    Some(Arc::new(move |request, call, script| Box::pin(run(request, call, script))))
}

async fn stand(rules: Vec<Value>, script: Option<Behaviour>) -> (Stand, Origin) {
    let echo = |headers: HeaderMap, body: Bytes| async move {
        format!("{} {}", headers.get("x-worker").map_or("", |value| value.to_str().unwrap()), body.len())
    };
    let origin = Origin::start(Router::new().fallback(any(echo)), None).await.unwrap();
    let stand =
        Stand::start(Setup { names: vec![("site.test", origin.address)], rules, script, ..Setup::default() }).await;
    (stand, origin)
}

fn failure(pass_through: bool) -> CallError {
    CallError {
        kind: CallErrorKind::Exception,
        message: "boom".to_owned(),
        stack: String::new(),
        pass_through,
        report: CallReport::default(),
    }
}

#[tokio::test]
async fn a_script_is_told_who_asks_for_what() {
    let script = behaviour(|request, call, _| async move {
        let cf: Value = serde_json::from_str(&call.cf).unwrap();
        let seen = json!({
            "url": request.uri().to_string(), "method": request.method().as_str(),
            "email": cf["identity"]["email"], "group": cf["identity"]["groups"][0]["name"],
            "rule": cf["rule"]["name"], "credential": request.headers().contains_key("proxy-authorization"),
        });
        Ok(Answer::Response(Response::new(full_body(seen.to_string()))))
    });
    let (stand, _origin) = stand(vec![worker(json!({ "script": "a" }))], script).await;
    let got = stand.send(with(get("http://site.test/x?y"), "proxy-authorization", &credential(EMAIL, TOKEN))).await;
    let seen: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(
        seen,
        json!({ "url": "http://site.test/x?y", "method": "GET", "email": EMAIL, "group": "finance", "rule": "ask",
            "credential": false })
    );
    let record = stand.http_record("http://site.test/x?y").await;
    assert_eq!((record["Action"].as_str(), record["WorkerOutcome"].as_str()), (Some("worker"), Some("response")));
    let call = stand.record(Dataset::Worker, |record| record["RequestID"] == record["RequestID"]).await;
    assert_eq!((call["Decision"].as_str(), call["Outcome"].as_str()), (Some("response"), Some("ok")));
    assert_eq!(record["WorkerInvocationID"], call["RecordID"]);
}

#[tokio::test]
async fn changes_go_on_to_the_next_rule_and_the_origin() {
    let script = behaviour(|mut request, _, _| async move {
        request.headers_mut().insert("x-worker", "was-here".parse().unwrap());
        Ok(Answer::Request(request))
    });
    let rules = vec![
        worker(json!({ "script": "a" })),
        rule(
            "later",
            "block",
            "any(http.request.headers[\"x-worker\"][*] == \"was-here\") and http.request.uri.path == \"/no\"",
        ),
    ];
    let (stand, _origin) = stand(rules, script).await;
    assert_eq!(stand.send(post("http://site.test/yes", "body")).await.text(), "was-here 4");
    assert_eq!(stand.get("http://site.test/no").await.status, 403);
}

#[tokio::test]
async fn rules_after_a_rewritten_url_see_the_package_it_is_of() {
    let script = behaviour(|mut request, _, _| async move {
        let path = request.uri().query().unwrap().to_owned();
        *request.uri_mut() = format!("http://registry.npmjs.org{path}").parse().unwrap();
        Ok(Answer::Request(request))
    });
    let origin = Origin::start(Router::new().fallback(any(|| async { "reached" })), None).await.unwrap();
    for (condition, asked, path, status) in [
        ("pkg.name == \"left-pad\"", "/", "/left-pad/-/left-pad-1.3.0.tgz", 403),
        ("pkg.name == \"left-pad\"", "/left-pad/-/left-pad-1.3.0.tgz", "/", 200),
        ("pkg.purl == \"pkg:npm/left-pad@1.3.0\"", "/", "/left-pad/-/left-pad-1.3.0.tgz", 403),
    ] {
        let mut ask = worker(json!({ "script": "a" }));
        ask["traffic"] = json!("http.request.host == \"registry.npmjs.org\"");
        let rules = vec![ask, rule("not this one", "block", condition)];
        let names = vec![("registry.npmjs.org", origin.address)];
        let stand = Stand::start(Setup { names, rules, script: script.clone(), ..Setup::default() }).await;
        let got = stand.get(&format!("http://registry.npmjs.org{asked}?{path}")).await;
        assert_eq!(got.status.as_u16(), status, "{condition} {path}");
    }
}

#[tokio::test]
async fn a_request_to_another_origin_needs_the_egress_list() {
    let script = behaviour(|mut request, _, _| async move {
        *request.uri_mut() = "http://elsewhere.test/".parse().unwrap();
        Ok(Answer::Request(request))
    });
    let (stand, _origin) = stand(vec![worker(json!({ "script": "a" }))], script).await;
    assert_eq!(stand.get("http://site.test/").await.status, 403);
    let record = stand.http_record("http://site.test/").await;
    assert!(record["Error"].as_str().unwrap().contains("egress list"), "{record}");
}

#[tokio::test]
async fn network_rules_hold_for_where_a_worker_sends_a_request() {
    let script = behaviour(|mut request, _, _| async move {
        *request.uri_mut() = "http://listed.test/".parse().unwrap();
        Ok(Answer::Request(request))
    });
    let origin = Origin::start(Router::new().fallback(any(|| async { "reached" })), None).await.unwrap();
    for (blocked, status) in [("listed.test", 403), ("other.test", 200)] {
        let mut network = rule("not there", "block", &format!("net.sni.host == \"{blocked}\""));
        network["filters"] = json!(["l4"]);
        let names = vec![("site.test", origin.address), ("listed.test", origin.address)];
        let rules = vec![worker(json!({ "script": "a" })), network];
        let stand = Stand::start(Setup { names, rules, script: script.clone(), ..Setup::default() }).await;
        assert_eq!(stand.get("http://site.test/").await.status.as_u16(), status, "{blocked}");
    }
}

#[tokio::test]
async fn a_script_that_declines_leaves_the_request_whole() {
    let script = behaviour(|request, _, _| async move {
        let mut body = request.into_body();
        // It looks at the start of the body and has no opinion.
        let _ = body.frame().await;
        Ok(Answer::NoOpinion)
    });
    let (stand, _origin) = stand(vec![worker(json!({ "script": "a" }))], script).await;
    assert_eq!(stand.send(post("http://site.test/", vec![b'x'; 10_000])).await.text(), " 10000");
    assert_eq!(stand.http_record("http://site.test/").await["Action"], "allow");
}

#[tokio::test]
async fn a_script_that_read_too_much_and_declines_fails_closed() {
    let script = behaviour(|request, _, _| async move {
        let _ = request.into_body().collect().await;
        Ok(Answer::NoOpinion)
    });
    let (stand, _origin) = stand(vec![worker(json!({ "script": "a" }))], script).await;
    assert_eq!(stand.send(post("http://site.test/", vec![b'x'; 300_000])).await.status, 503);
}

#[tokio::test]
async fn a_failure_does_what_the_rule_says() {
    for (on_error, later_rule, pass_through, status) in [
        ("block", false, false, 403),
        ("continue", false, false, 200),
        ("continue", true, false, 403),
        ("allow", true, false, 200),
        ("block", false, true, 200),
        ("block", true, true, 403),
    ] {
        let mut rules = vec![worker(json!({ "script": "a", "on_error": on_error }))];
        if later_rule {
            rules.push(rule("later", "block", "http.request.host == \"site.test\""));
        }
        let (mut stand, _origin) =
            stand(rules, behaviour(move |_, _, _| async move { Err(failure(pass_through)) })).await;
        let got = stand.get("http://site.test/").await;
        assert_eq!(got.status.as_u16(), status, "{on_error} {later_rule} {pass_through}");
        assert_eq!(stand.events.recv().await.unwrap().kind, gateway::SecurityEventKind::WorkerFailed);
        let record = stand.http_record("http://site.test/").await;
        assert_eq!(record["WorkerOutcome"], "exception");
        let call = stand.record(Dataset::Worker, |_| true).await;
        assert_eq!(
            (call["Decision"].as_str(), call["Exceptions"][0]["message"].as_str()),
            (Some(on_error), Some("boom"))
        );
    }
}

/// An origin that counts what it is asked, behind a rule whose Worker asks it too.
async fn counted(rule: Value, script: Option<Behaviour>) -> (Stand, Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let count = move || {
        let counting = Arc::clone(&counting);
        async move { counting.fetch_add(1, Ordering::SeqCst).to_string() }
    };
    let origin = Origin::start(Router::new().fallback(any(count)), None).await.unwrap();
    let names = vec![("site.test", origin.address)];
    let stand = Stand::start(Setup { names, rules: vec![rule], script, ..Setup::default() }).await;
    (stand, origin, asked)
}

#[tokio::test]
async fn a_request_that_must_not_be_repeated_reaches_its_origin_once_though_its_worker_fails_after_asking() {
    for (method, on_error, pass_through, target, status, asked) in [
        ("POST", "continue", false, FetchTarget::Origin, 403, 1),
        ("POST", "allow", false, FetchTarget::Origin, 403, 1),
        ("POST", "block", true, FetchTarget::Origin, 403, 1),
        ("POST", "continue", false, FetchTarget::Egress, 403, 1),
        ("PATCH", "allow", false, FetchTarget::Origin, 403, 1),
        ("GET", "continue", false, FetchTarget::Origin, 200, 2),
        ("GET", "allow", false, FetchTarget::Egress, 200, 2),
    ] {
        let script = behaviour(move |request, call, script| async move {
            let cx = CallContext { script, event: EventKind::Fetch, url: None, cf: Arc::clone(&call.cf) };
            call.host.fetch(&cx, target, request).await.unwrap();
            Err(failure(pass_through))
        });
        let (stand, _origin, count) = counted(worker(json!({ "script": "a", "on_error": on_error })), script).await;
        let mut request = post("http://site.test/", if method == "GET" { "" } else { "body" });
        *request.method_mut() = method.parse().unwrap();
        let got = stand.send(request).await;
        assert_eq!((got.status.as_u16(), count.load(Ordering::SeqCst)), (status, asked), "{method} {on_error}");
        let record = stand.http_record("http://site.test/").await;
        let error = record["Error"].as_str().unwrap();
        assert_eq!(error.contains("is not sent twice"), status == 403, "{error}");
        let call = stand.record(Dataset::Worker, |_| true).await;
        assert_eq!(call["Decision"], if status == 403 { "block" } else { on_error });
    }
}

#[tokio::test]
async fn a_worker_that_sent_the_request_and_returns_nothing_does_not_send_it_again() {
    let script = behaviour(|request, call, script| async move {
        let cx = CallContext { script, event: EventKind::Fetch, url: None, cf: Arc::clone(&call.cf) };
        call.host.fetch(&cx, FetchTarget::Origin, request).await.unwrap();
        Ok(Answer::NoOpinion)
    });
    let (stand, _origin, count) = counted(worker(json!({ "script": "a" })), script).await;
    assert_eq!(stand.send(post("http://site.test/", "x")).await.status, 403);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(stand.get("http://site.test/").await.status, 200, "a GET may be repeated");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_request_that_never_left_goes_on_as_the_rule_says() {
    // Nothing listens there: the script's own fetch fails before anything is sent.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let script = behaviour(|request, call, script| async move {
        let cx = CallContext { script, event: EventKind::Fetch, url: None, cf: Arc::clone(&call.cf) };
        let refused = call.host.fetch(&cx, FetchTarget::Origin, request).await;
        assert!(refused.is_err());
        Err(failure(false))
    });
    let rules = vec![worker(json!({ "script": "a", "on_error": "continue" }))];
    let stand = Stand::start(Setup { names: vec![("site.test", closed)], rules, script, ..Setup::default() }).await;
    assert_eq!(stand.send(post("http://site.test/", "")).await.status, 502);
}

#[tokio::test]
async fn a_refused_change_leaves_the_request_whole() {
    let script = behaviour(|mut request, _, _| async move {
        *request.uri_mut() = "http://elsewhere.test/".parse().unwrap();
        Ok(Answer::Request(request))
    });
    let (stand, _origin) = stand(vec![worker(json!({ "script": "a", "on_error": "continue" }))], script).await;
    assert_eq!(stand.send(post("http://site.test/", vec![b'x'; 1000])).await.text(), " 1000");
}

#[tokio::test]
async fn a_script_reaches_the_origin_through_the_guarded_path() {
    let script = behaviour(|request, call, script| async move {
        let cx = CallContext { script, event: EventKind::Fetch, url: None, cf: Arc::clone(&call.cf) };
        let local = Request::get("http://127.0.0.1:1/").body(empty_body()).unwrap();
        let refused = call.host.fetch(&cx, FetchTarget::Egress, local).await.is_err();
        let mut response = call.host.fetch(&cx, FetchTarget::Origin, request).await.unwrap();
        response.headers_mut().insert("x-refused", refused.to_string().parse().unwrap());
        Ok(Answer::Response(response))
    });
    let (stand, _origin) = stand(vec![worker(json!({ "script": "a" }))], script).await;
    let got = stand.send(post("http://site.test/", "abc")).await;
    assert_eq!((got.text().as_str(), got.header("x-refused")), (" 3", "true"));
    assert_eq!(stand.http_record("http://site.test/").await["DestinationIP"], "127.0.0.1");
}

#[tokio::test]
async fn a_worker_behind_a_rule_that_waits_for_the_response_is_asked_once_before_the_request_goes_out() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let script = behaviour(move |mut request, _, _| {
        counting.fetch_add(1, Ordering::SeqCst);
        async move {
            if request.uri().path() == "/stop" {
                return Ok(Answer::Response(Response::new(full_body("stopped"))));
            }
            request.headers_mut().insert("x-worker", "asked".parse().unwrap());
            Ok(Answer::Request(request))
        }
    });
    let rules =
        vec![rule("no pictures", "block", "http.download.mime == \"image/png\""), worker(json!({ "script": "a" }))];
    let (stand, _origin) = stand(rules, script).await;
    assert_eq!(stand.get("http://site.test/stop").await.text(), "stopped");
    let record = stand.http_record("http://site.test/stop").await;
    assert_eq!(record.get("DestinationIP"), None, "nothing was sent");
    assert_eq!(stand.get("http://site.test/go").await.text(), "asked 0");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn answers_are_used_again_per_the_facts_the_rule_names() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let script = behaviour(move |mut request, _, _| {
        counting.fetch_add(1, Ordering::SeqCst);
        async move {
            Ok(match request.uri().path() {
                "/response" => Answer::Response(Response::new(full_body("short"))),
                "/headers" => {
                    request.headers_mut().insert("x-worker", "again".parse().unwrap());
                    Answer::Request(request)
                }
                _ => Answer::NoOpinion,
            })
        }
    });
    let settings =
        json!({ "script": "a", "cache": { "key": ["http.request.uri.path", "identity.email"], "ttl_s": 60 } });
    let (stand, _origin) = stand(vec![worker(settings)], script).await;
    for (path, text) in [("/response", "short"), ("/headers", "again 0"), ("/none", " 0")] {
        for _ in 0..3 {
            assert_eq!(stand.get(&format!("http://site.test{path}")).await.text(), text);
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let someone = with(get("http://site.test/none"), "proxy-authorization", &credential(EMAIL, TOKEN));
    stand.send(someone).await;
    assert_eq!(calls.load(Ordering::SeqCst), 4, "another person is another key");
    assert_eq!(stand.gateway.stats().worker_cache_hits, 6);
}
