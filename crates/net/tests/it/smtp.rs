//! A mail server that misbehaves: what it is told, and how long it is listened to.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use net::resolve::Nowhere;
use net::smtp::{Letter, Protection, Smtp, SmtpError, SmtpGround, SmtpSettings};
use net::upstream::TrustParams;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, host};

/// Sends one letter to a server that greets and then answers every line with `answer`, and returns what that server heard.
async fn send(
    protection: Protection,
    within: Duration,
    greeting: &'static str,
    answer: fn(&str) -> &'static str,
) -> (Result<(), SmtpError>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        let mut heard = Vec::new();
        if stream.write_all(greeting.as_bytes()).await.is_err() {
            return heard;
        }
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let said = std::mem::take(&mut line).trim_end().to_owned();
            let answered = stream.write_all(answer(&said).as_bytes()).await;
            heard.push(said);
            if answered.is_err() {
                break;
            }
        }
        heard
    });
    let settings = SmtpSettings {
        host: host("127.0.0.1"),
        port,
        protection,
        credentials: Some(("portunus".to_owned(), types::Secret::new("hush".to_owned()))),
        from: "Portunus <portunus@example.test>".to_owned(),
    };
    let ground = SmtpGround {
        resolver: Arc::new(Nowhere),
        trust: TrustParams { native_roots: false, ..TrustParams::default() },
        own_listeners: Vec::new(),
        clock: Arc::new(|| Timestamp::UNIX_EPOCH),
    };
    let smtp = Smtp::new(settings, ground, within).unwrap();
    let letter = Letter {
        to: "ana@example.test",
        subject: "s",
        text: "t\n",
        html: None,
        id: "one",
        date: Timestamp::UNIX_EPOCH,
    };
    let outcome = smtp.send(&letter).await;
    drop(smtp);
    (outcome, server.join_next().await.unwrap().unwrap())
}

#[tokio::test]
async fn a_server_that_offers_no_tls_hears_neither_password_nor_letter() {
    let plain = |said: &str| if said.starts_with("EHLO") { "250-here\r\n250 AUTH PLAIN\r\n" } else { "250 ok\r\n" };
    let (outcome, heard) = send(Protection::StartTls, PATIENCE, "220 here\r\n", plain).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, SmtpError::Greeting(_)) && !error.is_permanent(), "{error}");
    assert!(heard.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{heard:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_no_more_than_the_attempt() {
    let (outcome, heard) = send(Protection::Loopback, Duration::from_millis(200), "", |_| "").await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, SmtpError::Timeout) && !error.is_permanent(), "{error}");
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn a_server_that_never_stops_talking_is_left() {
    let endless: &'static str = Box::leak("250-and another thing\r\n".repeat(40_000).into_boxed_str());
    let (outcome, _) = send(Protection::Loopback, PATIENCE, endless, |_| "").await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, SmtpError::Greeting(_)) && !error.is_permanent(), "{error:?}");
}

#[tokio::test]
async fn what_concerns_the_server_lets_the_letter_wait_and_what_concerns_the_letter_ends_it() {
    type Answer = fn(&str) -> &'static str;
    let cases: [(&'static str, Answer, bool, &str); 5] = [
        ("554 closed for today\r\n", |_| "250 ok\r\n", false, "closed for today"),
        ("220 here\r\n", |said| step(said, "AUTH", "535 wrong\r\n"), false, "wrong"),
        ("220 here\r\n", |said| step(said, "MAIL", "530 sign in\r\n"), false, "sign in"),
        ("220 here\r\n", |said| step(said, "RCPT", "452 full\r\n"), false, "full"),
        ("220 here\r\n", |said| step(said, "RCPT", "550 unknown\r\n"), true, "unknown"),
    ];
    for (greeting, answer, permanent, words) in cases {
        let (outcome, heard) = send(Protection::Loopback, PATIENCE, greeting, answer).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.is_permanent(), permanent, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!heard.iter().any(|line| line == "DATA"), "{heard:?}");
    }
}

/// Agrees with everything but `verb`.
fn step(said: &str, verb: &str, answer: &'static str) -> &'static str {
    match said.split(' ').next() {
        Some(first) if first == verb => answer,
        Some("EHLO") => "250-here\r\n250 AUTH PLAIN\r\n",
        _ => "250 ok\r\n",
    }
}
