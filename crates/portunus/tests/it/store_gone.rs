//! The store is gone: traffic goes on by the last configuration, and whoever was signed in is told.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::json;
use testkit::{Origin, Platform};

use crate::postgres::Server;
use crate::support::{binary, create_rule, curl, settled, text};

/// The platform looks every second; the rest is for a machine that is loaded.
const SOON: Duration = Duration::from_secs(60);
const BANNER: &str = "The store cannot be reached.";

/// An administrator's browser.
#[derive(Clone)]
struct Browser {
    client: reqwest::Client,
    console: String,
    cookie: String,
}

impl Browser {
    /// Becomes the first administrator, by the link that the platform printed.
    async fn set_up(platform: &Platform) -> Self {
        let client = platform.client().unwrap();
        let setup = json!({
            "token": platform.ready.setup_url.rsplit_once("token=").unwrap().1,
            "email": "ada@example.com",
            "password": "a long enough pass phrase",
        });
        let url = format!("{}/portunus/setup", platform.ready.api_url);
        let created = client.post(url).json(&setup).send().await.unwrap();
        let cookie = created.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let console = platform.ready.console_url.trim_end_matches('/').to_owned();
        Self { client, console, cookie }
    }

    async fn open(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.console);
        let answer = self.client.get(url).header(COOKIE, &self.cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Opens a page until it says `text` or, if it should not, no longer does.
    async fn wait_for(&self, path: &str, text: &str, wanted: bool) -> String {
        let asked = Instant::now();
        loop {
            let (status, page) = self.open(path).await;
            if status == 200 && page.contains(text) == wanted {
                return page;
            }
            assert!(asked.elapsed() < SOON, "{status} {page}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_store_gone_traffic_goes_on_and_the_console_says_so() {
    let mut server = Server::start();
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("portunus.toml");
    let socket = server.directory().display().to_string().replace('/', "%2F");
    std::fs::write(&config, format!("version = 1\n[store]\nurl = \"postgres://portunus@{socket}/postgres\"\n"))
        .unwrap();
    let arguments = ["--config", config.to_str().unwrap()];
    let platform = Platform::start_in(binary(), data.path(), &arguments).unwrap();
    let origin = Origin::start(Router::new().fallback(get(|| async { "ok" })), None).await.unwrap();
    let network = json!({ "allow": [format!("127.0.0.1/32:{}", origin.address.port())] });
    platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
    let blocked = json!({ "name": "Not this", "action": "block", "traffic": "http.request.uri.path == \"/no\"" });
    create_rule(&platform, blocked).await;
    settled(&platform).await;
    let visit = |path: &str| {
        let url = format!("http://{}{path}", origin.address);
        text(&curl(&platform, &["--output", "/dev/null", "--write-out", "%{http_code}", &url]))
    };
    let browser = Browser::set_up(&platform).await;
    browser.wait_for("/", BANNER, false).await;

    server.stop();
    browser.wait_for("/", BANNER, true).await;
    assert_eq!((visit("/yes").as_str(), visit("/no").as_str()), ("200", "403"));
    let activity = browser.wait_for("/activity", "/yes", true).await;
    assert!(activity.contains(BANNER), "what passes meanwhile is seen, under the banner\n{activity}");
    assert_eq!(browser.open("/rules").await.0, 503, "a page that needs the store says that it is gone");

    // Who was not signed in stays outside.
    let name = browser.cookie.split('=').next().unwrap();
    let cookie = format!("{name}=ptn_0000000000000000000000000000000000000000deadbeef");
    let stranger = Browser { cookie, ..browser.clone() };
    let (status, page) = stranger.open("/").await;
    assert!(status != 200 || !page.contains(BANNER), "{status} {page}");

    server.resume();
    browser.wait_for("/", BANNER, false).await;
    assert_eq!(browser.open("/rules").await.0, 200);
}
