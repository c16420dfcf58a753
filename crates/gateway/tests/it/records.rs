//! Every request leaves a record, whatever ends it, with as much in it as the account wants.

use axum::Router;
use axum::routing::any;
use gateway::{LogSwitches, Logging, Settings};
use logs::Dataset;
use testkit::Origin;

use crate::support::{EMAIL, Setup, Stand, TOKEN, credential, get, rule, with};

async fn origin() -> Origin {
    Origin::start(Router::new().fallback(any(|| async { "hello" })), None).await.unwrap()
}

#[tokio::test]
async fn a_client_that_goes_away_is_recorded() {
    use tokio::io::AsyncWriteExt;

    let arrived = std::sync::Arc::new(tokio::sync::Notify::new());
    let arriving = std::sync::Arc::clone(&arrived);
    let never = move || {
        let arriving = std::sync::Arc::clone(&arriving);
        async move {
            arriving.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let origin = Origin::start(Router::new().fallback(any(never)), None).await.unwrap();
    let rules = vec![rule("wait", "block", "http.upload.mime == \"x\" or any(http.upload.file.types[*] in {\"pdf\"})")];
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    let mut stream = stand.dial().await;
    stream.write_all(b"GET http://site.test/sent HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    arrived.notified().await;
    drop(stream);
    let record = stand.http_record("http://site.test/sent").await;
    assert_eq!((record["Action"].as_str(), record.get("HTTPStatusCode")), (Some("allow"), None));
    // Gone before the verdict: a rule was waiting for the body.
    let mut stream = stand.dial().await;
    let head = b"POST http://site.test/waiting HTTP/1.1\r\nHost: site.test\r\nContent-Length: 100\r\n\r\n%PD";
    stream.write_all(head).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let record = stand.http_record("http://site.test/waiting").await;
    assert_eq!(record["Action"], "unknown");
}

#[tokio::test]
async fn what_identifies_a_person_is_left_out_when_the_account_says_so() {
    let origin = origin().await;
    let logging = Logging { redact_pii: true, ..Logging::default() };
    let settings = Settings { logging, ..Settings::default() };
    let setup = Setup { names: vec![("site.test", origin.address)], settings, ..Setup::default() };
    let stand = Stand::start(setup).await;
    let request = with(get("http://site.test/secret"), "proxy-authorization", &credential(EMAIL, TOKEN));
    let request = with(with(request, "referer", "http://before.test/"), "user-agent", "browser of ada");
    assert_eq!(stand.send(request).await.status, 200);
    let record = stand.record(Dataset::GatewayHttp, |record| record["HTTPHost"] == "site.test").await;
    let text = record.to_string();
    for word in ["ada", "secret", "before.test", "127.0.0.1:", EMAIL] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    for field in ["SourceIP", "Email", "UserID", "URL", "Referer", "UserAgent"] {
        assert!(record.get(field).is_none(), "{field}");
    }
}

#[tokio::test]
async fn the_account_chooses_between_everything_blocks_and_nothing() {
    let rules = vec![rule("no", "block", "http.request.uri.path == \"/no\"")];
    for (log_all, log_blocks, expected) in [(true, false, 2), (false, true, 1), (false, false, 0)] {
        let origin = origin().await;
        let logging = Logging { http: LogSwitches { log_all, log_blocks }, ..Logging::default() };
        let settings = Settings { logging, ..Settings::default() };
        let names = vec![("site.test", origin.address)];
        let mut stand = Stand::start(Setup { names, settings, rules: rules.clone(), ..Setup::default() }).await;
        assert_eq!(stand.get("http://site.test/yes").await.status, 200);
        assert_eq!(stand.get("http://site.test/no").await.status, 403);
        stand.drain().await;
        assert_eq!(stand.records(Dataset::GatewayHttp).await.len(), expected, "{log_all} {log_blocks}");
    }
}
