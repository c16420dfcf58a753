//! The outbox of the real binary against a mail server with a script: what it sends, how often, and what it says of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};
use testkit::{OriginTls, Platform};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::binary;

const NAME: &str = "mail.example.test";

/// What the server did, in order.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<(String, String)>>>);

impl Book {
    fn note(&self, what: &str, of: &str) -> usize {
        let mut lines = self.0.lock().unwrap();
        lines.push((what.to_owned(), of.to_owned()));
        drop(lines);
        self.count(what, of)
    }

    fn count(&self, what: &str, of: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| (line.0.as_str(), line.1.as_str()) == (what, of)).count()
    }

    fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.0 == "text").map(|line| line.1.clone()).collect()
    }
}

/// A mail server that insists on STARTTLS, then on a name and password; it stops when dropped.
struct MailServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl MailServer {
    async fn start(tls: &OriginTls, book: &Book) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls, book)
    }

    fn on(listener: TcpListener, tls: &OriginTls, book: &Book) -> Self {
        let address = listener.local_addr().unwrap();
        let (acceptor, book) = (tokio_rustls::TlsAcceptor::from(Arc::clone(&tls.config)), book.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, book) = (acceptor.clone(), book.clone());
                sessions.spawn(async move { drop(serve(stream, &acceptor, &book).await) });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn serve(stream: TcpStream, acceptor: &tokio_rustls::TlsAcceptor, book: &Book) -> std::io::Result<()> {
    let mut plain = BufReader::new(stream);
    plain.write_all(b"220 mail.example.test ESMTP\r\n").await?;
    loop {
        let line = read(&mut plain).await?;
        let answer: &[u8] = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => b"250-mail.example.test\r\n250 STARTTLS\r\n",
            "STARTTLS" => b"220 go ahead\r\n",
            _ => {
                book.note("in clear", &line);
                b"530 5.7.0 STARTTLS first\r\n"
            }
        };
        plain.write_all(answer).await?;
        if line == "STARTTLS" {
            break;
        }
    }
    protected(BufReader::new(acceptor.accept(plain.into_inner()).await?), book).await
}

