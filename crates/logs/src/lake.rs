//! The lake: every record that left the journal, as Parquet, by account, dataset and day.
//!
//! It holds the tables and answers what is in them. What moves records in and tidies up is `roll` and `tidy`. Layout:
//! `<account>/<dataset>/date=<day>/<hour>-<id>.parquet` beside `_delta_log`, a Delta Lake table that other engines read.
//! Invariant: a record is in the journal or in the lake for whoever looks, never in both and never in neither.

mod checkpoint;
mod chunk;
pub(crate) mod columns;
mod counts;
pub(crate) mod delta;
mod empty;
pub(crate) mod erase;
pub(crate) mod file;
pub(crate) mod home;
pub(crate) mod list;
pub(crate) mod moving;
mod order;
pub(crate) mod place;
pub(crate) mod roll;
pub(crate) mod rollup;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod table;
pub(crate) mod tidy;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::RwLock;
use types::AccountId;

use crate::records::Dataset;
use place::Place;
use table::{Table, TableError};

/// How many tables are read at once.
const TABLES_AT_ONCE: usize = 8;

/// Every table there is, of every account.
#[derive(Debug)]
pub(crate) struct Lake {
    pub place: Place,
    /// What tells the journal of this node from others that share the lake.
    pub node: String,
    /// Of the files of counts that reports read.
    descriptions: counts::Descriptions,
    tables: RwLock<BTreeMap<(AccountId, Dataset), Arc<Table>>>,
}

impl Lake {
    /// Reads the tables that a lake has.
    pub(crate) async fn load(place: Place, node: String) -> Result<Self, TableError> {
        place.prove().await?;
        let lake = Self { place, node, descriptions: counts::Descriptions::default(), tables: RwLock::default() };
        lake.discover().await?;
        Ok(lake)
    }

    /// Reads the tables that are there and not known yet.
    async fn discover(&self) -> Result<(), TableError> {
        let mut unknown = Vec::new();
        for folder in self.place.folders(None).await? {
            let Some(account) = folder.filename().and_then(|name| name.parse::<AccountId>().ok()) else { continue };
            for folder in self.place.folders(Some(&folder)).await? {
                let Some(dataset) = folder.filename().and_then(|name| name.parse::<Dataset>().ok()) else { continue };
                if self.table(account, dataset).is_none() {
                    unknown.push((account, dataset));
                }
            }
        }
        let loading = unknown.into_iter().map(|(account, dataset)| self.table_to_write(account, dataset));
        stream::iter(loading).buffer_unordered(TABLES_AT_ONCE).try_for_each(|_| async { Ok(()) }).await
    }

    /// Takes in what other nodes committed, to all tables; those that are new only when it is to `discover` them.
    pub(crate) async fn follow(&self, discover: bool) -> Result<(), TableError> {
        if discover {
            self.discover().await?;
        }
        let tables = self.tables();
        let refreshing = tables.iter().map(|table| table.refresh());
        stream::iter(refreshing).buffer_unordered(TABLES_AT_ONCE).try_for_each(|()| async { Ok(()) }).await
    }

    /// Returns a table, if it has ever been written.
    pub(crate) fn table(&self, account: AccountId, dataset: Dataset) -> Option<Arc<Table>> {
        self.tables.read().get(&(account, dataset)).cloned()
    }

    /// Returns a table, which may be new.
    pub(crate) async fn table_to_write(&self, account: AccountId, dataset: Dataset) -> Result<Arc<Table>, TableError> {
        if let Some(table) = self.table(account, dataset) {
            return Ok(table);
        }
        // Another node may have made it since this one started.
        let table = Arc::new(Table::load(&self.place, account, dataset).await?);
        Ok(Arc::clone(self.tables.write().entry((account, dataset)).or_insert(table)))
    }

    pub(crate) fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.read().values().cloned().collect()
    }

    /// Deletes a file of a table, and its counts.
    pub(crate) async fn discard(&self, table: &Table, path: &str) -> Result<(), TableError> {
        self.place.delete(&table.path(path)).await?;
        let counts = rollup::beside(&table.root, path);
        // What is known of it names people.
        self.descriptions.forget(&counts);
        Ok(self.place.delete(&counts).await?)
    }

    /// Returns how far this node's journal of a dataset is in a table.
    pub(crate) fn taken(&self, table: &Table) -> u64 {
        table.state().taken.get(&self.node).copied().unwrap_or_default()
    }
}
