//! What every backend promises about signals: one event for a window, names that are taken once.

use jiff::Timestamp;
use store::{ReadLogs, SavedQuery, Severity, SignalEvent, SignalEventId, SignalState, StoreError, WriteLogs};
use types::{SavedQueryId, SignalId};
use uuid::Uuid;

use crate::fixture::{Fixture, grant, run, store_suite};

store_suite! {
    a_saved_query_has_a_name_of_its_own,
    a_window_has_one_event_and_a_state_that_only_one_may_move,
}

async fn a_saved_query_has_a_name_of_its_own(f: &Fixture) {
    let (queries, write) = (f.store.saved_queries(), grant::<WriteLogs>());
    let query = |name: &str| SavedQuery { name: name.into(), description: String::new(), sql: "SELECT 1".into() };
    let id = |number| SavedQueryId(Uuid::from_u128(number));
    queries.create(&write, id(1), query("Uploads")).await.unwrap();
    assert!(matches!(queries.create(&write, id(2), query("Uploads")).await, Err(StoreError::Taken(_))));
    assert_eq!(queries.find(&grant::<ReadLogs>(), "Uploads").await.unwrap().unwrap().id, id(1));
}

async fn a_window_has_one_event_and_a_state_that_only_one_may_move(f: &Fixture) {
    let (events, states, write) = (f.store.signal_events(), f.store.signal_states(), grant::<WriteLogs>());
    let signal = SignalId(Uuid::from_u128(7));
    let time = |seconds| Timestamp::from_second(seconds).unwrap();
    let event = || SignalEvent {
        name: "Uploads".into(),
        severity: Severity::High,
        from: time(0),
        until: time(60),
        value: Some(2.0),
        at_least: 1.0,
        rows: 2,
        sample: Vec::new(),
        error: String::new(),
        workers_told: false,
        webhook: None,
    };
    let id = SignalEventId { signal, until: 60 };
    assert_eq!(id.to_string().parse::<SignalEventId>().unwrap(), id);
    events.create(&write, id, event()).await.unwrap();
    assert!(matches!(events.create(&write, id, event()).await, Err(StoreError::Taken(_))));
    events.create(&write, SignalEventId { until: 120, ..id }, event()).await.unwrap();
    assert_eq!(events.list(&grant::<ReadLogs>()).await.unwrap().len(), 2);

    let state = |seconds| SignalState { through: time(seconds), value: None, error: String::new() };
    let first = states.create(&write, signal, state(60)).await.unwrap();
    states.replace(&write, signal, state(120), Some(first.revision)).await.unwrap();
    assert!(matches!(
        states.replace(&write, signal, state(180), Some(first.revision)).await,
        Err(StoreError::Stale(_))
    ));
}
