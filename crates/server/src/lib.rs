//! Wires every plane to every port: opens, starts, watches, stops.
//!
//! It decides nothing about a request. It owns the life of the process: configuration to running platform, stored
//! documents to snapshots, signals to an orderly end. Invariant: the data plane runs on the last good snapshot whatever
//! happens to the store.

pub(crate) mod access;
pub mod account;
mod agents;
mod background;
pub mod config;
pub mod demo;
mod digest;
mod door;
mod in_force;
mod lists;
mod managed;
mod metrics;
mod outbox;
mod preview;
mod push;
pub mod ready;
mod records;
mod retention;
mod run;
mod scripts;
mod services;
mod signals;
mod snapshot;
mod state;
pub mod trail;
pub mod trial;
mod upstream;

use std::sync::Arc;

use config::{Config, StoreLocation};
use store::{KeySource, Location, StoreConfig};
use types::Secret;

pub use run::{Notice, Platform, StartError};

/// How to open the store that a configuration names.
#[must_use]
pub fn store_config(config: &Config) -> StoreConfig {
    let location = match &config.store {
        StoreLocation::Sqlite(path) => Location::Sqlite(path.clone()),
        StoreLocation::Postgres(url) => Location::Postgres(Secret::new(url.clone())),
    };
    StoreConfig::new(location, KeySource::File(config.data.join("sealing.key")))
}

/// The wall clock, handed to everything that needs the time.
#[must_use]
pub fn clock() -> net::Clock {
    Arc::new(jiff::Timestamp::now)
}
