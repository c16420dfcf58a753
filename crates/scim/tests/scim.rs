//! Inbound SCIM as Okta and Entra speak it: records, queries, every form of PATCH, and what follows for sessions.

#![expect(clippy::unwrap_used, reason = "a fixture that is wrong should end its test")]

use std::collections::BTreeSet;

use identity::provider::{ScimRules, UpdateBehavior};
use jiff::Timestamp;
use scim::change::{Change, EndReason, of_group, of_user};
use scim::filter::{Filter, MAX_TERMS, Path};
use scim::group::{Group, GroupAttributes};
use scim::patch::{MAX_OPERATIONS, Patch};
use scim::user::{MAX_EMAILS, User, UserAttributes};
use scim::{ErrorType, MAX_BODY, Query, ResourceId, ResourceType, ScimError};
use scim::{resource_types, schemas, service_provider_config};
use serde_json::{Value, json};
use types::Email;
use uuid::Uuid;

const OPERATIONS: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn number(number: u128) -> ResourceId {
    ResourceId(Uuid::from_u128(number))
}

fn text(id: u128) -> String {
    number(id).to_string()
}

fn user(value: &Value) -> User {
    let attributes = UserAttributes::create(&bytes(value)).unwrap();
    User { id: number(1), attributes, created: Timestamp::UNIX_EPOCH, modified: Timestamp::UNIX_EPOCH }
}

fn ann() -> User {
    user(&json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "userName": "Ann@example.com", "externalId": "00u1", "active": true, "displayName": "Ann Lee",
        "name": {"givenName": "Ann", "familyName": "Lee"}, "locale": "en-US", "groups": [], "password": "never kept",
        "emails": [{"primary": true, "value": "ann@example.com", "type": "work"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R&D"},
    }))
}

fn group() -> Group {
    let value = json!({"displayName": "Engineering", "members": [{"value": text(1), "display": "Ann"}]});
    let attributes = GroupAttributes::create(&bytes(&value)).unwrap();
    Group { id: number(7), attributes, created: Timestamp::UNIX_EPOCH, modified: Timestamp::UNIX_EPOCH }
}

fn patch(operations: &Value) -> Result<Patch, ScimError> {
    Patch::read(&bytes(&json!({"schemas": [OPERATIONS], "Operations": operations})))
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, ScimError>) -> Option<ErrorType> {
    outcome.unwrap_err().kind
}

#[test]
fn a_record_is_kept_without_what_has_no_use_and_shown_again() {
    let shown = ann().document("https://login.example.com/scim/v2");
    assert_eq!(
        shown,
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": text(1), "externalId": "00u1",
            "userName": "Ann@example.com", "displayName": "Ann Lee", "active": true,
            "name": {"givenName": "Ann", "familyName": "Lee"},
            "emails": [{"value": "ann@example.com", "type": "work", "primary": true}],
            "meta": {"resourceType": "User", "created": "1970-01-01T00:00:00Z", "lastModified": "1970-01-01T00:00:00Z",
                "location": format!("https://login.example.com/scim/v2/Users/{}", text(1))},
        })
    );
    assert!(!serde_json::to_string(&ann()).unwrap().contains("never kept"));
    let stored = serde_json::to_value(ann()).unwrap();
    assert_eq!(serde_json::from_value::<User>(stored).unwrap(), ann());
    assert_eq!(group().document("b", true)["members"], json!([{"value": text(1)}]));
    assert!(group().document("b", false).get("members").is_none());
    assert!(!user(&json!({"USERNAME": "x", "Active": "False"})).attributes.active);
}

#[test]
fn a_record_that_is_none_is_refused() {
    let many: Vec<Value> = (0..=MAX_EMAILS).map(|number| json!({"value": format!("a{number}@x.example")})).collect();
    for (value, expected) in [
        (json!({"displayName": "x"}), ErrorType::InvalidValue),
        (json!({"userName": " "}), ErrorType::InvalidValue),
        (json!({"userName": 7}), ErrorType::InvalidValue),
        (json!({"userName": "x".repeat(2_000)}), ErrorType::InvalidValue),
        (json!({"userName": "a\u{0}b"}), ErrorType::InvalidValue),
        (json!({"userName": "x", "active": "perhaps"}), ErrorType::InvalidValue),
        (json!({"userName": "x", "active": null}), ErrorType::InvalidValue),
        (json!({"userName": "x", "active": true, "ACTIVE": false}), ErrorType::InvalidSyntax),
        (json!({"userName": "x", "emails": many}), ErrorType::InvalidValue),
        (json!({"userName": "x", "emails": [7]}), ErrorType::InvalidValue),
        (json!([]), ErrorType::InvalidSyntax),
    ] {
        assert_eq!(kind(UserAttributes::create(&bytes(&value))), Some(expected), "{value}");
    }
    let long = UserAttributes::create(&vec![b' '; MAX_BODY + 1]).unwrap_err();
    assert_eq!((long.status, &long.document()["status"]), (413, &json!("413")));
    for value in [
        json!({}),
        json!({"displayName": "x", "members": [{"value": "nobody"}]}),
        json!({"displayName": "x", "members": 7}),
    ] {
        assert_eq!(kind(GroupAttributes::create(&bytes(&value))), Some(ErrorType::InvalidValue), "{value}");
    }
}

