//! The policy tester, where a policy asks a Worker.

use serde_json::json;

use super::{Browser, text};
use crate::access_tests::{asks, script, signed_in};
use crate::harness::Console;

#[tokio::test]
async fn the_tester_shows_what_a_worker_said_of_one_person_and_of_everybody() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    signed_in(&console, "ann@example.com", "Ann").await;
    signed_in(&console, "bob@other.test", "Bob").await;
    script(&console, "training").await;
    let app = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "wiki.example.com",
        "portunus": {"origin": {"url": "http://127.0.0.1:8080"}}, "policies": [asks("training")],
    });
    let app = console.post("access/apps", app).await.result();
    let app = app["id"].as_str().unwrap();
    for (person, words) in [
        ("ann@example.com", &["would enter", "Worker training allowed it in 3 ms: looked up"][..]),
        ("bob@other.test", &["would not enter", "Worker training did not allow it in 3 ms: looked up"]),
        ("", &["Would enter (1)", "training allowed it", "Would not (1)", "training did not allow it"]),
    ] {
        let page = text(&browser.send("/access/test", &[("app", app), ("person", person)]).await);
        for words in words {
            assert!(page.contains(words), "{person:?} lacks {words}: {page}");
        }
    }
}
