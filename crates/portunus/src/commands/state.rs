//! Opens the store that the flags name, for commands that work beside a running platform.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use server::config::{Config, Overrides};
use server::trail::Change;
use store::{Grant, Principal, Scope, Store};
use types::AccountId;

use crate::arguments::State;

/// An open store and the account in it.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) account: AccountId,
    principal: Principal,
    data: PathBuf,
}

impl Opened {
    /// Opens what `portunus up` with the same flags would.
    pub(crate) async fn open(state: &State) -> Result<Self> {
        let config = load(state)?;
        let started = match &config.store {
            server::config::StoreLocation::Sqlite(path) => path.exists(),
            server::config::StoreLocation::Postgres(_) => true,
        };
        if !started {
            bail!("no platform in {}: start one with `portunus up --data {0}` first", config.data.display());
        }
        let store = Store::open(server::store_config(&config)).await.context("cannot open the store")?;
        // Whoever can read the data directory holds the sealing key already; this adds no right.
        let principal = Principal::system("command line");
        let accounts = store.accounts(&principal).await?;
        let Some(account) = accounts.first() else {
            bail!("the store holds no account yet: start the platform once with `portunus up`");
        };
        Ok(Self { account: account.id, store, principal, data: config.data })
    }

    pub(crate) const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Leaves the audit record of a change that was made, before it is reported.
    pub(crate) fn record(&self, verb: &str, resource: &str, id: impl Display, after: Value) -> Result<()> {
        let change = Change { verb: verb.to_owned(), resource: resource.to_owned(), id: id.to_string(), after };
        server::trail::leave(&self.data, self.account, rustix::process::getuid().as_raw(), change)
            .with_context(|| format!("{resource} {id}: the change was made, but its audit record cannot be written"))
    }

    pub(crate) fn grant<S: Scope>(&self) -> Result<Grant<S>> {
        Ok(self.principal.authorize(self.account)?)
    }
}

/// Reads the configuration that the flags name.
pub(crate) fn load(state: &State) -> Result<Config> {
    let overrides = Overrides { data: state.data.clone(), ..Overrides::default() };
    Ok(Config::load(state.config.as_deref(), overrides)?)
}
