//! Ordinary clients through interception: they must not notice, and origins must get what was sent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::extract::WebSocketUpgrade;
use axum::http::{HeaderMap, Version};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::support::{Site, text};

fn router() -> Router {
    Router::new()
        .route("/version", get(|version: Version| async move { format!("{version:?}") }))
        .route("/echo", post(|headers: HeaderMap, body: Bytes| async move { echo(&headers, &body) }))
        .route("/range", get(range))
        .route("/socket", axum::routing::any(socket))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

fn echo(headers: &HeaderMap, body: &[u8]) -> String {
    format!(
        "{} {} {}",
        headers.contains_key("proxy-authorization"),
        headers.contains_key("proxy-connection"),
        body.len()
    )
}

async fn range(headers: HeaderMap) -> Response {
    match headers.get("range").map(|range| range.to_str().unwrap().to_owned()) {
        Some(range) if range == "bytes=2-4" => {
            (axum::http::StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 2-4/10")], "234").into_response()
        }
        _ => "0123456789".into_response(),
    }
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_http_1_and_2_and_the_origin_sees_the_same_version() {
    let site = Site::start(router()).await;
    for (flag, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        assert_eq!(text(&site.curl(&[flag, &site.url("/version")])), version, "{flag}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_without_http_2_is_not_offered_to_the_client_with_it() {
    let site = Site::start_with(router(), &["http/1.1"]).await;
    let output = site.curl(&["--http2", "--write-out", " %{http_version}", &site.url("/version")]);
    assert_eq!(text(&output), "HTTP/1.1 1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_ranges_pass_and_proxy_headers_do_not() {
    let site = Site::start(router()).await;
    let upload = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(upload.path(), vec![b'x'; 3_000_000]).unwrap();
    let body = format!("@{}", upload.path().display());
    assert_eq!(text(&site.curl(&["--data-binary", &body, &site.url("/echo")])), "false false 3000000");
    assert_eq!(text(&site.curl(&["--range", "2-4", &site.url("/range")])), "234");
    assert_eq!(
        text(&site.curl(&["--head", "--output", "/dev/null", "--write-out", "%{http_code}", &site.url("/range")])),
        "200"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_and_node_work_with_the_authority_in_their_environment() {
    let site = Site::start(router()).await;
    let authority = site.platform.ready.ca_certificate.clone();
    let python = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())";
    let output = Command::new("python3")
        .args(["-c", python, &site.url("/version")])
        .env("https_proxy", &site.platform.ready.proxy)
        .env("SSL_CERT_FILE", &authority)
        .output()
        .unwrap();
    assert_eq!(text(&output).trim(), "HTTP/1.1");

    let node = "const [proxy, host] = process.argv.slice(1); const http = require('http'), tls = require('tls'); const { hostname, port } = new URL(proxy); \
        http.request({ host: hostname, port, method: 'CONNECT', path: `${host}:443`, headers: { host: `${host}:443` } }).on('connect', (_, socket) => { \
        const secure = tls.connect({ socket, servername: host, ALPNProtocols: ['http/1.1'] }, () => secure.write(`GET /version HTTP/1.1\\r\\nHost: ${host}\\r\\nConnection: close\\r\\n\\r\\n`)); \
        let seen = ''; secure.on('data', (data) => seen += data).on('end', () => console.log(seen.split('\\r\\n\\r\\n')[1])); }).end();";
    let output = Command::new("node")
        .args(["-e", node, &site.platform.ready.proxy, crate::support::HOST])
        .env("NODE_EXTRA_CA_CERTS", &authority)
        .output()
        .unwrap();
    assert!(text(&output).contains("HTTP/1.1"), "{}", text(&output));
}

/// Runs git with a name to commit under.
fn git(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.test", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(directory)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    text(&output)
}

/// Makes a repository to clone, `project.git`, with one commit that holds more than one packet of a pack.
fn repository() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path().join("work");
    std::fs::create_dir(&work).unwrap();
    git(&work, &[], &["init"]);
    std::fs::write(work.join("README"), "over the gateway").unwrap();
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(300_000)
    .collect();
    std::fs::write(work.join("noise"), noise).unwrap();
    git(&work, &[], &["add", "."]);
    git(&work, &[], &["commit", "-m", "First"]);
    git(directory.path(), &[], &["clone", "--bare", "work", "project.git"]);
    git(&directory.path().join("project.git"), &[], &["update-server-info"]);
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones_over_https_from_plain_files() {
    let repository = repository();
    let root = repository.path().to_owned();
    let router = Router::new().fallback(move |uri: axum::http::Uri| {
        let file = root.join(uri.path().trim_start_matches('/'));
        async move {
            match std::fs::read(file) {
                Ok(content) => content.into_response(),
                Err(_) => axum::http::StatusCode::NOT_FOUND.into_response(),
            }
        }
    });
    let site = Site::start(router).await;
    let authority = site.platform.ready.ca_certificate.display().to_string();
    let through = [("https_proxy", site.platform.ready.proxy.as_str()), ("GIT_SSL_CAINFO", authority.as_str())];
    git(repository.path(), &through, &["clone", &site.url("/project.git"), "copy"]);
    assert_eq!(std::fs::read_to_string(repository.path().join("copy/README")).unwrap(), "over the gateway");
}

/// Serves the repositories under `root` as git's own program does (CGI, RFC 3875).
async fn smart_http(root: PathBuf, request: axum::extract::Request) -> Response {
    use tokio::io::AsyncWriteExt;
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
    let mut backend = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "test")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let mut input = backend.stdin.take().unwrap();
    let feed = async move {
        // It ends without reading everything where it has heard enough.
        let _ = input.write_all(&sent).await;
    };
    let (output, ()) = tokio::join!(backend.wait_with_output(), feed);
    let output = output.unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap()),
            name => response.header(name, value),
        };
    }
    response.body(axum::body::Body::from(output[end + 4..].to_vec())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones_fetches_and_pushes_over_smart_http() {
    let repository = repository();
    let bare = repository.path().join("project.git");
    git(&bare, &[], &["config", "http.receivepack", "true"]);
    let root = repository.path().to_owned();
    let router = Router::new().fallback(move |request: axum::extract::Request| smart_http(root.clone(), request));
    let site = Site::start(router).await;
    let authority = site.platform.ready.ca_certificate.display().to_string();
    let through = [("https_proxy", site.platform.ready.proxy.as_str()), ("GIT_SSL_CAINFO", authority.as_str())];
    git(repository.path(), &through, &["clone", &site.url("/project.git"), "copy"]);
    let copy = repository.path().join("copy");
    assert_eq!(std::fs::read(copy.join("noise")).unwrap().len(), 300_000);

    std::fs::write(copy.join("CHANGES"), "pushed through it").unwrap();
    // Larger than what git sends in one piece, so that the push is chunked.
    std::fs::write(copy.join("more"), std::fs::read(copy.join("noise")).unwrap().repeat(2)).unwrap();
    git(&copy, &[], &["add", "."]);
    git(&copy, &[], &["commit", "-m", "Second"]);
    git(&copy, &through, &["-c", "http.postBuffer=65536", "push", "origin", "main"]);
    assert_eq!(git(&bare, &[], &["show", "main:CHANGES"]), "pushed through it");

    let head = git(&bare, &[], &["rev-parse", "main"]);
    git(&repository.path().join("work"), &through, &["fetch", &site.url("/project.git"), "main"]);
    assert_eq!(git(&repository.path().join("work"), &[], &["rev-parse", "FETCH_HEAD"]), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_opens_through_interception_and_carries_both_ways() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let site = Site::start(router()).await;
    let stream = crate::support::tls_through_proxy(&site.platform).await;
    let url = format!("wss://{}/socket", crate::support::HOST);
    let (mut socket, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
}
