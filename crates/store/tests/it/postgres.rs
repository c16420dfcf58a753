//! What concerns the Postgres server: losing it, two nodes on one, and what is refused.

use std::time::Duration;

use store::{KvNamespace, Location, OpenError, Operate, ReadKv, Store, StoreConfig};
use types::{Code, KvNamespaceId, Secret};
use uuid::Uuid;

use crate::fixture::{TestClock, config, grant, run};
use crate::server::Server;
use crate::suite::collect;

fn on(server: &Server) -> StoreConfig {
    config(Location::Postgres(Secret::new(server.connection())), &TestClock::new())
}

async fn create(store: &Store, number: u128) {
    let (id, title) = (KvNamespaceId(Uuid::from_u128(number)), format!("n{number}"));
    store.kv().create(&grant(), id, KvNamespace { title }).await.unwrap();
}

#[test]
fn a_lost_server_is_unavailable_and_the_feed_goes_on_when_it_is_back() {
    run(async {
        let mut server = Server::start();
        let store = Store::open(StoreConfig { deadline: Duration::from_secs(20), ..on(&server) }).await.unwrap();
        let mut feed = store.changes().await.unwrap();
        create(&store, 1).await;
        assert_eq!(collect(&mut feed, 1).await.len(), 1);
        server.stop();
        let error = store.kv().list(&grant::<ReadKv>()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(store.health().await.answered.is_err());
        let waiting = tokio::time::timeout(Duration::from_millis(500), feed.next()).await;
        assert!(waiting.is_err(), "a feed without its server waits");
        server.resume();
        create(&store, 2).await;
        create(&store, 3).await;
        assert_eq!(collect(&mut feed, 2).await.len(), 2);
        assert!(store.health().await.answered.is_ok());
        store.close().await;
    });
}

#[test]
fn nodes_that_start_together_share_one_schema_and_hear_of_each_other() {
    run(async {
        let server = Server::start();
        // The poll is out of reach: only a notification can be in time.
        let patient = || StoreConfig { poll_interval: Duration::from_secs(3_600), key: key(&server), ..on(&server) };
        let (first, second) = tokio::join!(Store::open(patient()), Store::open(patient()));
        let (first, second) = (first.unwrap(), second.unwrap());
        let mut feed = first.changes().await.unwrap();
        create(&second, 1).await;
        assert_eq!(collect(&mut feed, 1).await.len(), 1);
        assert_eq!(first.kv().list(&grant::<Operate>()).await.unwrap().len(), 1);
        first.close().await;
        second.close().await;
    });
}

/// A key file both nodes share, as an operator would copy it.
fn key(server: &Server) -> store::KeySource {
    store::KeySource::File(std::path::PathBuf::from(server.directory()).join("sealing.key"))
}

#[test]
fn a_server_that_is_not_there_is_a_clear_error_without_the_password() {
    run(async {
        let missing = "host=/nonexistent user=portunus password=hunter2 dbname=postgres";
        let location = Location::Postgres(Secret::new(missing.into()));
        let refused = Store::open(config(location, &TestClock::new())).await.unwrap_err();
        assert!(matches!(refused, OpenError::Database(_)), "{refused:?}");
        assert!(!format!("{refused:?}").contains("hunter2"));
        let location = Location::Postgres(Secret::new("not = a valid = string hunter2".into()));
        let refused = Store::open(config(location, &TestClock::new())).await.unwrap_err();
        assert!(!format!("{refused:?}").contains("hunter2"));
    });
}
