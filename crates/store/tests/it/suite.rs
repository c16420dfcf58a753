//! What every backend promises. Each case is one async function; the macro runs it on each backend.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use store::{
    Account, Administer, Administrator, AuthenticateError, BindingStatus, CertificateOrigin, Change, Expiry, Kind,
    KvNamespace, List, ListType, Module, ModuleKind, NewCertificate, NewListItem, NewToken, Operate, Permission,
    Permissions, ReadLists, ReadRules, ReadScripts, Revision, Rule, ScriptSecretId, ScriptVersion, Source, StoreError,
    User, VERSIONS_KEPT, WriteGateway, WriteKv, WriteLists, WriteRules, WriteScripts, WriteTokens, WriteUsers,
};
use types::{CertificateId, Code, KvNamespaceId, ListId, RuleId, ScriptName, Secret, UserId, VersionId};
use uuid::Uuid;

use crate::fixture::{Fixture, account, grant, grant_in, run, store_suite};

store_suite! {
    a_document_comes_back_byte_for_byte,
    a_stale_writer_does_not_overwrite,
    one_of_many_writers_of_a_revision_wins,
    a_unique_name_is_taken_once_and_freed_by_deletion,
    accounts_do_not_see_each_other,
    a_listing_follows_position_then_age_then_id,
    many_documents_are_written_all_or_none,
    documents_are_bounded_in_size_and_number,
    list_items_are_appended_removed_and_paged_in_order,
    a_list_of_a_hundred_thousand_items_is_changed_and_read,
    a_list_never_exceeds_its_bound,
    values_carry_metadata_and_expire,
    keys_are_listed_by_prefix_in_byte_order,
    values_need_their_namespace_and_go_with_it,
    writers_of_one_new_key_agree,
    a_worker_keeps_its_newest_versions_and_its_active_one,
    a_workers_secrets_open_for_the_system_only,
    a_rules_secrets_open_in_their_own_place,
    a_private_key_is_stored_sealed_in_its_own_place,
    a_token_works_while_it_is_valid,
    tokens_that_expired_are_swept_after_a_while_and_the_rest_stays,
    nobody_confers_more_than_they_hold,
    a_session_ends_with_its_time_or_its_owner,
    a_setup_link_makes_one_administrator,
    proxy_tokens_belong_to_a_person,
    changes_are_told_in_order_and_from_any_position,
    concurrent_changes_are_all_told,
    values_are_not_told,
    hostile_text_is_stored_or_refused_and_never_mangled,
    a_closed_store_is_unavailable,
}

