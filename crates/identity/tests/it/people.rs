//! What people see and would be decided: the launcher's tiles and the policy tester.

use identity::application::{Application, ApplicationDocument};
use identity::audience::Audience;
use identity::evaluation::{Caller, PolicySet};
use identity::identity::Identity;
use identity::launcher::{Candidate, Tile, Tiles, tags, tiles};
use identity::policy_test::{Person, PersonStatus, PolicyTest, Progress};
use identity::selector::RiskScore;
use serde_json::{Value, json};
use types::{ApplicationId, PostureRuleId, UserId};
use uuid::Uuid;

use crate::evaluation::{LOOKUPS, allow, context, id, person, set};

fn application(number: u128, value: Value) -> Application {
    let document = ApplicationDocument::read(&value).unwrap();
    Application::parse(ApplicationId(Uuid::from_u128(number)), Audience([1; 32]), &document).unwrap()
}

fn seen(applications: &[(Application, PolicySet)], identity: Option<&Identity>) -> Tiles {
    let candidates =
        applications.iter().map(|(application, policies)| Candidate { application, policies, lookups: &LOOKUPS });
    tiles(candidates, 9443, &Caller { identity, ..Caller::default() }, &context(None, &[]))
}

#[test]
fn a_person_sees_a_tile_for_each_application_that_would_let_them_in() {
    let everyone = || allow(json!({"everyone": {}}));
    let app = |name: &str, domain: &str| json!({"name": name, "domain": domain, "tags": ["tools", "tools"]});
    let mut hidden = app("Hidden", "hidden.example.com");
    hidden["app_launcher_visible"] = json!(false);
    let mut several = app("wiki", "*.wiki.example.com");
    several["destinations"] = json!([{"type": "public", "uri": "wiki.example.com/docs/*"}]);
    let mut reading = everyone();
    reading["portunus"] =
        json!({"expression": r#"http.request.method == "GET" and http.request.uri.path == "/start""#});
    let mut broken = everyone();
    broken["exclude"] = json!([{"group": {"id": id(3)}}]);
    let bookmark = json!({"type": "bookmark", "name": "Handbook", "domain": "handbook.example", "tags": ["people"]});
    let bob = allow(json!({"email": {"email": "bob@example.com"}}));
    let applications: Vec<(Application, PolicySet)> = [
        (several, vec![everyone()]),
        (app("Admin", "admin.example.com"), vec![bob]),
        (app("Reports", "reports.example.com/start"), vec![reading]),
        (hidden, vec![everyone()]),
        (app("Wild", "*.wild.example.com"), vec![everyone()]),
        (app("Broken", "broken.example.com"), vec![broken]),
        (app("Listed", "listed.example.com"), vec![allow(json!({"email_list": {"id": id(3)}}))]),
        (app("Nobody", "nobody.example.com"), vec![]),
        (bookmark, vec![]),
        (json!({"type": "app_launcher", "name": "Launcher"}), vec![everyone()]),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (value, policies))| (application(number as u128, value), set(&policies)))
    .collect();
    let found = seen(&applications, Some(&person()));
    let shown: Vec<(&str, &str)> = found.tiles.iter().map(|tile| (tile.name.as_str(), tile.url.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("Handbook", "https://handbook.example/"),
            ("Reports", "https://reports.example.com:9443/start"),
            ("wiki", "https://wiki.example.com:9443/docs/"),
        ]
    );
    assert_eq!(found.undecided.len(), 1);
    assert_eq!(found.undecided[0].application, ApplicationId(Uuid::from_u128(6)));
    assert_eq!(tags(&found.tiles), [("people", 1), ("tools", 2)]);
    let matching = |search: &str, tag: Option<&str>| -> Vec<&str> {
        found.tiles.iter().filter(|tile| tile.matches(search, tag)).map(|tile| tile.name.as_str()).collect()
    };
    assert_eq!(matching("", None).len(), 3);
    assert_eq!(matching("WIKI tools", None), ["wiki"]);
    assert_eq!(matching("", Some("people")), ["Handbook"]);
    assert_eq!(matching("hand", Some("tools")), Vec::<&str>::new());
    assert_eq!(matching(&"x".repeat(300), None), Vec::<&str>::new());
    // Somebody who has not signed in sees links and nothing that asks who they are.
    let names = |tiles: &[Tile]| tiles.iter().map(|tile| tile.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&seen(&applications, None).tiles), ["Handbook"]);
}

#[test]
fn the_policy_tester_counts_everybody_once() {
    let named = |number: u128, email: &str| Identity {
        user: UserId(Uuid::from_u128(number)),
        email: email.parse().unwrap(),
        ..person()
    };
    let mut allowed = allow(json!({"email_domain": {"domain": "example.com"}}));
    allowed["require"] = json!([{"device_posture": {"integration_uid": id(7)}}, {"geo": {"country_code": "DE"}}]);
    let listed = allow(json!({"email_list": {"id": id(9)}}));
    let denied = json!({"decision": "deny", "include": [{"email": {"email": "eve@example.com"}}]});
    let mut test = PolicyTest::begin(set(&[denied, allowed]), 4);
    assert_eq!(test.report()["percent_users_processed"], json!(0));
    let passed = [PostureRuleId(Uuid::from_u128(7))];
    let mut judge = |identity: &Identity, passed| {
        test.judge(&Person { identity, passed: Some(passed), risk: Some(RiskScore::Unscored) }, &LOOKUPS).status
    };
    assert_eq!(judge(&named(1, "ann@example.com"), &passed[..]), PersonStatus::Approved);
    assert_eq!(judge(&named(2, "ann@example.com"), &[]), PersonStatus::Blocked);
    assert_eq!(judge(&named(3, "eve@example.com"), &passed), PersonStatus::Blocked);
    assert_eq!(test.progress(), Progress::Processing);
    let outcome = test.judge(
        &Person { identity: &named(4, "dan@other.example"), passed: Some(&[]), risk: Some(RiskScore::Low) },
        &LOOKUPS,
    );
    assert_eq!(
        serde_json::to_value(&outcome).unwrap(),
        json!({"id": id(4), "email": "dan@other.example", "name": "Ann", "status": "blocked"})
    );
    assert_eq!(
        Value::Object(test.report()),
        json!({
            "status": "complete", "users_approved": 1, "users_blocked": 3, "users_errored": 0, "percent_approved": 25,
            "percent_blocked": 75, "percent_errored": 0, "percent_users_processed": 100, "total_users": 4,
        })
    );
    // A list that cannot be asked, a fact of the request: errors, not refusals.
    let mut request = allow(json!({"everyone": {}}));
    request["portunus"] = json!({"expression": r#"http.request.host == "wiki.example.com""#});
    for policies in [vec![listed], vec![request], vec![allow(json!({"group": {"id": id(3)}}))]] {
        let mut test = PolicyTest::begin(set(&policies), 2);
        let ann = person();
        let outcome = test.judge(&Person { identity: &ann, passed: Some(&[]), risk: Some(RiskScore::Low) }, &LOOKUPS);
        assert_eq!(outcome.status, PersonStatus::Error, "{policies:?}");
        test.stop(Progress::ExceededTime);
        assert_eq!(
            (&test.report()["status"], &test.report()["percent_users_processed"]),
            (&json!("exceeded time"), &json!(50))
        );
    }
    assert_eq!(PolicyTest::begin(set(&[]), 0).report()["percent_users_processed"], json!(100));
    assert_eq!(PersonStatus::of_filter("fail"), Some(PersonStatus::Blocked));
    assert_eq!(PersonStatus::of_filter("approved"), None);
}
