//! Policies that ask a Worker: when it is asked, what it is told, and what its silence means.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use access::{Phase, Question, Workers, ask_once};
use http::{Method, StatusCode};
use identity::selector::WorkerQuestion;
use parking_lot::Mutex;
use serde_json::{Value, json};
use types::{AccountId, ScriptName};
use uuid::Uuid;
use worker::protocol::{Isolation, Limits};
use worker::{BoxFuture, CallError, CallErrorKind, CallReport, EgressList, Said, Script, ScriptKey};

use crate::oauth::{Agent, Tokens, value};
use crate::support::{EMAIL, OTHER, PASSWORD, Setup, Stand, TEAM, WIKI, allow};

/// What a script makes of a question.
#[derive(Clone, Copy)]
pub(crate) enum Mood {
    Allows,
    Refuses,
    Throws,
    /// It does not answer in its time.
    Sleeps,
    /// It does not answer, and its time does not end it.
    Hangs,
}

/// The scripts of a stand: one, `check`, whose mood can change.
pub(crate) struct Scripts {
    mood: Mutex<Mood>,
    asked: Mutex<Vec<Value>>,
    version: AtomicUsize,
}

impl Scripts {
    pub(crate) fn that(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood: Mutex::new(mood), asked: Mutex::default(), version: AtomicUsize::new(1) })
    }

    fn turn(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Takes the questions asked so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock())
    }
}

impl Workers for Scripts {
    fn find(&self, name: &ScriptName) -> Option<Arc<Script>> {
        let version = self.version.load(Ordering::SeqCst).to_string();
        let key = ScriptKey { account: AccountId(Uuid::from_u128(7)), name: name.to_string(), version };
        (name.as_str() == "check").then(|| {
            Arc::new(Script {
                key,
                modules: Vec::new(),
                bindings: Default::default(),
                egress: EgressList::default(),
                limits: Limits::default(),
                isolation: Isolation::Request,
            })
        })
    }

    fn ask<'a>(
        &'a self,
        _: &'a Arc<Script>,
        question: String,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Said, CallError>> {
        let mood = *self.mood.lock();
        self.asked.lock().push(serde_json::from_str(&question).unwrap());
        Box::pin(async move {
            let said =
                |allow, reason: &str| Ok(Said { allow, reason: reason.to_owned(), report: CallReport::default() });
            let failed = |kind, message: &str| {
                let (message, report) = (message.to_owned(), CallReport::default());
                Err(CallError { kind, message, stack: String::new(), pass_through: false, report })
            };
            match mood {
                Mood::Allows => said(true, ""),
                Mood::Refuses => said(false, "the training is overdue"),
                Mood::Throws => failed(CallErrorKind::Exception, "TypeError: boom"),
                Mood::Sleeps => {
                    tokio::time::sleep(timeout).await;
                    failed(CallErrorKind::Wall, "no answer within the time allowed")
                }
                Mood::Hangs => std::future::pending().await,
            }
        })
    }
}

pub(crate) fn check(ttl_s: u32) -> Value {
    json!({"portunus_worker": {"script": "check", "timeout_ms": 200, "ttl_s": ttl_s}})
}

/// Staff whom the Worker does not mind.
fn trained(ttl_s: u32) -> Value {
    json!({"name": "Staff", "decision": "allow", "include": [{"email_domain": {"domain": "example.test"}}],
        "require": [check(ttl_s)]})
}

