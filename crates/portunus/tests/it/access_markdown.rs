//! Markdown for agents through the front door: an agent with a service token, a browser, and an origin that packs its pages.

use std::io::Write as _;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use testkit::Platform;

use crate::access::{curl, publish};
use crate::support::{binary, settled};

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Travel</title><script>var csrf = 's3cret'</script><h1>Travel</h1>\
    <form><input type=hidden name=csrf value=s3cret></form><p>Ask <a href=/people/ana>Ana</a> \u{2013} before <em>Friday</em>.\
    <table><tr><th>City<th>Limit<tr><td>Bern<td>120</table><a href='javascript:pay()'>Pay</a>";

async fn travel(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let html = (header::CONTENT_TYPE, "text/html");
    if !accepts.contains("gzip") {
        return ([html], PAGE).into_response();
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(PAGE.as_bytes()).unwrap();
    ([html, (header::CONTENT_ENCODING, "gzip")], encoder.finish().unwrap()).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reads_markdown_where_an_application_offers_it_and_a_browser_html() {
    let origin = testkit::Origin::start(Router::new().fallback(travel), None).await.unwrap();
    let platform = Platform::start(binary(), &[]).unwrap();
    let token = publish(&platform, origin.address).await;
    let credentials = ["client_id", "client_secret"]
        .map(|name| format!("cf-access-{}: {}", name.replace('_', "-"), token[name].as_str().unwrap()));
    let ask = |accept: &str| {
        let accept = format!("accept: {accept}");
        curl(
            &platform,
            "docs.localhost",
            "/travel?year=2026",
            &["--header", &credentials[0], "--header", &credentials[1], "--header", &accept],
        )
    };
    assert!(ask("text/markdown").ends_with(PAGE), "nobody switched it on");

    let mut application = platform.api("GET", "/access/apps", None).await.unwrap()[0].clone();
    let path = format!("/access/apps/{}", application["id"].as_str().unwrap());
    application["portunus"]["markdown"] = json!(true);
    platform.api("PUT", &path, Some(application)).await.unwrap();
    settled(&platform).await;

    let port = platform.ready.access_url.rsplit(':').next().unwrap();
    let agent = ask("text/markdown, text/html;q=0.8, */*;q=0.1");
    let expected = format!(
        "---\ntitle: \"Travel\"\n---\n\n# Travel\n\nAsk [Ana](https://docs.localhost:{port}/people/ana) \u{2013} before *Friday*.\n\n\
         | City | Limit |\n| --- | --- |\n| Bern | 120 |\n\nPay\n"
    );
    assert!(agent.ends_with(&expected), "{agent}");
    assert!(agent.contains("content-type: text/markdown; charset=utf-8") && agent.contains("vary: Accept"), "{agent}");
    assert!(!agent.contains("content-encoding") && !agent.contains("s3cret"), "{agent}");
    let browser = ask("text/html,application/xhtml+xml,*/*;q=0.8");
    assert!(browser.ends_with(PAGE) && browser.contains("vary: Accept"), "{browser}");
}