async fn protected<S: AsyncRead + AsyncWrite + Unpin>(mut stream: BufReader<S>, book: &Book) -> std::io::Result<()> {
    let expected = base64::engine::general_purpose::STANDARD.encode("\0portunus\0correct horse");
    let mut known = false;
    let mut to = String::new();
    loop {
        let line = read(&mut stream).await?;
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-mail.example.test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN".to_owned(),
            "AUTH" => {
                known = line == format!("AUTH PLAIN {expected}");
                if known { "235 welcome" } else { "535 5.7.8 wrong password" }.to_owned()
            }
            "MAIL" if !known => "530 5.7.0 sign in first".to_owned(),
            "RCPT" => {
                to = line.trim_start_matches("RCPT TO:<").split('>').next().unwrap_or_default().to_owned();
                match (to.as_str(), book.note("asked", &to)) {
                    ("later@example.test", 1) => "451 4.7.1 greylisted".to_owned(),
                    ("nobody@example.test", _) => "550 5.1.1 no such person here".to_owned(),
                    _ => "250 ok".to_owned(),
                }
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                loop {
                    match read(&mut stream).await?.as_str() {
                        "." => break,
                        line => text.extend([line, "\n"]),
                    }
                }
                book.note("taken", &to);
                book.note("text", &text);
                "250 queued".to_owned()
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n").await,
            _ => "250 ok".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn connect(platform: &Platform, tls: &OriginTls, address: SocketAddr, password: &str) {
    let network = json!({ "hosts": { format!("{NAME}:587"): address.to_string() }, "roots": [tls.root] });
    platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
    crate::support::settled(platform).await;
    let settings = json!({
        "host": NAME, "port": 587, "tls": "starttls", "username": "portunus", "password": password,
        "from": "Portunus <portunus@example.test>",
    });
    let shown = platform.api("PUT", "/portunus/mail_server", Some(settings)).await.unwrap();
    assert_eq!((&shown["has_password"], &shown["password"]), (&json!(true), &Value::Null));
}

/// Asks for a mail and returns its path.
async fn ask(platform: &Platform, to: &str) -> String {
    let made = platform.api("POST", "/portunus/mail_server/test", Some(json!({"to": to}))).await.unwrap();
    format!("/portunus/outbox/{}", made["id"].as_str().unwrap())
}

/// Waits until a mail is as `wanted` says. Retries come after seconds, so patience is longer than elsewhere.
async fn until(platform: &Platform, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    for _ in 0..600 {
        seen = platform.api("GET", path, None).await.unwrap();
        if wanted(&seen) {
            return seen;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the mail stays as it is: {seen:#}");
}

fn sent(mail: &Value) -> bool {
    mail["status"] == "sent"
}

fn says(mail: &Value, words: &str) -> bool {
    mail["failure"].as_str().is_some_and(|failure| failure.contains(words))
}

fn start(data: &Path) -> Platform {
    Platform::start_in(binary(), data, &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_delivered_once_over_starttls_retried_when_asked_and_given_up_with_the_servers_words() {
    let (tls, book, data) =
        (OriginTls::for_names(&[NAME], &[]).unwrap(), Book::default(), tempfile::tempdir().unwrap());
    let server = MailServer::start(&tls, &book).await;
    let mut platform = start(data.path());
    connect(&platform, &tls, server.address, "correct horse").await;

    let (now, later) = (ask(&platform, "now@example.test").await, ask(&platform, "later@example.test").await);
    let never = ask(&platform, "nobody@example.test").await;
    let taken = until(&platform, &now, sent).await;
    assert_eq!((&taken["attempts"], &taken["text"]), (&json!(1), &Value::Null), "the text is erased: {taken}");
    let refused = until(&platform, &never, |mail| mail["status"] == "failed").await;
    assert!(says(&refused, "550") && says(&refused, "no such person here"), "{refused}");
    assert_eq!(refused["attempts"], 1);
    let waits = until(&platform, &later, |mail| mail["attempts"] != 0 && mail.get("failure").is_some()).await;
    assert!(says(&waits, "greylisted") && waits["text"].is_string(), "{waits}");
    let taken = until(&platform, &later, sent).await;
    assert_eq!((&taken["attempts"], &taken["text"], &taken["failure"]), (&json!(2), &Value::Null, &Value::Null));

    // What was sent stays sent, whatever becomes of the process.
    platform.kill().unwrap();
    drop(platform);
    let platform = start(data.path());
    let last = ask(&platform, "last@example.test").await;
    until(&platform, &last, sent).await;
    for (to, asked, taken) in [("now", 1, 1), ("later", 2, 1), ("nobody", 1, 0), ("last", 1, 1)] {
        let to = format!("{to}@example.test");
        assert_eq!((book.count("asked", &to), book.count("taken", &to)), (asked, taken), "{to}");
    }
    assert!(!book.0.lock().unwrap().iter().any(|line| line.0 == "in clear"));
    let text = &book.texts()[0];
    for wanted in ["From: Portunus <portunus@example.test>", "To: now@example.test", "Auto-Submitted: auto-generated"] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(text.contains(&format!("Message-ID: <{}@example.test>", now.rsplit('/').next().unwrap())), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_waits_for_a_server_that_is_gone_and_for_a_password_that_is_right() {
    let (tls, book, data) =
        (OriginTls::for_names(&[NAME], &[]).unwrap(), Book::default(), tempfile::tempdir().unwrap());
    // A port that is taken but where nobody listens refuses connections.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let platform = start(data.path());
    connect(&platform, &tls, address, "wrong").await;
    let mail = ask(&platform, "ana@example.test").await;
    until(&platform, &mail, |mail| says(mail, "cannot be reached")).await;
    let _server = MailServer::on(socket.listen(64).unwrap(), &tls, &book);
    let waits = until(&platform, &mail, |mail| says(mail, "wrong password")).await;
    assert_eq!(waits["status"], "pending", "an administrator mends that: {waits}");
    assert_eq!(book.count("asked", "ana@example.test"), 0);
    connect(&platform, &tls, address, "correct horse").await;
    until(&platform, &mail, sent).await;
    assert_eq!(book.count("taken", "ana@example.test"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_password_nor_mail_goes_to_a_server_with_a_strangers_certificate() {
    let (tls, book, data) =
        (OriginTls::for_names(&[NAME], &[]).unwrap(), Book::default(), tempfile::tempdir().unwrap());
    let server = MailServer::start(&tls, &book).await;
    let platform = start(data.path());
    let stranger = OriginTls::for_names(&[NAME], &[]).unwrap();
    connect(&platform, &stranger, server.address, "correct horse").await;
    let mail = ask(&platform, "ana@example.test").await;
    let waits = until(&platform, &mail, |mail| mail.get("failure").is_some()).await;
    assert_eq!(waits["status"], "pending", "{waits}");
    assert!(book.0.lock().unwrap().is_empty());
}
