//! What concerns SQLite's files and the key file.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::value::RawValue;
use store::{
    BindingStatus, CertificateOrigin, KeySource, KvNamespace, Location, NewCertificate, OpenError, Operate, Rule,
    SealError, Sealed, Store, StoreConfig, StoreError,
};
use types::{CertificateId, KvNamespaceId, RuleId, Secret};
use uuid::Uuid;

use crate::fixture::{TestClock, config, grant, run};
use crate::suite::collect;

fn with_key(directory: &Path) -> StoreConfig {
    let location = Location::Sqlite(directory.join("portunus.db"));
    StoreConfig { key: KeySource::File(directory.join("sealing.key")), ..config(location, &TestClock::new()) }
}

fn managed(token: Sealed) -> Rule {
    let body = RawValue::from_string("{}".to_owned()).unwrap();
    let secrets = BTreeMap::from([("token".to_owned(), token)]);
    Rule { name: "managed".to_owned(), enabled: true, precedence: 1, body, secrets }
}

#[test]
fn a_database_opens_only_with_its_own_key() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("sealing.key");
        Store::open(with_key(directory.path())).await.unwrap().close().await;
        Store::open(with_key(directory.path())).await.unwrap().close().await;

        let kept = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        let missing = Store::open(with_key(directory.path())).await.unwrap_err();
        assert!(matches!(missing, OpenError::SealingKey(SealError::Missing(_))), "{missing:?}");
        assert!(!key.exists(), "a second key must not appear beside a sealed database");

        let other = tempfile::tempdir().unwrap();
        Store::open(with_key(other.path())).await.unwrap().close().await;
        std::fs::copy(other.path().join("sealing.key"), &key).unwrap();
        let wrong = Store::open(with_key(directory.path())).await.unwrap_err();
        assert!(matches!(wrong, OpenError::SealingKey(SealError::WrongKey)), "{wrong:?}");

        std::fs::write(&key, kept).unwrap();
        Store::open(with_key(directory.path())).await.unwrap().close().await;
    });
}

#[test]
fn a_rotated_key_opens_what_the_old_one_sealed_until_it_is_sealed_again() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("sealing.key");
        let id = CertificateId(Uuid::from_u128(1));
        let store = Store::open(with_key(directory.path())).await.unwrap();
        store.certificates().import(&grant(), id, certificate()).await.unwrap();
        let rule = RuleId(Uuid::from_u128(2));
        let token = store.rules().seal(&grant(), rule, "token", &Secret::new("the token".to_owned())).unwrap();
        store.rules().create(&grant(), rule, managed(token)).await.unwrap();
        store.close().await;

        let running = Store::open(with_key(directory.path())).await.unwrap();
        let store = Store::open(with_key(directory.path())).await.unwrap();
        store.add_sealing_key(&grant()).await.unwrap();
        let opened = store.certificates().private_key(&grant(), id).await.unwrap();
        assert_eq!(opened.expose(), "the key");
        let early = store.remove_old_sealing_keys(&[grant()]).await;
        assert!(matches!(early, Err(StoreError::Stale(_))), "two secrets need the old key: {early:?}");
        let mut seen = Vec::new();
        assert_eq!(store.reseal(&grant(), |so_far| seen.push((so_far.done, so_far.of))).await.unwrap(), 2);
        assert_eq!(seen, [(1, 2), (2, 2)]);
        assert_eq!(store.reseal(&grant(), |_| ()).await.unwrap(), 0);
        let file = std::fs::File::options().write(true).open(&key).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(store.remove_old_sealing_keys(&[grant()]).await.unwrap(), 1);
        store.close().await;

        // A process that was there before goes on with the new key.
        let opened = running.certificates().private_key(&grant(), id).await.unwrap();
        assert_eq!(opened.expose(), "the key");
        let another = running.rules().seal(&grant(), rule, "other", &Secret::new("late".to_owned())).unwrap();
        running.close().await;

        let store = Store::open(with_key(directory.path())).await.unwrap();
        let opened = store.certificates().private_key(&grant(), id).await.unwrap();
        assert_eq!(opened.expose(), "the key");
        let mut stored = store.rules().get(&grant::<Operate>(), &rule).await.unwrap().unwrap();
        stored.document.secrets.insert("other".to_owned(), another);
        let opened = store.rules().open(&grant(), &stored).unwrap();
        assert_eq!((opened["token"].expose().as_str(), opened["other"].expose().as_str()), ("the token", "late"));
        store.close().await;
    });
}

fn certificate() -> NewCertificate {
    NewCertificate {
        origin: CertificateOrigin::Custom,
        binding_status: BindingStatus::Available,
        certificate: String::new(),
        private_key: Secret::new("the key".into()),
        fingerprint: String::new(),
        issuer_org: String::new(),
        issuer_raw: String::new(),
        expires_on: TestClock::new().now(),
    }
}

#[test]
fn the_database_is_readable_by_its_owner_alone() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(with_key(directory.path())).await.unwrap();
        store.issue_setup_link(&grant::<Operate>(), std::time::Duration::from_secs(60)).await.unwrap();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        }
        store.close().await;
    });
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        Store::open(with_key(directory.path())).await.unwrap().close().await;
        let database = rusqlite::Connection::open(directory.path().join("portunus.db")).unwrap();
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'", ()).unwrap();
        let newer = Store::open(with_key(directory.path())).await.unwrap_err();
        assert!(matches!(newer, OpenError::NewerSchema { found: 99, .. }), "{newer:?}");
    });
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("portunus.db"), "not a database".repeat(100)).unwrap();
        let refused = Store::open(with_key(directory.path())).await.unwrap_err();
        assert!(matches!(refused, OpenError::Database(_)), "{refused:?}");
    });
}

#[test]
fn another_process_on_the_same_file_is_seen() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let first = Store::open(with_key(directory.path())).await.unwrap();
        let second = Store::open(with_key(directory.path())).await.unwrap();
        let mut feed = first.changes().await.unwrap();
        let id = KvNamespaceId(Uuid::from_u128(1));
        second.kv().create(&grant(), id, KvNamespace { title: "n".into() }).await.unwrap();
        assert_eq!(collect(&mut feed, 1).await.len(), 1);
        second.close().await;
        first.close().await;
    });
}

#[test]
fn what_was_stored_is_there_after_a_restart_and_the_feed_goes_on() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(with_key(directory.path())).await.unwrap();
        let position = store.changes().await.unwrap().position();
        let id = KvNamespaceId(Uuid::from_u128(1));
        store.kv().create(&grant(), id, KvNamespace { title: "n".into() }).await.unwrap();
        store.close().await;
        let store = Store::open(with_key(directory.path())).await.unwrap();
        assert_eq!(collect(&mut store.changes_after(position), 1).await.len(), 1);
        assert!(store.kv().get(&grant::<Operate>(), &id).await.unwrap().is_some());
        store.close().await;
    });
}
