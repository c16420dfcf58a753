//! Markdown for agents, at the wire: who gets it, what heads say, and what passes as it is.

use std::io::Write as _;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::{Method, StatusCode, header};
use serde_json::json;
use testkit::Origin;

use crate::support::{Setup, Stand, WIKI};
use testkit::Seen;

const PAGE: &str = "<!doctype html><title>The wiki</title><script>var token = 's3cret'</script>\
    <h1>Expenses</h1><p>Read <a href='rules?a=1'>the rules</a> &amp; ask.<ul><li>One<li>Two</ul>";
const TEXT: &str = "---\ntitle: \"The wiki\"\n---\n\n# Expenses\n\nRead [the rules](https://wiki.example.test:PORT/docs/rules?a=1) & ask.\n\n- One\n- Two\n";

fn packed(how: &str) -> Vec<u8> {
    let page = PAGE.as_bytes();
    match how {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(page).unwrap();
            encoder.finish().unwrap()
        }
        "zlib" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(page).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut bytes = Vec::new();
            brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22).write_all(page).unwrap();
            bytes
        }
        _ => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(page).unwrap();
            encoder.finish().unwrap()
        }
    }
}

async fn pages(request: Request) -> Response {
    let html =
        |body: Body| ([(header::CONTENT_TYPE, "text/html; charset=UTF-8"), (header::ETAG, "\"of-the-html\"")], body);
    let path = request.uri().path().to_owned();
    let as_sent =
        |encoding: &'static str, bytes: Vec<u8>| ([(header::CONTENT_ENCODING, encoding)], html(Body::from(bytes)));
    match path.as_str() {
        "/docs/page" => {
            let told = |name: &str| request.headers().contains_key(name).to_string();
            let asked = [("x-range", told("range")), ("x-condition", told("if-none-match"))];
            let accepts = request.headers().get("accept-encoding").map(|value| value.to_str().unwrap().to_owned());
            let digest = [("x-accepts", accepts.unwrap_or_default()), ("content-digest", "sha-256=:x:".to_owned())];
            (asked, digest, [("accept-ranges", "bytes"), ("vary", "Cookie")], html(Body::from(PAGE))).into_response()
        }
        "/docs/gzip" => as_sent("gzip", packed("gzip")).into_response(),
        "/docs/zlib" => as_sent("deflate", packed("zlib")).into_response(),
        "/docs/raw" => as_sent("deflate", packed("raw")).into_response(),
        "/docs/cut" => {
            let mut bytes = packed("gzip");
            bytes.truncate(bytes.len() - 20);
            as_sent("gzip", bytes).into_response()
        }
        "/docs/br" => as_sent("br", packed("br")).into_response(),
        "/docs/br-long" => {
            // More than comes out in one piece, most of it from few bytes that go in.
            let mut bytes = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22);
            encoder.write_all(PAGE.as_bytes()).unwrap();
            encoder.write_all(&vec![b' '; 3 << 20]).unwrap();
            encoder.write_all(b"<p>the end").unwrap();
            drop(encoder);
            as_sent("br", bytes).into_response()
        }
        "/docs/br-cut" => {
            let mut bytes = packed("br");
            bytes.truncate(bytes.len() - 20);
            as_sent("br", bytes).into_response()
        }
        "/docs/br-more" => as_sent("br", [packed("br"), packed("br")].concat()).into_response(),
        "/docs/br-wrong" => as_sent("br", PAGE.into()).into_response(),
        "/docs/br-bomb" => {
            let mut bytes = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22);
            for _ in 0..80 {
                encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
            }
            drop(encoder);
            as_sent("br", bytes).into_response()
        }
        "/docs/other" => as_sent("x-unknown", PAGE.into()).into_response(),
        "/docs/bomb" => {
            // A page of spaces: it unpacks to much and says nothing.
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let spaces = vec![b' '; 1 << 20];
            for _ in 0..80 {
                encoder.write_all(&spaces).unwrap();
            }
            as_sent("gzip", encoder.finish().unwrap()).into_response()
        }
        "/docs/missing" => (StatusCode::NOT_FOUND, html(Body::from(PAGE))).into_response(),
        "/docs/part" => {
            (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 0-9/99")], html(Body::from("<p>partial")))
                .into_response()
        }
        "/docs/file" => {
            ([(header::CONTENT_DISPOSITION, "attachment; filename=a.html")], html(Body::from(PAGE))).into_response()
        }
        "/docs/json" => axum::Json(json!({"a": "<p>"})).into_response(),
        "/docs/markdown" => ([(header::CONTENT_TYPE, "text/markdown")], "# own\n").into_response(),
        "/docs/nested" => html(Body::from("<div>".repeat(100_000))).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

struct Pages {
    stand: Stand,
    _origin: Origin,
}

impl Pages {
    async fn start(markdown: bool) -> Self {
        let origin = Origin::start(Router::new().fallback(pages), None).await.unwrap();
        let url = format!("http://{}", origin.address);
        let setup = Setup {
            wiki: json!({"portunus": {"origin": {"url": url}, "markdown": markdown}}),
            policies: vec![json!({"name": "Open", "decision": "bypass", "include": [{"everyone": {}}]})],
            ..Setup::default()
        };
        Self { stand: Stand::start(setup).await, _origin: origin }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Seen {
        let mut browser = self.stand.browser();
        let mut request = browser.request(method, &self.stand.url(WIKI, path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        browser.send(request).await
    }

    async fn get(&self, path: &str, accept: &str) -> Seen {
        self.ask(Method::GET, path, &[("accept", accept)]).await
    }

    fn text(&self) -> String {
        TEXT.replace("PORT", &self.stand.address.port().to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_markdown_for_whoever_prefers_it_and_html_for_everybody_else() {
    let pages = Pages::start(true).await;
    let headers = [
        ("accept", "text/markdown, text/html;q=0.9"),
        ("range", "bytes=0-9"),
        ("if-none-match", "\"of-the-html\""),
        ("accept-encoding", "br, gzip"),
    ];
    let seen = pages.ask(Method::GET, "/docs/page", &headers).await;
    assert_eq!((seen.status, seen.text.as_str()), (StatusCode::OK, pages.text().as_str()));
    assert_eq!(seen.headers["content-type"], "text/markdown; charset=utf-8");
    let vary: Vec<_> = seen.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Cookie", "Accept"]);
    for name in ["content-length", "etag", "accept-ranges", "content-digest", "content-encoding"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    // The application was asked for all of it, in a form that can be read.
    assert!(seen.headers["x-range"] == "false" && seen.headers["x-condition"] == "false");
    assert_eq!(seen.headers["x-accepts"], "gzip");

    let head = pages.ask(Method::HEAD, "/docs/page", &headers).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.headers["content-type"], "text/markdown; charset=utf-8");
    assert!(!head.headers.contains_key("content-length") && !head.headers.contains_key("etag"));

    for accept in ["text/html, text/markdown;q=0.9", "*/*", "text/*", "text/markdown;q=0"] {
        let seen = pages.ask(Method::GET, "/docs/page", &[("accept", accept), ("if-none-match", "x")]).await;
        assert_eq!(seen.text, PAGE, "{accept}");
        assert_eq!(seen.headers["etag"], "\"of-the-html\"");
        // A cache between us must not give this to an agent.
        assert!(seen.headers.get_all("vary").iter().any(|value| value == "Accept"));
        assert_eq!(seen.headers["x-condition"], "true");
    }
    let off = Pages::start(false).await;
    let seen = off.get("/docs/page", "text/markdown").await;
    assert_eq!((seen.text.as_str(), seen.headers.get_all("vary").iter().count()), (PAGE, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_pages_are_unpacked() {
    let pages = Pages::start(true).await;
    for path in ["/docs/gzip", "/docs/zlib", "/docs/raw", "/docs/br"] {
        let seen = pages.get(path, "text/markdown").await;
        assert_eq!((seen.status, seen.text.as_str()), (StatusCode::OK, pages.text().as_str()), "{path}");
        assert!(!seen.headers.contains_key("content-encoding"), "{path}");
    }
    let long = pages.get("/docs/br-long", "text/markdown").await;
    assert!(long.text.starts_with(pages.text().trim_end()) && long.text.ends_with("the end\n"), "{}", long.text);
    // What cannot be unpacked passes as it is.
    let seen = pages.get("/docs/other", "text/markdown").await;
    assert!(seen.headers["content-encoding"] == "x-unknown" && seen.text == PAGE);
    assert_eq!(seen.headers["content-type"], "text/html; charset=UTF-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_parts_files_and_what_is_no_page_pass_untouched() {
    let pages = Pages::start(true).await;
    for (path, status, kind, text) in [
        ("/docs/missing", StatusCode::NOT_FOUND, "text/html; charset=UTF-8", PAGE),
        ("/docs/part", StatusCode::PARTIAL_CONTENT, "text/html; charset=UTF-8", "<p>partial"),
        ("/docs/file", StatusCode::OK, "text/html; charset=UTF-8", PAGE),
        ("/docs/json", StatusCode::OK, "application/json", "{\"a\":\"<p>\"}"),
        ("/docs/markdown", StatusCode::OK, "text/markdown", "# own\n"),
    ] {
        let seen = pages.get(path, "text/markdown").await;
        assert_eq!((seen.status, seen.text.as_str()), (status, text), "{path}");
        assert_eq!(seen.headers["content-type"], kind, "{path}");
        assert_eq!(seen.headers["content-length"], text.len().to_string().as_str(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_off_or_a_bound_is_not_taken_for_a_whole_one() {
    let pages = Pages::start(true).await;
    for path in
        ["/docs/cut", "/docs/bomb", "/docs/nested", "/docs/br-cut", "/docs/br-more", "/docs/br-wrong", "/docs/br-bomb"]
    {
        let browser = pages.stand.browser();
        let request = browser.request(Method::GET, &pages.stand.url(WIKI, path)).header("accept", "text/markdown");
        // It breaks off before its head is read, or after.
        let whole = match request.send().await {
            Ok(response) => response.bytes().await.is_ok(),
            Err(_) => false,
        };
        assert!(!whole, "{path} ended in good order");
    }
    // And the next one is served.
    assert_eq!(pages.get("/docs/page", "text/markdown").await.text, pages.text());
}