fn rule(name: &str, precedence: i64) -> Rule {
    let body = format!(r#"{{"name":"{name}","traffic":  "any(http.request.uri == \"é\")"}}"#);
    let body = RawValue::from_string(body).unwrap();
    Rule { name: name.to_owned(), enabled: true, precedence, body, secrets: BTreeMap::new() }
}

fn rule_id(number: u128) -> RuleId {
    RuleId(Uuid::from_u128(number))
}

fn list(name: &str) -> List {
    List { name: name.to_owned(), description: String::new(), item_type: ListType::Domain }
}

fn list_id(number: u128) -> ListId {
    ListId(Uuid::from_u128(number))
}

fn item(value: impl ToString) -> NewListItem {
    NewListItem { value: value.to_string(), description: String::new() }
}

fn namespace_id(number: u128) -> KvNamespaceId {
    KvNamespaceId(Uuid::from_u128(number))
}

fn user(email: &str) -> User {
    User { email: email.parse().unwrap(), name: String::new(), groups: Vec::new(), disabled: false }
}

async fn a_document_comes_back_byte_for_byte(f: &Fixture) {
    let saved = f.store.rules().create(&grant(), rule_id(1), rule("one", 10)).await.unwrap();
    assert_eq!((saved.revision, saved.created_at), (Revision(1), f.clock.now()));
    f.clock.advance(Duration::from_secs(60));
    let replaced = f.store.rules().replace(&grant(), rule_id(1), rule("two", 20), None).await.unwrap();
    assert_eq!((replaced.revision, replaced.created_at), (Revision(2), saved.created_at));
    assert_eq!(replaced.updated_at, f.clock.now());
    let read = f.store.rules().get(&grant::<ReadRules>(), &rule_id(1)).await.unwrap().unwrap();
    assert_eq!(read, replaced);
    assert_eq!(read.document.body.get(), rule("two", 20).body.get());
    assert_eq!(f.store.rules().get(&grant::<ReadRules>(), &rule_id(2)).await.unwrap(), None);
}

async fn a_stale_writer_does_not_overwrite(f: &Fixture) {
    let (rules, grant) = (f.store.rules(), grant::<WriteRules>());
    rules.create(&grant, rule_id(1), rule("one", 1)).await.unwrap();
    rules.replace(&grant, rule_id(1), rule("two", 1), Some(Revision(1))).await.unwrap();
    let stale = rules.replace(&grant, rule_id(1), rule("three", 1), Some(Revision(1))).await.unwrap_err();
    assert_eq!(stale.code(), Code::Stale);
    assert_eq!(rules.delete(&grant, &rule_id(1), Some(Revision(1))).await.unwrap_err().code(), Code::Stale);
    assert_eq!(rules.get(&grant, &rule_id(1)).await.unwrap().unwrap().document.name, "two");
    assert_eq!(rules.create(&grant, rule_id(1), rule("x", 1)).await.unwrap_err().code(), Code::Conflict);
    rules.delete(&grant, &rule_id(1), Some(Revision(2))).await.unwrap();
    for missing in [
        rules.delete(&grant, &rule_id(1), None).await,
        rules.replace(&grant, rule_id(1), rule("x", 1), None).await.map(|_| ()),
        rules.replace(&grant, rule_id(1), rule("x", 1), Some(Revision(2))).await.map(|_| ()),
    ] {
        assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(rules.put(&grant, rule_id(1), rule("again", 1)).await.unwrap().revision, Revision(1));
}

async fn one_of_many_writers_of_a_revision_wins(f: &Fixture) {
    f.store.rules().create(&grant(), rule_id(1), rule("start", 1)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..10 {
        let store = f.store.clone();
        writers.spawn(async move {
            let draft = rule(&format!("writer {number}"), 1);
            store.rules().replace(&grant(), rule_id(1), draft, Some(Revision(1))).await
        });
    }
    let results = writers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| result.as_ref().err().is_none_or(|error| error.code() == Code::Stale)));

    let mut creators = tokio::task::JoinSet::new();
    for number in 0..10 {
        let store = f.store.clone();
        creators.spawn(async move { store.lists().create(&grant(), list_id(number), list("same name")).await });
    }
    let created = creators.join_all().await;
    assert_eq!(created.iter().filter(|result| result.is_ok()).count(), 1);
}

async fn a_unique_name_is_taken_once_and_freed_by_deletion(f: &Fixture) {
    let (lists, grant) = (f.store.lists(), grant::<WriteLists>());
    lists.create(&grant, list_id(1), list("hosts")).await.unwrap();
    lists.create(&grant, list_id(2), list("Hosts")).await.unwrap();
    assert!(matches!(lists.create(&grant, list_id(3), list("hosts")).await, Err(StoreError::Taken(Kind::List))));
    assert!(matches!(lists.replace(&grant, list_id(2), list("hosts"), None).await, Err(StoreError::Taken(Kind::List))));
    assert_eq!(lists.find(&grant, "hosts").await.unwrap().unwrap().id, list_id(1));
    lists.delete(&grant, &list_id(1), None).await.unwrap();
    assert_eq!(lists.find(&grant, "hosts").await.unwrap(), None);
    lists.replace(&grant, list_id(2), list("hosts"), None).await.unwrap();
}

async fn accounts_do_not_see_each_other(f: &Fixture) {
    let (ours, theirs) = (grant_in::<WriteLists>(1), grant_in::<WriteLists>(2));
    let lists = f.store.lists();
    lists.create_with_items(&ours, list_id(1), list("hosts"), vec![item("a.example")]).await.unwrap();
    lists.create(&theirs, list_id(2), list("hosts")).await.unwrap();
    assert_eq!(lists.get(&theirs, &list_id(1)).await.unwrap(), None);
    assert_eq!(lists.list(&theirs).await.unwrap().len(), 1);
    assert!(lists.all_items(&theirs, list_id(1)).await.unwrap().is_empty());
    for result in [
        lists.replace(&theirs, list_id(1), list("x"), None).await.map(|_| ()),
        lists.delete_with_items(&theirs, list_id(1), None).await,
        lists.patch_items(&theirs, list_id(1), vec![item("b.example")], vec!["a.example".into()]).await,
    ] {
        assert_eq!(result.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(lists.all_items(&ours, list_id(1)).await.unwrap().len(), 1);
    // The same id in another account is another document.
    lists.create(&theirs, list_id(1), list("mine")).await.unwrap();
    assert_eq!(lists.get(&ours, &list_id(1)).await.unwrap().unwrap().document.name, "hosts");
}

async fn a_listing_follows_position_then_age_then_id(f: &Fixture) {
    let (rules, grant) = (f.store.rules(), grant::<WriteRules>());
    for (number, precedence) in [(5, 300), (4, 100), (3, 200), (1, 100)] {
        rules.create(&grant, rule_id(number), rule("r", precedence)).await.unwrap();
        if number == 4 {
            f.clock.advance(Duration::from_secs(1));
        }
    }
    rules.create(&grant, rule_id(2), rule("r", -7)).await.unwrap();
    rules.create(&grant, rule_id(0), rule("r", 100)).await.unwrap();
    let order: Vec<_> = rules.list(&grant).await.unwrap().iter().map(|rule| rule.id.0.as_u128()).collect();
    assert_eq!(order, [2, 4, 0, 1, 3, 5]);
}

async fn many_documents_are_written_all_or_none(f: &Fixture) {
    let (rules, grant) = (f.store.rules(), grant::<WriteRules>());
    rules.create(&grant, rule_id(1), rule("one", 1)).await.unwrap();
    let batch = vec![
        (rule_id(2), rule("two", 2), None),
        (rule_id(1), rule("changed", 9), Some(Revision(7))),
        (rule_id(3), rule("three", 3), None),
    ];
    assert_eq!(rules.put_all(&grant, batch).await.unwrap_err().code(), Code::Stale);
    assert_eq!(rules.list(&grant).await.unwrap().len(), 1);
    let batch = vec![(rule_id(2), rule("two", 2), None), (rule_id(1), rule("changed", 9), Some(Revision(1)))];
    let saved = rules.put_all(&grant, batch).await.unwrap();
    assert_eq!(saved.iter().map(|rule| rule.revision.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rules.list(&grant).await.unwrap().len(), 2);
}

async fn documents_are_bounded_in_size_and_number(f: &Fixture) {
    let (lists, grant) = (f.store.lists(), grant::<WriteLists>());
    let large = List { description: "x".repeat(300 * 1024), ..list("large") };
    assert_eq!(lists.create(&grant, list_id(1), large).await.unwrap_err().code(), Code::LimitExceeded);
    let many = |count: u128| (0..count).map(|n| (list_id(n), list(&format!("list {n}")), None)).collect::<Vec<_>>();
    assert_eq!(lists.put_all(&grant, many(1_001)).await.unwrap_err().code(), Code::LimitExceeded);
    assert!(lists.list(&grant).await.unwrap().is_empty());
    lists.put_all(&grant, many(1_000)).await.unwrap();
    assert_eq!(lists.create(&grant, list_id(5_000), list("more")).await.unwrap_err().code(), Code::LimitExceeded);
    lists.create(&grant_in(2), list_id(1), list("more")).await.unwrap();
}

async fn list_items_are_appended_removed_and_paged_in_order(f: &Fixture) {
    let (lists, grant) = (f.store.lists(), grant::<WriteLists>());
    let described = |value: &str, text: &str| NewListItem { value: value.into(), description: text.into() };
    let first = vec![described("b", "1"), described("a", "2"), described("b", "3")];
    lists.create_with_items(&grant, list_id(1), list("l"), first).await.unwrap();
    f.clock.advance(Duration::from_secs(5));
    let added = vec![described("c", ""), described("a", "new")];
    lists.patch_items(&grant, list_id(1), added, vec!["b".into(), "unknown".into(), "\0".into()]).await.unwrap();
    let items = lists.all_items(&grant, list_id(1)).await.unwrap();
    let shown: Vec<_> = items.iter().map(|item| (item.value.as_str(), item.description.as_str())).collect();
    assert_eq!(shown, [("a", "new"), ("c", "")]);
    assert!(items[0].created_at < items[1].created_at);
    assert_eq!(lists.get(&grant, &list_id(1)).await.unwrap().unwrap().revision, Revision(2));
    assert_eq!(lists.item_counts(&grant).await.unwrap()[&list_id(1)], 2);

    let letters = (0..25).map(|n| item(char::from(b'z' - n))).collect();
    lists.replace_with_items(&grant, list_id(1), list("l"), Some(letters), Some(Revision(2))).await.unwrap();
    let (mut seen, mut cursor) = (String::new(), store::ItemCursor::default());
    loop {
        let (page, next) = lists.items(&grant, list_id(1), cursor, 10).await.unwrap();
        seen.extend(page.iter().map(|item| item.value.as_str()));
        let Some(next) = next else { break };
        cursor = next;
    }
    assert_eq!(seen, "zyxwvutsrqponmlkjihgfedcb");
    lists.replace_with_items(&grant, list_id(1), list("renamed"), None, None).await.unwrap();
    assert_eq!(lists.item_counts(&grant).await.unwrap()[&list_id(1)], 25);
    lists.delete_with_items(&grant, list_id(1), None).await.unwrap();
    lists.create(&grant, list_id(1), list("l")).await.unwrap();
    assert!(lists.all_items(&grant, list_id(1)).await.unwrap().is_empty());
}

async fn a_list_of_a_hundred_thousand_items_is_changed_and_read(f: &Fixture) {
    let (lists, grant) = (f.store.lists(), grant::<WriteLists>());
    let many = (0..100_000).map(|n| item(format!("host-{n}.example"))).collect();
    lists.create_with_items(&grant, list_id(1), list("large"), many).await.unwrap();
    lists.patch_items(&grant, list_id(1), vec![item("new.example")], vec!["host-500.example".into()]).await.unwrap();
    let items = lists.all_items(&crate::fixture::grant::<ReadLists>(), list_id(1)).await.unwrap();
    assert_eq!(items.len(), 100_000);
    assert_eq!((items[500].value.as_str(), items[99_999].value.as_str()), ("host-501.example", "new.example"));
}

async fn a_list_never_exceeds_its_bound(f: &Fixture) {
    let (lists, grant) = (f.store.lists(), grant::<WriteLists>());
    let many = |from: usize, to: usize| (from..to).map(item).collect::<Vec<_>>();
    let over = lists.create_with_items(&grant, list_id(1), list("l"), many(0, 100_101)).await.unwrap_err();
    assert_eq!(over.code(), Code::LimitExceeded);
    assert_eq!(lists.get(&grant, &list_id(1)).await.unwrap(), None);
    lists.create_with_items(&grant, list_id(1), list("l"), many(0, 100_099)).await.unwrap();
    let over = lists.patch_items(&grant, list_id(1), many(200_000, 200_002), Vec::new()).await.unwrap_err();
    assert_eq!(over.code(), Code::LimitExceeded);
    lists.patch_items(&grant, list_id(1), many(200_000, 200_002), vec!["5".into()]).await.unwrap();
    assert_eq!(lists.item_counts(&grant).await.unwrap()[&list_id(1)], 100_100);
}

async fn values_carry_metadata_and_expire(f: &Fixture) {
    let (kv, grant) = (f.store.kv(), grant::<WriteKv>());
    kv.create(&grant, namespace_id(1), KvNamespace { title: "cache".into() }).await.unwrap();
    let id = namespace_id(1);
    let metadata = serde_json::json!({"by": "test"});
    let bytes = vec![0, 159, 146, 150, 255];
    kv.put_value(&grant, id, "key", bytes.clone(), Some(&metadata), Expiry::After(Duration::from_secs(60)))
        .await
        .unwrap();
    let value = kv.value(&grant, id, "key").await.unwrap().unwrap();
    assert_eq!((value.value, value.metadata), (bytes, Some(metadata)));
    f.clock.advance(Duration::from_secs(59));
    assert!(kv.value(&grant, id, "key").await.unwrap().is_some());
    f.clock.advance(Duration::from_secs(1));
    assert!(kv.value(&grant, id, "key").await.unwrap().is_none());
    assert!(kv.keys(&grant, id, "", None, 10).await.unwrap().keys.is_empty());
    kv.put_value(&grant, id, "key", b"again".to_vec(), None, Expiry::Never).await.unwrap();
    kv.put_value(&grant, id, "soon", b"x".to_vec(), None, Expiry::At(f.clock.now())).await.unwrap();
    f.store.kv().expire(&crate::fixture::grant::<Operate>()).await.unwrap();
    let value = kv.value(&grant, id, "key").await.unwrap().unwrap();
    assert_eq!((value.value.as_slice(), value.metadata, value.expires_at), (&b"again"[..], None, None));
    kv.delete_value(&grant, id, "key").await.unwrap();
    kv.delete_value(&grant, id, "key").await.unwrap();
    assert!(kv.value(&grant, id, "key").await.unwrap().is_none());

    // The bound is 50 keys: expired and deleted ones made room.
    for number in 0..50 {
        kv.put_value(&grant, id, &format!("{number}"), Vec::new(), None, Expiry::Never).await.unwrap();
    }
    let over = kv.put_value(&grant, id, "one more", Vec::new(), None, Expiry::Never).await.unwrap_err();
    assert_eq!(over.code(), Code::LimitExceeded);
    kv.put_value(&grant, id, "7", b"overwriting is fine".to_vec(), None, Expiry::Never).await.unwrap();
    let large = kv.put_value(&grant, id, "7", vec![0; 1_001], None, Expiry::Never).await.unwrap_err();
    assert_eq!(large.code(), Code::LimitExceeded);
}

async fn keys_are_listed_by_prefix_in_byte_order(f: &Fixture) {
    let (kv, grant, id) = (f.store.kv(), grant::<WriteKv>(), namespace_id(1));
    kv.create(&grant, id, KvNamespace { title: "n".into() }).await.unwrap();
    for key in ["b", "user:é", "user:b", "user:B", "user:a", "user;", "user", "user:a/1"] {
        kv.put_value(&grant, id, key, Vec::new(), None, Expiry::Never).await.unwrap();
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = kv.keys(&grant, id, "user:", cursor.as_deref(), 2).await.unwrap();
        assert!(page.keys.len() <= 2);
        seen.extend(page.keys.into_iter().map(|key| key.name));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["user:B", "user:a", "user:a/1", "user:b", "user:é"]);
    let all = kv.keys(&grant, id, "", None, 1_000).await.unwrap();
    assert_eq!((all.keys.len(), all.cursor), (8, None));
}

async fn values_need_their_namespace_and_go_with_it(f: &Fixture) {
    let (kv, grant, id) = (f.store.kv(), grant::<WriteKv>(), namespace_id(1));
    let missing = kv.put_value(&grant, id, "k", Vec::new(), None, Expiry::Never).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    kv.create(&grant, id, KvNamespace { title: "n".into() }).await.unwrap();
    kv.put_value(&grant, id, "k", Vec::new(), None, Expiry::Never).await.unwrap();
    kv.delete_with_values(&grant, id, None).await.unwrap();
    kv.create(&grant, id, KvNamespace { title: "n".into() }).await.unwrap();
    assert_eq!(kv.value(&grant, id, "k").await.unwrap(), None);
}

async fn writers_of_one_new_key_agree(f: &Fixture) {
    let id = namespace_id(1);
    f.store.kv().create(&grant(), id, KvNamespace { title: "n".into() }).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20_u8 {
        let store = f.store.clone();
        writers.spawn(async move {
            let key = format!("{}", number % 2);
            store.kv().put_value(&grant(), id, &key, vec![number], None, Expiry::Never).await
        });
    }
    for result in writers.join_all().await {
        result.unwrap();
    }
    assert_eq!(f.store.kv().keys(&grant::<WriteKv>(), id, "", None, 10).await.unwrap().keys.len(), 2);
}

fn script_version(script: &ScriptName) -> ScriptVersion {
    let draft = serde_json::json!({"script": script, "main_module": "main.ts"});
    serde_json::from_value(draft).unwrap()
}

fn module(text: &str) -> Module {
    Module { name: "main.ts".into(), kind: ModuleKind::TypeScript, source: Source::from_bytes(text.into()) }
}

fn version_id(number: u128) -> VersionId {
    VersionId(Uuid::from_u128(number))
}

async fn a_worker_keeps_its_newest_versions_and_its_active_one(f: &Fixture) {
    let (scripts, grant) = (f.store.scripts(), grant::<WriteScripts>());
    let name: ScriptName = "training".parse().unwrap();
    for number in 1..=30 {
        f.clock.advance(Duration::from_secs(1));
        let (version, source) = (script_version(&name), vec![module(&format!("version {number}"))]);
        let (script, version) = scripts.upload(&grant, &name, version_id(number), version, source, true).await.unwrap();
        assert_eq!(script.document.active, version_id(number));
        assert_eq!(u128::from(version.document.number), number);
        assert_eq!(version.document.modules[0].size, format!("version {number}").len() as u64);
    }
    let versions = f.store.script_versions().list_of(&grant, &name).await.unwrap();
    assert_eq!(versions.len(), VERSIONS_KEPT);
    assert_eq!(versions[0].id, version_id(6));
    assert_eq!(scripts.content(&grant, version_id(5)).await.unwrap(), None);
    let content = scripts.content(&grant, version_id(30)).await.unwrap().unwrap();
    assert_eq!(content.document.modules[0].source.as_bytes(), b"version 30");

    assert_eq!(scripts.activate(&grant, &name, version_id(7)).await.unwrap().document.active, version_id(7));
    assert_eq!(scripts.activate(&grant, &name, version_id(2)).await.unwrap_err().code(), Code::NotFound);
    for number in 31..=60 {
        f.clock.advance(Duration::from_secs(1));
        let source = vec![module("waiting")];
        scripts.upload(&grant, &name, version_id(number), script_version(&name), source, false).await.unwrap();
    }
    assert!(scripts.content(&grant, version_id(7)).await.unwrap().is_some());
    scripts.delete_with_versions(&grant, &name, None).await.unwrap();
    assert!(f.store.script_versions().list(&grant).await.unwrap().is_empty());
    assert_eq!(scripts.content(&grant, version_id(60)).await.unwrap(), None);
}

async fn a_workers_secrets_open_for_the_system_only(f: &Fixture) {
    let name: ScriptName = "training".parse().unwrap();
    let id = |secret: &str| ScriptSecretId { script: name.clone(), name: secret.to_owned() };
    let (secrets, grant) = (f.store.script_secrets(), grant::<WriteScripts>());
    let value = Secret::new("s3cret".to_owned());
    assert_eq!(secrets.set(&grant, id("KEY"), &value).await.unwrap_err().code(), Code::NotFound);
    let source = vec![module("x")];
    f.store.scripts().upload(&grant, &name, version_id(1), script_version(&name), source, true).await.unwrap();
    secrets.set(&grant, id("KEY"), &value).await.unwrap();
    secrets.set(&grant, id("KEY"), &Secret::new("changed".to_owned())).await.unwrap();
    secrets.set(&grant, id("OTHER"), &value).await.unwrap();
    assert_eq!(secrets.set(&grant, id("a/b"), &value).await.unwrap_err().code(), Code::InvalidInput);
    let opened = secrets.open(&crate::fixture::grant::<Operate>(), &name).await.unwrap();
    let shown: Vec<_> = opened.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
    assert_eq!(shown, [("KEY", "changed"), ("OTHER", "s3cret")]);
    let listed = secrets.list_of(&crate::fixture::grant::<ReadScripts>(), &name).await.unwrap();
    assert!(!serde_json::to_string(&listed[1].document).unwrap().contains("s3cret"));
    f.store.scripts().delete_with_versions(&grant, &name, None).await.unwrap();
    assert!(secrets.list(&grant).await.unwrap().is_empty());
}

async fn a_rules_secrets_open_in_their_own_place(f: &Fixture) {
    let (rules, write, operate) = (f.store.rules(), grant::<WriteRules>(), grant::<Operate>());
    let sealed = rules.seal(&write, rule_id(1), "token", &Secret::new("hush".to_owned())).unwrap();
    let with = |parameter: &str| {
        let secrets = BTreeMap::from([(parameter.to_owned(), sealed.clone())]);
        Rule { secrets, ..rule("one", 1) }
    };
    rules.create(&write, rule_id(1), with("token")).await.unwrap();
    let read = rules.get(&operate, &rule_id(1)).await.unwrap().unwrap();
    assert!(!serde_json::to_string(&read.document).unwrap().contains("hush"));
    assert_eq!(rules.open(&operate, &read).unwrap()["token"].expose(), "hush");
    let elsewhere = rules.create(&write, rule_id(2), with("token")).await.unwrap();
    assert!(matches!(rules.open(&operate, &elsewhere).unwrap_err(), StoreError::Seal(_)));
    let renamed = rules.replace(&write, rule_id(1), with("other"), None).await.unwrap();
    assert!(matches!(rules.open(&operate, &renamed).unwrap_err(), StoreError::Seal(_)));
}

async fn a_private_key_is_stored_sealed_in_its_own_place(f: &Fixture) {
    let (certificates, grant) = (f.store.certificates(), grant::<WriteGateway>());
    let id = |number| CertificateId(Uuid::from_u128(number));
    let new = NewCertificate {
        origin: CertificateOrigin::GatewayManaged,
        binding_status: BindingStatus::Available,
        certificate: "-----BEGIN CERTIFICATE-----".into(),
        private_key: Secret::new("-----BEGIN PRIVATE KEY-----".into()),
        fingerprint: "00".into(),
        issuer_org: String::new(),
        issuer_raw: String::new(),
        expires_on: f.clock.now(),
    };
    let stored = certificates.import(&grant, id(1), new).await.unwrap();
    assert!(!serde_json::to_string(&stored.document).unwrap().contains("PRIVATE KEY"));
    let operate = crate::fixture::grant::<Operate>();
    let key = certificates.private_key(&operate, id(1)).await.unwrap();
    assert_eq!(key.expose(), "-----BEGIN PRIVATE KEY-----");
    // Moved to another document, the sealed text does not open.
    certificates.create(&grant, id(2), stored.document).await.unwrap();
    assert!(matches!(certificates.private_key(&operate, id(2)).await, Err(StoreError::Seal(_))));
    assert_eq!(certificates.private_key(&operate, id(3)).await.unwrap_err().code(), Code::NotFound);
}

fn is_invalid<T: std::fmt::Debug>(result: Result<T, AuthenticateError>) -> bool {
    matches!(result, Err(AuthenticateError::Invalid))
}

async fn a_token_works_while_it_is_valid(f: &Fixture) {
    let (tokens, grant) = (f.store.tokens(), grant::<WriteTokens>());
    let permissions = Permissions::NONE.with(Permission::GatewayRead);
    let new = |expires_at| NewToken { name: "ci".into(), permissions, not_before: None, expires_at };
    let (token, secret) = tokens.issue(&grant, new(None)).await.unwrap();
    let principal = f.store.authenticate_token(&secret).await.unwrap();
    assert_eq!((principal.account(), principal.permissions()), (Some(account(1)), permissions));
    assert!(principal.authorize::<ReadRules>(account(1)).is_ok());
    assert!(principal.authorize::<WriteRules>(account(1)).is_err());
    assert!(principal.authorize::<ReadRules>(account(2)).is_err());
    assert!(!format!("{token:?}").contains(secret.expose()));

    let (_, rolled) = tokens.roll(&grant, token.id).await.unwrap();
    assert!(is_invalid(f.store.authenticate_token(&secret).await));
    let current = tokens.get(&grant, &token.id).await.unwrap().unwrap();
    let disabled = store::Token { disabled: true, ..current.document };
    f.store.authenticate_token(&rolled).await.unwrap();
    tokens.replace(&grant, token.id, disabled, None).await.unwrap();
    assert!(is_invalid(f.store.authenticate_token(&rolled).await));

    let later = f.clock.now() + Duration::from_secs(10);
    let (_, short) = tokens.issue(&grant, new(Some(later))).await.unwrap();
    let future = NewToken { not_before: Some(later), ..new(None) };
    let (_, early) = tokens.issue(&grant, future).await.unwrap();
    assert!(is_invalid(f.store.authenticate_token(&early).await));
    f.store.authenticate_token(&short).await.unwrap();
    f.clock.advance(Duration::from_secs(10));
    assert!(is_invalid(f.store.authenticate_token(&short).await));
    f.store.authenticate_token(&early).await.unwrap();
    for text in ["", "ptn_", "' OR 1=1", "ptn_0000000000000000000000000000000000000000ffffffff"] {
        assert!(is_invalid(f.store.authenticate_token(&Secret::new(text.into())).await), "{text}");
    }
}

async fn tokens_that_expired_are_swept_after_a_while_and_the_rest_stays(f: &Fixture) {
    let (tokens, grant) = (f.store.tokens(), grant::<WriteTokens>());
    let hour = Duration::from_secs(3_600);
    for (name, expires_at) in
        [("endless", None), ("short", Some(f.clock.now() + hour)), ("long", Some(f.clock.now() + hour * 3))]
    {
        let permissions = Permissions::NONE.with(Permission::GatewayRead);
        tokens.issue(&grant, NewToken { name: name.into(), permissions, not_before: None, expires_at }).await.unwrap();
    }
    let swept = async || {
        f.store.sweep_tokens(&crate::fixture::grant()).await.unwrap();
        let mut left: Vec<_> =
            tokens.list(&grant).await.unwrap().into_iter().map(|token| token.document.name).collect();
        left.sort_unstable();
        left
    };
    f.clock.advance(hour + hour / 2);
    assert_eq!(swept().await, ["endless", "long", "short"], "whoever wonders can still see that it expired");
    f.clock.advance(hour / 2);
    assert_eq!(swept().await, ["endless", "long"]);
}

async fn nobody_confers_more_than_they_hold(f: &Fixture) {
    let set = |permissions: &[Permission]| permissions.iter().copied().collect::<Permissions>();
    let new = |name: &str, permissions| NewToken { name: name.into(), permissions, not_before: None, expires_at: None };
    let tokens = f.store.tokens();
    let held = set(&[Permission::TokensWrite, Permission::GatewayWrite, Permission::WorkersWrite]);
    let (_, secret) = tokens.issue(&grant(), new("deputy", held)).await.unwrap();
    let (strong, _) = tokens.issue(&grant(), new("strong", Permissions::ADMIN)).await.unwrap();
    let deputy = f.store.authenticate_token(&secret).await.unwrap();
    let own = deputy.authorize::<WriteTokens>(account(1)).unwrap();
    tokens.issue(&own, new("reader", set(&[Permission::GatewayRead]))).await.unwrap();
    for escalation in [
        tokens.issue(&own, new("escalated", set(&[Permission::KvRead]))).await.map(|_| ()),
        tokens.issue(&own, new("escalated", Permissions::ADMIN)).await.map(|_| ()),
        tokens.roll(&own, strong.id).await.map(|_| ()),
    ] {
        assert_eq!(escalation.unwrap_err().code(), Code::PermissionDenied);
    }
    let scripts = deputy.authorize::<WriteScripts>(account(1)).unwrap();
    let name: ScriptName = "w".parse().unwrap();
    for (permission, allowed) in [(Permission::GatewayRead, true), (Permission::UsersWrite, false)] {
        let binding = store::Binding::AdminApi { name: "API".into(), permissions: set(&[permission]) };
        let version = ScriptVersion { bindings: vec![binding], ..script_version(&name) };
        let id = VersionId(Uuid::new_v4());
        let uploaded = f.store.scripts().upload(&scripts, &name, id, version, vec![module("x")], true).await;
        assert_eq!(uploaded.is_ok(), allowed, "{permission}");
    }
}

fn administrator(email: &str) -> Administrator {
    Administrator {
        email: email.parse().unwrap(),
        name: String::new(),
        permissions: Permissions::ADMIN,
        password_hash: None,
        disabled: false,
    }
}

async fn a_session_ends_with_its_time_or_its_owner(f: &Fixture) {
    let operate = grant::<Operate>();
    let id = UserId(Uuid::from_u128(1));
    let administrators = f.store.administrators();
    administrators.create(&grant::<Administer>(), id, administrator("a@example.com")).await.unwrap();
    let elsewhere = administrators.create(&grant_in::<Administer>(2), id, administrator("a@example.com")).await;
    assert_eq!(elsewhere.unwrap_err().code(), Code::Conflict);
    let (found, _) = f.store.administrator_by_email(&"a@example.com".parse().unwrap()).await.unwrap();
    assert_eq!(found, account(1));
    assert!(is_invalid(f.store.administrator_by_email(&"b@example.com".parse().unwrap()).await));

    let hour = Duration::from_secs(3_600);
    let sessions = f.store.sessions();
    let start = || sessions.start(&operate, id, "Browser\r\n".repeat(100), hour);
    let (session, secret) = start().await.unwrap();
    assert!(session.document.user_agent.len() <= 200);
    let signed_in = f.store.authenticate_session(&secret).await.unwrap();
    assert_eq!((signed_in.account, signed_in.session.id), (account(1), session.id));
    assert!(signed_in.principal.authorize::<Administer>(account(1)).is_ok());
    // A session's secret is no API token.
    assert!(is_invalid(f.store.authenticate_token(&secret).await));
    f.store.sessions().end(&operate, session.id).await.unwrap();
    f.store.sessions().end(&operate, session.id).await.unwrap();
    assert!(is_invalid(f.store.authenticate_session(&secret).await));

    let (_, expiring) = start().await.unwrap();
    f.clock.advance(hour);
    assert!(is_invalid(f.store.authenticate_session(&expiring).await));
    let (_, secret) = start().await.unwrap();
    assert_eq!(f.store.sessions().list(&operate).await.unwrap().len(), 1, "ended sessions are forgotten");
    let disabled = Administrator { disabled: true, ..administrator("a@example.com") };
    administrators.replace(&grant::<Administer>(), id, disabled, None).await.unwrap();
    assert!(is_invalid(f.store.authenticate_session(&secret).await));
    administrators.replace(&grant::<Administer>(), id, administrator("a@example.com"), None).await.unwrap();
    f.store.authenticate_session(&secret).await.unwrap();
    f.store.sessions().end_all(&operate, id).await.unwrap();
    assert!(is_invalid(f.store.authenticate_session(&secret).await));
}

async fn a_setup_link_makes_one_administrator(f: &Fixture) {
    let operate = grant::<Operate>();
    f.store.create_account(&operate, Account { name: "Example".into() }).await.unwrap();
    assert_eq!(f.store.accounts(&store::Principal::system("test")).await.unwrap().len(), 1);
    let hour = Duration::from_secs(3_600);
    let old = f.store.issue_setup_link(&operate, hour).await.unwrap();
    let link = f.store.issue_setup_link(&operate, hour).await.unwrap();
    assert!(is_invalid(f.store.check_setup_link(&old).await));
    assert_eq!(f.store.check_setup_link(&link).await.unwrap(), account(1));
    let mut redeemers = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (store, link) = (f.store.clone(), link.clone());
        redeemers.spawn(async move {
            store.redeem_setup_link(&link, administrator(&format!("a{number}@example.com"))).await
        });
    }
    let made = redeemers.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(made, 1);
    assert_eq!(f.store.administrators().list(&operate).await.unwrap().len(), 1);
    let late = f.store.issue_setup_link(&operate, hour).await.unwrap();
    f.clock.advance(hour);
    assert!(is_invalid(f.store.redeem_setup_link(&late, administrator("b@example.com")).await));
}

async fn proxy_tokens_belong_to_a_person(f: &Fixture) {
    let (users, tokens, grant) = (f.store.users(), f.store.proxy_tokens(), grant::<WriteUsers>());
    let id = UserId(Uuid::from_u128(1));
    assert_eq!(tokens.issue(&grant, id, "laptop".into(), None).await.unwrap_err().code(), Code::NotFound);
    users.create(&grant, id, user("ann@example.com")).await.unwrap();
    let (token, secret) = tokens.issue(&grant, id, "laptop".into(), None).await.unwrap();
    let hash = store::SecretHash::of(secret.expose()).unwrap();
    assert_eq!(token.document.secret_hash, hash.as_str());
    assert_eq!(tokens.list_of(&grant, id).await.unwrap(), [token]);
    assert_eq!(users.find(&grant, "ann@example.com").await.unwrap().unwrap().id, id);
    users.delete_with_tokens(&grant, id).await.unwrap();
    assert!(tokens.list(&grant).await.unwrap().is_empty());
}

async fn changes_are_told_in_order_and_from_any_position(f: &Fixture) {
    let (rules, grant) = (f.store.rules(), grant::<WriteRules>());
    rules.create(&grant, rule_id(9), rule("before", 1)).await.unwrap();
    let mut feed = f.store.changes().await.unwrap();
    let start = feed.position();
    rules.create(&grant, rule_id(1), rule("one", 1)).await.unwrap();
    rules.replace(&grant, rule_id(1), rule("two", 1), None).await.unwrap();
    // A batch that fails tells nothing.
    rules.replace(&grant, rule_id(1), rule("two", 1), Some(Revision(77))).await.unwrap_err();
    rules.delete(&grant, &rule_id(1), None).await.unwrap();
    let name: ScriptName = "w".parse().unwrap();
    f.store.scripts().delete_with_versions(&grant_in(1), &name, None).await.unwrap_err();
    let lists = f.store.lists();
    lists.create(&grant_in(2), list_id(1), list("l")).await.unwrap();
    lists.patch_items(&grant_in(2), list_id(1), vec![item("a")], Vec::new()).await.unwrap();
    let told = collect(&mut feed, 5).await;
    let shown: Vec<_> = told.iter().map(describe).collect();
    let (rule, list) = (rule_id(1), list_id(1));
    assert_eq!(
        shown,
        [
            format!("put 1 rule {rule}"),
            format!("put 1 rule {rule}"),
            format!("deleted 1 rule {rule}"),
            format!("put 2 list {list}"),
            format!("put 2 list {list}"),
        ]
    );
    assert_eq!(feed.position(), told[4].seq());
    let mut again = f.store.changes_after(start);
    assert_eq!(collect(&mut again, 5).await, told);
    let mut later = f.store.changes_after(told[2].seq());
    assert_eq!(collect(&mut later, 2).await, told[3..]);
    // A reader from the future, as after a restored backup, starts over.
    let mut lost = f.store.changes_after(start + 1_000_000);
    assert!(matches!(lost.next().await[..], [Change::Resync { .. }]));
}

fn describe(change: &Change) -> String {
    let (verb, document) = match change {
        Change::Put(document) => ("put", document),
        Change::Deleted(document) => ("deleted", document),
        Change::ChildrenDeleted(document) => ("children deleted", document),
        Change::Resync { .. } => return "resync".into(),
    };
    format!("{verb} {} {} {}", document.account.0.as_u128(), document.kind.as_str(), document.id)
}

pub(crate) async fn collect(feed: &mut store::ChangeFeed, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(60), feed.next()).await;
        changes.extend(next.expect("a change within a minute"));
    }
    changes
}

async fn concurrent_changes_are_all_told(f: &Fixture) {
    let mut feed = f.store.changes().await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_u128 {
        let store = f.store.clone();
        writers.spawn(async move {
            for number in 0..25 {
                let id = rule_id(writer * 1_000 + number);
                store.rules().create(&grant(), id, rule("r", 1)).await.unwrap();
            }
        });
    }
    // Read while they write: nothing may slip in behind the position.
    let told = collect(&mut feed, 100).await;
    writers.join_all().await;
    assert_eq!(told.len(), 100);
    assert!(told.is_sorted_by_key(Change::seq));
    let ids: std::collections::BTreeSet<_> = told.iter().map(describe).collect();
    assert_eq!(ids.len(), 100);
}

async fn values_are_not_told(f: &Fixture) {
    let (kv, grant, id) = (f.store.kv(), grant::<WriteKv>(), namespace_id(1));
    kv.create(&grant, id, KvNamespace { title: "n".into() }).await.unwrap();
    let mut feed = f.store.changes().await.unwrap();
    kv.put_value(&grant, id, "k", Vec::new(), None, Expiry::Never).await.unwrap();
    kv.delete_value(&grant, id, "k").await.unwrap();
    kv.delete(&grant, &id, None).await.unwrap();
    assert_eq!(collect(&mut feed, 1).await.len(), 1);
}

async fn hostile_text_is_stored_or_refused_and_never_mangled(f: &Fixture) {
    let (lists, grant) = (f.store.lists(), grant::<WriteLists>());
    for (number, name) in
        ["'; DROP TABLE documents; --", "$1 ?1 :a @b", "%_\\", "日本語 🦀 \u{202e}"].iter().enumerate()
    {
        let id = list_id(number as u128);
        let described = List { description: format!("{name}\0\n"), ..list(name) };
        lists.create_with_items(&grant, id, described.clone(), vec![item(name)]).await.unwrap();
        assert_eq!(lists.find(&grant, name).await.unwrap().unwrap().document, described);
        assert_eq!(lists.all_items(&grant, id).await.unwrap()[0].value, *name);
    }
    for name in ["", "a\0b", "a\nb", &"x".repeat(501)] {
        let refused = lists.create(&grant, list_id(99), list(name)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidInput, "{name:?}");
        let items = vec![item(name)];
        if name.len() < 500 {
            let refused = lists.patch_items(&grant, list_id(0), items, Vec::new()).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidInput, "{name:?}");
        }
    }
    assert_eq!(lists.find(&grant, "a\0b").await.unwrap(), None);
}

async fn a_closed_store_is_unavailable(f: &Fixture) {
    assert!(f.store.health().await.answered.is_ok());
    f.store.close().await;
    let error = f.store.rules().list(&grant::<ReadRules>()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(f.store.health().await.answered.is_err());
}