async fn stand(scripts: &Arc<Scripts>, policies: Vec<Value>) -> Stand {
    Stand::start(Setup { policies, workers: Arc::clone(scripts), ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_asked_at_sign_in_and_for_requests_as_often_as_the_policy_says() {
    for (ttl, then) in [(0, 2), (60, 0)] {
        let scripts = Scripts::that(Mood::Allows);
        let stand = stand(&scripts, vec![trained(ttl)]).await;
        let mut browser = stand.browser();
        let seen = stand.sign_in(&mut browser, "/pages?x=1").await;
        assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
        let first = scripts.asked();
        assert_eq!(first.len(), if ttl == 0 { 2 } else { 1 }, "{first:?}");
        assert_eq!(first[0]["phase"], "sign_in");
        assert_eq!(first[0]["request"]["url"], stand.url(WIKI, "/pages?x=1").as_str());
        for _ in 0..2 {
            assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
        }
        assert_eq!(scripts.asked().len(), then);
        if ttl == 60 {
            // Another version of the script, and the end of the time, are asked anew; another person is, too.
            scripts.version.store(2, Ordering::SeqCst);
            browser.get(&stand.url(WIKI, "/")).await;
            assert_eq!(scripts.asked().len(), 1);
            stand.advance(Duration::from_secs(61));
            scripts.turn(Mood::Refuses);
            assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FORBIDDEN);
            assert_eq!(scripts.asked().len(), 1);
        }
        stand.shut_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_asked_once_says_its_word_or_why_there_is_none() {
    let asked = |script: &str| serde_json::from_value::<WorkerQuestion>(json!({"script": script})).unwrap();
    let facts = || Question {
        phase: Phase::SignIn,
        test: true,
        id: Uuid::nil(),
        account: AccountId(Uuid::nil()),
        application: None,
        identity: None,
        service_token: None,
        request: None,
        source: "192.0.2.7".parse().unwrap(),
        country: None,
        certificate: None,
    };
    for (mood, script, allows, why) in [
        (Mood::Allows, "check", Some(true), ""),
        (Mood::Refuses, "check", Some(false), "the training is overdue"),
        (Mood::Throws, "check", None, "boom"),
        (Mood::Sleeps, "check", None, "no answer within the time allowed"),
        (Mood::Hangs, "check", None, "no answer within the time allowed"),
        (Mood::Allows, "gone", None, "there is no Worker of that name"),
    ] {
        let scripts = Scripts::that(mood);
        let word = ask_once(&*scripts, &asked(script), &facts()).await;
        assert_eq!(word.allows, allows, "{why}");
        assert!(word.reason.contains(why), "{}", word.reason);
        assert!(scripts.asked().iter().all(|question| question["test"] == true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_who_asks_for_what_and_no_credential() {
    let scripts = Scripts::that(Mood::Allows);
    let stand = stand(&scripts, vec![trained(0)]).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    scripts.asked();
    let request = browser.request(Method::POST, &stand.url(WIKI, "/pages/7?x=1"));
    let forged = request.header("cf-client-cert-sha256", "forged-7").header("x_forwarded_for", "forged-8");
    let seen = browser.send(forged.header("x-kind", "a").header("authorization", "Basic Zm9v")).await;
    assert_eq!(seen.status, StatusCode::OK);
    let asked = scripts.asked().remove(0);
    assert_eq!((&asked["phase"], &asked["test"]), (&json!("request"), &json!(false)));
    assert_eq!(asked["tlsClientAuth"]["certVerified"], "NONE");
    assert_eq!((&asked["request"]["method"], &asked["application"]["name"]), (&json!("POST"), &json!("Wiki")));
    assert_eq!(asked["request"]["url"], stand.url(WIKI, "/pages/7?x=1").as_str());
    assert_eq!((&asked["identity"]["email"], &asked["source"]["ip"]), (&json!(EMAIL), &json!("127.0.0.1")));
    assert_eq!((&asked["identity"]["provider"]["type"], &asked["serviceToken"]), (&json!("oidc"), &Value::Null));
    let headers = &asked["request"]["headers"];
    assert_eq!(headers["x-kind"], "a");
    let text = asked.to_string().to_lowercase();
    for unsaid in ["cookie", "authorization", "zm9v", "cf_authorization", "forged"] {
        assert!(!text.contains(unsaid), "{unsaid} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_refuses_is_explained_and_its_silence_opens_nothing() {
    let staff = || json!([{"email_domain": {"domain": "example.test"}}]);
    let unless = json!({"name": "Staff", "decision": "allow", "include": staff(), "exclude": [check(60)]});
    for (mood, policy, passes, said) in [
        (Mood::Refuses, trained(60), false, "Worker check did not allow it in"),
        (Mood::Throws, trained(60), false, "Worker check gave no answer in"),
        (Mood::Sleeps, trained(60), false, "Worker check gave no answer in"),
        (Mood::Refuses, unless.clone(), true, "Worker check did not allow it in"),
        (Mood::Allows, unless.clone(), false, "Worker check allowed it in"),
        (Mood::Throws, unless.clone(), false, "Worker check gave no answer in"),
        (Mood::Sleeps, unless, false, "Worker check gave no answer in"),
    ] {
        let scripts = Scripts::that(mood);
        let stand = stand(&scripts, vec![policy]).await;
        let mut browser = stand.browser();
        let seen = stand.sign_in(&mut browser, "/").await;
        assert_eq!(seen.status == StatusCode::OK, passes, "{said}: {}", seen.text);
        // The person is not told what the script says of them.
        assert!(!seen.text.contains("training is overdue"));
        let record = stand.records().await.pop().unwrap();
        let explained = if passes { record["Reason"].to_string() } else { record["Trace"][0]["reasons"].to_string() };
        assert!(explained.contains(said) && explained.contains(" ms"), "{explained}");
        stand.shut_down().await;
    }
    // A script that is not there is one that does not answer.
    let scripts = Scripts::that(Mood::Allows);
    let missing = json!({"name": "Staff", "decision": "allow", "include": staff(),
        "require": [{"portunus_worker": {"script": "gone"}}]});
    let stand = stand(&scripts, vec![missing]).await;
    assert_eq!(stand.sign_in(&mut stand.browser(), "/").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_not_asked_about_whom_another_rule_keeps_out() {
    let scripts = Scripts::that(Mood::Allows);
    let boss = json!({"email": {"email": "boss@example.test"}});
    let policy = json!({"name": "Staff", "decision": "allow", "include": [check(0)], "require": [boss]});
    let stand = stand(&scripts, vec![policy]).await;
    assert_eq!(stand.sign_in(&mut stand.browser(), "/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(scripts.asked(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_strangers_are_asked_about_as_what_they_are() {
    let scripts = Scripts::that(Mood::Allows);
    let robots = json!({"name": "Robots", "decision": "non_identity", "include": [{"any_valid_service_token": {}}],
        "require": [check(0)]});
    let open = json!({"name": "Open", "decision": "bypass", "include": [check(0)]});
    let stand = stand(&scripts, vec![robots, open]).await;
    let mut browser = stand.browser();
    let (id, secret) = (stand.token.0.to_string(), stand.token.1.clone());
    let request = browser.request(Method::GET, &stand.url(WIKI, "/"));
    let request = request.header("cf-access-client-id", &id).header("cf-access-client-secret", &secret);
    assert_eq!(browser.send(request).await.status, StatusCode::OK);
    let asked = scripts.asked();
    assert_eq!((asked.len(), &asked[0]["serviceToken"]["clientId"]), (1, &json!(id)));
    assert!(!asked[0].to_string().contains(&secret), "{asked:?}");
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    let asked = scripts.asked();
    assert_eq!((asked.len(), &asked[0]["identity"], &asked[0]["serviceToken"]), (1, &Value::Null, &Value::Null));
    scripts.turn(Mood::Refuses);
    assert_ne!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_of_the_launcher_are_those_the_worker_lets_in() {
    let scripts = Scripts::that(Mood::Refuses);
    let launcher = json!({"type": "app_launcher", "name": "Launcher"});
    let setup = Setup {
        policies: vec![trained(0)],
        more: vec![
            (json!({"name": "Other", "domain": OTHER}), vec![allow(json!({"everyone": {}}))]),
            (launcher, vec![allow(json!({"everyone": {}}))]),
        ],
        workers: Arc::clone(&scripts),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    let mut browser = stand.browser();
    let choice = browser.open(&stand.url(TEAM, &format!("/cdn-cgi/access/login/{TEAM}"))).await;
    let away = browser.submit(&choice, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    let home = browser.follow(away).await;
    assert!(home.text.contains(">Other<") && !home.text.contains(">Wiki<"), "{}", home.text);
    let asked = scripts.asked().pop().unwrap();
    assert_eq!((&asked["phase"], &asked["request"]["url"]), (&json!("launcher"), &json!(stand.url(WIKI, "/"))));
    scripts.turn(Mood::Allows);
    let home = browser.open(&stand.url(TEAM, "/")).await;
    assert!(home.text.contains(">Other<") && home.text.contains(">Wiki<"), "{}", home.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_outlives_a_worker_that_is_silent_and_ends_when_it_says_no() {
    let scripts = Scripts::that(Mood::Allows);
    let setup = Setup { policies: vec![trained(0)], workers: Arc::clone(&scripts), ..crate::oauth::setup() };
    let stand = Stand::start(setup).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
    scripts.turn(Mood::Throws);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::FORBIDDEN);
    assert_eq!(agent.refresh(&tokens.refresh).await.status, StatusCode::SERVICE_UNAVAILABLE);
    scripts.turn(Mood::Allows);
    let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
    assert_eq!(agent.call(&next.access).await.status, StatusCode::OK);
    scripts.turn(Mood::Refuses);
    let refused = agent.refresh(&next.refresh).await;
    assert_eq!((refused.status, &value(&refused)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
}