#[test]
fn a_put_replaces_everything_and_brings_nobody_back_in_silence() {
    let mut gone = ann().attributes;
    gone.active = false;
    let body = bytes(&json!({"userName": "ann"}));
    let replaced = gone.replace(&body).unwrap();
    assert!(!replaced.active && replaced.emails.is_empty() && replaced.external_id.is_none());
    assert!(gone.replace(&bytes(&json!({"userName": "ann", "active": true}))).unwrap().active);
    assert!(UserAttributes::create(&body).unwrap().active);
}

#[test]
fn both_dialects_change_a_person() {
    let set = |path: &str, value: Value| json!([{"op": "Replace", "path": path, "value": value}]);
    for (operations, check) in [
        // Okta.
        (json!([{"op": "replace", "value": {"active": false}}]), "/active=false"),
        (json!([{"op": "replace", "value": {"id": text(9), "displayName": "A"}}]), "/displayName=\"A\""),
        // Entra.
        (set("active", json!("False")), "/active=false"),
        (json!([{"op": "Add", "path": "active", "value": "True"}]), "/active=true"),
        (set("name.familyName", json!("Li")), "/name/familyName=\"Li\""),
        (set(r#"emails[type eq "work"].value"#, json!("a@x.example")), "/emails/0/value=\"a@x.example\""),
        (
            json!([{"op": "Add", "path": r#"emails[type eq "home"].value"#, "value": "h@x.example"}]),
            "/emails/1/type=\"home\"",
        ),
        (
            json!([{"op": "Replace", "value": {"name.givenName": "Anna", r#"emails[type eq "work"].value"#: "b@x.example"}}]),
            "/emails/0/value=\"b@x.example\"",
        ),
        (json!([{"op": "Replace", "value": {"name.givenName": "Anna"}}]), "/name/givenName=\"Anna\""),
        (set("urn:ietf:params:scim:schemas:core:2.0:User:userName", json!("new")), "/userName=\"new\""),
        (set("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", json!("x")), "/active=true"),
        (
            json!([{"op": "Add", "value": {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "x"}}}]),
            "/active=true",
        ),
        (set(r#"phoneNumbers[type eq "work"].value"#, json!("1")), "/active=true"),
        (json!([{"op": "remove", "path": "displayName"}]), "/displayName=\"Ann Lee\""),
        (json!([{"op": "Remove", "path": "externalId"}]), "/externalId=null"),
        (json!([{"op": "remove", "path": r#"emails[value eq "ANN@example.com"]"#}]), "/emails=[]"),
        (set("emails", json!([{"value": "c@x.example", "primary": true}])), "/emails/0/value=\"c@x.example\""),
        (
            json!([{"op": "add", "path": "emails", "value": [{"value": "c@x.example", "primary": true}]}]),
            "/emails/0/primary=false",
        ),
    ] {
        let mut changed = ann();
        changed.attributes = changed.attributes.patch(&patch(&operations).unwrap()).unwrap();
        let (pointer, expected) = check.split_once('=').unwrap();
        let shown = changed.document("b");
        let found = shown.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found.to_string(), expected, "{operations}");
        assert_eq!(changed.id, number(1));
    }
}

#[test]
fn both_dialects_change_a_group() {
    let member = |id: u128| json!({"value": text(id)});
    for (operations, expected) in [
        (json!([{"op": "add", "path": "members", "value": [member(2), member(1)]}]), vec![1, 2]),
        (json!([{"op": "Add", "path": "members", "value": member(3)}]), vec![1, 3]),
        (json!([{"op": "replace", "path": "members", "value": [member(2)]}]), vec![2]),
        (json!([{"op": "replace", "value": {"members": [member(4)], "displayName": "Engineering"}}]), vec![4]),
        (json!([{"op": "remove", "path": format!(r#"members[value eq "{}"]"#, text(1))}]), vec![]),
        (json!([{"op": "remove", "path": r#"members[value eq "nobody"]"#}]), vec![1]),
        (json!([{"op": "Remove", "path": "members", "value": [member(1), member(5)]}]), vec![]),
        (json!([{"op": "Remove", "path": "members", "value": [member(5)]}]), vec![1]),
        (json!([{"op": "remove", "path": "members"}]), vec![]),
        (
            json!([{"op": "add", "path": "members", "value": [member(2)]}, {"op": "remove", "path": "members", "value": [member(1)]}]),
            vec![2],
        ),
    ] {
        let changed = group().attributes.patch(&patch(&operations).unwrap()).unwrap();
        let expected: BTreeSet<ResourceId> = expected.into_iter().map(number).collect();
        assert_eq!(changed.members, expected, "{operations}");
    }
}

#[test]
fn a_patch_applies_whole_or_not_at_all() {
    let many: Vec<Value> = vec![json!({"op": "replace", "path": "displayName", "value": "x"}); MAX_OPERATIONS + 1];
    for (operations, expected) in [
        (json!([]), ErrorType::InvalidSyntax),
        (json!([{"op": "move", "path": "active", "value": true}]), ErrorType::InvalidSyntax),
        (json!([{"op": "remove"}]), ErrorType::NoTarget),
        (json!([{"op": "replace", "value": true}]), ErrorType::InvalidValue),
        (json!([{"op": "replace", "path": "active"}]), ErrorType::InvalidValue),
        (json!([{"op": "replace", "path": "active", "value": "no"}]), ErrorType::InvalidValue),
        (json!([{"op": "replace", "path": "active", "value": [false]}]), ErrorType::InvalidValue),
        (json!([{"op": "replace", "path": 7, "value": true}]), ErrorType::InvalidPath),
        (json!([{"op": "replace", "path": "emails[type eq \"work\"", "value": "x"}]), ErrorType::InvalidPath),
        (json!([{"op": "replace", "path": "emails[type co \"work\"].value", "value": "x"}]), ErrorType::InvalidPath),
        (json!([{"op": "replace", "path": "a b", "value": "x"}]), ErrorType::InvalidPath),
        (json!([{"op": "remove", "path": "active"}]), ErrorType::Mutability),
        (json!([{"op": "remove", "path": "userName"}]), ErrorType::Mutability),
        (json!([{"op": "replace", "value": {"active": true, "Active": false}}]), ErrorType::InvalidSyntax),
        (json!(many), ErrorType::TooMany),
        // The first operation is sound; the second one undoes it all.
        (
            json!([{"op": "replace", "path": "active", "value": false}, {"op": "replace", "path": "userName", "value": ""}]),
            ErrorType::InvalidValue,
        ),
    ] {
        let before = ann().attributes;
        let outcome = patch(&operations).and_then(|patch| before.patch(&patch));
        assert_eq!(kind(outcome), Some(expected), "{}", operations.to_string().chars().take(200).collect::<String>());
        assert_eq!(before, ann().attributes);
    }
    let nameless = Patch::read(&bytes(&json!({"Operations": [{"op": "remove", "path": "displayName"}]})));
    assert_eq!(kind(nameless), Some(ErrorType::InvalidSyntax));
    for operations in [
        json!([{"op": "add", "path": "members", "value": [{"value": "nobody"}]}]),
        json!([{"op": "add", "path": "members", "value": "x"}]),
    ] {
        assert_eq!(kind(group().attributes.patch(&patch(&operations).unwrap())), Some(ErrorType::InvalidValue));
    }
    let half = patch(&json!([{"op": "remove", "path": "members.value"}])).unwrap();
    assert_eq!(kind(group().attributes.patch(&half)), Some(ErrorType::InvalidPath));
}

#[test]
fn filters_find_what_providers_ask_for() {
    for (filter, found) in [
        (r#"userName eq "ANN@example.com""#, true),
        (r#"username EQ "bob""#, false),
        (r#"externalId eq "00u1""#, true),
        (r#"externalId eq "00U1""#, false),
        (r#"emails[type eq "work"].value eq "ann@example.com""#, true),
        (r#"emails[type eq "home"].value eq "ann@example.com""#, false),
        (r#"emails.value eq "Ann@example.com""#, true),
        (r#"emails eq "ann@example.com""#, true),
        (r#"active eq true and userName eq "ann@example.com""#, true),
        (r#"active eq "False""#, false),
        (r#"name.familyName eq "lee" and displayName eq "Ann Lee""#, true),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "ann@example.com""#, true),
        (r#"  userName   eq   "ann@example.com"  "#, true),
        (r#"userName eq "a \"quoted\" and odd name""#, false),
    ] {
        let parsed = Filter::parse(ResourceType::User, filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(parsed.finds_user(&ann()), found, "{filter}");
    }
    let (group, member) = (group(), text(1));
    for (filter, found) in [
        (r#"displayName eq "engineering""#.to_owned(), true),
        (format!(r#"id eq "{}" and members eq "{member}""#, text(7)), true),
        (format!(r#"id eq "{}" and members[value eq "{member}"].value eq "{member}""#, text(7)), true),
        (format!(r#"members.value eq "{}""#, text(2)), false),
        (format!(r#"id eq "{}""#, text(8)), false),
    ] {
        assert_eq!(Filter::parse(ResourceType::Group, &filter).unwrap().finds_group(&group), found, "{filter}");
    }
    assert_eq!(Filter::parse(ResourceType::User, r#"userName eq "x""#).unwrap().exact("username"), Some("x"));
}

#[test]
fn a_filter_that_is_half_understood_finds_nobody() {
    let terms = [r#"userName eq "x""#; MAX_TERMS + 1].join(" and ");
    for filter in [
        "",
        "userName",
        "userName pr",
        r#"userName co "a""#,
        r#"userName sw "a""#,
        r#"userName ne "a""#,
        r#"not (userName eq "a")"#,
        r#"userName eq "a" or userName eq "b""#,
        r#"userName eq "a" and"#,
        r#"userName eq a"#,
        r#"userName eq "a"#,
        r#"userName eq null"#,
        r#"userName eq ["a"]"#,
        r#"userName eq "a" garbage"#,
        r#"(userName eq "a")"#,
        r#"password eq "a""#,
        r#"userName.value eq "a""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "a""#,
        r#"emails[type eq "work" and emails[type eq "x"]].value eq "a""#,
        r#"members eq "a""#,
        &terms,
        &format!(r#"userName eq "{}""#, "x".repeat(3_000)),
    ] {
        let outcome = Filter::parse(ResourceType::User, filter);
        assert_eq!(kind(outcome), Some(ErrorType::InvalidFilter), "{filter}");
    }
    for path in ["", ".", "a..b", "[", "a[", "a]", "é", "a[b eq 1]]", "a.b[c eq 1]"] {
        assert_eq!(kind(Path::parse(path)), Some(ErrorType::InvalidPath), "{path}");
    }
}

#[test]
fn a_list_is_paged_within_its_bounds() {
    let query = |pairs: &[(&'static str, &'static str)]| Query::parse(ResourceType::User, pairs.iter().copied());
    for (pairs, range) in [
        (&[][..], 0..200),
        (&[("startIndex", "1"), ("count", "100")], 0..100),
        (&[("startIndex", "101"), ("count", "100")], 100..200),
        (&[("startIndex", "0"), ("count", "-1")], 0..0),
        (&[("startIndex", "-5"), ("count", "9999999")], 0..200),
        (
            &[("startIndex", "9223372036854775807"), ("sortBy", "userName")],
            9_223_372_036_854_775_806..9_223_372_036_854_776_006,
        ),
    ] {
        assert_eq!(query(pairs).unwrap().range(), range, "{pairs:?}");
    }
    assert_eq!(kind(query(&[("count", "many")])), Some(ErrorType::InvalidValue));
    assert!(!query(&[("excludedAttributes", "meta, Members")]).unwrap().members);
    let page = query(&[("startIndex", "3"), ("count", "1")]).unwrap();
    let list = page.list(9, vec![json!({"id": "x"})]);
    assert_eq!(
        list,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"], "totalResults": 9, "startIndex": 3,
            "itemsPerPage": 1, "Resources": [{"id": "x"}],
        })
    );
}

#[test]
fn the_service_describes_itself() {
    let config = service_provider_config("https://s.example/scim/v2");
    assert_eq!((&config["patch"]["supported"], &config["bulk"]["supported"]), (&json!(true), &json!(false)));
    let kinds = resource_types("b");
    assert_eq!((&kinds["totalResults"], &kinds["Resources"][1]["endpoint"]), (&json!(2), &json!("/Groups")));
    assert_eq!(schemas("b")["Resources"][0]["attributes"][0]["name"], json!("userName"));
    assert_eq!(
        ScimError::taken("userName").document(),
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "409", "scimType": "uniqueness",
            "detail": "another record has this `userName`",
        })
    );
    assert_eq!(ScimError::not_found().document()["status"], json!("404"));
}

fn rules(updates: UpdateBehavior, deprovision: bool, free_seat: bool) -> ScimRules {
    ScimRules { enabled: true, updates, deprovision, free_seat }
}

fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::EndSessions { email, reason } => format!("end {email} {}", reason.as_str()),
        Change::FreeSeat { email } => format!("free {email}"),
        Change::RefreshIdentity { email } => format!("refresh {email}"),
        Change::StoreUser(_) | Change::StoreGroup(_) => "store".to_owned(),
        Change::RemoveUser(_) | Change::RemoveGroup(_) => "remove".to_owned(),
    };
    changes.iter().map(word).collect()
}

#[test]
fn whoever_stops_being_an_active_person_loses_their_sessions() {
    let changed = |change: &dyn Fn(&mut UserAttributes)| {
        let mut user = ann();
        change(&mut user.attributes);
        Some(user)
    };
    let inactive = || changed(&|attributes| attributes.active = false);
    let renamed = || {
        changed(&|attributes| {
            attributes.user_name = "anna".into();
            attributes.emails[0].value = "anna@example.com".into();
        })
    };
    let spelled = || changed(&|attributes| attributes.emails[0].value = "ANN@Example.com".into());
    let quiet = rules(UpdateBehavior::NoAction, true, false);
    for (before, after, rules, expected) in [
        (Some(ann()), inactive(), quiet, vec!["end ann@example.com deprovisioned", "store"]),
        (Some(ann()), None, quiet, vec!["end ann@example.com deprovisioned", "remove"]),
        (None, inactive(), quiet, vec!["end ann@example.com deprovisioned", "store"]),
        (Some(ann()), renamed(), quiet, vec!["end ann@example.com deprovisioned", "store"]),
        (Some(ann()), spelled(), quiet, vec!["store"]),
        (None, Some(ann()), quiet, vec!["store"]),
        (None, None, quiet, vec![]),
        (
            Some(ann()),
            None,
            rules(UpdateBehavior::Reauth, true, true),
            vec!["end ann@example.com deprovisioned", "free ann@example.com", "remove"],
        ),
        (
            Some(ann()),
            renamed(),
            rules(UpdateBehavior::Reauth, true, false),
            vec!["end ann@example.com deprovisioned", "end anna@example.com changed", "store"],
        ),
        (
            Some(ann()),
            changed(&|attributes| attributes.display_name = Some("A".into())),
            rules(UpdateBehavior::Automatic, true, false),
            vec!["refresh ann@example.com", "store"],
        ),
        (Some(ann()), Some(ann()), rules(UpdateBehavior::Reauth, true, false), vec!["store"]),
        (Some(ann()), inactive(), rules(UpdateBehavior::NoAction, false, false), vec!["store"]),
    ] {
        assert_eq!(words(&of_user(before.as_ref(), after, rules)), expected);
    }
    let end = of_user(Some(&ann()), None, quiet);
    let email: Email = "ann@example.com".parse().unwrap();
    assert_eq!(end[0], Change::EndSessions { email, reason: EndReason::Deprovisioned });
}

#[test]
fn a_change_of_a_group_reaches_those_it_touches() {
    let addresses = |id: ResourceId| -> BTreeSet<Email> {
        let name = if id == number(1) { "ann" } else { "bob" };
        if id == number(9) { BTreeSet::new() } else { [format!("{name}@example.com").parse().unwrap()].into() }
    };
    let with = |members: &[u128], name: &str| {
        let mut group = group();
        group.attributes.members = members.iter().map(|id| number(*id)).collect();
        group.attributes.display_name = name.into();
        Some(group)
    };
    let reauth = rules(UpdateBehavior::Reauth, true, false);
    for (after, rules, expected) in [
        (with(&[1, 2], "Engineering"), reauth, vec!["end bob@example.com changed", "store"]),
        (with(&[9], "Engineering"), reauth, vec!["end ann@example.com changed", "store"]),
        (with(&[1], "Staff"), reauth, vec!["end ann@example.com changed", "store"]),
        (with(&[1], "Engineering"), reauth, vec!["store"]),
        (None, reauth, vec!["end ann@example.com changed", "remove"]),
        (
            with(&[2], "Engineering"),
            rules(UpdateBehavior::Automatic, true, false),
            vec!["refresh ann@example.com", "refresh bob@example.com", "store"],
        ),
        (None, rules(UpdateBehavior::NoAction, true, false), vec!["remove"]),
    ] {
        assert_eq!(words(&of_group(Some(&group()), after, rules, addresses)), expected);
    }
}
