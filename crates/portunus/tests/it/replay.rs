//! A draft replayed over traffic that really passed, and then enabled: what was said is what happens.

use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use testkit::{Origin, OriginTls, Platform};

use crate::support::{binary, curl, portunus, settled, text};

const BLOCKED: &str = "files.example.test";
const KEPT: &str = "app.example.test";

/// A platform that reaches one origin under both names.
struct Two {
    platform: Platform,
    _origin: Origin,
}

impl Two {
    async fn start() -> Self {
        let tls = OriginTls::for_names(&[BLOCKED, KEPT], &["h2", "http/1.1"]).unwrap();
        let origin = Origin::start(Router::new().fallback(|| async { "origin" }), Some(&tls)).await.unwrap();
        let platform = Platform::start(binary(), &[]).unwrap();
        let network = json!({
            "hosts": {
                format!("{BLOCKED}:443"): origin.address.to_string(),
                format!("{KEPT}:443"): origin.address.to_string(),
            },
            "allow": [format!("127.0.0.1/32:{}", origin.address.port())],
            "roots": [tls.root],
        });
        platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
        settled(&platform).await;
        Self { platform, _origin: origin }
    }

    async fn person(&self, email: &str) -> String {
        let data = self.platform.data().to_str().unwrap();
        let added = portunus(&["user", "add", email, "--json", "--data", data]);
        let token = serde_json::from_str::<Value>(&text(&added)).unwrap()["proxy_token"].as_str().unwrap().to_owned();
        settled(&self.platform).await;
        format!("{email}:{token}")
    }

    fn get(&self, user: &str, host: &str, path: &str) -> String {
        let url = format!("https://{host}{path}");
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        text(&curl(&self.platform, &[&status[..], &["--proxy-user", user, &url]].concat()))
    }

    /// Waits until so many requests are in the log: a record is written a moment after its answer was.
    async fn recorded(&self, wanted: usize) {
        for _ in 0..200 {
            let found = self.platform.api("GET", "/portunus/logs/gateway_http?limit=100", None).await.unwrap();
            if found.as_array().unwrap().len() >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{wanted} records never came");
    }

    fn replay(&self, arguments: &[&str]) -> std::process::Output {
        let data = self.platform.data().to_str().unwrap();
        portunus(&[&["replay", "--data", data][..], arguments].concat())
    }
}

fn draft() -> Value {
    let traffic = format!("http.request.host == \"{BLOCKED}\"");
    json!({"name": "no files", "action": "block", "filters": ["http"], "enabled": true, "traffic": traffic})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replay_says_of_a_draft_is_what_happens_when_it_is_enabled() {
    let two = Two::start().await;
    let (ana, ben) = (two.person("ana@example.test").await, two.person("ben@example.test").await);
    let requests =
        [(&ana, BLOCKED), (&ana, BLOCKED), (&ben, BLOCKED), (&ana, KEPT), (&ben, KEPT), (&ben, KEPT), (&ben, KEPT)];
    for (number, (user, host)) in requests.into_iter().enumerate() {
        assert_eq!(two.get(user, host, &format!("/{number}")), "200");
    }
    two.recorded(requests.len()).await;
    let body = json!({"rule": draft(), "since": "1h"});
    let said = two.platform.api("POST", "/gateway/rules/replay", Some(body)).await.unwrap();
    let records = &said["records"];
    assert_eq!(
        (&records["changed"], &records["unchanged"], &records["undecided"]),
        (&json!(3), &json!(4), &json!(0)),
        "{said:#}"
    );
    let people = json!([{"name": "ana@example.test", "records": 2}, {"name": "ben@example.test", "records": 1}]);
    assert_eq!(said["people"]["top"], people);
    assert_eq!(said["hosts"]["top"], json!([{"name": BLOCKED, "records": 3}]));
    assert_eq!((&said["in_force"]["reproduced"], &said["in_force"]["differs"]), (&json!(7), &json!(0)));
    // Nothing was changed by asking.
    assert_eq!(two.get(&ana, BLOCKED, "/still"), "200");
    crate::support::create_rule(&two.platform, draft()).await;
    for (user, host) in requests {
        assert_eq!(two.get(user, host, "/again"), if host == BLOCKED { "403" } else { "200" });
    }
    two.recorded(2 * requests.len() + 1).await;
    // Today's rules come to something else about what they allowed before.
    let body = json!({"rules": [], "since": "1h"});
    let said = two.platform.api("POST", "/gateway/rules/replay", Some(body)).await.unwrap();
    assert_eq!(said["in_force"]["differs"], 4, "{said:#}");
    assert_eq!(said["records"]["changed"], 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_replays_a_set_and_a_rule_that_is_taken_away() {
    let two = Two::start().await;
    let ana = two.person("ana@example.test").await;
    for host in [BLOCKED, BLOCKED, KEPT] {
        assert_eq!(two.get(&ana, host, "/"), "200");
    }
    two.recorded(3).await;
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| {
        let path = files.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (set, one) = (write("rules.json", &json!([draft()])), write("draft.json", &draft()));
    for arguments in [["--rules", &set], ["--rule", &one]] {
        let found: Value = serde_json::from_str(&text(&two.replay(&[&arguments[..], &["--json"]].concat()))).unwrap();
        assert_eq!(found["records"]["changed"], 2, "{found:#}");
        assert_eq!(found["complete"], true);
        let shown = text(&two.replay(&arguments));
        assert!(shown.contains("allow -> block by \"no files\"") && shown.contains("ana@example.test"), "{shown}");
    }
    let part = text(&two.replay(&["--rules", &set, "--limit", "1"]));
    assert!(part.contains("PARTIAL"), "{part}");
    let rule = crate::support::create_rule(&two.platform, draft()).await;
    let without = ["--rule-id", rule["id"].as_str().unwrap(), "--disable", "--json"];
    let found: Value = serde_json::from_str(&text(&two.replay(&without))).unwrap();
    assert_eq!(found["transitions"][0]["from"]["rule_name"], "no files", "{found:#}");
    // No token of the command is left.
    let tokens = portunus(&["token", "list", "--json", "--data", two.platform.data().to_str().unwrap()]);
    assert!(!text(&tokens).contains("\"replay\""), "{}", text(&tokens));
    let broken = write("broken.json", &json!([{"name": "x", "action": "block", "traffic": "nonsense"}]));
    let refused = two.replay(&["--rules", &broken]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/rules/0/traffic"), "{refused:?}");
    for wrong in [&[][..], &["--rule-id", "5b3c1d2e-0000-4000-8000-000000000001"], &["--rules", &set, "--disable"]] {
        assert_eq!(two.replay(wrong).status.code(), Some(2), "{wrong:?}");
    }
    // Nobody runs over an empty directory.
    let empty = files.path().join("empty");
    let nobody = Command::new(binary())
        .args(["replay", "--rules", &set, "--data"])
        .arg(&empty)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(nobody.code(), Some(1));
}
